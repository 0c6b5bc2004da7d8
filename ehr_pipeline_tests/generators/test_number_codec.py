"""Numbers to levels and ranks, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import ks_2samp

from ehr_pipeline.generators.number_codec import NumberCodec, infer_decimals

columns = hnp.arrays(
    np.float64,
    st.integers(1, 200),
    elements=st.one_of(
        st.just(np.nan), st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), st.sampled_from([0.0, 1.5, 7.0])
    ),
)


def fit(values: np.ndarray, subject_id: np.ndarray | None = None, **settings_) -> NumberCodec:
    return NumberCodec.fit(values, np.arange(len(values)) if subject_id is None else subject_id, **settings_)


def redraw(values: np.ndarray, seed: int = 0, **settings_) -> np.ndarray:
    codec = fit(values, **settings_)
    return codec.draw(codec.levels(values), np.random.default_rng(seed))


@given(columns)
@settings(max_examples=60, deadline=None)
def test_drawn_values_keep_resolution_range_and_gaps(values):
    drawn = redraw(values, decimals=2, minimum=-500.0, maximum=500.0)
    present = drawn[~np.isnan(drawn)]
    assert np.array_equal(present, np.round(present, 2))
    assert ((present >= -500.0) & (present <= 500.0)).all()
    if np.isfinite(values).sum() >= 5 and np.isnan(values).sum() not in range(1, 5):
        assert np.array_equal(np.isnan(drawn), np.isnan(values))


@given(columns)
@settings(max_examples=40, deadline=None)
def test_level_shares_count_the_rows_of_each_level(values):
    codec = fit(values)
    assert codec.level_shares.sum() == pytest.approx(1.0)
    assert (codec.level_shares > 0).all()
    assert set(codec.levels(values)) <= set(range(codec.n_levels))
    if codec.n_number_levels and np.isnan(values).sum() not in range(1, 5):
        counted = np.bincount(codec.levels(values), minlength=codec.n_levels) / len(values)
        assert np.allclose(counted, codec.level_shares)


def test_value_alone_between_heavy_ones_counts_where_it_is_read():
    values = np.repeat([1.0, 2.0, 3.0, 4.0], [40, 2, 60, 3])
    codec = fit(values)
    counted = np.bincount(codec.levels(values), minlength=codec.n_levels) / len(values)
    assert np.allclose(counted, codec.level_shares)
    assert codec.level_shares.tolist() == pytest.approx([40 / 105, 65 / 105])


def test_value_comes_back_within_its_level():
    values = np.round(np.random.default_rng(0).normal(100, 15, 20_000), 1)
    codec = fit(values)
    drawn = codec.draw(codec.levels(values), np.random.default_rng(1))
    assert np.array_equal(codec.levels(drawn), codec.levels(values))
    # Even levels of a normal column are narrow in the middle: 1/32 of the rows is 0.08 sd, 1.2 units.
    middle = np.abs(values - 100) < 10
    assert np.abs(drawn - values)[middle].max() < 2.5


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: np.round(rng.normal(120, 20, 20_000), 0),
        lambda rng: rng.lognormal(0, 2, 20_000),
        lambda rng: np.clip(np.round(rng.normal(4.5, 0.9, 20_000), 2), 3.5, 14),
        lambda rng: rng.poisson(0.7, 20_000).astype(float),
        lambda rng: np.where(rng.random(20_000) < 0.8, 0.0, rng.exponential(30, 20_000)),
        lambda rng: rng.standard_t(2, 20_000),
        lambda rng: rng.uniform(0, 1e-3, 20_000),
    ],
    ids=["integers", "heavy tail", "pile at a bound", "counts", "zero-inflated", "both tails", "small numbers"],
)
def test_marginal_is_kept(make):
    values = make(np.random.default_rng(0))
    codec = fit(values)
    levels = np.random.default_rng(1).choice(codec.n_levels, 20_000, p=codec.level_shares)
    drawn = codec.draw(levels, np.random.default_rng(2))
    # Two samples of 20,000 of the same distribution are 0.0136 apart one time in twenty.
    assert ks_2samp(values, drawn).statistic < 0.02


@pytest.mark.parametrize(("n", "apart"), [(70, 0.1), (300, 0.03), (1000, 0.015)])
def test_marginal_of_a_small_column_is_kept(n, apart):
    values = np.random.default_rng(0).lognormal(0, 1, n)
    codec = fit(values)
    drawn = codec.from_ranks((np.arange(50_000) + 0.5) / 50_000)
    # A tail of 5 of 70 patients on either side is drawn no further than the fifth: 4 / 70 = 0.06.
    assert ks_2samp(values, drawn).statistic < apart
    held = np.bincount(codec._segment(values), minlength=len(codec.lower))
    assert held.min() >= 5


def test_interval_of_one_patients_many_values_is_joined_to_others():
    values = np.concatenate([np.linspace(0, 1, 3000), np.linspace(0.50001, 0.5001, 200)])
    subject_id = np.concatenate([np.arange(3000), np.full(200, 9999)])
    segment = fit(values, subject_id)._segment(values)
    assert min(len(set(subject_id[segment == k])) for k in set(segment)) >= 5


@given(columns, st.sampled_from([0, 1, 2]))
@settings(max_examples=60, deadline=None)
def test_what_is_drawn_from_a_segment_is_read_into_it(values, decimals):
    codec = fit(values, decimals=decimals)
    assert (codec.lower <= codec.upper).all()
    assert (codec.upper[:-1] <= codec.lower[1:] + 1e-9 * np.abs(codec.lower[1:])).all()
    inside = np.linspace(0.001, 0.999, 7)
    for start, end in zip(codec.level_starts[:-1], codec.level_starts[1:], strict=True):
        ranks = codec.segment_ranks[start] + inside * (codec.segment_ranks[end] - codec.segment_ranks[start])
        level = np.searchsorted(codec.level_starts, start, side="right") - 1
        assert (codec.levels(codec.from_ranks(ranks)) == level).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1]))
@settings(max_examples=20, deadline=None)
def test_a_value_that_nobody_has_among_dense_ones_is_drawn_as_often_as_they_are(seed, decimals):
    rng = np.random.default_rng(seed)
    is_hole = rng.random(2000) < 0.1
    is_hole[1:] &= ~is_hole[:-1]
    steps = np.repeat(np.arange(2000), np.where(is_hole, 0, 1 + rng.poisson(4, 2000)))
    codec = fit(steps / 10**decimals, decimals=decimals)
    drawn = codec.from_ranks((np.arange(400_000) + 0.5) / 400_000) * 10**decimals
    inner = slice(30, -30)
    times = np.bincount(drawn.round().astype(int), minlength=2000)[inner]
    assert times.min() > 0
    assert 0.8 < times[is_hole[inner]].mean() / times[~is_hole[inner]].mean() < 1.25


def test_where_nobody_can_be_nothing_is_drawn():
    rng = np.random.default_rng(0)
    children, adults = rng.integers(0, 4, 300), rng.integers(18, 90, 5000)
    codec = fit(np.concatenate([children, adults]).astype(float), decimals=0)
    drawn = np.unique(codec.from_ranks((np.arange(200_000) + 0.5) / 200_000))
    assert not ((drawn > 4) & (drawn < 17)).any()
    assert drawn.min() == 0 and drawn.max() <= 89


def test_point_mass_is_a_level_of_its_own():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(5000) < 0.13, 3.5, np.round(rng.uniform(3.6, 9, 5000), 2))
    codec = fit(values)
    drawn = codec.draw(codec.levels(values), rng)
    assert np.array_equal(drawn == 3.5, values == 3.5)


def test_nothing_is_drawn_beyond_what_five_patients_reach():
    values = np.concatenate([np.linspace(10, 20, 1000), [-900.0, -800, 5000, 6000, 7000, 8000]])
    codec = fit(values)
    drawn = codec.from_ranks(np.linspace(0, 1, 10_001))
    # Fifth smallest and fifth largest: three ordinary values after two, and one after four, outsiders.
    assert drawn.min() >= np.sort(values)[4] - 0.01
    assert drawn.max() <= np.sort(values)[-5] + 0.01


def test_many_rows_of_one_patient_are_one_patient():
    values = np.concatenate([np.linspace(0, 1, 500), np.full(200, 77.0)])
    subject_id = np.concatenate([np.arange(500), np.full(200, 9999)])
    drawn = fit(values, subject_id).from_ranks(np.linspace(0, 1, 5001))
    assert drawn.max() <= 1.0


def test_few_patients_who_have_a_value_leave_the_column_missing():
    values = np.full(100, np.nan)
    values[:4] = [1.0, 2.0, 3.0, 4.0]
    codec = fit(values)
    assert codec.n_levels == 1
    assert np.isnan(codec.draw(codec.levels(values), np.random.default_rng(0))).all()


@pytest.mark.parametrize(("n_missing", "is_kept"), [(1, False), (4, False), (5, True)])
def test_gaps_of_few_patients_are_not_drawn(n_missing, is_kept):
    values = np.random.default_rng(0).normal(0, 1, 1000)
    values[:n_missing] = np.nan
    codec = fit(values)
    assert codec.may_be_missing == is_kept
    assert np.isnan(codec.draw(codec.levels(values), np.random.default_rng(0))).any() == is_kept
    assert not fit(values, np.maximum(np.arange(1000), 5)).may_be_missing


def test_few_patients_of_a_column_that_never_misses_give_its_public_range_or_zero():
    values = np.array([13.7, 14.1])
    public = fit(values, may_miss=False, minimum=0.0, maximum=50.0, decimals=1)
    drawn = public.from_ranks(np.linspace(0, 1, 101))
    assert (drawn.min(), drawn.max()) == (0.0, 50.0)
    for counts in (values, np.array([3.0]), np.array([7.0, 7.0])):
        assert set(fit(counts, may_miss=False).from_ranks(np.linspace(0, 1, 11))) == {0.0}
    assert set(fit(values, may_miss=False, minimum=2.0).from_ranks(np.linspace(0, 1, 11))) == {2.0}


def test_gaussian_view_is_standard_normal_and_in_the_order_of_the_values():
    values = np.random.default_rng(0).lognormal(0, 1, 5000)
    z = fit(values).gaussian(values)
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1.0, abs=0.03)
    assert (np.diff(z[np.argsort(values)]) >= -1e-9).all()


@pytest.mark.parametrize(
    ("values", "decimals"), [([1.0, 2.0], 0), ([0.25, 1.5], 2), ([1 / 3, 2.0], None), ([1e6 + 0.1], 1)]
)
def test_resolution_is_read_off_the_values(values, decimals):
    assert infer_decimals(np.array(values)) == decimals


def test_bounds_off_the_grid_are_moved_inside():
    drawn = redraw(np.linspace(0, 10, 200).round(0), decimals=0, minimum=0.5, maximum=9.5)
    assert (drawn.min(), drawn.max()) == (1.0, 9.0)


def test_many_values_take_vectors_not_loops():
    import time

    values = np.random.default_rng(0).normal(0, 1, 300_000)
    started = time.process_time()
    codec = fit(values)
    codec.draw(codec.levels(values), np.random.default_rng(0))
    assert time.process_time() - started < 3
    assert len(codec.lower) < 600
