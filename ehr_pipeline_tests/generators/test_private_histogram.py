"""Cells, runs of them, and the masses that two noisy counts make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.generators.private_histogram import (
    MISSING,
    MOST_CELLS,
    NumberCells,
    even_runs,
    masses,
    onto_simplex,
)
from ehr_pipeline.record import Column

BOUND = st.integers(-10_000, 10_000)


@st.composite
def columns(draw) -> Column:
    low, width = draw(BOUND), draw(st.integers(0, 5_000))
    decimals = draw(st.sampled_from([None, 0, 1, 2, 3]))
    step = 10.0 ** -(decimals or 0)
    kind = draw(st.sampled_from(["continuous", "integer"]))
    low, high = (low, low + width) if kind == "integer" else (low * step, (low + width + (decimals is None)) * step)
    return Column(name="x", kind=kind, minimum=low, maximum=high, decimals=decimals)


@given(columns(), st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
@settings(max_examples=300, deadline=None)
def test_every_value_falls_in_one_cell_that_holds_it(column, anything):
    cells = NumberCells.of(column)
    assert 1 <= len(cells) <= MOST_CELLS
    assert (cells.lower <= cells.upper).all()
    assert (np.diff(cells.lower) >= 0).all()
    inside = np.linspace(column.minimum, column.maximum, 57)
    values = np.array([*anything, *inside, column.minimum, column.maximum, np.nan])
    index = cells.index(values)
    assert ((index == MISSING) == ~np.isfinite(values)).all()
    there = index != MISSING
    assert (index[there] < len(cells)).all()
    clipped = np.clip(values[there], cells.lower[0], cells.upper[-1])
    slack = 1e-9 * max(1.0, abs(column.minimum), abs(column.maximum)) + (
        0.0 if cells.decimals is None else 0.5 * 10.0**-cells.decimals
    )
    assert (clipped >= cells.lower[index[there]] - slack).all()
    assert (clipped <= cells.upper[index[there]] + slack).all()


@pytest.mark.parametrize(("decimals", "high"), [(0, 3), (0, 400), (2, 14), (None, 1)])
def test_bounds_are_cells_of_their_own(decimals, high):
    cells = NumberCells.of(Column(name="x", kind="continuous", minimum=0, maximum=high, decimals=decimals))
    index = cells.index(np.array([0.0, -5.0, high, high + 7.0, high / 2]))
    assert index[0] == index[1] == 0
    assert index[2] == index[3] == len(cells) - 1
    assert 0 < index[4] < len(cells) - 1
    assert cells.lower[0] == cells.upper[0] == 0
    assert cells.lower[-1] == cells.upper[-1] == high


@given(
    st.lists(st.integers(-500, 5_000), min_size=1, max_size=300),
    st.floats(0.1, 1_000),
    st.integers(1, 64),
)
@settings(max_examples=200, deadline=None)
def test_runs_cover_all_cells_and_masses_are_a_distribution(counts, noise, n_runs):
    counts = np.array(counts)
    starts = even_runs(counts, noise, n_runs)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert starts[-1] < len(counts)
    mass = masses(counts, noise, starts, np.add.reduceat(counts, starts), noise, total=1000.0)
    assert mass.shape == counts.shape
    assert (mass >= 0).all()
    assert mass.sum() == pytest.approx(1000.0)


def test_exact_counts_come_back_as_they_are():
    counts = np.array([400, 10, 30, 60, 90, 120, 90, 60, 30, 10, 0, 0])
    starts = np.arange(len(counts))
    got = masses(counts, 1e-6, starts, counts, 1e-6, total=float(counts.sum()))
    assert np.allclose(got, counts)


def test_point_masses_are_runs_of_their_own():
    counts = np.full(200, 100)
    counts[0], counts[77] = 5_000, 4_000
    starts = even_runs(counts, 30.0, 20)
    assert {0, 1, 77, 78} <= set(starts.tolist())


def test_nearest_masses_are_the_ones_that_a_search_finds():
    # (3, 1, -2) onto sum 2: taking 1 from the first two leaves (2, 0), and (3, 1) - 1 = (2, 0), sum 2.
    assert onto_simplex(np.array([3.0, 1.0, -2.0]), 2.0).tolist() == [2.0, 0.0, 0.0]
