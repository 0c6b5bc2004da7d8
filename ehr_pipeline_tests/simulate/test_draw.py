"""The array idioms, each against a slow and obvious twin."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.simulate.draw import Ragged, autoregressive, choose

COUNTS = st.lists(st.integers(0, 6), max_size=12)


@given(COUNTS)
def test_ragged_rows_are_those_of_two_loops(counts):
    rows = Ragged.of(np.array(counts, dtype="int64"))
    slow = [(parent, position) for parent, count in enumerate(counts) for position in range(count)]
    assert list(zip(rows.parent.tolist(), rows.position.tolist(), strict=True)) == slow


@given(COUNTS, st.integers(0, 2**32))
def test_autoregression_is_the_recursion_started_anew_for_each_parent(counts, seed):
    rows = Ragged.of(np.array(counts, dtype="int64"))
    fast = autoregressive(rows, 0.9, np.random.default_rng(seed))
    innovation = np.random.default_rng(seed).normal(size=sum(counts))
    slow = np.zeros(len(innovation))
    for row, position in enumerate(rows.position):
        # Stationary: the first value has variance 1, and so has 0.9² + (1 - 0.9²).
        slow[row] = innovation[row] if position == 0 else 0.9 * slow[row - 1] + (1 - 0.81) ** 0.5 * innovation[row]
    np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_autoregression_has_unit_variance_and_its_persistence():
    rows = Ragged.of(np.full(2_000, 50))
    values = autoregressive(rows, 0.8, np.random.default_rng(0)).reshape(2_000, 50)
    assert abs(values.std() - 1) < 0.02
    assert abs(np.corrcoef(values[:, 10], values[:, 11])[0, 1] - 0.8) < 0.04
    assert abs(np.corrcoef(values[:-1, 49], values[1:, 0])[0, 1]) < 0.1


def test_choice_follows_the_weights_and_never_takes_weight_zero():
    weights = np.tile([0.0, 1.0, 3.0, 0.0], (40_000, 1))
    chosen = choose(weights, np.random.default_rng(0))
    assert set(chosen.tolist()) == {1, 2}
    assert abs((chosen == 2).mean() - 0.75) < 0.01
