import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.evaluate.marginals import Marginals, ks_distance, total_variation
from ehr_pipeline.record import Column, Schema, conform

SCHEMA = Schema(columns=(Column(name="x", kind="continuous"), Column(name="c", kind="categorical")))


def tables(*columns):
    frames = [conform(pd.DataFrame({"x": x, "c": c}), SCHEMA) for x, c in columns]
    encoding = Encoding.learn(frames[0], SCHEMA)
    return encoding, [encoding.encode(frame) for frame in frames]


@pytest.fixture
def readings():
    # x: 1 2 3 4 against 3 4 5 gone; c: a a b gone against a b b new
    encoding, (train, other) = tables(
        ([1.0, 2.0, 3.0, 4.0], ["a", "a", "b", None]), ([3.0, 4.0, 5.0, np.nan], ["a", "b", "b", "new"])
    )
    return Marginals(train, encoding, np.random.default_rng(0)).readings(other)


def test_ks_is_the_largest_gap_of_present_values(readings):
    # at 2: half of train lies at or below, none of the other
    assert readings["ks_mean"].value == pytest.approx(0.5)
    assert readings["ks_max"].note == "worst column: x"


def test_tvd_counts_missing_and_unseen_levels(readings):
    # train a .5 b .25 gone .25; other a .25 b .5 unseen .25: half of .25 + .25 + .25 + .25
    assert readings["tvd_mean"].value == pytest.approx(0.5)


def test_errors_of_means_and_deviations_are_in_training_units(readings):
    # means 2.5 and 4, standard deviations sqrt(5)/2 and sqrt(2/3)
    assert readings["mean_error"].value == pytest.approx(1.5 / (5**0.5 / 2))
    assert readings["std_error"].value == pytest.approx(abs((2 / 3) ** 0.5 / (5**0.5 / 2) - 1))


@pytest.mark.parametrize("n_gone", [0, 1])
def test_a_column_with_few_values_has_a_sound_interval_or_none(n_gone):
    few = np.full(300, np.nan)
    few[:5] = [1, 1, 1, 1, 2]
    encoding, (train, other) = tables((few, ["a"] * 300), (np.where(np.arange(300) < 5 - n_gone, few, np.nan), "a"))
    readings = Marginals(train, encoding, np.random.default_rng(0)).readings(other, np.random.default_rng(1))
    for name in ("mean_error", "std_error"):
        low, high = readings[name].low, readings[name].high
        assert (low is None and high is None) or 0 <= low <= high < 10


def test_missing_rates_are_compared_per_column(readings):
    # x: 0 against 1/4, c: 1/4 against 0
    assert readings["missing_rate_error"].value == pytest.approx(0.25)


def test_proportions_are_compared_per_level(readings):
    # a: .5 against .25, b: .25 against .5
    assert readings["proportion_error"].value == pytest.approx(0.25)


def test_divergence_is_zero_of_itself_and_finite_where_a_level_is_gone():
    encoding, (train, other) = tables(([1.0, 2.0], ["a", "b"]), ([1.0, 1.0], ["a", "a"]))
    marginals = Marginals(train, encoding, np.random.default_rng(0))
    assert marginals.readings(train)["kl_max"].value == pytest.approx(0, abs=1e-12)
    # c: a 1.5, b 1.5, unseen .5, gone .5 of 4 against a 2.5, b .5, .5, .5 of 4
    expected = (1.5 * np.log(1.5 / 2.5) + 1.5 * np.log(1.5 / 0.5)) / 4
    assert marginals.divergences(other)["c"] == pytest.approx(expected)


def test_a_column_with_values_on_one_side_only_is_as_far_as_can_be():
    assert ks_distance(np.array([np.nan, np.nan]), np.array([1.0])) == 1
    assert ks_distance(np.array([np.nan]), np.array([np.nan])) == 0


def test_total_variation_of_disjoint_distributions_is_one():
    assert total_variation(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1


def test_constant_and_empty_columns_have_no_moments():
    encoding, (train, other) = tables(([3.0, 3.0], ["a", "b"]), ([np.nan, np.nan], ["a", "b"]))
    readings = Marginals(train, encoding, np.random.default_rng(0)).readings(other, np.random.default_rng(1))
    assert readings["mean_error"].value is None
    assert readings["mean_error"].note
    assert readings["ks_mean"].value == 1
