"""Drug classes: which wordings of a prescription belong to a class."""

import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.clinical import load_drug_classes
from ehr_pipeline.clinical.drugs import words_pattern

CLASSES = load_drug_classes()


def belongs(drug: str, name: str) -> bool:
    """Whether DuckDB, which the cohorts ask, finds the class in the wording."""
    found, excluded = duckdb.execute(
        "SELECT regexp_matches($1, $2, 'i'), coalesce(regexp_matches($1, $3, 'i'), false)",
        [drug, CLASSES[name].pattern, CLASSES[name].except_pattern],
    ).fetchone()
    return found and not excluded


@pytest.mark.parametrize(
    ("drug", "name"),
    [
        ("Lisinopril", "ace_inhibitors_arbs"),
        ("LOSARTAN Potassium", "ace_inhibitors_arbs"),
        ("Amlodipine-Valsartan (Exforge)", "ace_inhibitors_arbs"),
        ("Metoprolol Succinate XL", "beta_blockers"),
        ("NORepinephrine", "vasopressors"),
        ("Heparin", "anticoagulants"),
        ("Insulin Human Regular", "insulins"),
        ("MetFORMIN (Glucophage)", "metformin"),
        ("Piperacillin-Tazobactam", "antibiotics"),
        ("Ethacrynic  Acid", "loop_diuretics"),
    ],
)
def test_drug_is_recognised(drug, name):
    assert belongs(drug, name)


@pytest.mark.parametrize(
    ("drug", "name"),
    [
        ("Heparin Flush (10 units/ml)", "anticoagulants"),
        ("Heparin Dwell (1000 Units/mL)", "anticoagulants"),
        ("Erythromycin 0.5% Ophth Oint", "antibiotics"),
        ("Insulinase", "insulins"),
        ("Pseudoephedrine", "vasopressors"),
        ("Furosemide", "ace_inhibitors_arbs"),
    ],
)
def test_drug_of_another_class_is_not(drug, name):
    assert not belongs(drug, name)


@pytest.mark.parametrize("name", CLASSES)
def test_class_knows_its_own_names(name):
    assert all(belongs(drug.upper(), name) for drug in CLASSES[name].names)


@settings(max_examples=200)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12))
def test_a_name_is_text_and_never_syntax(name):
    """Any printable name finds itself, in DuckDB as in Python, and does not find something else."""
    pattern = words_pattern([name])
    wording = f"Tablet {name} 10mg"
    assert duckdb.execute("SELECT regexp_matches(?, ?, 'i')", [wording, pattern]).fetchone()[0]
    assert re.search(pattern, wording, re.IGNORECASE)
    assert not duckdb.execute("SELECT regexp_matches('~other~', ?, 'i')", [pattern]).fetchone()[0] or name in "~other~"
