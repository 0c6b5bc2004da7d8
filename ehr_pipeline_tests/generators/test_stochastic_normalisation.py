"""Numbers become uniform, and come back as what they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.generators.persistence import read_state, write_state
from ehr_pipeline.generators.stochastic_normalisation import StochasticNormalisation

GRIDS = st.lists(st.integers(-500, 500), min_size=10, max_size=200)


def fitted(values: np.ndarray, **options) -> StochasticNormalisation:
    return StochasticNormalisation.fit(values, np.arange(len(values)), **options)


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(0, 3), st.integers(0, 2**31))
def test_the_exact_variant_gives_every_value_back_exactly(whole, decimals, seed):
    values = np.array(whole) / 10.0**decimals
    column = fitted(values, exact=True)
    ranks = column.normalise(values, np.random.default_rng(seed))
    assert ((ranks > 0) & (ranks < 1)).all()
    np.testing.assert_array_equal(column.restore(ranks), values)


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(0, 3), st.integers(0, 2**31))
def test_the_default_gives_back_exactly_what_it_may_draw_and_nothing_else(whole, decimals, seed):
    values = np.round(np.array(whole) / 10.0**decimals, decimals)
    column = fitted(values, decimals=decimals)
    ranks = column.normalise(values, np.random.default_rng(seed))
    np.testing.assert_array_equal(column.restore(ranks), values.clip(column.codec.lowest, column.codec.highest))


def test_numbers_are_uniform_however_heavy_their_values():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(20_000) < 0.6, 15.0, np.round(rng.gamma(2.0, 3.0, 20_000), 1))
    for exact in (False, True):
        ranks = fitted(values, exact=exact).normalise(values, rng)
        counts = np.histogram(ranks, bins=10, range=(0, 1))[0]
        assert np.abs(counts / 2000 - 1).max() < 0.2


def test_each_value_owns_an_interval_as_long_as_its_share():
    values = np.repeat([1.0, 2.0, 5.0], [20, 60, 20])
    for exact in (False, True):
        column = fitted(values, exact=exact)
        assert column.restore(np.array([0.1, 0.25, 0.75, 0.9])).tolist() == [1.0, 2.0, 2.0, 5.0]


def test_a_value_of_one_patient_is_given_back_only_if_asked_for():
    values = np.append(np.repeat(np.arange(10.0), 20), 777.0)
    rng = np.random.default_rng(0)
    everywhere = rng.random(50_000)
    assert fitted(values).restore(everywhere).max() < 10
    assert fitted(values, exact=True).restore(everywhere).max() == 777.0


@pytest.mark.parametrize("n", [0, 4])
def test_what_too_few_patients_have_is_not_learned(n):
    assert fitted(np.arange(float(n))) is None


def test_it_comes_back_from_disk(tmp_path):
    column = fitted(np.repeat(np.arange(10.0), 20))
    write_state(tmp_path, "column", *column.state())
    again = StochasticNormalisation.of_state(*read_state(tmp_path, "column"))
    ranks = np.linspace(0, 1, 101)
    np.testing.assert_array_equal(column.restore(ranks), again.restore(ranks))
