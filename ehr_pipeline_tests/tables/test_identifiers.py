"""What identifiers promise: told by name and shape, made anew in their format, distinct, never an original."""

import re

import numpy as np
import pyarrow as pa
import pytest

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.tables.identifiers import (
    FreshIdentifiers,
    IdentifierFormat,
    hashes,
    integer_format,
    names_a_patient,
    names_an_identifier,
    text_format,
)


@pytest.mark.parametrize(
    "name", ["patient_id", "subject_id", "patient_nbr", "PATIENT", "mrn", "PatientID", "Person No", "patientid"]
)
def test_names_of_patients(name):
    assert names_a_patient(name) and names_an_identifier(name)


@pytest.mark.parametrize("name", ["patient_type", "age", "subject_age", "case_status", "outpatient", ""])
def test_names_of_no_patients(name):
    assert not names_a_patient(name)


@pytest.mark.parametrize("name", ["encounter_id", "hadm_id", "visitNumber", "Id", "csn", "ENCOUNTER"])
def test_names_of_other_identifiers(name):
    assert names_an_identifier(name) and not names_a_patient(name)


def drawn(layout, originals, n=3000):
    fresh = FreshIdentifiers(layout, originals)
    rng = np.random.default_rng(0)
    return np.concatenate([fresh.draw(n // 2, rng), fresh.draw(n - n // 2, rng)])


def test_integers_have_the_same_width_and_are_fresh():
    originals = np.random.default_rng(1).choice(np.arange(10**6, 10**7), 500_000, replace=False)
    made = drawn(integer_format("id", originals), hashes(originals))
    assert len(set(made)) == 3000 and not set(made) & set(originals)
    assert made.min() >= 10**6 and made.max() < 10**7


def test_integers_get_wider_when_their_width_is_used_up():
    made = drawn(integer_format("id", np.arange(100, 1000)), hashes(np.arange(100, 1000)), 50)
    assert len(set(made)) == 50 and made.min() >= 1000


def test_integers_stay_within_their_type():
    layout = integer_format("id", np.arange(1, 127), maximum=127)
    with pytest.raises(DefinitionError, match="no free numbers"):
        drawn(layout, hashes(np.arange(1, 127)), 50)


def test_the_number_of_a_row_goes_on_being_that():
    made = drawn(integer_format("", np.arange(1, 301)), hashes(np.arange(1, 301)), 400)
    assert made.tolist() == list(range(1, 401))


@pytest.mark.parametrize(
    ("originals", "shape"),
    [
        ([f"P{k:05d}" for k in range(200)], r"P\d{5}"),
        ([f"{k:03d}-{k % 90 + 10}-{k * 7 % 9000 + 1000}" for k in range(200)], r"\d{3}-\d\d-\d{4}"),
        ([f"{k + 12345}.0" for k in range(200)], r"\d{5}\.0"),
        ([f"AB{chr(97 + k % 26)}{k:04d}" for k in range(200)], r"AB[a-z]\d{4}"),
        (
            [f"{k:032x}"[:8] + "-ab12-cd34-ef56-" + f"{k:012x}" for k in range(200)],
            r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        ),
    ],
)
def test_texts_have_the_same_shape_and_are_fresh(originals, shape):
    layout = text_format(pa.array(originals))
    made = drawn(layout, hashes(np.array(originals)))
    assert all(re.fullmatch(shape, text) for text in made)
    assert len(set(made)) == 3000 and not set(made) & set(originals)


def test_without_the_originals_they_are_one_longer():
    layout = text_format(pa.array([f"P{k:04d}" for k in range(50)] + [f"Q{k:02d}" for k in range(50)]))
    assert all(len(text) == 6 for text in drawn(layout, None))
    assert drawn(integer_format("id", np.arange(10, 99)), None).min() >= 100


@pytest.mark.parametrize(
    "texts",
    [
        ["Anna", "Bernd"],
        ["he came at 10", "she left at 12"],
        [f"{'a' * k}1" for k in range(1, 40)],
        ["a1", "bb2", "c-3"],
    ],
)
def test_words_are_no_identifiers(texts):
    assert text_format(pa.array(texts)) is None


def test_a_layout_holds_no_original():
    layout = text_format(pa.array([f"P{k:05d}" for k in range(200)]))
    assert layout == IdentifierFormat(form="shapes", shapes=(r"\P99999",), shares=(1.0,))
