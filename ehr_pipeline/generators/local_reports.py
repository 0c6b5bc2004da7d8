"""What each patient reports of a block of columns, noise and all, and what the reports of all tell of the block.

What belongs here: public cells, the two local randomisers, and the way back from noisy reports to shares. What does
not: what shuffling is worth (`privacy/shuffle.py`), drawing rows.

A block is one column, or some that are reported together. Its cells are public: levels of a category, cells of a
column of numbers on its grid, missing as a cell of its own; of several columns, all combinations. Every patient sends
one cell, whatever the value, and what is learned is a histogram of the cells sent: the order of the patients is lost
there, which is the shuffle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.category_codec import POOLED, CategoryCodec
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.private_codec import OneRowEach, vocabulary_of
from ehr_pipeline.generators.private_histogram import NumberCells, onto_simplex
from ehr_pipeline.privacy.noise import noisy_numbers, randomised_response
from ehr_pipeline.record import Column, Schema

Randomiser = Literal["response", "laplace"]

FEWEST_CELLS, MOST_CELLS = 8, 128
"""Cells of a column of numbers that reports alone: fewer under more noise, for each cell has the noise of all."""
LAPLACE_CELLS = 32
JOINT_CELLS = 8
"""Cells of a column of numbers that reports together with others."""
MOST_JOINT_CELLS = 2_048
"""Combinations that a block may have."""
PASSES = 2_000
"""Steps of the likelihood's ascent; more of them fit noise."""
LEAST_SHARE = 1e-12
"""Of a cell that nobody seems to have, so that no cell is without any width in rank."""


@dataclass(frozen=True, eq=False)
class ColumnCells:
    """Public cells of one column; missing is the last one, where the schema lets it.

    Attributes
    ----------
    lower, upper
        float64 of shape (n_values,): the values in each cell of a column of numbers; empty for categories.
    fine_to_cell
        int64: the cell of each of the column's finest cells (`NumberCells`); empty for categories.
    """

    column: Column
    n_values: int
    lower: np.ndarray
    upper: np.ndarray
    fine_to_cell: np.ndarray

    @classmethod
    def of(cls, column: Column, most_cells: int) -> ColumnCells:
        """The cells of a public column; of numbers about `most_cells`, the bounds among them by themselves."""
        nothing = np.empty(0)
        if not column.is_number:
            return cls(column, len(vocabulary_of(column)), nothing, nothing, nothing.astype(np.int64))
        fine = NumberCells.of(column)
        n = len(fine.lower)
        inner = 1 + np.arange(max(0, n - 2)) * (most_cells - 2) // max(1, n - 2)
        cell = np.arange(n) if n <= most_cells else np.concatenate([[0], inner, [most_cells - 1]])
        first = np.flatnonzero(np.diff(cell, prepend=-1))
        last = np.append(first[1:], n) - 1
        half_step = 0.0 if fine.decimals is None else 0.5 * 10.0**-fine.decimals
        # A run of single values covers half a step on either side; one value alone is itself.
        is_run = last > first
        lower = fine.lower[first] - np.where(is_run & (fine.lower == fine.upper)[first], half_step, 0)
        upper = fine.upper[last] + np.where(is_run & (fine.lower == fine.upper)[last], half_step, 0)
        return cls(column, len(first), lower, upper, cell)

    @property
    def n_cells(self) -> int:
        """All cells, the one for missing included."""
        return self.n_values + self.column.missing

    def index(self, values: pd.Series) -> np.ndarray:
        """The cell of each value: int64 of shape (n,).

        What is no value of the column counts as missing or, where that may not be, as the pool or the first cell.
        """
        if self.column.is_number:
            fine = NumberCells.of(self.column).index(values.to_numpy(dtype="float64", na_value=np.nan))
            cell = np.where(fine < 0, -1, self.fine_to_cell[fine])
        else:
            names = vocabulary_of(self.column)
            text = (values.astype("Int8") if self.column.kind == "binary" else values).astype("string")
            cell = pd.Index(names, dtype=object).get_indexer(text.astype(object))
            if POOLED in names:
                cell[(cell < 0) & text.notna().to_numpy()] = names.index(POOLED)
        return np.where(cell < 0, self.n_values if self.column.missing else 0, cell).astype(np.int64)

    def codec(self, shares: np.ndarray) -> NumberCodec | CategoryCodec:
        """The codec whose levels are the cells, by their shares: float64 of shape (n_cells,)."""
        mass = np.maximum(shares, LEAST_SHARE)
        mass = mass / mass.sum()
        if not self.column.is_number:
            names = vocabulary_of(self.column)
            fallback = names.index(POOLED) if POOLED in names else int(mass[: len(names)].argmax())
            return CategoryCodec(names=names, shares=mass, fallback=fallback, may_be_missing=self.column.missing)
        values = mass[: self.n_values]
        ranks = np.concatenate([[0.0], np.cumsum(values) / values.sum()])
        ranks[-1] = 1.0
        fine = NumberCells.of(self.column)
        return NumberCodec(
            decimals=fine.decimals,
            lowest=float(fine.lower[0]),
            highest=float(fine.upper[-1]),
            lower=self.lower,
            upper=self.upper,
            segment_ranks=ranks,
            level_starts=np.arange(self.n_values + 1, dtype=np.int64),
            missing_share=float(mass[-1]) if self.column.missing else 0.0,
        )


@dataclass(frozen=True, eq=False)
class Block:
    """Columns that are reported together, and how.

    Attributes
    ----------
    columns
        Their places in the schema.
    randomiser
        `laplace` for one column of numbers at most.
    """

    columns: tuple[int, ...]
    cells: tuple[ColumnCells, ...]
    randomiser: Randomiser

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells of each column."""
        return tuple(cells.n_cells for cells in self.cells)

    @property
    def n_cells(self) -> int:
        """Cells of the block: all combinations."""
        return math.prod(self.shape)

    def index(self, rows: OneRowEach) -> np.ndarray:
        """The cell of each patient: int64 of shape (n_patients,)."""
        return np.ravel_multi_index([cells.index(rows[cells.column.name]) for cells in self.cells], self.shape)

    def reports(self, cell: np.ndarray, epsilon: float) -> np.ndarray:
        """What patients of these cells send, each epsilon-private by itself: int64 of shape (n,)."""
        if self.randomiser == "response":
            return randomised_response(cell, self.n_cells, epsilon)
        cells = self.cells[0]
        if not cells.column.missing:
            return _with_laplace(cell, cells.n_values, epsilon)
        # Half for whether there is a value, half for which: who has none, or says so, sends the middle one's noise.
        is_missing = cell == cells.n_values
        value = _with_laplace(np.where(is_missing, cells.n_values // 2, cell), cells.n_values, epsilon / 2)
        says_missing = randomised_response(is_missing.astype(np.int64), 2, epsilon / 2) == 1
        return np.where(says_missing, cells.n_values, value)

    def channel(self, epsilon: float) -> np.ndarray:
        """Chance of each report (row) from each cell (column): float64 of shape (n_cells, n_cells)."""
        if self.randomiser == "response":
            return _response_channel(self.n_cells, epsilon)
        cells = self.cells[0]
        k = cells.n_values
        if not cells.column.missing:
            return _laplace_channel(k, epsilon)
        value, presence = _laplace_channel(k, epsilon / 2), _response_channel(2, epsilon / 2)
        channel = np.empty((k + 1, k + 1))
        channel[:k, :k] = presence[0, 0] * value
        channel[:k, k] = presence[0, 1] * value[:, k // 2]
        channel[k, :k], channel[k, k] = presence[1, 0], presence[1, 1]
        return channel

    def shares(self, reports: np.ndarray, epsilon: float) -> np.ndarray:
        """The block's distribution, as far as reports tell: their counts, of shape (n_cells,), to float64 alike.

        Responses: the nearest shares to the unbiased ones. Laplace noise, whose inverse would blow up, by likelihood.
        """
        n = max(1, int(reports.sum()))
        if self.randomiser == "response":
            return onto_simplex(debiased(reports, epsilon), n) / n
        return _most_likely(self.channel(epsilon), reports / n)


def debiased(reports: np.ndarray, epsilon: float) -> np.ndarray:
    """Counts before randomised response, from those of the reports: unbiased, so some may be negative."""
    k = len(reports)
    if k < 2:
        return reports.astype(np.float64)
    other = 1 / (math.exp(epsilon) + k - 1)
    return (reports - reports.sum() * other) / (other * math.expm1(epsilon))


def blocks_of(
    schema: Schema, together: tuple[tuple[str, ...], ...], numbers: Randomiser, epsilon: float | None
) -> tuple[Block, ...]:
    """The blocks of a public schema: those that are named, then each other column alone, in the schema's order.

    `epsilon` is that of each report, by which the cells of numbers are chosen; without it they are as many as may be.

    Raises
    ------
    OptionError
        A block names a column that is not there, or one that another block names, or has too many combinations.
    """
    place = {name: k for k, name in enumerate(schema.names)}
    named = [name for block in together for name in block]
    for name in named:
        if name not in place:
            raise OptionError(f"blocks: there is no column {name}; leave it out of its block")
        if named.count(name) > 1:
            raise OptionError(f"blocks: column {name} is named twice; a column reports once")
    alone = [(name,) for name in schema.names if name not in named]
    blocks = []
    for names in [*(block for block in together if block), *alone]:
        columns = [schema[name] for name in names]
        is_laplace = len(columns) == 1 and columns[0].is_number and numbers == "laplace" and epsilon is not None
        most = JOINT_CELLS if len(columns) > 1 else LAPLACE_CELLS if is_laplace else _cells_for(epsilon)
        block = Block(
            columns=tuple(place[name] for name in names),
            cells=tuple(ColumnCells.of(column, most) for column in columns),
            randomiser="laplace" if is_laplace else "response",
        )
        if len(columns) > 1 and block.n_cells > MOST_JOINT_CELLS:
            raise OptionError(
                f"blocks: {', '.join(names)} have {block.n_cells:,} combinations, "
                f"more than {MOST_JOINT_CELLS:,}; split the block"
            )
        blocks.append(block)
    return tuple(blocks)


def _cells_for(epsilon: float | None) -> int:
    if epsilon is None:
        return MOST_CELLS
    return int(np.clip(10 * math.exp(min(epsilon, 10) / 2), FEWEST_CELLS, MOST_CELLS))


def _with_laplace(cell: np.ndarray, n_values: int, epsilon: float) -> np.ndarray:
    """Cells with discrete Laplace noise whose scale is their whole range, cut at the bounds."""
    if n_values < 2:
        return np.zeros(len(cell), dtype=np.int64)
    return np.clip(noisy_numbers(cell, (n_values - 1) / epsilon), 0, n_values - 1)


def _laplace_channel(n_values: int, epsilon: float) -> np.ndarray:
    if n_values < 2:
        return np.ones((1, 1))
    cell = np.arange(n_values)
    decay = math.exp(-epsilon / (n_values - 1))
    channel = (1 - decay) / (1 + decay) * decay ** np.abs(cell[:, None] - cell[None, :])
    channel[0], channel[-1] = decay**cell / (1 + decay), decay ** cell[::-1] / (1 + decay)
    return channel


def _response_channel(n_cells: int, epsilon: float) -> np.ndarray:
    other = 1 / (math.exp(epsilon) + n_cells - 1)
    return np.full((n_cells, n_cells), other) + np.eye(n_cells) * other * math.expm1(epsilon)


def _most_likely(channel: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Shares under which the reports' shares are likely: expectation maximisation from even shares."""
    shares = np.full(channel.shape[1], 1 / channel.shape[1])
    for _ in range(PASSES):
        shares = shares * (channel.T @ (seen / np.maximum(channel @ shares, 1e-300)))
        shares /= shares.sum()
    return shares
