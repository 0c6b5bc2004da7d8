"""Local reports: each is as private as it says, and together they tell the truth."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.local_reports import ColumnCells, blocks_of, debiased
from ehr_pipeline.generators.private_codec import OneRowEach
from ehr_pipeline.record import Column, Schema, conform

SCHEMA = Schema(
    columns=(
        Column(name="age", kind="continuous", minimum=18, maximum=95, decimals=1, missing=False),
        Column(name="lactate", kind="continuous", minimum=0, maximum=20),
        Column(name="visits", kind="integer", minimum=0, maximum=5),
        Column(name="died", kind="binary", missing=False),
        Column(name="unit", kind="categorical", levels=("CCU", "MICU", "other")),
    )
)


def block(name: str, numbers="response", epsilon=1.0):
    return next(one for one in blocks_of(SCHEMA, (), numbers, epsilon) if SCHEMA.columns[one.columns[0]].name == name)


@pytest.mark.parametrize("name", SCHEMA.names)
@pytest.mark.parametrize("numbers", ["response", "laplace"])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_no_report_is_likelier_from_one_patient_than_from_another_beyond_epsilon(name, numbers, epsilon):
    channel = block(name, numbers, epsilon).channel(epsilon)
    assert np.allclose(channel.sum(axis=0), 1)
    worst = np.log(channel.max(axis=1) / channel.min(axis=1)).max()
    assert worst <= epsilon + 1e-9
    assert worst > 0.45 * epsilon  # and the budget is used


@pytest.mark.parametrize("name", SCHEMA.names)
@pytest.mark.parametrize("numbers", ["response", "laplace"])
def test_reports_follow_their_channel(name, numbers):
    n, epsilon = 20_000, 1.5
    one = block(name, numbers, epsilon)
    for cell in (0, one.n_cells - 1):
        counts = np.bincount(one.reports(np.full(n, cell), epsilon), minlength=one.n_cells)
        chances = one.channel(epsilon)[:, cell]
        # Six standard deviations for each cell, one for the rarest.
        assert (np.abs(counts - n * chances) <= 6.5 * np.sqrt(n * chances) + 6).all()


def test_debiased_counts_are_unbiased():
    truth, epsilon, times = np.array([900, 0, 60, 40]), 1.0, 300
    cells = np.repeat(np.arange(4), truth)
    schema = Schema(columns=(Column(name="x", kind="categorical", levels=("a", "b", "c", "d"), missing=False),))
    (one,) = blocks_of(schema, (), "response", epsilon)
    drawn = np.array([debiased(np.bincount(one.reports(cells, epsilon), minlength=4), epsilon) for _ in range(times)])
    error = drawn.std(axis=0) / math.sqrt(times)
    assert (np.abs(drawn.mean(axis=0) - truth) < 6 * error).all()
    assert (drawn < 0).any()  # no cut at zero hides a bias
    assert np.allclose(drawn.sum(axis=1), truth.sum())


@pytest.mark.parametrize("numbers", ["response", "laplace"])
@pytest.mark.parametrize("name", ["age", "lactate", "unit"])
def test_shares_come_near_the_truth_with_many_patients(name, numbers):
    rng, epsilon = np.random.default_rng(0), 4.0
    one = block(name, numbers, epsilon)
    truth = np.sort(rng.dirichlet(np.full(one.n_cells, 0.7)))
    cells = rng.choice(one.n_cells, 40_000, p=truth)
    shares = one.shares(np.bincount(one.reports(cells, epsilon), minlength=one.n_cells), epsilon)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    # Ten standard deviations and more; even shares would be 0.42 away from numbers.
    assert np.abs(np.cumsum(shares) - np.cumsum(truth)).max() < (0.25 if one.randomiser == "laplace" else 0.05)


@given(
    minimum=st.floats(-1e4, 1e4),
    width=st.floats(0, 1e4),
    decimals=st.sampled_from([None, 0, 1, 2]),
    most_cells=st.integers(3, 128),
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=1, max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_any_number_has_a_cell_and_the_cell_holds_it(minimum, width, decimals, most_cells, values):
    column = Column(name="x", kind="continuous", minimum=minimum, maximum=minimum + width, decimals=decimals)
    cells = ColumnCells.of(column, most_cells)
    index = cells.index(pd.Series(values, dtype="float64"))
    assert ((index >= 0) & (index < cells.n_cells)).all()
    assert cells.n_values <= max(3, most_cells)
    assert (np.diff(cells.lower) >= 0).all()
    assert (cells.upper[:-1] <= cells.lower[1:] + 1e-9).all()
    present = np.isfinite(values)
    assert (index[~present] == cells.n_values).all()
    inside = present & (np.array(values) >= cells.lower[0]) & (np.array(values) <= cells.upper[-1])
    slack = 0.5 * 10.0**-decimals if decimals is not None else 1e-9 * max(1, abs(minimum) + width)
    for value, cell in zip(np.array(values)[inside], index[inside], strict=True):
        assert cells.lower[cell] - slack - 1e-9 <= value <= cells.upper[cell] + slack + 1e-9


def test_every_patient_sends_one_report_whatever_the_value():
    table = conform(
        pd.DataFrame(
            {
                "age": [1e9, 17, 40],
                "lactate": [None, 3, -5],
                "visits": [2, None, 99],
                "died": [0, 1, 1],
                "unit": ["NICU", None, "CCU"],
            }
        ),
        SCHEMA,
    )
    rows = OneRowEach(TrainingCohort(schema=SCHEMA, table=table, subject_id=np.array([1, 2, 3])))
    for one in blocks_of(SCHEMA, (("died", "unit"), ("lactate", "visits")), "response", 1.0):
        index = one.index(rows)
        assert index.shape == (3,)
        assert ((index >= 0) & (index < one.n_cells)).all()
    assert block("unit").index(rows).tolist() == [2, 3, 0]  # what is not in the vocabulary is in its pool
    assert block("visits").index(rows).tolist() == [2, 6, 5]


@pytest.mark.parametrize(
    ("blocks", "named"),
    [
        ((("age", "nobody"),), "nobody"),
        ((("age", "died"), ("died", "unit")), "died is named twice"),
        ((("died", "died"),), "died is named twice"),
        ((("age", "lactate", "visits", "died", "unit"),), "combinations"),
    ],
)
def test_blocks_that_cannot_be_are_refused_by_name(blocks, named):
    with pytest.raises(OptionError, match=named):
        blocks_of(SCHEMA, blocks, "response", 1.0)


def test_a_column_of_one_value_reports_nothing():
    schema = Schema(columns=(Column(name="x", kind="integer", minimum=3, maximum=3, missing=False),))
    for numbers in ("response", "laplace"):
        (one,) = blocks_of(schema, (), numbers, 1.0)
        assert one.n_cells == 1
        assert one.reports(np.zeros(5, dtype=np.int64), 1.0).tolist() == [0] * 5
        assert one.shares(np.array([5]), 1.0).tolist() == [1.0]
