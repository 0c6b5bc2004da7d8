"""A small simulated hospital, ingested once, for the tests of the Dagster layer."""

import shutil

import pytest

from ehr_pipeline.ingest import ingest
from ehr_pipeline.simulate import simulate_hospital
from ehr_pipeline.storage import DataFolder

MARKER = "QQMARKERQQ"


@pytest.fixture(scope="session")
def hospital(tmp_path_factory):
    """A MIMIC-IV folder of 400 patients in which one free-text cell and one drug name are a marker."""
    folder = tmp_path_factory.mktemp("hospital") / "source"
    simulate_hospital(400, folder, sites=2, seed=1)
    plant(folder / "ed" / "triage.csv.gz", "chiefcomplaint")
    plant(folder / "hosp" / "prescriptions.csv.gz", "drug")
    return folder


@pytest.fixture(scope="session")
def ingested(hospital, tmp_path_factory):
    """A data folder with that hospital in its warehouse; copy it before changing it."""
    data = DataFolder(tmp_path_factory.mktemp("ingested") / "data")
    ingest([hospital], data)
    return data


@pytest.fixture
def data(ingested, tmp_path):
    """A data folder of its own for one test."""
    shutil.copytree(ingested.root, tmp_path / "data")
    return DataFolder(tmp_path / "data")


def plant(path, column):
    """Put the marker into one row's cell of a gzipped CSV file."""
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[len(table) // 2, column] = MARKER
    table.to_csv(path, index=False)
