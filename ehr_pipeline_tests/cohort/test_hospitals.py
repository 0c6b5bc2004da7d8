"""Whole hospitals through ingest: the simulated one, whose truth is known, and the real demo."""

from pathlib import Path

import pandas as pd
import pytest

from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.ingest import ingest
from ehr_pipeline.prepare import build_schema, prepare_cohort
from ehr_pipeline.simulate.hospital import simulate_hospital, simulate_patients
from ehr_pipeline.storage import DataFolder

DEFINITIONS = load_definitions()
SHARED = Path(__file__).parents[3] / "shared/data"
DEMO, ED_DEMO = SHARED / "mimic-iv-demo", SHARED / "mimic-iv-ed-demo"
N_PATIENTS = 400
MEMBERS = {"medicore": 100, "icu_48h": 100, "heart_failure": 26, "diabetes": 35, "emergency": 64}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    data = DataFolder(tmp_path_factory.mktemp("simulated"))
    simulate_hospital(N_PATIENTS, data.simulated_source, sites=3, seed=7)
    ingest([data.simulated_source], data)
    return data


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    if not (DEMO.is_dir() and ED_DEMO.is_dir()):
        pytest.skip("the real demo is not here")
    data = DataFolder(tmp_path_factory.mktemp("demo"))
    ingest([DEMO, ED_DEMO], data)
    return data


def test_the_case_studys_columns_come_back_exactly(simulated):
    """Through tables, events and features, and through prepare: all 12 columns of every patient, to the last digit."""
    definition = DEFINITIONS["medicore"]
    build_cohort(definition, simulated)
    prepare_cohort(definition, simulated)
    truth = simulate_patients(N_PATIENTS, sites=3, seed=7).set_index("subject_id").sort_index()
    folder = simulated.cohort("medicore")
    for path in (folder.table, folder.prepared_table):
        table = pd.read_parquet(path).set_index("subject_id").sort_index()
        assert table.index.tolist() == truth.index.tolist()
        assert list(table.columns) == list(definition.columns)
        different = {name: int((table[name].astype(truth[name].dtype) != truth[name]).sum()) for name in table}
        assert {name: n for name, n in different.items() if n} == {}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_shipped_cohort_stands_on_a_simulated_hospital(simulated, name):
    definition = DEFINITIONS[name]
    built = build_cohort(definition, simulated)
    prepared = prepare_cohort(definition, simulated)
    assert built.n_members > 20 and prepared.n_rows == built.n_members
    assert prepared.unknown_levels == {}
    assert not [warning for warning in built.warnings if "unknown unit" in warning]


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_shipped_cohort_stands_on_the_real_demo(demo, name):
    """The counts of the demo v2.2; each is what the criteria leave of 100 patients, 64 of them with an ED visit."""
    definition = DEFINITIONS[name]
    built = build_cohort(definition, demo)
    prepared = prepare_cohort(definition, demo)
    assert built.n_members == built.n_patients == MEMBERS[name]
    assert built.is_small and built.warnings == ()
    assert prepared.unknown_levels == {}
    table = pd.read_parquet(demo.cohort(name).prepared_table)
    for column in build_schema(definition).columns:
        values = table[column.name].dropna()
        assert len(values) > 0 and (column.missing or len(values) == len(table))
        assert column.levels is None or set(values) <= set(column.levels)
        if column.is_number and column.maximum is not None:
            assert values.between(column.minimum, column.maximum).all()
