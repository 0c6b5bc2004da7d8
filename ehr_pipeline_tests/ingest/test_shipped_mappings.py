"""The mappings that ship: recognised by columns, on miniatures of their layouts and on the real files."""

from pathlib import Path

import duckdb
import pytest

from ehr_pipeline.cohort import build_cohort
from ehr_pipeline.cohort.loading import load_definition
from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest import ingest
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.ingest.foreign import read

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/data"
EXAMPLES = ROOT / "docs/cohorts"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data folder is absent")

PHYSIONET = {
    "set_b.csv": """RecordID,Time,Parameter,Value
11,00:00,RecordID,11
11,00:00,Age,54
11,00:00,Gender,0
11,00:00,Height,-1
11,00:00,ICUType,4
11,00:00,Weight,-1
11,00:07,HR,73
11,47:37,GCS,15
11,48:00,Creatinine,0.8
12,00:00,Age,80
12,00:00,Gender,1
12,00:00,ICUType,2
12,00:00,Height,170.2
12,01:00,Weight,80.5
12,01:00,,9
""",
    "outcomes_b.csv": """RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death
11,6,1,5,-1,0
12,16,8,8,3,1
""",
}
SYNTHEA = {
    "patients.csv": "ID,BIRTHDATE,DEATHDATE,SSN,MARITAL,RACE,ETHNICITY,GENDER\n"
    "p1,1950-01-02,,999,M,white,irish,F\np2,1960-01-02,2001-01-01,998,,black,african,M\n",
    "encounters.csv": "ID,DATE,PATIENT,CODE,DESCRIPTION\n"
    "e1,2000-01-01,p1,50849002,Emergency room admission\ne2,2000-02-01,p2,185349003,Outpatient Encounter\n",
    "medications.csv": "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION\n2000-01-01,,p1,e1,860975,Metformin 500 MG\n",
    "observations.csv": "DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,VALUE,UNITS\n"
    "2000-01-01,p1,e1,8480-6,x,120,mmHg\n2000-01-01,p1,e1,33756-8,x,4,mm\n2000-02-01,p2,e2,230690007,x,stroke,\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_physionet_2012_is_recognised_and_read(tmp_path, data):
    summary, events = read(write(tmp_path / "source", PHYSIONET), data)
    assert summary.mapping == "PhysioNet/CinC Challenge 2012"
    assert [event for event in events if event[0] == 11] == [
        (11, None, "GENDER//F", None, None, None, None),
        (11, "1946-01-01 00:00:00", "MEDS_BIRTH", None, None, None, None),
        (11, "2000-01-01 00:00:00", "ADMISSION//UNK", None, None, 11, 11),
        (11, "2000-01-01 00:00:00", "ICU_ADMISSION//Surgical Intensive Care Unit (SICU)", None, None, 11, 11),
        (11, "2000-01-01 00:07:00", "VITAL//220045//bpm", 73.0, None, 11, 11),
        (11, "2000-01-02 23:37:00", "GCS", 15.0, None, 11, 11),
        (11, "2000-01-03 00:00:00", "LAB//50912//mg/dL", pytest.approx(0.8), None, 11, 11),
    ]
    assert (12, "2000-01-03 00:01:00", "MEDS_DEATH", None, None, 12, 12) in events
    assert (12, "2000-01-01 01:00:00", "VITAL//224639//kg", 80.5, None, 12, 12) in events
    values, outcomes = summary.files
    assert values.aside == {"without a value": 2}
    assert values.untaken == 2  # the row that repeats RecordID, and the one of no parameter
    assert outcomes.untaken == 1


def test_synthea_is_recognised_and_read_though_it_has_a_table_of_patients_too(tmp_path, data):
    summary, events = read(write(tmp_path / "source", SYNTHEA), data)
    assert summary.mapping == "Synthea CSV"
    told = {event[2] for event in events}
    assert {
        "GENDER//F", "ADMISSION//Emergency room admission", "ENCOUNTER//SNOMED//185349003", "MEDS_DEATH",
        "MEDICATION//Metformin 500 MG", "VITAL//220179//mmHg", "LOINC//33756-8//mm", "LOINC//230690007//UNK",
    } < told  # fmt: skip
    assert len({event[0] for event in events}) == 2
    assert not any("999" in str(event) for event in events)  # numbers of documents stay where they are
    assert "columns not read: SSN" in str(summary.files[0])


def test_a_source_with_a_column_less_is_not_taken_for_it(tmp_path, data):
    lacking = {name: text.replace("Parameter", "Param") for name, text in PHYSIONET.items()}
    with pytest.raises(SourceError, match=r"nor MEDS events; for other layouts give --mapping"):
        ingest([write(tmp_path / "source", lacking)], data)
    with pytest.raises(SourceError, match="lacks the column Parameter; is it Param"):
        ingest([tmp_path / "source"], data, mapping="physionet-2012")


def test_the_mapping_of_the_guide_is_valid_and_reads_what_it_describes(tmp_path, data):
    guide = (ROOT / "docs/sources.md").read_text()
    folder = write(
        tmp_path / "source",
        {
            "mapping.yaml": guide.split("```yaml\n")[1].split("```")[0],
            "patients.csv": "mrn,born,sex\nA1,31/12/1950,2\nA2,01/02/1960,9\n",
            "stays.csv": "mrn,case,unit,begin,end,outcome\nA1,7,MICU,2020-01-01 10:00,2020-01-03 10:00,died\n",
            "results_2019.csv": "case,minutes,test,unit,result,status\n7,5,CREA,mg/dL,0.9,final\n7,6,K,mM,?,final\n",
            "results_2020.csv": "case,minutes,test,unit,result,status\n7,5,K,mM,4,cancelled\n7,6,CULTURE,,pos,final\n",
        },
    )
    summary, events = read(folder, data)
    assert sorted((event[1] or "", event[2], event[3], event[4]) for event in events) == [
        ("", "GENDER//F", None, None),
        ("1950-12-31 00:00:00", "MEDS_BIRTH", None, None),
        ("1960-02-01 00:00:00", "MEDS_BIRTH", None, None),
        ("2020-01-01 10:00:00", "ICU_ADMISSION//MICU", None, None),
        ("2020-01-01 10:05:00", "LAB//50912//mg/dL", pytest.approx(0.9), None),
        ("2020-01-01 10:06:00", "TEST//CULTURE//UNK", None, "pos"),
        ("2020-01-03 10:00:00", "ICU_DISCHARGE//MICU", None, None),
        ("2020-01-03 10:00:00", "MEDS_DEATH", None, None),
    ]
    assert (summary.files[2].n_files, summary.files[2].untaken) == (2, 1)


def test_the_examples_of_cohorts_find_their_members(tmp_path, data):
    ingest([write(tmp_path / "synthea", SYNTHEA)], data)
    assert build_cohort(load_definition(EXAMPLES / "synthea_emergency.yaml"), data).n_patients == 1
    ingest([write(tmp_path / "source", PHYSIONET)], data)
    summary = build_cohort(load_definition(EXAMPLES / "physionet_2012_icu.yaml"), data)
    assert summary.n_patients == 2
    columns = "age, sex, first_careunit, weight_kg_first, heart_rate_max, creatinine_first, died_in_hospital"
    table = data.cohort("physionet_2012_icu").table
    assert duckdb.connect().execute(f"SELECT {columns} FROM '{table}' ORDER BY subject_id").fetchall() == [
        (54, "F", "Surgical Intensive Care Unit (SICU)", None, 73.0, 0.8, 0),
        (80, "M", "Cardiac Vascular Intensive Care Unit (CVICU)", 80.5, None, None, 1),
    ]


@needs_shared
@pytest.mark.slow
def test_the_real_stays_of_physionet_are_read_to_the_last_row(tmp_path):
    data = DataFolder(tmp_path / "data")
    summary = ingest([SHARED / "physionet-2012"], data)
    values, outcomes = summary.files
    # 1,894 heights, 326 weights and 3 sexes are -1; each stay has one more event than rows, its admission
    assert (values.n_rows, values.aside, values.untaken) == (1_753_980, {"without a value": 2_223}, 0)
    assert values.n_events == 1_753_980 - 2_223 + 4_000
    assert (outcomes.n_rows, outcomes.n_events) == (4_000, 554)
    assert summary.events.n_subjects == 4_000
    cohort = build_cohort(load_definition(EXAMPLES / "physionet_2012_icu.yaml"), data)
    assert cohort.n_patients == 3_997 and not cohort.is_small


@needs_shared
def test_the_real_files_of_synthea_are_read_to_the_last_row(tmp_path):
    summary = ingest([SHARED / "synthea-285"], DataFolder(tmp_path / "data"))
    rows = {file.name.split(".")[0]: file.n_rows for file in summary.files}
    assert rows == {
        "patients": 285, "encounters": 1_785, "conditions": 874, "allergies": 103, "careplans": 1_451,
        "immunizations": 1_266, "medications": 775, "procedures": 854, "observations": 7_019,
    }  # fmt: skip
    assert summary.events.n_subjects == 285
    reasons = {reason for file in summary.files for reason in file.aside}
    assert reasons == {"without a value", "without a time"}  # blank deaths and ends; nothing was unreadable
    assert not any(file.odd or file.untaken for file in summary.files)
