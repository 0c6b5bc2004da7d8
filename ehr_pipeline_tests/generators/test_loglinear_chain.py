"""The chain: features, the gradient against differences, exact counts found again, drawing with columns given."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ehr_pipeline.generators.coarse_columns import CoarseColumn, Grains
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.column_search import ColumnSearch, Measurement
from ehr_pipeline.generators.dependence_prior import clique_scales
from ehr_pipeline.generators.loglinear_chain import LogLinearChain
from ehr_pipeline_tests.generators.tables import mixed_cohort

LEVELS = (3, 2, 4)


def coarse(n_levels: int) -> CoarseColumn:
    """Each level a bin, an indicator for each."""
    return CoarseColumn(np.arange(n_levels), np.eye(n_levels) - 1 / n_levels)


def table(n: int = 20_000) -> np.ndarray:
    """Three columns of `LEVELS` levels, each depending on the ones before it."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, n)
    second = (rng.random(n) < 0.2 + 0.3 * first).astype(int)
    third = np.minimum(first + second + (rng.random(n) < 0.4), 3)
    return np.column_stack([first, second, third])


def shares_of(rows: np.ndarray) -> list[np.ndarray]:
    return [np.bincount(rows[:, k], minlength=n) / len(rows) for k, n in enumerate(LEVELS)]


def measured(grains: Grains, rows: np.ndarray, clique: tuple[int, ...], noise: float = 0.0) -> Measurement:
    expected = np.ones(1)
    for k in clique:
        expected = np.outer(expected, shares_of(rows)[k]).ravel()
    return Measurement(clique, grains.counts(clique, rows).astype(float), len(rows) * expected, noise)


@pytest.fixture(scope="module")
def grains() -> Grains:
    return Grains({2: [coarse(n) for n in LEVELS], 3: [coarse(n) for n in LEVELS]})


def test_cells_count_each_row_once_with_the_last_column_fastest(grains):
    rows = np.array([[0, 1, 2], [2, 0, 3], [2, 0, 3]])
    counts = grains.counts((0, 1, 2), rows).reshape(LEVELS)
    assert counts[0, 1, 2] == 1
    assert counts[2, 0, 3] == 2
    assert counts.sum() == 3


def test_gradient_is_that_of_the_loss(grains):
    rows = table(300)
    cliques = [(0, 2), (1, 2), (0, 1, 2)]
    search = ColumnSearch(
        grains,
        [measured(grains, rows, clique, noise=3.0) for clique in cliques],
        rows,
        shares=shares_of(rows)[2],
        intercepts=np.zeros(4),
        n=300,
        scales=dict.fromkeys(cliques, 0.7),
    )
    rng = np.random.default_rng(1)
    x = rng.normal(0, 0.3, 4 + 4 * (3 + 2 + 6))
    _, gradient = search.loss(x)
    for _ in range(10):
        step = rng.normal(size=len(x))
        step *= 3e-3 / np.linalg.norm(step)
        slope = (search.loss(x + step)[0] - search.loss(x - step)[0]) / 2
        assert slope == pytest.approx(gradient @ step, rel=2e-2, abs=2e-3)


def test_exact_counts_of_pairs_come_back_in_drawn_rows(grains):
    rows = table()
    chain = LogLinearChain.independent((0, 1, 2), grains, shares_of(rows))
    pairs = list(combinations(range(3), 2))
    rng = np.random.default_rng(2)
    chain.fit([measured(grains, rows, pair) for pair in pairs], n=len(rows), n_rows=20_000, rng=rng)
    drawn, _ = chain.draw(50_000, rng)
    for pair in pairs:
        real, synthetic = (grains.counts(pair, some) / len(some) for some in (rows, drawn))
        assert np.abs(real - synthetic).sum() < 0.03, pair
        # Independent columns are far from this.
        alone = np.outer(*(shares_of(rows)[k] for k in pair)).ravel()
        assert np.abs(real - alone).sum() > 0.1


def test_columns_that_are_given_are_set_and_their_chance_told(grains):
    rows = table()
    chain = LogLinearChain.independent((0, 1, 2), grains, shares_of(rows))
    rng = np.random.default_rng(3)
    chain.fit([measured(grains, rows, pair) for pair in combinations(range(3), 2)], n=20_000, n_rows=5_000, rng=rng)
    drawn, chance = chain.draw(20_000, rng, given={1: 1})
    assert (drawn[:, 1] == 1).all()
    assert chance.mean() == pytest.approx((rows[:, 1] == 1).mean(), abs=0.02)


def test_noise_alone_is_taken_for_independence(grains):
    rng = np.random.default_rng(4)
    rows = np.column_stack([rng.integers(0, n, 1_000) for n in LEVELS])
    pairs = list(combinations(range(3), 2))
    noisy = []
    for pair in pairs:
        one = measured(grains, rows, pair, noise=400.0)
        noisy.append(Measurement(pair, one.counts + rng.normal(0, 400, len(one.counts)), one.expected, 400.0))
    chain = LogLinearChain.independent((0, 1, 2), grains, shares_of(rows))
    chain.fit(noisy, n=1_000, n_rows=5_000, rng=rng)
    assert max(np.abs(weights).max() for weights in chain.weights.values()) < 0.3


def test_scales_tell_a_strong_dependence_from_none(grains):
    rng = np.random.default_rng(5)
    rows = np.column_stack([rng.integers(0, n, 20_000) for n in LEVELS])
    rows[:, 1] = rows[:, 0] > 0
    pairs = list(combinations(range(3), 2))
    scales = clique_scales([measured(grains, rows, pair) for pair in pairs], grains, shares_of(rows), 20_000)
    assert scales[0, 1] > 0.5
    assert scales[0, 2] < 0.1


def test_state_is_the_whole_model(grains):
    rows = table(2_000)
    chain = LogLinearChain.independent((0, 2, 1), grains, shares_of(rows))
    chain.fit([measured(grains, rows, (0, 2, 1))], n=2_000, n_rows=2_000, rng=np.random.default_rng(0))
    again = LogLinearChain.of_state(*chain.state())
    one, other = (model.draw(100, np.random.default_rng(1))[0] for model in (chain, again))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("n_bins", [2, 3, 7, 12])
def test_bins_of_any_column_are_few_and_features_are_finite(n_bins):
    cohort = mixed_cohort()
    schema = cohort.schema.without(["note", "number"])
    codec = TableCodec.fit(schema, cohort.table, cohort.subject_id)
    for k, n_levels in enumerate(codec.n_levels):
        column = CoarseColumn.of(codec, k, n_bins)
        assert column.bins.shape == (n_levels,)
        assert set(column.bins) == set(range(column.n_bins))
        assert column.n_bins <= 2 * n_bins + 2
        assert column.features.shape[0] == n_levels
        assert np.isfinite(column.features).all()


def test_features_of_numbers_rise_with_the_level_and_do_not_tell_each_other():
    cohort = mixed_cohort(4_000)
    schema = cohort.schema.without(["note", "number"])
    codec = TableCodec.fit(schema, cohort.table, cohort.subject_id)
    column, shares = CoarseColumn.of(codec, 0, 6), codec.level_shares[0]
    slope = np.diff(column.features[:, 0])
    assert (slope > 0).all() or (slope < 0).all()
    in_bin = np.stack(
        [
            np.average(column.features[column.bins == b], axis=0, weights=shares[column.bins == b])
            for b in range(column.n_bins)
        ]
    )
    weight = np.bincount(column.bins, weights=shares)
    gram = (in_bin * weight[:, None]).T @ in_bin
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 0.05
