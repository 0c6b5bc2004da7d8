"""Fixtures of the cohort tests."""

import pandas as pd
import pytest

from ehr_pipeline.cohort import build_cohort
from ehr_pipeline_tests.cohort.hospital import Hospital, definition_of


@pytest.fixture
def hospital():
    """A hospital without patients."""
    return Hospital()


@pytest.fixture
def build(tmp_path):
    """A function that builds a cohort over a hospital: (summary, table), with the data folder as `build.data`."""

    def build_one(hospital, **changes):
        build_one.data = hospital.write(tmp_path / "data")
        definition = definition_of(tmp_path, **changes)
        summary = build_cohort(definition, build_one.data)
        return summary, pd.read_parquet(build_one.data.cohort(definition.name).table)

    return build_one
