"""What the hospital knows says what it should, and nothing of the case study's by accident."""

import re

import numpy as np
import pytest

from ehr_pipeline.clinical.code_sets import load_code_sets
from ehr_pipeline.clinical.drugs import load_drug_classes
from ehr_pipeline.simulate import catalogue

# Set of the clinical catalogue -> column of the case study.
SETS = {"diabetes": "diabetes", "hypertension": "hypertension", "cvd": "cvd", "complications": "adverse_event"}


def columns_behind(of: str | None) -> str | None:
    """The case study's column that an entry needs, through the condition it names."""
    condition = catalogue.conditions().get(of) if of else None
    if condition is None or condition.of is None:
        return of
    return condition.of


@pytest.mark.parametrize("set_name", SETS)
@pytest.mark.parametrize("version", [9, 10])
def test_codes_of_a_case_study_column_come_from_its_own_patients_alone(set_name, version):
    prefixes = getattr(load_code_sets()[set_name], f"icd{version}")
    for entry in [*catalogue.conditions().values(), *catalogue.reasons().values(), *catalogue.findings().values()]:
        column = columns_behind(getattr(entry, "of", None))
        inside = {code.startswith(prefixes) for code in entry.codes(version)}
        if inside != {False}:
            assert column == SETS[set_name], entry


@pytest.mark.parametrize("set_name", SETS)
@pytest.mark.parametrize("version", [9, 10])
def test_every_long_term_code_of_a_column_counts_for_it(set_name, version):
    prefixes = getattr(load_code_sets()[set_name], f"icd{version}")
    own = [entry for entry in catalogue.conditions().values() if entry.of == SETS[set_name]]
    assert own
    assert all(code.startswith(prefixes) for entry in own for code in entry.codes(version))


def test_reason_that_replaces_a_long_term_code_still_counts_for_the_column():
    for reason in catalogue.reasons().values():
        for name, entry in catalogue.conditions().items():
            if reason.of == name and entry.of and reason.icd10.keys() != entry.icd10.keys():
                sets = load_code_sets()[entry.of]
                assert all(code.startswith(sets.icd10) for code in reason.icd10)
                assert all(code.startswith(sets.icd9) for code in reason.icd9)


def test_treatment_drugs_and_no_others_are_ace_inhibitors_or_arbs():
    pattern = re.compile(load_drug_classes()["ace_inhibitors_arbs"].pattern, re.IGNORECASE)
    assert all(pattern.search(drug) for drug in catalogue.treatment_drugs())
    assert not any(pattern.search(drug) for drug in catalogue.other_drugs())
    assert sum(drug.share for drug in catalogue.treatment_drugs().values()) == pytest.approx(1)


def test_indications_name_something():
    known = (
        {"everyone", "shock", "diabetes", "hypertension", "cvd"}
        | set(catalogue.conditions())
        | set(catalogue.reasons())
    )
    assert all(set(drug.indications) <= known and drug.indications for drug in catalogue.other_drugs().values())


def test_eligibility_names_a_column_or_a_condition():
    known = {"diabetes", "hypertension", "cvd", "adverse_event"} | set(catalogue.conditions())
    for entry in [*catalogue.conditions().values(), *catalogue.reasons().values()]:
        assert entry.of is None or entry.of in known


def test_rare_diseases_go_down_to_one_in_a_thousand():
    rare = [entry for entry in catalogue.conditions().values() if entry.share == 0.001]
    assert len(rare) >= 5
    assert all(entry.of is None and not entry.log_odds for entry in rare)


def test_items_have_one_id_each_and_words_are_the_scores_of_the_coma_scale():
    items = [entry.item for entry in (*catalogue.laboratory().values(), *catalogue.bedside().values())]
    assert len(set(items)) == len(items)
    words = {name: len(entry.texts) for name, entry in catalogue.bedside().items() if entry.texts}
    assert words == {"gcs_eye": 4, "gcs_verbal": 5, "gcs_motor": 6}


def test_first_code_takes_most_and_the_others_share_the_rest():
    entry = list(catalogue.conditions()).index("type_2_diabetes")
    codes, titles = catalogue.diagnosis_table(10).draw(np.full(30_000, entry), np.random.default_rng(0))
    shares = {code: (codes == code).mean() for code in ("E119", "E1165", "E1142")}
    # 60 %, then 40 % over two.
    assert shares == pytest.approx({"E119": 0.6, "E1165": 0.2, "E1142": 0.2}, abs=0.02)
    assert set(titles) == set(catalogue.conditions()["type_2_diabetes"].icd10.values())
