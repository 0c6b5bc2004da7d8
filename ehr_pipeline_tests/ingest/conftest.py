"""Fixtures of ingest: the made-up hospital, written and ingested."""

from pathlib import Path

import pytest

from ehr_pipeline.ingest import ingest
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.ingest.hospital import write_hospital


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A fresh copy of the hospital, to be spoilt."""
    return write_hospital(tmp_path / "source")


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    """An empty data folder."""
    return DataFolder(tmp_path / "data")


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """A data folder with the hospital in it; not to be changed."""
    root = tmp_path_factory.mktemp("ingested")
    data = DataFolder(root / "data")
    ingest([write_hospital(root / "source")], data)
    return data
