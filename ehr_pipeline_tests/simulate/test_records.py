"""The written tables are MIMIC-IV's: names, keys, references, and no clinical rule broken."""

import gzip

import pytest

from ehr_pipeline.mimic.tables import SCHEMAS, tables
from ehr_pipeline.sanity.warehouse import run_warehouse_rules
from ehr_pipeline_tests.simulate.conftest import PATIENTS

WRITTEN = {
    "hosp": {"admissions", "d_icd_diagnoses", "d_icd_procedures", "d_labitems", "diagnoses_icd", "labevents", "omr",
             "patients", "pharmacy", "prescriptions", "procedures_icd", "provider", "services", "transfers"},
    "icu": {"caregiver", "chartevents", "d_items", "icustays"},
    "ed": {"diagnosis", "edstays", "triage", "vitalsign"},
    "extension": {"sites"},
}  # fmt: skip


def test_folder_holds_these_tables_and_none_is_empty(hospital):
    for subfolder, names in WRITTEN.items():
        assert {path.name for path in (hospital.folder / subfolder).iterdir()} == {f"{name}.csv.gz" for name in names}
    assert set(hospital.rows) == {f"{subfolder}/{name}" for subfolder, names in WRITTEN.items() for name in names}
    assert all(count > 0 for count in hospital.rows.values())


def test_headers_are_the_official_columns_in_order(hospital):
    for name in hospital.rows:
        subfolder, table = name.split("/")
        with gzip.open(hospital.folder / f"{name}.csv.gz", "rt") as file:
            header = file.readline().rstrip("\n").split(",")
        assert tuple(header) == tables()[f"{SCHEMAS[subfolder]}.{table}"].column_names, name


def test_row_counts_are_those_of_the_summary(hospital, records):
    for name, count in hospital.rows.items():
        subfolder, table = name.split("/")
        assert records.execute(f"SELECT count(*) FROM {SCHEMAS[subfolder]}.{table}").fetchone() == (count,)
    assert hospital.rows["hosp/patients"] == PATIENTS


def present(records):
    found = records.execute("SELECT table_schema || '.' || table_name FROM information_schema.tables").fetchall()
    return [tables()[name] for (name,) in sorted(found)]


def test_keys_are_unique_and_mandatory_columns_filled(records):
    for table in present(records):
        if table.key:
            key = ", ".join(table.key)
            repeated = records.execute(
                f"SELECT count(*) FROM (SELECT {key} FROM {table.name} GROUP BY ALL HAVING count(*) > 1)"
            ).fetchone()
            assert repeated == (0,), table.name
        for column in table.columns:
            if column.not_null:
                empty = records.execute(f"SELECT count(*) FROM {table.name} WHERE {column.name} IS NULL").fetchone()
                assert empty == (0,), f"{table.name}.{column.name}"


def test_references_hold_the_undeclared_ones_too(records):
    names = {table.name for table in present(records)}
    checked = 0
    for table in present(records):
        for reference in table.references:
            if reference.table not in names:
                continue
            pairs = list(zip(reference.columns, reference.table_columns, strict=True))
            on = " AND ".join(f"child.{mine} = parent.{theirs}" for mine, theirs in pairs)
            filled = " AND ".join(f"child.{mine} IS NOT NULL" for mine, _ in pairs)
            orphans = records.execute(
                f"SELECT count(*) FROM {table.name} child ANTI JOIN {reference.table} parent ON {on} WHERE {filled}"
            ).fetchone()
            assert orphans == (0,), f"{table.name}: {reference}"
            checked += 1
    assert checked > 20


def test_no_clinical_rule_is_broken_hard_or_soft(records):
    results = run_warehouse_rules(records)
    assert [result.rule.id for result in results if result.n_failed or not result.could_run] == []
    assert sum(result.n_checked > 0 for result in results) > 50


@pytest.mark.parametrize(
    ("table", "start", "end"),
    [
        ("mimiciv_hosp.admissions", "admittime", "dischtime"),
        ("mimiciv_hosp.admissions", "edregtime", "edouttime"),
        ("mimiciv_hosp.prescriptions", "starttime", "stoptime"),
        ("mimiciv_hosp.labevents", "charttime", "storetime"),
        ("mimiciv_icu.chartevents", "charttime", "storetime"),
        ("mimiciv_icu.icustays", "intime", "outtime"),
        ("mimiciv_hosp.transfers", "intime", "outtime"),
        ("mimiciv_ed.edstays", "intime", "outtime"),
    ],
)
def test_what_begins_ends_later(records, table, start, end):
    assert records.execute(f"SELECT count(*) FROM {table} WHERE {end} < {start}").fetchone() == (0,)


@pytest.mark.parametrize(
    ("inner", "span", "outer", "bounds"),
    [
        ("hosp.labevents", ("charttime", "charttime"), "hosp.admissions", ("admittime", "dischtime")),
        ("hosp.prescriptions", ("starttime", "stoptime"), "hosp.admissions", ("admittime", "dischtime")),
        ("icu.icustays", ("intime", "outtime"), "hosp.admissions", ("admittime", "dischtime")),
        ("icu.chartevents", ("charttime", "charttime"), "icu.icustays", ("intime", "outtime")),
        ("ed.vitalsign", ("charttime", "charttime"), "ed.edstays", ("intime", "outtime")),
    ],
)
def test_what_happens_lies_inside_its_stay(records, inner, span, outer, bounds):
    key = "hadm_id" if outer == "hosp.admissions" else "stay_id"
    outside = records.execute(f"""
        SELECT count(*) FROM mimiciv_{inner} i JOIN mimiciv_{outer} o USING ({key})
        WHERE i.{span[0]} < o.{bounds[0]} OR i.{span[1]} > o.{bounds[1]}
    """).fetchone()
    assert outside == (0,)


def test_beds_of_an_admission_follow_one_another_without_a_gap(records):
    gaps = records.execute("""
        SELECT count(*) FROM (
          SELECT intime, lag(outtime) OVER (PARTITION BY hadm_id ORDER BY intime, transfer_id) AS before
          FROM mimiciv_hosp.transfers WHERE hadm_id IS NOT NULL)
        WHERE before IS NOT NULL AND before <> intime
    """).fetchone()
    assert gaps == (0,)


def test_death_is_told_alike_everywhere(records):
    """Flag, time, discharge location and date of death agree; after death nobody comes again."""
    disagree = records.execute("""
        SELECT count(*) FROM mimiciv_hosp.admissions JOIN mimiciv_hosp.patients USING (subject_id)
        WHERE (hospital_expire_flag = 1) <> (discharge_location = 'DIED')
           OR (hospital_expire_flag = 1) <> (deathtime IS NOT NULL)
           OR (hospital_expire_flag = 1 AND (dod IS NULL OR dod <> deathtime::DATE))
           OR (dod IS NOT NULL AND dischtime::DATE > dod)
    """).fetchone()
    assert disagree == (0,)
    assert records.execute(
        "SELECT count(*) FROM mimiciv_ed.edstays JOIN mimiciv_hosp.patients USING (subject_id) WHERE intime::DATE > dod"
    ).fetchone() == (0,)


def test_value_and_number_agree(records):
    for table in ("mimiciv_hosp.labevents", "mimiciv_icu.chartevents"):
        assert records.execute(
            f"SELECT count(*) FROM {table} WHERE try_cast(value AS DOUBLE) <> valuenum"
        ).fetchone() == (0,)
    words = records.execute(
        "SELECT DISTINCT valuenum, value FROM mimiciv_icu.chartevents WHERE itemid = 223900 ORDER BY 1"
    ).fetchall()
    assert words == [
        (1, "No Response"),
        (2, "Incomprehensible sounds"),
        (3, "Inappropriate Words"),
        (4, "Confused"),
        (5, "Oriented"),
    ]


def test_version_of_icd_follows_the_true_year(records):
    shares = dict(
        records.execute("""
        SELECT anchor_year_group, avg((icd_version = 10)::INT)
        FROM mimiciv_hosp.patients JOIN (SELECT subject_id, first(icd_version ORDER BY hadm_id) AS icd_version
          FROM mimiciv_hosp.diagnoses_icd GROUP BY 1) USING (subject_id) GROUP BY 1
    """).fetchall()
    )
    assert shares["2008 - 2010"] == shares["2011 - 2013"] == 0
    assert 0.2 < shares["2014 - 2016"] < 0.7
    assert shares["2017 - 2019"] == 1


def test_clinic_measurements_are_written_as_mimic_writes_them(records):
    """Blood pressure as 120/70, weight, height and BMI as numbers that agree; none during the first admission."""
    forms = records.execute("""
        SELECT result_name, bool_and(regexp_full_match(result_value,
          CASE result_name WHEN 'Blood Pressure' THEN '[0-9]{2,3}/[0-9]{2,3}' ELSE '[0-9]{2,3}(\\.[0-9])?' END))
        FROM mimiciv_hosp.omr GROUP BY 1 ORDER BY 1
    """).fetchall()
    assert forms == [("BMI (kg/m2)", True), ("Blood Pressure", True), ("Height (Inches)", True), ("Weight (Lbs)", True)]
    disagreeing, n = records.execute("""
        SELECT count(*) FILTER (WHERE abs(703.07 * weight / height ** 2 - bmi) > 0.3), count(*)
        FROM (PIVOT (SELECT subject_id, result_name, try_cast(result_value AS DOUBLE) AS v FROM mimiciv_hosp.omr)
          ON result_name IN ('Weight (Lbs)' AS weight, 'Height (Inches)' AS height, 'BMI (kg/m2)' AS bmi)
          USING first(v))
    """).fetchone()
    assert (disagreeing, n > 500) == (0, True)
    during = records.execute("""
        SELECT count(*) FROM mimiciv_hosp.omr JOIN (
          SELECT subject_id, arg_min(dischtime, admittime) AS first_discharge FROM mimiciv_hosp.admissions GROUP BY 1)
        USING (subject_id) WHERE chartdate <= first_discharge
    """).fetchone()
    assert during == (0,)
