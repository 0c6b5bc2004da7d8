"""What stays with a patient: conditions at their shares, ages on their days, sites with small differences."""

import numpy as np
import pytest

from ehr_pipeline.simulate import catalogue
from ehr_pipeline.simulate.patients import draw_patients, weight_kg
from ehr_pipeline.simulate.sites import draw_sites

N = 60_000


@pytest.fixture(scope="module")
def sites():
    return draw_sites(4, np.random.default_rng(2))


@pytest.fixture(scope="module")
def patients(sites):
    return draw_patients(0, N, sites, (np.random.default_rng(0), np.random.default_rng(1)))


@pytest.mark.parametrize(
    "name", [name for name, entry in catalogue.conditions().items() if not entry.of and not entry.log_odds]
)
def test_condition_has_its_share(patients, name):
    entry = catalogue.conditions()[name]
    eligible = patients.medicore["sex"].to_numpy() == entry.sex if entry.sex else np.ones(N, dtype=bool)
    n, expected = eligible.sum(), entry.share
    assert patients.has[name][eligible].mean() == pytest.approx(expected, abs=5 * (expected / n) ** 0.5)
    assert not patients.has[name][~eligible].any()


@pytest.mark.parametrize("column", ["diabetes", "hypertension", "cvd", "adverse_event"])
def test_column_is_coded_for_its_patients_and_for_nobody_else(patients, column):
    own = [patients.has[name] for name, entry in catalogue.conditions().items() if entry.of == column]
    np.testing.assert_array_equal(np.any(own, axis=0), patients.medicore[column].to_numpy() == 1)


def test_types_of_diabetes_exclude_each_other(patients):
    assert not (patients.has["type_1_diabetes"] & patients.has["type_2_diabetes"]).any()
    assert patients.has["type_1_diabetes"].sum() == pytest.approx(0.05 * patients.has["diabetes"].sum(), rel=0.1)


def test_conditions_follow_what_drives_them(patients):
    for name, column in [("obesity", "bmi"), ("hyperlipidemia", "cholesterol"), ("dementia", "age")]:
        values = patients.medicore[column].to_numpy()
        assert values[patients.has[name]].mean() > values[~patients.has[name]].mean() + 0.3 * values.std()


def test_day_of_first_admission_gives_the_age_back_leap_years_too(patients):
    days = patients.first_day
    first_of_year = days.astype("datetime64[Y]").astype("datetime64[D]")
    length = ((days.astype("datetime64[Y]") + 1).astype("datetime64[D]") - first_of_year).astype("int64")
    age = patients.age_years + (days - first_of_year).astype("int64") / length
    np.testing.assert_array_equal(age.round(1), patients.medicore["age"].to_numpy())
    assert set(length.tolist()) == {365, 366}
    assert patients.age_years.min() == 18


def test_height_and_weight_give_the_bmi_back_at_any_height_and_in_float32():
    bmi = np.arange(150, 551) / 10
    for height_cm in range(142, 209):
        weight = weight_kg(bmi, np.full(len(bmi), float(height_cm))).astype("float32").astype("float64")
        np.testing.assert_array_equal((weight / (height_cm / 100) ** 2).round(1), bmi)


def test_one_site_differs_from_nothing_and_many_differ_a_little():
    alone, many = (draw_sites(n, np.random.default_rng(0)) for n in (1, 200))
    assert alone.share.tolist() == [1.0]
    assert not alone.laboratory_offset.any()
    assert not alone.severity_shift.any()
    assert (alone.reason_factor == 1).all()
    assert many.names[16] == "017"
    assert 0.1 < many.laboratory_offset.std() < 0.14
    assert 0.2 < np.log(many.reason_factor).std() < 0.3
    assert many.share.sum() == pytest.approx(1)


def test_patients_belong_to_sites_by_size(patients, sites):
    np.testing.assert_allclose(np.bincount(patients.site, minlength=4) / N, sites.share, atol=0.01)


def test_offsets_of_a_site_reach_its_patients_levels(patients, sites):
    means = np.stack([patients.laboratory_level[patients.site == site].mean(axis=0) for site in range(4)])
    np.testing.assert_allclose(means, sites.laboratory_offset, atol=0.06)
