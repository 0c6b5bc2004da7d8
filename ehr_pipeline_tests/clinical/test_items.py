"""The item catalogue: what it must hold for every stage that binds to it."""

import re
from collections import Counter

import pytest

from ehr_pipeline.clinical import load_items

ITEMS = load_items()
STEM = re.compile(r"(LAB|VITAL|OUTPUT)//\d+|(TRIAGE|ED_VITAL|OMR)//[A-Za-z0-9 ()/]+")


@pytest.mark.parametrize("name", ITEMS)
def test_item_is_complete_and_its_range_is_a_range(name):
    item = ITEMS[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert item.title and item.unit and item.reference and item.sources
    assert item.minimum < item.maximum
    assert all(STEM.fullmatch(source.stem) for source in item.sources)


def test_a_code_measures_one_item_only():
    counts = Counter(code for item in ITEMS.values() for code in item.codes)
    assert [code for code, n in counts.items() if n > 1] == []


def test_integer_items_have_whole_ranges():
    for item in ITEMS.values():
        if item.kind == "integer":
            assert item.decimals == 0 and item.minimum.is_integer() and item.maximum.is_integer()


def test_items_of_the_case_study_stand_under_their_real_codes():
    assert "LAB//50852//%" in ITEMS["hba1c"].codes
    assert "LAB//50907//mg/dL" in ITEMS["cholesterol"].codes
    assert "LAB//50912//mg/dL" in ITEMS["creatinine"].codes
    assert "VITAL//220179//mmHg" in ITEMS["systolic_bp"].codes
    assert "VITAL//226512//kg" in ITEMS["weight_kg"].codes
    assert "VITAL//226730//cm" in ITEMS["height_cm"].codes


@pytest.mark.parametrize(
    ("item", "code", "stated", "canonical"),
    [
        ("temperature_c", "VITAL//223761//°F", 98.6, 37.0),
        ("temperature_c", "TRIAGE//temperature//°F", 212.0, 100.0),
        ("weight_kg", "OMR//Weight (Lbs)", 220.46226, 100.0),  # 1 lb = 0.45359237 kg
        ("height_cm", "VITAL//226707//Inch", 70, 177.8),
    ],
)
def test_units_convert_as_in_a_table_of_units(item, code, stated, canonical):
    source = next(source for source in ITEMS[item].sources if source.code == code)
    assert stated * source.scale + source.offset == pytest.approx(canonical, abs=1e-4)


def test_a_source_has_one_unit_after_unification():
    for item in ITEMS.values():
        by_stem = {}
        for source in item.sources:
            by_stem.setdefault(source.stem, set()).add((source.unified_code, source.scale, source.offset))
        assert all(len(kinds) == 1 for kinds in by_stem.values()), item.name


def test_a_missing_unit_is_unified_onto_the_stated_one():
    codes = {source.code: source.unified_code for source in ITEMS["creatinine"].sources}
    assert codes == {"LAB//50912//mg/dL": "LAB//50912//mg/dL", "LAB//50912//UNK": "LAB//50912//mg/dL"}
