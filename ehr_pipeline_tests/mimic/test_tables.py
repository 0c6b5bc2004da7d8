"""MIMIC-IV as data: the declarations hang together and can be created."""

import duckdb

from ehr_pipeline.mimic import tables
from ehr_pipeline.mimic.tables import SCHEMAS


def test_there_are_31_tables_of_mimic_iv_six_of_the_emergency_department_and_ours():
    schemas = [name.split(".")[0] for name in tables()]
    counts = {schema: schemas.count(schema) for schema in SCHEMAS.values()}
    assert counts == {"mimiciv_hosp": 22, "mimiciv_icu": 9, "mimiciv_ed": 6, "extension": 1}


def test_file_names_are_distinct_so_that_a_flat_folder_is_not_ambiguous():
    names = [table.short_name for table in tables().values()]
    assert len(set(names)) == len(names)


def test_only_patients_and_admissions_are_required():
    assert [table.short_name for table in tables().values() if table.required] == ["admissions", "patients"]


def test_keys_and_references_name_columns_that_exist_and_agree_in_type():
    for table in tables().values():
        assert set(table.key) <= set(table.column_names), table.name
        for reference in table.references:
            parent = tables()[reference.table]
            assert set(reference.table_columns) <= set(parent.key or parent.column_names), str(reference)
            for column, target in zip(reference.columns, reference.table_columns, strict=True):
                assert table[column].type == parent[target].type, str(reference)


def test_the_schema_can_be_created():
    con = duckdb.connect()
    for schema in SCHEMAS.values():
        con.execute(f"CREATE SCHEMA {schema}")
    for table in tables().values():
        con.execute(table.create_sql())
    # 31 + 6 + 1 tables; float columns are as wide as Postgres has them, codes are text
    types = dict(con.execute("SELECT table_name || '.' || column_name, data_type FROM duckdb_columns()").fetchall())
    assert types["chartevents.valuenum"] == "DOUBLE"
    assert types["prescriptions.doses_per_24_hrs"] == "FLOAT"
    assert types["diagnoses_icd.icd_code"] == "VARCHAR"
    assert types["patients.dod"] == "DATE"
