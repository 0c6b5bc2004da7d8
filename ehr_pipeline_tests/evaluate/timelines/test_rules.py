"""Who breaks which rule: each fault is planted in one patient and found in that one alone."""

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate.timelines.plausibility import Broken, broken_in, broken_rows, plausibility
from ehr_pipeline.evaluate.timelines.rules import EventRule, Found, find_broken, load_event_rules
from ehr_pipeline.record import Column, Schema
from ehr_pipeline_tests.evaluate.timelines.examples import events, stays

BORN = pd.Timestamp("1940-01-01")
SOUND = [
    (None, "GENDER//{sex}", None), (0, "ADMISSION//URGENT", None), (1, "ICU_ADMISSION//MICU", None),
    (2, "VITAL//220045//bpm", 80), (2, "VITAL//220179//mmHg", 120), (2, "VITAL//220180//mmHg", 70),
    (2, "VITAL//220181//mmHg", 90), (2, "VITAL//223835//UNK", 50), (3, "INPUT//221906//mg", 1),
    (4, "LAB//50885//mg/dL", 1.0), (4, "LAB//50883//mg/dL", 0.3),
    (4, "LAB//50862//g/dL", 4), (4, "LAB//50976//g/dL", 7),
    (20, "ICU_DISCHARGE//MICU", None), (40, "DISCHARGE//HOME", None), (40, "DIAGNOSIS//ICD//10//I10", 1),
]  # fmt: skip
FAULTS = {
    "E01": [(10, "MEDS_DEATH", None)],  # others go on for 30 hours
    "E03": [(41, "MEDS_DEATH", None), (41.5, "MEDS_DEATH", None)],
    "E07": [(None, "replace", "ADMISSION//URGENT"), (60, "ADMISSION//URGENT", None)],
    "E08": [(30, "ADMISSION//URGENT", None), (50, "DISCHARGE//HOME", None)],
    "E10": [(10, "ICU_ADMISSION//SICU", None), (30, "ICU_DISCHARGE//SICU", None)],
    "E11": [(100, "VITAL//220045//bpm", 80)],
    "E12": [(39, "MEDS_DEATH", None), (80, "ADMISSION//URGENT", None)],
    "E13": [(40, "DISCHARGE//DIED", None)],
    "E14": [(5, "VITAL//220045//bpm", 900)],
    "E15": [(6, "VITAL//220179//mmHg", 70), (6, "VITAL//220180//mmHg", 80)],
    "E16": [(6, "VITAL//220179//mmHg", 120), (6, "VITAL//220180//mmHg", 70), (6, "VITAL//220181//mmHg", 130)],
    "E17": [(6, "VITAL//223835//UNK", 15)],
    "E18": [(6, "LAB//50885//mg/dL", 1.0), (6, "LAB//50883//mg/dL", 2.0)],
    "E19": [(6, "LAB//50862//g/dL", 5), (6, "LAB//50976//g/dL", 4.5)],
    "E20": [(40, "DIAGNOSIS//ICD//10//O80", 2)],
    "E21": [(40, "DIAGNOSIS//ICD//9//1820", 2)],
    "E22": [(40, "PROCEDURE//ICD//10//0UT90ZZ", 2)],
    "E06": [(None, "GENDER//F", None)],
    "E24": [(40, "DIAGNOSIS//ICD//10//P071", 2)],
}


def cohort(extra: list[tuple], n: int = 5, who: int = 3, sex: str = "M") -> pd.DataFrame:
    gone = {value for _, code, value in extra if code == "replace"}
    rows = []
    for patient in range(1, n + 1):
        own = SOUND + [one for one in extra if one[1] != "replace"] * (patient == who)
        kept = [one for one in own if not (patient == who and one[1] in gone and one in SOUND)]
        rows += [(patient, hour, code.format(sex=sex), value) for hour, code, value in kept]
    born = pd.DataFrame({"subject_id": range(1, n + 1), "time": BORN, "code": "MEDS_BIRTH", "numeric_value": np.nan})
    return pd.concat([events(*rows), born], ignore_index=True)


def test_sound_patients_break_nothing_and_are_checked():
    found = find_broken(cohort([]))
    assert {name: len(one.broken) for name, one in found.items() if len(one.broken)} == {}
    assert all(one.could_run for one in found.values())
    assert {"E04", "E05", "E06", "E07", "E09", "E11", "E14", "E15", "E16", "E17", "E18", "E19", "E24", "E25"} <= {
        name for name, one in found.items() if one.n_checked == 5
    }


@pytest.mark.parametrize("rule", FAULTS)
def test_a_planted_fault_is_found_in_its_patient_alone(rule):
    found = find_broken(cohort(FAULTS[rule]))
    assert found[rule].broken.tolist() == [3]
    assert {*np.concatenate([one.broken for one in found.values()]).tolist()} == {3}


def test_birth_after_an_event_age_and_pregnancy_of_the_old_are_found():
    late = cohort([])
    late.loc[(late["code"] == "MEDS_BIRTH") & (late["subject_id"] == 2), "time"] = pd.Timestamp("2000-01-01T05:00")
    assert find_broken(late)["E04"].broken.tolist() == [2]
    old = cohort([])
    old.loc[(old["code"] == "MEDS_BIRTH") & (old["subject_id"] == 2), "time"] = pd.Timestamp("1870-01-01")
    assert find_broken(old)["E05"].broken.tolist() == [2]
    assert find_broken(events((1, None, "Age", 50), (2, None, "Age", -3)))["E05"].broken.tolist() == [2]
    assert find_broken(cohort(FAULTS["E20"], sex="F"))["E23"].broken.tolist() == []  # 59 years old
    assert find_broken(
        old[old["subject_id"] == 2].pipe(lambda one: pd.concat([one, events((2, 40, "DIAGNOSIS//ICD//10//O80", 2))]))
    )["E23"].broken.tolist() == [2]


def test_measurements_after_death_and_drips_without_intensive_care_are_found():
    found = find_broken(events((1, 1, "HR", 80), (1, 2, "MEDS_DEATH", None), (1, 4, "HR", 80), (2, 4, "HR", 80)))
    assert (found["E02"].broken.tolist(), found["E01"].broken.tolist()) == ([1], [])
    assert find_broken(events((1, 1, "INPUT//221906//mg", 2)))["E25"].broken.tolist() == [1]


def test_stays_are_told_by_their_identifiers_where_there_are_any():
    frame = events(
        (1, 0, "ADMISSION//A", None), (1, 10, "DISCHARGE//HOME", None),
        (1, 5, "ADMISSION//B", None), (1, 20, "DISCHARGE//HOME", None),
        (2, 0, "ADMISSION//A", None), (2, 10, "DISCHARGE//HOME", None),
        (2, 11, "ADMISSION//B", None), (2, 20, "DISCHARGE//HOME", None),
    )  # fmt: skip
    assert find_broken(frame.assign(hadm_id=[1, 1, 2, 2, 3, 3, 4, 4], stay_id=None))["E08"].broken.tolist() == [1]


def test_a_source_with_plain_names_is_read_too():
    found = find_broken(events((1, 1, "SysABP", 60), (1, 1, "DiasABP", 80), (1, 1, "FiO2", 0.5), (2, 1, "HR", 80)))
    assert found["E15"].broken.tolist() == [1]
    assert found["E17"].n_checked == 1 and not len(found["E17"].broken)


def test_rows_of_the_patient_table_are_held_to_the_row_rules():
    schema = Schema(columns=(
        Column(name="died_in_hospital", kind="binary"), Column(name="readmitted_30d", kind="binary"),
    ))  # fmt: skip
    table = pd.DataFrame({"died_in_hospital": [1, 0, 1, 0], "readmitted_30d": [1, 1, 0, 0]}).astype("Int8")
    found = broken_rows(table, np.array([10, 20, 30, 40]), schema)
    assert found["R23-readmission"].broken.tolist() == [10]
    both = broken_in(events(*[(i, 1, "HR", 80 if i > 20 else 900) for i in (10, 20, 30, 40)]), found)
    assert both.any_of.tolist() == [10, 20] and both.share == 0.5


def test_a_rule_that_cannot_run_is_broken_by_everyone():
    rule = EventRule(
        id="Q", title="q", severity="hard", sources=("K",), confirmed=False, records="nonsense", violates="x"
    )
    found = find_broken(stays(3, 0), (rule,))
    assert not found["Q"].could_run
    broken = Broken(n_patients=3, found=found)
    assert broken.reading().value == 1.0
    assert plausibility(Broken(n_patients=3, found={}), broken).not_run == ["Q"]


def test_real_counts_under_eleven_are_hidden_and_shares_come_in_elevens():
    one = Found(n_checked=200, broken=np.arange(5))
    many = Found(n_checked=200, broken=np.arange(30))
    said = plausibility(
        Broken(n_patients=200, found={"E14": one, "E15": many}), Broken(n_patients=200, found={"E14": one, "E15": many})
    )
    shown = {rule.rule: (rule.real, rule.synthetic) for rule in said.by_rule}
    assert shown == {"E14": (None, 0.025), "E15": (0.165, 0.15)}
    assert said.real_share == 0.165 and said.synthetic_share == 0.15


def test_events_that_no_rule_reads_have_no_share():
    broken = broken_in(events((1, 1, "X", None), (2, 1, "Y", 3.0)))
    assert broken.n_rules == 0 and broken.reading().value is None


def test_every_rule_says_its_source_and_marks_judgement():
    rules = load_event_rules()
    assert len({rule.id for rule in rules}) == len(rules) >= 20
    assert all(not rule.confirmed for rule in rules if "K" in rule.sources)
