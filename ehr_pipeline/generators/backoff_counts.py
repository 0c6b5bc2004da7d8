"""Sparse tables of what follows what, each falling back on a coarser one: for codes by the tens of thousands.

What belongs here: counting outcomes in contexts, and drawing them. What does not: what a context or an outcome means.

A cell (context, outcome) is kept if `minimum_patients` patients have it. The mass of a context's other cells is kept as
`OTHER`, for which, as for a context never seen, the next coarser table is asked. The coarsest has no `OTHER`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

OTHER = -1
"""Outcome that stands for all rare ones, and for what no table knows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CountTable:
    """Outcomes by context.

    Attributes
    ----------
    contexts
        int64 of shape (n_contexts,), rising.
    starts
        int64 of shape (n_contexts + 1,): first cell of each context.
    outcomes
        int64 of shape (n_cells,).
    below
        float64 of shape (n_cells + 1,): mass of all cells before each, any unit.
    """

    contexts: np.ndarray
    starts: np.ndarray
    outcomes: np.ndarray
    below: np.ndarray

    @classmethod
    def of(
        cls,
        context: np.ndarray,
        outcome: np.ndarray,
        weight: np.ndarray,
        patient: np.ndarray,
        *,
        minimum_patients: int,
        has_other: bool,
    ) -> Self:
        """Count n observations: int64, int64, float64, int64 of shape (n,); outcomes are 0 or more.

        Memory: about 60 bytes per observation.
        """
        order = np.lexsort((patient, outcome, context))
        context, outcome, weight, patient = context[order], outcome[order], weight[order], patient[order]
        is_new_cell = _differs(context) | _differs(outcome)
        cell = np.cumsum(is_new_cell) - 1
        n_cells = int(cell[-1]) + 1 if len(cell) else 0
        n_patients = np.bincount(cell[is_new_cell | _differs(patient)], minlength=n_cells)
        mass = np.bincount(cell, weights=weight, minlength=n_cells)
        context, outcome = context[is_new_cell], outcome[is_new_cell]
        is_kept = n_patients >= minimum_patients
        if has_other:
            rare = context[~is_kept]
            is_new = _differs(rare)
            rare_mass = np.bincount(np.cumsum(is_new) - 1, weights=mass[~is_kept]) if len(rare) else np.empty(0)
            context = np.concatenate([context[is_kept], rare[is_new]])
            outcome = np.concatenate([outcome[is_kept], np.full(int(is_new.sum()), OTHER)])
            mass = np.concatenate([mass[is_kept], rare_mass])
            order = np.lexsort((outcome, context))
            context, outcome, mass = context[order], outcome[order], mass[order]
        else:
            context, outcome, mass = context[is_kept], outcome[is_kept], mass[is_kept]
        has_mass = mass > 0
        return cls.of_cells(context[has_mass], outcome[has_mass], mass[has_mass])

    @classmethod
    def of_cells(cls, context: np.ndarray, outcome: np.ndarray, mass: np.ndarray) -> Self:
        """Cells sorted by context, as they are."""
        starts, below = np.flatnonzero(_differs(context)), np.concatenate([[0.0], np.cumsum(mass)])
        return cls(contexts=context[starts], starts=np.append(starts, len(context)), outcomes=outcome, below=below)

    def draw(self, context: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An outcome for each context: int64 of shape (n,) to int64 of shape (n,), `OTHER` where none is known."""
        if not len(self.contexts):
            return np.full(len(context), OTHER)
        row = np.minimum(np.searchsorted(self.contexts, context), len(self.contexts) - 1)
        first, end = self.starts[row], self.starts[row + 1]
        lowest, highest = self.below[first], self.below[end]
        point = lowest + rng.random(len(context)) * (highest - lowest)
        cell = np.clip(np.searchsorted(self.below, point, side="right") - 1, first, end - 1)
        return np.where(self.contexts[row] == context, self.outcomes[cell], OTHER)

    def knows(self, context: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        """Which observations lie in a cell of their own: int64 and int64 of shape (n,) to bool of shape (n,)."""
        width = 2 + int(max(outcome.max(initial=0), self.outcomes.max(initial=0)))
        cells = np.repeat(self.contexts, np.diff(self.starts)) * width + self.outcomes + 1
        return np.isin(context * width + outcome + 1, cells)

    def state(self) -> dict[str, np.ndarray]:
        """What safetensors hold of it."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True, eq=False)
class Backoff:
    """Tables of one outcome, from the finest context to the coarsest."""

    tables: tuple[CountTable, ...]

    @classmethod
    def of(
        cls,
        contexts: Sequence[np.ndarray],
        outcome: np.ndarray,
        patient: np.ndarray,
        *,
        weight: np.ndarray | None = None,
        minimum_patients: int,
    ) -> Self:
        """Count n observations in each of their contexts, the finest first: all of shape (n,)."""
        weight = np.ones(len(outcome)) if weight is None else weight
        tables = [
            CountTable.of(
                context,
                outcome,
                weight,
                patient,
                minimum_patients=minimum_patients,
                has_other=k < len(contexts) - 1,
            )
            for k, context in enumerate(contexts)
        ]
        return cls(tables=tuple(tables))

    def draw(self, contexts: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """An outcome for each of n contexts: int64 of shape (n,), `OTHER` where even the coarsest table knows none."""
        outcome = self.tables[0].draw(contexts[0], rng)
        for table, context in zip(self.tables[1:], contexts[1:], strict=True):
            unknown = np.flatnonzero(outcome == OTHER)
            if len(unknown):
                outcome[unknown] = table.draw(context[unknown], rng)
        return outcome

    def state(self) -> dict[str, np.ndarray]:
        """What safetensors hold of it."""
        return {f"{k}.{name}": array for k, table in enumerate(self.tables) for name, array in table.state().items()}

    @classmethod
    def of_state(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Read what `state` gave."""
        names = ("contexts", "starts", "outcomes", "below")
        n_tables = len(arrays) // len(names)
        return cls(tables=tuple(CountTable(**{name: arrays[f"{k}.{name}"] for name in names}) for k in range(n_tables)))


def _differs(values: np.ndarray) -> np.ndarray:
    """Whether each value differs from the one before, the first one always: bool of shape (n,)."""
    return np.concatenate([np.ones(min(1, len(values)), dtype=bool), values[1:] != values[:-1]])
