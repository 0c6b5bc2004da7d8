"""Weights of drawn rows: what they put right, when there are none, and that they come back from disk."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.generators import row_correction
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.row_correction import RowCorrection, learn_correction
from ehr_pipeline.record import Column, Schema, conform

N = 20_000


def table_of(n: int, seed: int) -> np.ndarray:
    """Two coins, and a third that nine times in ten says whether both show 1; a number; a long list."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 2, (2, n))
    third = np.where(rng.random(n) < 0.9, first & second, rng.integers(0, 2, n))
    return np.column_stack([first, second, third, rng.normal(size=n).round(1), rng.geometric(0.02, n) % 300])


@pytest.fixture(scope="module")
def codec() -> TableCodec:
    kinds = {"first": "binary", "second": "binary", "third": "binary", "number": "continuous", "long": "categorical"}
    schema = Schema(columns=tuple(Column(name=name, kind=kind) for name, kind in kinds.items()))
    frame = pd.DataFrame(table_of(60_000, 0), columns=list(kinds))
    frame["long"] = frame["long"].astype(int).astype(str)
    return TableCodec.fit(schema, conform(frame, schema), np.arange(len(frame)), n_levels=32)


def levels_of(codec: TableCodec, n: int, seed: int) -> np.ndarray:
    frame = pd.DataFrame(table_of(n, seed), columns=codec.schema.names)
    frame["long"] = frame["long"].astype(int).astype(str)
    return codec.levels(conform(frame, codec.schema))


def nearly(codec: TableCodec, n: int, seed: int) -> np.ndarray:
    """Rows in a third of which columns know nothing of each other."""
    levels, rng = levels_of(codec, n, seed), np.random.default_rng(seed)
    levels[: n // 3] = np.column_stack([rng.permutation(column) for column in levels[: n // 3].T])
    return rng.permutation(levels)


@pytest.fixture(scope="module")
def correction(codec) -> RowCorrection:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_correction, "MOST_TREES", 60)
        made = learn_correction(
            codec,
            levels_of(codec, N, 1),
            levels_of(codec, 2_000, 2),
            lambda n: nearly(codec, n, 3),
            np.random.default_rng(0),
            task="test",
        )
    assert made is not None
    return made


def test_weights_bring_back_what_some_rows_lack(codec, correction):
    drawn, real = nearly(codec, 40_000, 4), levels_of(codec, 40_000, 5)
    w = np.exp(correction.log_weights(drawn))

    def share(levels: np.ndarray, weights: np.ndarray) -> float:
        agrees = (levels[:, 0] & levels[:, 1]) == levels[:, 2]
        return float(np.average(agrees, weights=weights))

    truth, before, after = share(real, np.ones(len(real))), share(drawn, np.ones(len(drawn))), share(drawn, w)
    assert truth - before > 0.1
    assert abs(truth - after) < 0.55 * (truth - before)
    # What was right stays right.
    assert np.average(drawn[:, 3], weights=w) == pytest.approx(real[:, 3].mean(), abs=0.3)


def test_the_mean_weight_is_that_of_a_density(codec, correction):
    w = np.exp(correction.log_weights(nearly(codec, 40_000, 6)) - correction.log_mean)
    assert w.mean() == pytest.approx(1.0, abs=0.05)
    assert np.log(w).max() <= correction.highest - correction.log_mean + 1e-9


def test_where_drawn_rows_are_as_the_real_ones_nothing_is_corrected(codec):
    for seed in range(2):
        made = learn_correction(
            codec,
            levels_of(codec, N, 10 + seed),
            levels_of(codec, 2_000, 20 + seed),
            lambda n, seed=seed: levels_of(codec, n, 30 + seed),
            np.random.default_rng(seed),
            task="test",
        )
        assert made is None


def test_of_few_rows_nothing_is_learned_and_none_are_drawn(codec):
    def draw(n: int) -> np.ndarray:
        raise AssertionError

    few, others = levels_of(codec, row_correction.FEWEST_ROWS - 1, 1), levels_of(codec, 200, 2)
    assert learn_correction(codec, few, others, draw, np.random.default_rng(0), task="test") is None
    enough, nobody = levels_of(codec, row_correction.FEWEST_ROWS, 1), others[:0]
    assert learn_correction(codec, enough, nobody, draw, np.random.default_rng(0), task="test") is None


def test_a_correction_comes_back_as_it_was(codec, correction):
    plain, arrays = correction.state()
    again = RowCorrection.of_state(plain, {name: array.copy() for name, array in arrays.items()})
    levels = nearly(codec, 1_000, 7)
    assert np.array_equal(again.log_weights(levels), correction.log_weights(levels))


def test_rare_levels_of_a_long_column_weigh_the_same(codec, correction):
    shares = codec.level_shares[4]
    assert len(shares) > row_correction.MOST_BINS
    levels = np.repeat(levels_of(codec, 1, 8), len(shares), axis=0)
    levels[:, 4] = np.argsort(-shares)
    rare = correction.log_weights(levels)[row_correction.MOST_BINS :]
    assert (rare == rare[0]).all()


def test_missing_and_unseen_bins_have_a_leaf(codec, correction):
    levels = np.stack([np.zeros(5, dtype=np.int64), np.array(codec.n_levels) - 1])
    assert np.isfinite(correction.log_weights(levels)).all()
    assert correction.log_weights(levels[:0]).shape == (0,)
