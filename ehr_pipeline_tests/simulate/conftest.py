"""One small hospital for the whole folder, read back by DuckDB under MIMIC-IV's names and declared types."""

from pathlib import Path

import duckdb
import pytest

from ehr_pipeline.mimic.tables import SCHEMAS, tables
from ehr_pipeline.simulate.hospital import SimulationSummary, simulate_hospital

PATIENTS, SITES, SEED = 2_500, 3, 11  # more than one block, the second cut short


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> SimulationSummary:
    return simulate_hospital(PATIENTS, tmp_path_factory.mktemp("simulate") / "hospital", sites=SITES, seed=SEED)


@pytest.fixture(scope="session")
def records(hospital: SimulationSummary) -> duckdb.DuckDBPyConnection:
    return read_back(hospital.folder)


def read_back(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for subfolder, schema in SCHEMAS.items():
        connection.execute(f"CREATE SCHEMA {schema}")
        for path in sorted((folder / subfolder).glob("*.csv.gz")):
            table = tables()[f"{schema}.{path.name.removesuffix('.csv.gz')}"]
            connection.execute(table.create_sql())
            connection.execute(f"COPY {table.name} FROM '{path}' (FORMAT csv, HEADER, COMPRESSION gzip)")
    return connection
