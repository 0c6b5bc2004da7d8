"""The folder as a whole: in one step, the same bytes for the same seed, and never over somebody's files."""

import hashlib
import json
from pathlib import Path

import duckdb
import pytest

from ehr_pipeline.errors import OptionError
from ehr_pipeline.progress import Step
from ehr_pipeline.simulate import hospital as hospital_module
from ehr_pipeline.simulate.hospital import simulate_hospital, simulate_patients


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(hospital_module, "BLOCK_PATIENTS", 40)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("one", 4), ("two", 4), ("three", 5)):
        simulate_hospital(30, tmp_path / name, sites=2, seed=seed)
    one, two, three = (digests(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one["hosp/labevents.csv.gz"] != three["hosp/labevents.csv.gz"]


def test_first_patients_are_the_same_in_a_larger_hospital(tmp_path):
    small, large = (simulate_hospital(n, tmp_path / str(n), seed=1).folder for n in (50, 130))
    for table in ("hosp/labevents", "icu/chartevents", "hosp/prescriptions", "ed/triage", "hosp/transfers"):
        query = f"SELECT * FROM read_csv('{{}}/{table}.csv.gz', all_varchar = true) WHERE subject_id::INT < 10000050"
        mine, theirs = (duckdb.sql(query.format(folder)).fetchall() for folder in (small, large))
        assert mine == theirs
        assert mine


def test_patients_are_those_of_the_hospital(tmp_path):
    folder = simulate_hospital(60, tmp_path / "hospital", sites=3, seed=9).folder
    frame = simulate_patients(60, sites=3, seed=9)
    written = duckdb.sql(f"SELECT * FROM read_csv('{folder}/extension/sites.csv.gz', all_varchar = true)").fetchall()
    assert written == [(str(subject), site) for subject, site in zip(frame["subject_id"], frame["site"], strict=True)]


def test_truth_holds_effect_coefficients_and_how_it_was_made(hospital):
    truth = json.loads((hospital.folder / "truth.json").read_text())
    assert truth["treatment_log_odds"] == -0.8
    assert truth["treatment_risk_difference"] == pytest.approx(-0.1632, abs=0.0002)
    assert (truth["patients"], truth["sites"], truth["seed"]) == (hospital.patients, hospital.sites, hospital.seed)
    assert {"age", "adverse_event"} <= set(truth["coefficients"])
    assert {"ehr_pipeline", "numpy"} <= set(truth["versions"])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"patients": 0}, "--patients"),
        ({"patients": 10**9}, "--patients"),
        ({"patients": 1, "sites": 0}, "--sites"),
        ({"patients": 1, "sites": 1000}, "--sites"),
        ({"patients": 1, "seed": -1}, "--seed"),
    ],
)
def test_option_out_of_range_is_refused_in_one_line(tmp_path, options, word):
    with pytest.raises(OptionError, match=word) as caught:
        simulate_hospital(out=tmp_path / "hospital", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "hospital").exists()


def test_somebodys_folder_is_never_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="not a simulated hospital"):
        simulate_hospital(1, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(OptionError, match="is a file"):
        simulate_hospital(1, tmp_path / "notes.txt")


def test_simulated_hospital_is_replaced_and_an_empty_folder_is_filled(tmp_path):
    out = tmp_path / "hospital"
    out.mkdir()
    simulate_hospital(5, out, seed=1)
    before = digests(out)
    simulate_hospital(5, out, seed=2)
    assert digests(out).keys() == before.keys()
    assert digests(out) != before


def test_death_in_the_middle_leaves_what_was_there(tmp_path, monkeypatch):
    out = simulate_hospital(5, tmp_path / "hospital").folder
    before = digests(out)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hospital_module, "_dictionaries", dies)
    with pytest.raises(KeyboardInterrupt):
        simulate_hospital(6, out)
    assert digests(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["hospital"]


def test_writer_that_fails_fails_the_simulation(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ehr_pipeline.simulate.tables._write", full)
    with pytest.raises(Exception, match="disk is full"):
        simulate_hospital(1, tmp_path / "hospital")
    assert list(tmp_path.iterdir()) == []


def test_hospital_of_one_patient_is_whole(tmp_path):
    summary = simulate_hospital(1, tmp_path / "hospital")
    assert summary.rows["hosp/patients"] == 1
    assert summary.rows["hosp/labevents"] > 10


def test_progress_counts_patients(tmp_path):
    steps: list[Step] = []
    simulate_hospital(90, tmp_path / "hospital", progress=steps.append)
    assert [(step.done, step.total) for step in steps] == [(40, 90), (80, 90), (90, 90)]


def test_identifiers_keep_inside_mimics_integers():
    most = hospital_module.MOST_PATIENTS
    assert most * hospital_module.MOST_RESULTS_PER_PATIENT < 2**31
