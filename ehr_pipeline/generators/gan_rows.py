"""How a row lies as one vector of numbers, which a generator can draw and a critic can read.

What belongs here: the layout of that vector, real rows as vectors, vectors as levels of the codec, and which real
rows lend a condition. What does not: networks and their training (`tabular_gan.py`), columns (`codec.py`).

A column's piece of the vector, in the schema's order:

- a number: its Gaussianised rank (0 where missing); if it has gaps, one-hot of (present, missing);
- a category: one-hot of its levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtri
from torch import Tensor

from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.number_codec import NumberCodec

FARTHEST_Z = 3.4808
"""Where `NumberCodec.gaussian` ends: the middle of the outermost half per mille."""
MOST_BLOCK_ROWS, MOST_ENTRIES = 8192, 2**22
"""Rows, and entries of their vectors, that are worked on at a time."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One column's place in the vector: a rank (`has_rank`), then the one-hot of `n_levels` (none if 0)."""

    column: int
    start: int
    has_rank: bool
    n_levels: int

    @property
    def width(self) -> int:
        """Entries of the vector."""
        return self.has_rank + self.n_levels


@dataclass(frozen=True, kw_only=True)
class RowLayout:
    """The pieces of all columns, in order."""

    codec: TableCodec
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, codec: TableCodec) -> Self:
        """The layout of the codec's columns."""
        pieces, start = [], 0
        for k, column in enumerate(codec.columns):
            has_rank = isinstance(column, NumberCodec) and column.n_number_levels > 0
            n_levels = 2 * column.may_be_missing if has_rank else column.n_levels
            pieces.append(Piece(column=k, start=start, has_rank=has_rank, n_levels=n_levels))
            start += pieces[-1].width
        return cls(codec=codec, pieces=tuple(pieces))

    @property
    def width(self) -> int:
        """Entries of the vector."""
        return self.pieces[-1].start + self.pieces[-1].width

    @property
    def block_rows(self) -> int:
        """Vectors that are worked on at a time, so that a column of thousands of levels stays within memory."""
        return int(np.clip(MOST_ENTRIES // self.width, 64, MOST_BLOCK_ROWS))

    def block_sizes(self, n: int) -> list[int]:
        """`n` rows in blocks of at most `block_rows`."""
        return [min(self.block_rows, n - start) for start in range(0, n, self.block_rows)]

    @cached_property
    def ranked(self) -> list[Piece]:
        """Columns of numbers that have any."""
        return [piece for piece in self.pieces if piece.has_rank]

    @cached_property
    def choices(self) -> list[Piece]:
        """Columns with a one-hot."""
        return [piece for piece in self.pieces if piece.n_levels]

    @cached_property
    def column_of_entry(self) -> np.ndarray:
        """The column of each entry of the vector: int64 of shape (width,)."""
        return np.repeat([piece.column for piece in self.pieces], [piece.width for piece in self.pieces])

    def shares(self, piece: Piece) -> np.ndarray:
        """Share of training rows in each level of a one-hot: float64 of shape (n_levels,)."""
        shares = self.codec.columns[piece.column].level_shares
        return np.array([shares[:-1].sum(), shares[-1]]) if piece.has_rank else shares

    def encoded(self, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """A table as choices, int32 of shape (n, len(choices)), and ranks, float32 of shape (n, len(ranked))."""
        names = self.codec.schema.names
        choices = np.empty((len(table), len(self.choices)), dtype=np.int32)
        ranks = np.empty((len(table), len(self.ranked)), dtype=np.float32)
        n_choices = n_ranks = 0
        for piece in self.pieces:
            values, column = table[names[piece.column]], self.codec.columns[piece.column]
            if piece.has_rank:
                ranks[:, n_ranks] = column.gaussian(self.codec.column_numbers(piece.column, values))
                n_ranks += 1
            if piece.n_levels:
                levels = self.codec.column_levels(piece.column, values)
                choices[:, n_choices] = levels >= column.n_number_levels if piece.has_rank else levels
                n_choices += 1
        return choices, ranks

    def vectors(self, choices: Tensor, ranks: Tensor) -> Tensor:
        """What `encoded` gives, as float32 of shape (n, width)."""
        rows = ranks.new_zeros(len(ranks), self.width)
        rows[:, [piece.start for piece in self.ranked]] = ranks
        starts = [piece.start + piece.has_rank for piece in self.choices]
        return rows.scatter_(1, choices.long() + torch.tensor(starts, device=rows.device, dtype=torch.long), 1.0)

    def vectors_apart(self, choices: Tensor, ranks: Tensor) -> Tensor:
        """What `vectors` gives, written so that `torch.func` can tell the rows' gradients apart."""
        parts, n_choices, n_ranks = [], 0, 0
        for piece in self.pieces:
            if piece.has_rank:
                parts.append(ranks[:, n_ranks, None])
                n_ranks += 1
            if piece.n_levels:
                levels = torch.arange(piece.n_levels, device=ranks.device)
                parts.append((choices[:, n_choices, None] == levels).to(ranks.dtype))
                n_choices += 1
        return torch.cat(parts, dim=1)

    def example(self, column: int, table: pd.DataFrame) -> tuple[Tensor, Tensor]:
        """What is given, (1, d), and a row that has it, (1, width), for one column of `table`, a frame of one row."""
        piece, codec = self.pieces[column], self.codec.columns[column]
        values = table[self.codec.schema.names[column]]
        given, row = torch.zeros(1, len(self.pieces)), torch.zeros(1, self.width)
        given[0, column] = 1.0
        if piece.has_rank:
            row[0, piece.start] = float(codec.gaussian(self.codec.column_numbers(column, values))[0])
        if piece.n_levels:
            level = int(self.codec.column_levels(column, values)[0])
            row[0, piece.start + piece.has_rank + (level >= codec.n_number_levels if piece.has_rank else level)] = 1.0
        return given, row

    def levels(self, rows: np.ndarray, shares_below: Sequence[np.ndarray]) -> np.ndarray:
        """Levels of the codec, int64 of shape (n, d).

        Parameters
        ----------
        rows
            Drawn vectors, of shape (n, width); of them the one-hots are read.
        shares_below
            Where each number lies among the present values of its column, in [0, 1]: one array of
            shape (n,) per column of `ranked`.
        """
        levels = np.zeros((len(rows), len(self.pieces)), dtype=np.int64)
        for piece in self.choices:
            first = piece.start + piece.has_rank
            levels[:, piece.column] = rows[:, first : first + piece.n_levels].argmax(axis=1)
        for k, piece in enumerate(self.ranked):
            column = self.codec.columns[piece.column]
            edges = column.segment_ranks[column.level_starts]
            number = np.searchsorted(edges[1:-1], shares_below[k], side="right")
            is_missing = levels[:, piece.column] > 0
            levels[:, piece.column] = np.where(is_missing, column.n_number_levels, number)
        return levels

    def steps(self, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """A number's staircase in units of the Gaussianised rank, float64 of shape (n_segments,) both.

        Returns
        -------
        starts, middles
            Where each segment starts, and the middle of a heavy value; NaN for an interval.
        """
        column = self.codec.columns[piece.column]
        below, above = column.segment_ranks[:-1], column.segment_ranks[1:]
        middles = ndtri(np.clip((below + above) / 2, 2.5e-4, 1 - 2.5e-4))
        return ndtri(below), np.where(column.lower == column.upper, middles, np.nan)


class ConditionSource:
    """Draws training rows, and for some of them the one column that is given: training by sampling.

    Xu et al. 2019 (https://arxiv.org/abs/1907.00503, section 4.3): the column is drawn evenly, its level by the
    logarithm of its frequency, so that rare levels are seen often; then a row that has it.

    Memory: one int32 per row and column with levels.
    """

    def __init__(self, layout: RowLayout, choices: np.ndarray, device: torch.device) -> None:
        self.n_rows, self.n_columns = len(choices), len(layout.pieces)
        choice_of_column = np.full(self.n_columns, -1)
        choice_of_column[[piece.column for piece in layout.choices]] = np.arange(len(layout.choices))
        counts = [np.bincount(choices[:, k], minlength=piece.n_levels) for k, piece in enumerate(layout.choices)]
        # One line for all columns: column k's levels lie in [k, k + 1), as wide as the logarithm of their counts.
        reached = [np.cumsum(np.log1p(count)) for count in counts]
        lines = [k + line / line[-1] for k, line in enumerate(reached)]
        starts = [np.cumsum(count) - count for count in counts]
        order = [np.argsort(choices[:, k], kind="stable").astype(np.int32) for k in range(len(counts))]

        def tensor(arrays: list[np.ndarray], dtype: type) -> Tensor:
            return torch.from_numpy(np.concatenate([np.empty(0, dtype), *arrays], dtype=dtype)).to(device)

        self.choice_of_column = torch.from_numpy(choice_of_column).to(device)
        self.line, self.start = tensor(lines, np.float64), tensor(starts, np.int64)
        self.count, self.order = tensor(counts, np.int64), tensor(order, np.int32)

    def draw(self, n: int, n_conditioned: int) -> tuple[Tensor, Tensor]:
        """Rows, int64 of shape (n,), and what is given of each, float32 of shape (n, d): something in the last ones."""
        device = self.line.device
        rows = torch.randint(self.n_rows, (n,), device=device)
        given = torch.zeros(n, self.n_columns, device=device)
        if not n_conditioned:
            return rows, given
        column = torch.randint(self.n_columns, (n_conditioned,), device=device)
        given[n - n_conditioned :].scatter_(1, column[:, None], 1.0)
        choice = self.choice_of_column[column]
        place = torch.rand(n_conditioned, dtype=torch.float64, device=device)
        if len(self.line):
            level = torch.searchsorted(self.line, choice.clamp_min(0) + place, right=True).clamp_max(len(self.line) - 1)
            nth = (torch.rand_like(place) * self.count[level]).long() + self.start[level]
            with_level = self.order[choice.clamp_min(0) * self.n_rows + nth].long()
            rows[n - n_conditioned :] = torch.where(choice >= 0, with_level, rows[n - n_conditioned :])
        return rows, given
