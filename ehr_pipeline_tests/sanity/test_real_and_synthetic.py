import itertools
import json

import pandas as pd
import pytest

from ehr_pipeline.errors import CheckFailed, NotReady, RejectionCapReached, ResourceShort
from ehr_pipeline.record import conform
from ehr_pipeline.sanity import synthetic
from ehr_pipeline.sanity.real import RealSanity, check_cohort
from ehr_pipeline.sanity.rules import CHECK_NAMES, Rule, TableForm, load_rules, rules_hash
from ehr_pipeline.sanity.synthetic import write_synthetic
from ehr_pipeline.storage import DataFolder, read_json, sha256
from ehr_pipeline_tests.sanity.conftest import SCHEMA, draw


@pytest.fixture
def cohort(tmp_path):
    return DataFolder(tmp_path).cohort("c")


@pytest.fixture
def real(cohort):
    return check_cohort(draw(2_000, seed=99), SCHEMA, cohort.sanity)


@pytest.fixture
def folder(cohort):
    return cohort.generator("g")


def _endless(pregnant_males=0.0, size=400):
    return (draw(size, seed, pregnant_males) for seed in itertools.count())


def _entry(content, key):
    return next(entry for entry in content["rules"] if entry["key"] == key)


def _left(folder):
    return sorted(path.name for path in folder.root.iterdir()) if folder.root.exists() else []


def test_real_record_is_read_back_as_it_was_written(cohort, real):
    assert RealSanity.read(cohort.sanity) == real
    assert real.passed
    assert real.rules_hash == rules_hash(load_rules())


def test_real_record_that_is_not_there_says_what_to_run(cohort):
    with pytest.raises(NotReady, match="sanity checks of the cohort"):
        RealSanity.read(cohort.sanity)


def test_small_real_counts_stand_nowhere_in_the_record(cohort):
    frame = draw(5_000)
    bad = frame.index[(frame["sex"] == "M")][:7]
    frame.loc[bad, "pregnancy"] = 1
    frame.loc[frame.index[:3], "creatinine"] = 0.0
    check_cohort(frame, SCHEMA, cohort.sanity)
    content = read_json(cohort.sanity)
    hidden = _entry(content, "R64[sex, pregnancy]")
    assert hidden["real"] == {
        "n_checked": 5_000,
        "n_failed": None,
        "rate": None,
        "could_run": True,
        "is_demoted": False,
    }
    counts = [count for entry in content["rules"] for count in (entry["real"]["n_checked"], entry["real"]["n_failed"])]
    assert not [count for count in counts if count is not None and 0 < count < 11]


def test_hard_rule_that_real_patients_break_is_demoted_and_warns(cohort, folder):
    frame = draw(2_000)
    frame.loc[frame.index[:40], "systolic_bp"] = frame.loc[frame.index[:40], "diastolic_bp"]
    real = check_cohort(frame, SCHEMA, cohort.sanity)
    checks = {check.name: check for check in real.checks}
    assert real.passed
    assert not checks["vitals"].passed
    assert _entry(read_json(cohort.sanity), "R38[systolic_bp, diastolic_bp]")["verdict"] == "demoted"

    def chunks():
        for seed in itertools.count():
            chunk = draw(1_000, seed)
            chunk.loc[chunk.index[:15], "systolic_bp"] = chunk.loc[chunk.index[:15], "diastolic_bp"]
            yield chunk

    sanity = write_synthetic(chunks(), 2_000, SCHEMA, real, folder)
    assert sanity.passed
    assert sanity.accounting.rejection_rate == 0
    private = write_synthetic(chunks(), 2_000, SCHEMA, real, folder, is_private=True)
    assert private.accounting.rules["R38[systolic_bp, diastolic_bp]"].n_rejected > 0
    table = pd.read_parquet(folder.synthetic)
    assert (table["systolic_bp"] > table["diastolic_bp"]).all()


def test_real_table_that_breaks_its_schema_stops_the_chain(cohort):
    frame = draw(2_000)
    frame.loc[3, "age"] = 5.0
    real = check_cohort(frame, SCHEMA, cohort.sanity)
    assert not real.passed
    assert not read_json(cohort.sanity)["passed"]
    assert not RealSanity.read(cohort.sanity).passed


@pytest.mark.parametrize("n", [0, 1])
def test_real_table_of_no_patient_or_one_gets_every_check(cohort, n):
    real = check_cohort(draw(n), SCHEMA, cohort.sanity)
    assert tuple(check.name for check in real.checks) == CHECK_NAMES
    assert real.passed == (n > 0)


def test_synthetic_table_and_its_record_are_written_together(real, folder):
    sanity = write_synthetic(_endless(0.4), 1_000, SCHEMA, real, folder)
    assert sanity.passed
    assert _left(folder) == ["sanity.json", "synthetic.parquet"]
    content = read_json(folder.sanity)
    assert content["table_sha256"] == sha256(folder.synthetic)
    assert content["n_rows"] == len(pd.read_parquet(folder.synthetic)) == 1_000
    assert content["rules_hash"] == content["real_rules_hash"] == rules_hash(load_rules())
    assert list(content["rules"]) == ["conformance", "completeness", "plausibility"]
    assert [check["name"] for check in content["checks"]] == list(CHECK_NAMES)
    beside = next(entry for entry in content["rules"]["plausibility"] if entry["key"] == "R64[sex, pregnancy]")
    assert (beside["real"]["n_failed"], beside["synthetic"]["n_failed"]) == (0, 0)
    assert beside["confirmed"] is False
    assert content["accounting"]["rejection"]["n_rejected"] > 0
    json.dumps(content, allow_nan=False)


def test_same_draws_leave_the_same_files(real, cohort):
    for name in ("a", "b"):
        write_synthetic(_endless(0.4), 500, SCHEMA, real, cohort.generator(name))
    assert cohort.generator("a").synthetic.read_bytes() == cohort.generator("b").synthetic.read_bytes()
    assert cohort.generator("a").sanity.read_bytes() == cohort.generator("b").sanity.read_bytes()


def _blind_rejection(monkeypatch):
    """Rejection lets everything pass, as a bug in it would."""
    monkeypatch.setattr(synthetic, "rejecting_rules", lambda *_: [])


def test_table_that_fails_is_not_left_and_nor_is_an_older_one(real, folder, monkeypatch):
    write_synthetic(_endless(), 200, SCHEMA, real, folder)
    _blind_rejection(monkeypatch)
    sanity = write_synthetic(_endless(0.4), 200, SCHEMA, real, folder)
    assert not sanity.passed
    assert {check.name for check in sanity.checks if check.blocking} == {"codes_and_drugs"}
    assert _left(folder) == []


def test_gate_is_closed_by_what_is_read_back_not_by_what_was_drawn(real, folder, monkeypatch):
    draw_accepted = synthetic.draw_accepted

    def tamper(chunks, n, schema, hard, path, **more):
        account = draw_accepted(chunks, n, schema, hard, path, **more)
        conform(pd.read_parquet(path).head(n - 1), schema).to_parquet(path, index=False)
        return account

    monkeypatch.setattr(synthetic, "draw_accepted", tamper)
    sanity = write_synthetic(_endless(), 200, SCHEMA, real, folder)
    assert {check.name for check in sanity.checks if check.blocking} == {"structure"}
    assert _left(folder) == []


def test_cap_reached_leaves_no_table(real, folder):
    write_synthetic(_endless(), 200, SCHEMA, real, folder)
    with pytest.raises(RejectionCapReached):
        write_synthetic(_endless(0.9), 200, SCHEMA, real, folder, max_draws=210)
    assert _left(folder) == []


def test_rule_that_cannot_run_leaves_no_table(real, folder):
    write_synthetic(_endless(), 200, SCHEMA, real, folder)
    broken = Rule(
        id="T",
        title="broken",
        severity="hard",
        check="vitals",
        heading="plausibility",
        sources=("test",),
        table=TableForm(items=("systolic_bp",), violates="no_such_column"),
    )
    with pytest.raises(CheckFailed, match="could not run"):
        write_synthetic(_endless(), 200, SCHEMA, real, folder, rules=(*load_rules(), broken))
    assert _left(folder) == []


@pytest.mark.parametrize("error", [ResourceShort("the disk is full"), KeyboardInterrupt()])
def test_full_disk_or_a_kill_leaves_the_older_table_whole(real, folder, error):
    write_synthetic(_endless(), 200, SCHEMA, real, folder)
    before = folder.synthetic.read_bytes(), folder.sanity.read_bytes()

    def dies():
        yield draw(50)
        raise error

    with pytest.raises(type(error)):
        write_synthetic(dies(), 200, SCHEMA, real, folder)
    assert (folder.synthetic.read_bytes(), folder.sanity.read_bytes()) == before
    assert _left(folder) == ["sanity.json", "synthetic.parquet"]


def test_generator_without_some_columns_is_judged_on_those_it_has(real, folder):
    schema = SCHEMA.without(["creatinine", "sex"])
    sanity = write_synthetic(_endless(), 300, schema, real, folder)
    assert sanity.passed
    laboratory = next(check for check in sanity.checks if check.name == "laboratory")
    assert not laboratory.is_applicable
    assert list(pd.read_parquet(folder.synthetic).columns) == schema.names


def test_progress_tells_how_many_rows_are_accepted(real, folder):
    steps = []
    write_synthetic(_endless(size=100), 250, SCHEMA, real, folder, progress=steps.append)
    assert [(step.done, step.total) for step in steps] == [(100, 250), (200, 250), (250, 250)]
