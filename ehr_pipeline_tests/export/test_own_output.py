"""The proof that an export works as MIMIC-IV: the chain ingests it, and published kinds of analysis run unchanged.

The real events of a simulated hospital, and of the demo, stand in for a synthetic stream: without admissions or
stays, under other patients' numbers.
"""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.export import export_mimic_iv
from ehr_pipeline.export.complete import empty_columns, filled_columns
from ehr_pipeline.export.mimic_iv import DATABASE
from ehr_pipeline.ingest import check_tables, connect, ingest
from ehr_pipeline.mimic import mappings, unmapped_columns
from ehr_pipeline.mimic.analyses import analyses, run_analysis
from ehr_pipeline.simulate import simulate_hospital
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.export.streams import strip_identifiers
from ehr_pipeline_tests.export.test_mimic_iv import IMPOSSIBLE

SHARED = Path(__file__).parents[3] / "shared/data"
# Columns that an export numbers, dates or computes anew; all others of the mapped ones must come back as they were.
RENEWED = {"subject_id", "hadm_id", "stay_id", "anchor_age", "anchor_year", "seq_num", "prev_service", "sbp", "dbp"}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> tuple[DataFolder, Path]:
    """A simulated hospital, and the folder that its own events were exported to."""
    root = tmp_path_factory.mktemp("own")
    simulate_hospital(60, root / "hospital", seed=7)
    data = DataFolder(root / "data")
    ingest([root / "hospital"], data)
    stream = strip_identifiers(data.events, root / "stream.parquet")
    export_mimic_iv([stream], data.warehouse, root / "out", seed=1)
    return data, root / "out"


def comparable(column: str, type_: str, is_written: bool) -> str:
    """A column as events carry it: float32, and of a text that says a number just that number (7.40 is 7.4)."""
    if is_written:
        return f"coalesce(TRY_CAST({column} AS FLOAT)::VARCHAR, {column})"
    return f"{column}::FLOAT" if type_ in ("DOUBLE", "FLOAT") else column


def unlike(data: DataFolder, out: Path) -> dict[str, tuple[int, int]]:
    """Per table how many rows are not in the export, and are new there, but for what is renewed and moved in time."""
    found = {}
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{data.warehouse}' AS old (READ_ONLY)")
        con.execute(f"ATTACH '{out / DATABASE}' AS new (READ_ONLY)")
        for name, mapping in mappings().items():
            kept = [
                c for c in mapping.columns if c not in RENEWED and mapping.table[c].type not in ("DATE", "TIMESTAMP")
            ]
            written = {kind.written for kind in mapping.kinds}
            chosen = [comparable(c, mapping.table[c].type, c in written) for c in kept] or ["1"]
            old, new = (f"SELECT {', '.join(chosen)} FROM {base}.{name}" for base in ("old", "new"))
            counts = [
                con.execute(f"SELECT count(*) FROM ({a} EXCEPT ALL {b})").fetchall()[0][0]
                for a, b in ((old, new), (new, old))
            ]
            if any(counts):
                found[name] = tuple(counts)
    return found


def test_every_mapped_row_comes_back_though_no_admission_was_named(hospital):
    data, out = hospital
    assert unlike(data, out) == {}


def test_lengths_ages_and_links_come_back(hospital):
    data, out = hospital
    asked = {
        "stays": "SELECT sum(date_diff('second', intime, outtime)), round(sum(los), 4) FROM {}mimiciv_icu.icustays",
        "admissions": "SELECT sum(date_diff('second', admittime, dischtime)), sum(hospital_expire_flag), "
        "count(edregtime), sum(date_diff('second', admittime, deathtime)) FROM {}mimiciv_hosp.admissions",
        "labs": "SELECT count(hadm_id), sum(date_diff('minute', admittime, charttime)) FROM {}mimiciv_hosp.labevents "
        "JOIN {}mimiciv_hosp.admissions USING (hadm_id)",
        "charted": "SELECT sum(date_diff('minute', intime, charttime)) FROM {}mimiciv_icu.chartevents "
        "JOIN {}mimiciv_icu.icustays USING (stay_id)",
        "emergencies": "SELECT count(hadm_id), sum(date_diff('minute', intime, outtime)) FROM {}mimiciv_ed.edstays",
        "orders": "SELECT count(*) FROM {}mimiciv_hosp.prescriptions JOIN {}mimiciv_hosp.pharmacy USING (pharmacy_id)",
        "transfers": "SELECT count(hadm_id), count(outtime) FROM {}mimiciv_hosp.transfers",
    }
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{data.warehouse}' AS old (READ_ONLY)")
        con.execute(f"ATTACH '{out / DATABASE}' AS new (READ_ONLY)")
        for what, sql in asked.items():
            old, new = (con.execute(sql.format(*[f"{name}."] * 2)).fetchall() for name in ("old", "new"))
            assert old == new, what
        ages = (
            "SELECT p.anchor_age + min(year(admittime)) - p.anchor_year FROM {0}.mimiciv_hosp.patients p "
            "JOIN {0}.mimiciv_hosp.admissions USING (subject_id) GROUP BY subject_id, p.anchor_age, p.anchor_year "
            "ORDER BY subject_id"
        )
        pairs = zip(
            *[[age for (age,) in con.execute(ages.format(name)).fetchall()] for name in ("old", "new")], strict=True
        )
        assert all(abs(new - old) <= 1 for old, new in pairs if old < 89)  # whole weeks may cross a new year


def test_the_chain_ingests_it_and_every_analysis_runs(hospital, tmp_path):
    data, out = hospital
    again = DataFolder(tmp_path / "again")
    ingest([out], again)
    assert not [name for name, of_table in check_tables(again).items() if any(result.blocks for result in of_table)]
    with connect(data) as real, connect(again) as ours:
        ours.execute("USE warehouse")
        for name in analyses():
            expected, found = run_analysis(real, name), run_analysis(ours, name)
            assert len(expected) > 0, name
            assert list(expected.columns) == list(found.columns), name
            assert len(expected) == len(found), name
            if name in (
                "charlson",
                "kdigo_creatinine",
                "length_of_stay",
                "top_drugs",
                "top_diagnoses",
                "sofa_first_day",
            ):
                assert expected.round(6).equals(found.round(6)), name
        assert impossible(ours) == {}


def impossible(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """What must not be, counted in a warehouse."""
    for name in ("mimiciv_hosp.admissions", "mimiciv_hosp.diagnoses_icd", "mimiciv_hosp.patients"):
        con.execute(f"CREATE OR REPLACE TEMP VIEW {name.split('.')[1]} AS FROM {name}")
    for name in ("icustays", "chartevents"):
        con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM mimiciv_icu.{name}")
    return {what: n for what, sql in IMPOSSIBLE.items() if (n := con.execute(sql).fetchall()[0][0])}


def test_a_cohorts_window_without_its_admissions_is_a_database_too(hospital, tmp_path):
    data, _ = hospital
    build_cohort(load_definitions()["icu_48h"], data)
    window = data.cohort("icu_48h").events
    stream = strip_identifiers(window.parent, tmp_path / "stream.parquet", where="TRUE", name=window.name)
    made = export_mimic_iv([stream], data.warehouse, tmp_path / "out")
    assert not made.left_out
    again = DataFolder(tmp_path / "again")
    ingest([tmp_path / "out"], again)
    with connect(again) as con:
        ((n_stays, n_patients, longest_h),) = con.execute(
            "SELECT count(*), count(DISTINCT subject_id), max(los) * 24 FROM mimiciv_icu.icustays"
        ).fetchall()
        assert n_stays == n_patients == len(pq.read_table(data.cohort("icu_48h").members))
        assert longest_h <= 48
        assert len(run_analysis(con, "first_day_vitals")) > 4
        assert len(run_analysis(con, "icu_mortality_by_age")) > 0
        assert impossible(con) == {}


def test_what_events_do_not_carry_and_what_stays_empty_are_known():
    lost, filled, empty = unmapped_columns(), filled_columns(), empty_columns()
    for name, mapping in mappings().items():
        assert {*filled[name], *empty.get(name, ())} == set(mapping.table.column_names)
        assert set(empty.get(name, ())) <= set(lost.get(name, ()))
        for column in mapping.table.columns:
            assert not (column.not_null and column.name in empty.get(name, ())), (name, column.name)
    short = {name.split(".")[1]: columns for name, columns in empty.items()}
    assert short.pop("pharmacy")[:2] == ("poe_id", "stoptime")
    assert short == {
        "admissions": ("admit_provider_id",),
        "drgcodes": ("drg_mortality",),
        "emar": ("pharmacy_id", "enter_provider_id", "scheduletime"),
        "labevents": ("order_provider_id", "storetime", "priority", "comments"),
        "microbiologyevents": ("order_provider_id", "storedate", "storetime", "isolate_num", "comments"),
        "poe": ("discontinue_of_poe_id", "discontinued_by_poe_id", "order_provider_id"),
        "prescriptions": (
            "poe_id", "poe_seq", "order_provider_id", "stoptime", "formulary_drug_cd", "gsn", "ndc", "prod_strength",
            "form_rx", "form_val_disp", "form_unit_disp", "doses_per_24_hrs",
        ),
        "chartevents": ("caregiver_id", "storetime"),
        "datetimeevents": ("caregiver_id", "storetime", "valueuom"),
        "ingredientevents": ("caregiver_id", "storetime", "linkorderid", "originalamount", "originalrate"),
        "inputevents": (
            "caregiver_id", "storetime", "ordercategoryname", "secondaryordercategoryname",
            "ordercomponenttypedescription", "ordercategorydescription", "patientweight", "totalamount",
            "totalamountuom", "isopenbag", "continueinnextdept", "originalamount", "originalrate",
        ),
        "outputevents": ("caregiver_id",),
        "procedureevents": (
            "caregiver_id", "locationcategory", "linkorderid", "ordercategoryname", "ordercategorydescription",
            "patientweight", "isopenbag", "continueinnextdept", "originalamount", "originalrate",
        ),
        "medrecon": ("gsn", "ndc", "etc_rn", "etccode"),
        "pyxis": ("gsn",),
    }  # fmt: skip
    whole = {name.split(".")[1] for name in lost if name not in mappings()}
    assert whole == {"d_hcpcs", "d_icd_diagnoses", "d_icd_procedures", "d_labitems", "d_items", "provider", "caregiver",
                     "emar_detail", "poe_detail"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the shared data folder is absent")
def test_the_real_demo_comes_back_and_is_analysed(tmp_path):
    data = DataFolder(tmp_path / "demo")
    ingest([SHARED / "mimic-iv-demo", SHARED / "mimic-iv-ed-demo"], data)
    stream = strip_identifiers(data.events, tmp_path / "stream.parquet")
    made = export_mimic_iv([stream], data.warehouse, tmp_path / "out")
    assert not made.left_out
    # Rows that lie more than a day outside of all admissions open eight more; one row of vital signs says nothing.
    different = unlike(data, tmp_path / "out")
    assert different == {
        "mimiciv_hosp.admissions": (1, 9),
        "mimiciv_icu.icustays": (0, 2),
        "mimiciv_ed.edstays": (1, 2),
        "mimiciv_ed.vitalsign": (1, 0),
    }
    with connect(data) as real, duckdb.connect(str(tmp_path / "out" / DATABASE), read_only=True) as ours:
        for name in analyses():
            expected, found = run_analysis(real, name), run_analysis(ours, name)
            assert len(found) == len(expected) > 1, name
        assert run_analysis(real, "kdigo_creatinine").equals(run_analysis(ours, "kdigo_creatinine"))
        for what, sql in IMPOSSIBLE.items():
            assert ours.execute(sql).fetchall() == [(0,)], what
