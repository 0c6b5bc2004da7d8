"""What standing in promises: a hospital is made once, and again when anything about it would differ."""

from ehr_pipeline.simulate import ensure_hospital
from ehr_pipeline.storage import read_json, write_json


def test_a_hospital_is_made_once_and_again_when_it_would_differ(tmp_path):
    folder = tmp_path / "hospital"
    assert ensure_hospital(folder, 20, 1, 0)
    assert not ensure_hospital(folder, 20, 1, 0)
    assert ensure_hospital(folder, 20, 1, 1)
    assert read_json(folder / "truth.json")["seed"] == 1


def test_a_hospital_of_other_code_is_made_again(tmp_path):
    folder = tmp_path / "hospital"
    ensure_hospital(folder, 20, 1, 0)
    truth = read_json(folder / "truth.json")
    write_json(folder / "truth.json", truth | {"versions": truth["versions"] | {"simulate": "older"}})
    assert ensure_hospital(folder, 20, 1, 0)
