"""The reader of sanity records reads what the sanity stage writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline import validation
from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.report.build import build_report
from ehr_pipeline.report.sanity_view import read_sanity
from ehr_pipeline.sanity.real import check_cohort
from ehr_pipeline.sanity.synthetic import write_synthetic
from ehr_pipeline.storage import CohortFolder, read_json
from ehr_pipeline_tests.report import examples

SCHEMA = Schema(
    columns=(
        Column(name="age", kind="continuous", unit="years", minimum=18, maximum=95, decimals=1),
        Column(name="sex", kind="categorical", levels=("F", "M"), role="sensitive"),
        Column(name="bmi", kind="continuous", unit="kg/m2", minimum=5, maximum=100, item="bmi", statistic="first"),
    )
)


def table(n: int, n_impossible: int) -> pd.DataFrame:
    """Rows of which the first `n_impossible` have a body mass index that no human has."""
    rng = np.random.default_rng(0)
    bmi = rng.normal(28, 4, n).clip(15, 50).round(1)
    bmi[:n_impossible] = 90.0
    frame = pd.DataFrame({"age": rng.uniform(20, 90, n).round(1), "sex": rng.choice(["F", "M"], n), "bmi": bmi})
    return conform(frame, SCHEMA)


def held(one: validation.Expectation) -> validation.Verdict:
    """The verdict on an expectation that holds."""
    return validation.Verdict(
        check=one.check, expectation=one.type, column=None, severity=one.severity, passed=True, could_run=True,
        n_checked=1, n_failed=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = CohortFolder(tmp_path_factory.mktemp("cohort"))
    chunks = iter([table(400, 60), table(400, 0)])
    with pytest.MonkeyPatch.context() as patch:  # the record is what matters here; importing GX takes seconds
        patch.setattr(validation, "validate", lambda _, expectations: [held(one) for one in expectations])
        real = check_cohort(table(400, 0), SCHEMA, folder.sanity)
        assert write_synthetic(chunks, 500, SCHEMA, real, folder.generator("independent")).passed
    return read_json(folder.sanity), read_json(folder.generator("independent").sanity)


def test_real_record_has_rules_and_no_rejections(records):
    view = read_sanity(records[0], "real")
    bmi = next(rule for rule in view.rules if rule.key.startswith("R32"))
    assert (bmi.n_checked, bmi.n_failed, bmi.shown_share) == (400, 0, "0 %")
    assert view.rejected is None


def test_synthetic_record_accounts_for_what_was_rejected(records):
    view = read_sanity(records[1], "synthetic")
    assert view.rejected.n_rejected == 60  # the impossible rows of the first chunk
    assert [line.n_rejected for line in view.by_rule if line.label.startswith("R32")] == [60]
    assert sum(line.n_rejected for line in view.by_subgroup) == 60
    assert {line.label for line in view.by_subgroup} == {"sex: F", "sex: M"}
    moved = {shift.label: shift.shift_sd for shift in view.shifts}
    assert moved["bmi"] < 0  # the rejected rows were the heaviest
    assert all(rule.state in ("passed", "not applicable") for rule in view.rules if rule.severity == "hard")


def test_rules_and_rejections_stand_on_the_page(records):
    inputs = examples.inputs(n_generators=1)
    generators = [replace(inputs.generators[0], sanity=records[1])]
    html = build_report(replace(inputs, generators=generators, real_sanity=records[0])).html
    section = html.split('id="sanity"')[1].split("</section>")[0]
    assert "60 of 560" in section
    assert "Body mass index is 10 to 80" in section
    assert "Shift that rejection caused" in section


def test_no_record_is_none_and_another_shape_is_a_clear_error():
    assert read_sanity(None, "real") is None
    with pytest.raises(DefinitionError, match="the sanity record of the synthetic table has another shape"):
        read_sanity({"rules": [{"id": "R1"}]}, "synthetic")
