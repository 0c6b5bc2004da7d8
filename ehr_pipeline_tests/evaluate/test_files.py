"""Any pair of files: the same scores, one clear line for what cannot be used, no verdict that was not earned."""

import json

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import InputError, OptionError
from ehr_pipeline.evaluate import reading
from ehr_pipeline.evaluate.files import evaluate_files, halves
from ehr_pipeline.evaluate.plan import Task
from ehr_pipeline.evaluate.questions import Questions
from ehr_pipeline.evaluate.reading import read_beside, read_real, refuse_shared_patients
from ehr_pipeline.evaluate.table import evaluate_table
from ehr_pipeline_tests.evaluate.examples import PLAN, SCHEMA, patients, shuffled

N = 150
QUESTION = {"treatment": "treated", "outcome": "died", "confounders": ["sick"], "true_log_odds": -0.8}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Real, synthetic and holdout as CSV, the first with an identifier that the synthetic one lacks."""
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for role, table in (("real", patients(N, 1)), ("synthetic", shuffled(patients(N, 2))), ("holdout", patients(N, 3))):
        made[role] = folder / f"{role}.csv"
        if role != "synthetic":
            table.insert(0, "patient_id", np.arange(N) * 7 + (100_000 if role == "real" else 900_000))
        table.to_csv(made[role], index=False)
    return made


@pytest.fixture(scope="module")
def held(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    (out / "notes.txt").write_text("mine")
    said = []
    evaluation = evaluate_files(**files, targets=["died", "site=north"], out=out, say=said.append, **QUESTION)
    return evaluation, out, said


@pytest.fixture(scope="module")
def unheld(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "new" / "folder"
    said = []
    evaluation = evaluate_files(files["real"], files["synthetic"], targets="died", out=out, say=said.append)
    return evaluation, out, said


def rows(source, schema=None):
    """The real table, read."""
    return read_real(source, schema, np.random.default_rng(0))


def changed(files, tmp_path, role, change):
    """The files with one of them changed."""
    table = change(pd.read_csv(files[role]))
    path = tmp_path / f"{role}.csv"
    table.to_csv(path, index=False)
    return files | {role: path}


# Scores


def test_files_score_what_their_tables_score(files, held):
    tables = [patients(N, 1), patients(N, 3), shuffled(patients(N, 2))]
    of_tables = evaluate_table(*tables, SCHEMA, plan=PLAN, seed=0).scores
    of_files = held[0].scores
    for name in ("ks_mean", "tvd_mean", "correlation_error", "tvd2_mean", "exact_copies_train", "causal_log_odds"):
        assert of_files[name].value == pytest.approx(of_tables[name].value, abs=1e-9), name
        assert of_files[name].floor == pytest.approx(of_tables[name].floor, abs=1e-9), name


def test_frames_parquet_and_csv_are_read_alike(files, tmp_path):
    frame = pd.read_csv(files["real"])
    frame.to_parquet(tmp_path / "real.parquet", index=False)
    by_csv, by_parquet, by_frame = (rows(source) for source in (files["real"], tmp_path / "real.parquet", frame))
    assert by_csv.schema.names == by_parquet.schema.names == by_frame.schema.names
    for other in (by_parquet, by_frame):
        assert [column.kind for column in other.compared.columns] == [column.kind for column in by_csv.compared.columns]
        pd.testing.assert_frame_equal(other.frame, by_csv.frame)


def test_the_same_seed_gives_the_same_scores(files, unheld):
    again = evaluate_files(files["real"], files["synthetic"], targets="died")
    assert again.scores == unheld[0].scores


@pytest.mark.slow
def test_independent_columns_fail_fresh_patients_pass_and_copies_are_found():
    real, fresh, holdout = (patients(3000, seed) for seed in (11, 12, 13))
    good = evaluate_files(real, fresh, holdout, "died").scores
    bad = evaluate_files(real, shuffled(fresh), holdout, "died").scores
    for name in ("c2st_auc", "correlation_error", "tstr_hgb[died]"):
        assert good[name].verdict == "passed", name
        assert bad[name].verdict == "failed", name
    copied = evaluate_files(real, real, holdout, "died").scores
    assert copied["exact_copies_train"].verdict == "failed"
    assert copied["membership_tpr_at_1%[isolated]"].verdict == "failed"


def test_without_a_target_there_is_no_task_and_a_role_names_one(files, tmp_path):
    plain = rows(files["real"])
    assert Questions().plan(plain.frame, plain.compared).tasks == ()
    schema = tmp_path / "schema.yaml"
    schema.write_text("columns: {died: {kind: binary, role: outcome}, age: {kind: continuous, role: outcome}}\n")
    told = rows(files["real"], schema)
    assert Questions().plan(told.frame, told.compared).tasks == (Task("died"),)
    assert Questions(targets=["site=north"]).plan(told.frame, told.compared).tasks == (Task("site", "north"),)


# No holdout


def test_without_a_holdout_nothing_that_needs_one_is_judged(unheld):
    evaluation, _, said = unheld
    utility = {score.verdict for score in evaluation.scores.values() if score.dimension == "utility"}
    assert "privacy" in evaluation.not_judged
    assert ("utility" in evaluation.not_judged) == ("failed" not in utility)
    assert not evaluation.attacks
    for score in evaluation.scores.values():
        if score.dimension == "privacy":
            assert (score.verdict, score.threshold) == ("diagnostic", None)
        if score.dimension == "utility":
            assert score.verdict != "passed"
        if score.name.startswith(("membership", "attribute", "dcr_share")):
            assert (score.value, score.floor, score.null) == (None, None, None)
    assert len(said) == 1 and "--holdout" in said[0]


def test_a_table_made_from_all_real_rows_never_passes_without_a_holdout(files):
    real = pd.read_csv(files["real"])
    evaluation = evaluate_files(real, real, targets="died")
    assert not [
        s for s in evaluation.scores.values() if s.verdict == "passed" and s.dimension in ("privacy", "utility")
    ]
    assert evaluation.scores["exact_copies_train"].value > 0.3


def test_halves_keep_a_patient_on_one_side():
    table = patients(600, 5).assign(patient_id=np.repeat(np.arange(200) * 3 + 1000, 3))
    first, second = halves(rows(table), np.random.default_rng(1))
    assert not set(first.patient) & set(second.patient)
    assert len(first.frame) + len(second.frame) == 600
    assert abs(len(first.frame) - 300) <= 3


# What is left


def test_scores_and_page_are_left_whole_and_private_beside_what_is_there(held, unheld):
    evaluation, out, _ = held
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    for folder in (out, unheld[1]):
        assert sorted(path.name for path in folder.iterdir()) == ["index.html", "scores.json"]
        assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    content = json.loads((out / "scores.json").read_text())
    assert next(iter(content)) == "scores"
    assert set(content["scores"]) == set(evaluation.scores)
    for name, score in evaluation.scores.items():
        said = content["scores"][name]
        assert set(said) >= {"value", "low", "high", "floor", "null", "normalised", "threshold", "verdict"}
        assert said["value"] == pytest.approx(score.value, abs=1e-6), name


def test_no_path_and_no_value_of_one_patient_is_told(held, files):
    _, out, _ = held
    content = json.loads((out / "scores.json").read_text())
    assert str(files["real"].parent) not in (out / "index.html").read_text() + json.dumps(content)
    assert not {"minimum", "maximum", "levels"} & {key for column in content["schema"]["columns"] for key in column}
    for column in content["columns"]:
        assert all(n is None or n >= 11 for n in column["train"] + column["holdout"] if n)


def test_what_is_printed_has_value_floor_null_and_verdict(held, unheld):
    lines = str(held[0]).splitlines()
    row = next(line for line in lines if line.startswith("c2st_auc"))
    score = held[0].scores["c2st_auc"]
    assert row.split() == ["c2st_auc", *(f"{n:.4f}" for n in (score.value, score.floor, score.null)), score.verdict]
    assert any(line.startswith("privacy was not judged: no holdout") for line in str(unheld[0]).splitlines())


def test_columns_that_only_the_synthetic_file_has_are_ignored_with_a_line(files, tmp_path):
    more = changed(files, tmp_path, "synthetic", lambda table: table.assign(batch=1, note="x"))
    made = read_beside(more["synthetic"], "synthetic", rows(files["real"]), np.random.default_rng(0))
    assert made.notes() == ["synthetic.csv: the real table has no batch, note; ignored"]
    assert list(made.frame) == SCHEMA.names


def test_of_a_long_table_whole_patients_are_drawn(monkeypatch):
    monkeypatch.setattr(reading, "MAX_ROWS", 90)
    table = patients(300, 5).assign(patient_id=np.repeat(np.arange(100) * 3 + 1000, 3))
    drawn = rows(table)
    assert len(drawn.frame) == 90 and drawn.facts.n_rows == 300
    assert (np.unique(drawn.patient, return_counts=True)[1] == 3).all()
    assert drawn.notes() == ["the real table: 90 of 300 rows were drawn and compared"]


def test_kinds_are_those_of_the_real_table(files, tmp_path):
    """A synthetic file whose 0/1 column is all 0, and whose numbers are whole, is still read like the real one."""
    plain = changed(files, tmp_path, "synthetic", lambda table: table.assign(died=0, weight=table["weight"].round()))
    real = rows(files["real"])
    made = read_beside(plain["synthetic"], "synthetic", real, np.random.default_rng(0))
    assert list(made.frame.dtypes) == list(real.frame.dtypes)


# What cannot be used


@pytest.mark.parametrize(
    ("role", "change", "says"),
    [
        ("synthetic", lambda t: t.drop(columns=["lab", "died"]), "synthetic.csv lacks the columns lab, died"),
        ("holdout", lambda t: t.drop(columns="age"), "holdout.csv lacks the columns age"),
        ("synthetic", lambda t: pd.DataFrame({"u": range(50), "v": 1}), "no column in common"),
        ("synthetic", lambda t: t.head(5), "at least 20"),
        ("real", lambda t: t.head(10), "at least 20"),
        ("synthetic", lambda t: t.assign(age="old"), "synthetic.csv"),
        ("holdout", lambda t: t.assign(patient_id=np.arange(N) * 7 + 100_000), "identifier patient_id"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_that_names_it(files, tmp_path, role, change, says):
    with pytest.raises(InputError) as caught:
        evaluate_files(**changed(files, tmp_path, role, change), out=tmp_path / "out")
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\xff\xfe\x00\x81,b\n1,2\n"])
@pytest.mark.parametrize("role", ["real", "synthetic", "holdout"])
def test_an_unreadable_file_is_named(files, tmp_path, role, content):
    path = tmp_path / "broken.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match="broken.csv"):
        evaluate_files(**files | {role: path})
    with pytest.raises(InputError, match="nowhere.csv"):
        evaluate_files(**files | {role: tmp_path / "nowhere.csv"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"targets": ["dead"]}, "--target dead"),
        ({"targets": ["age"]}, "--target age"),
        ({"targets": ["site"]}, "3 levels"),
        ({"targets": ["site=west"]}, "no such level"),
        ({"targets": ["died=maybe"]}, "no such level"),
        ({"targets": ["patient_id"]}, "--target patient_id"),
        ({"treatment": "treated"}, "--outcome"),
        ({"confounders": ["age"]}, "--treatment"),
        ({"treatment": "site", "outcome": "died"}, "two levels"),
        ({"treatment": "treated", "outcome": "died", "confounders": ["dead"]}, "--confounders dead"),
        ({"treatment": "treated", "outcome": "treated"}, "different columns"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_line(files, options, says):
    with pytest.raises(OptionError, match=says) as caught:
        evaluate_files(**files, **options)
    assert "\n" not in str(caught.value)


def test_a_target_with_one_level_is_refused(files, tmp_path):
    with pytest.raises(OptionError, match="one level"):
        evaluate_files(**changed(files, tmp_path, "real", lambda table: table.assign(died=0)), targets="died")


def test_the_real_file_as_its_own_holdout_is_refused(files):
    with pytest.raises(OptionError, match="same file"):
        evaluate_files(files["real"], files["synthetic"], files["real"])


def test_identifiers_that_only_number_the_rows_are_no_shared_patients(files, tmp_path):
    numbered = changed(files, tmp_path, "real", lambda table: table.assign(patient_id=range(1, N + 1)))
    real = rows(numbered["real"])
    other = patients(N, 3).assign(patient_id=range(1, N + 1))
    refuse_shared_patients(real, read_beside(other, "holdout", real, np.random.default_rng(0)))


def test_a_file_in_the_folders_place_is_refused_before_any_work(files, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OptionError, match="--out out is a file"):
        evaluate_files("nowhere.csv", files["synthetic"], out=tmp_path / "out")


def test_the_call_from_python_works_more_than_once():
    import ehr_pipeline

    for _ in range(2):
        with pytest.raises(InputError, match="nowhere.csv"):
            ehr_pipeline.evaluate("nowhere.csv", "synthetic.csv")
