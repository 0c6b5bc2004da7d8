"""Rows as vectors, there and back; which rows lend a condition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtr

from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.gan_rows import FARTHEST_Z, ConditionSource, RowLayout
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline_tests.generators.tables import mixed_cohort

CPU = torch.device("cpu")


def codec_of(cohort: TrainingCohort) -> TableCodec:
    schema = cohort.schema.without(["note", "number"])
    return TableCodec.fit(schema, cohort.table, cohort.subject_id)


@pytest.fixture(scope="module")
def cohort() -> TrainingCohort:
    return mixed_cohort(900)


@pytest.fixture(scope="module")
def layout(cohort) -> RowLayout:
    return RowLayout.of(codec_of(cohort))


def vectors_of(layout, table) -> torch.Tensor:
    return layout.vectors(*map(torch.from_numpy, layout.encoded(table)))


def test_pieces_fill_the_vector_without_gap_or_overlap(layout):
    ends = [piece.start + piece.width for piece in layout.pieces]
    assert [piece.start for piece in layout.pieces] == [0, *ends[:-1]]
    assert layout.width == ends[-1] == len(layout.column_of_entry)


def test_levels_come_back_from_vectors(cohort, layout):
    rows = vectors_of(layout, cohort.table).numpy()
    below = [ndtr(rows[:, piece.start].astype(float)) for piece in layout.ranked]
    wanted = layout.codec.levels(cohort.table)
    ours = layout.levels(rows, below)
    # Ranks are cut at half a per mille, and float32: a value on the edge of its level may fall to the next one.
    assert (ours == wanted).mean(axis=0).min() > 0.97
    is_number = layout.codec.is_number
    assert np.array_equal(ours[:, ~is_number], wanted[:, ~is_number])
    gaps = cohort.table["lactate"].isna().to_numpy()
    k = layout.codec.schema.names.index("lactate")
    assert np.array_equal(ours[:, k] == layout.codec.columns[k].n_number_levels, gaps)


def test_rank_is_zero_and_one_hot_says_missing_where_a_number_is(cohort, layout):
    rows = vectors_of(layout, cohort.table)
    piece = layout.pieces[layout.codec.schema.names.index("lactate")]
    gaps = torch.tensor(cohort.table["lactate"].isna().to_numpy())
    assert (rows[gaps, piece.start] == 0).all()
    assert torch.equal(rows[:, piece.start + 2] > 0, gaps)
    assert rows.abs().max() <= FARTHEST_Z


def test_shares_are_those_of_the_table(cohort, layout):
    rows = vectors_of(layout, cohort.table)
    for piece in layout.choices:
        first = piece.start + piece.has_rank
        one_hot = rows[:, first : first + piece.n_levels]
        assert torch.equal(one_hot.sum(dim=1), torch.ones(len(rows)))
        assert np.allclose(one_hot.mean(dim=0), layout.shares(piece), atol=1e-5)


def test_example_is_what_a_row_with_that_value_has(cohort, layout):
    rows = vectors_of(layout, cohort.table)
    for name in ("age", "lactate", "unit", "died", "admitted", "never"):
        column = layout.codec.schema.names.index(name)
        piece = layout.pieces[column]
        for row in (0, 7, int(cohort.table[name].isna().to_numpy().argmax())):
            given, example = layout.example(column, cohort.table.iloc[[row]])
            place = slice(piece.start, piece.start + piece.width)
            assert torch.allclose(example[0, place], rows[row, place]), name
            assert given.sum() == given[0, column] == 1
            assert example.count_nonzero() == example[0, place].count_nonzero()


def test_staircase_starts_at_minus_infinity_and_heavy_values_lie_in_their_step(layout):
    for piece in layout.ranked:
        starts, middles = layout.steps(piece)
        heavy = ~np.isnan(middles)
        assert starts[0] == -np.inf
        assert (np.diff(starts) > 0).all()
        assert (middles[heavy] >= np.maximum(starts[heavy], -FARTHEST_Z)).all()


def rare_cohort(n: int = 4000) -> tuple[RowLayout, pd.DataFrame]:
    """A disease of 1 in 200, and a number."""
    schema = Schema(columns=(Column(name="disease", kind="binary"), Column(name="x", kind="continuous")))
    table = conform(
        pd.DataFrame({"disease": np.arange(n) % 200 == 0, "x": np.random.default_rng(0).normal(size=n)}), schema
    )
    return RowLayout.of(TableCodec.fit(schema, table, np.arange(n))), table


def test_rare_level_is_given_about_as_often_as_its_logarithm_says():
    layout, table = rare_cohort()
    choices, _ = layout.encoded(table)
    torch.manual_seed(0)
    rows, given = ConditionSource(layout, choices, CPU).draw(20_000, 10_000)
    assert given[:10_000].sum() == 0
    assert (given[10_000:].sum(dim=1) == 1).all()
    assert given[:, 0].sum() == pytest.approx(5000, abs=200)
    disease = torch.from_numpy(choices[:, 0])[rows]
    # log(1 + 20) / (log(1 + 20) + log(1 + 3980)) = 3.04 / (3.04 + 8.29) = 0.269
    assert disease[given[:, 0] > 0].float().mean() == pytest.approx(0.269, abs=0.03)
    assert disease[given[:, 0] == 0].float().mean() < 0.01


def test_level_of_each_condition_is_drawn_among_its_own_column(cohort, layout):
    choices, _ = layout.encoded(cohort.table)
    torch.manual_seed(1)
    rows, given = ConditionSource(layout, choices, CPU).draw(6000, 6000)
    assert set(rows.tolist()) <= set(range(len(choices)))
    for k, piece in enumerate(layout.choices):
        level = choices[rows[given[:, piece.column] > 0], k]
        counts = np.bincount(choices[:, k], minlength=piece.n_levels)
        share = np.log1p(counts) / np.log1p(counts).sum()
        assert np.abs(np.bincount(level, minlength=piece.n_levels) / len(level) - share).max() < 0.08


def test_wide_rows_are_worked_on_few_at_a_time():
    schema = Schema(columns=(Column(name="code", kind="categorical"),))
    table = conform(pd.DataFrame({"code": [f"c{k % 9000}" for k in range(45_000)]}), schema)
    layout = RowLayout.of(TableCodec.fit(schema, table, np.arange(len(table))))
    assert layout.width == 9000
    assert layout.block_rows * layout.width <= 2**22
    assert sum(layout.block_sizes(1000)) == 1000
