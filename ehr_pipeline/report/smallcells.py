"""Small cells: no number on the page or in the JSON speaks of fewer than `SMALL_CELL` real patients.

What belongs here: hiding counts, and counts that give a hidden one away. Hiding a value that is known
already to be hidden changes nothing, so everything may be passed through here again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ehr_pipeline.evaluate.result import ColumnComparison, Evaluation, Subgroup
from ehr_pipeline.record import SMALL_CELL, Schema
from ehr_pipeline.report.inputs import FlowStep

HIDDEN = f"< {SMALL_CELL}"
ROUNDED_TO = 10
MEASURED = ("distance", "distance_floor", "divergence", "divergence_floor")
"""Numbers of a column of levels from which a hidden count can be worked out."""


def is_small(n: float | None) -> bool:
    """Whether `n` patients are some, but too few to be spoken of."""
    return n is not None and 0 < n < SMALL_CELL


def hide_small(counts: Sequence[int | None]) -> list[int | None]:
    """Counts of the cells of one table of known total: small ones hidden, and one more where they are few together.

    The one more is the smallest that is not zero, since a zero would leave the sum of the hidden as it is; where
    there is none, the whole table is of few and all of it is hidden.

    >>> hide_small([50, 3, 40, 20])
    [50, None, 40, None]
    >>> hide_small([50, 3, 4, 20])
    [50, None, None, None]
    >>> hide_small([50, 3, 9, 20])
    [50, None, None, 20]
    """
    hidden = [None if is_small(n) else n for n in counts]
    if None in counts or not is_small(sum(n for n in counts if is_small(n))):
        return hidden
    seen = [(n, place) for place, n in enumerate(hidden) if n]
    if not seen:
        return [None] * len(hidden)
    hidden[min(seen)[1]] = None
    return hidden


def hide_share(share: float | None, n: int | None) -> float | None:
    """A share of `n` patients, or None where it speaks of too few (or of all but too few)."""
    if share is None or not n:
        return share
    return None if is_small(round(share * n)) or is_small(round((1 - share) * n)) else share


def shown_flow(flow: Sequence[FlowStep]) -> list[tuple[str, int, int | None, bool]]:
    """Rows of the flow: label, patients left, patients left out at this step, whether counts are rounded.

    Where a step leaves out some, but fewer than `SMALL_CELL`, that number is None, and every count but the
    last is rounded, since the difference of two exact counts would give it away.
    """
    left_out = [before.n_left - after.n_left for before, after in pairwise(flow)]
    is_rounded = any(is_small(n) for n in left_out)

    def shown(n: int) -> int:
        return round(n / ROUNDED_TO) * ROUNDED_TO if is_rounded else n

    rows: list[tuple[str, int, int | None, bool]] = []
    for place, step in enumerate(flow):
        is_last = place == len(flow) - 1
        out = left_out[place - 1] if place else 0
        rows.append(
            (
                step.label,
                step.n_left if is_last else shown(step.n_left),
                None if is_small(out) else shown(out),
                is_rounded and not is_last,
            )
        )
    return rows


def protect(evaluation: Evaluation, schema: Schema) -> Evaluation:
    """The evaluation with every small cell of real patients hidden, were one left by `evaluate/`."""
    columns = [_column(column, evaluation.n_rows) for column in evaluation.columns]
    hidden = {label for column in columns for label in _hidden_labels(column, schema)}
    return evaluation.model_copy(
        update={
            "columns": columns,
            "subgroups": [_subgroup(group) for group in evaluation.subgroups],
            "epidemiology": [
                row.model_copy(update={"real": None, "difference": None}) if row.label in hidden else row
                for row in evaluation.epidemiology
            ],
        }
    )


def _hidden_labels(column: ColumnComparison, schema: Schema) -> set[str]:
    """Labels in the epidemiology table of the levels whose counts are hidden, so that no share gives them away."""
    title = (schema[column.name].title if column.name in schema else None) or column.name
    counts = list(zip(column.levels or [], column.train, strict=False))
    shown = {level for level, n in counts if n is not None}  # a level may be named like the pooled rest, `other`
    return {f"{title}: {level}" for level, n in counts if n is None and level not in shown}


def _column(column: ColumnComparison, n_rows: dict[str, int]) -> ColumnComparison:
    train, holdout = hide_small(column.train), hide_small(column.holdout)
    gives_away = column.levels is not None and None in train + holdout
    return column.model_copy(
        update={
            **(dict.fromkeys(MEASURED) if gives_away else {}),
            "train": train,
            "holdout": holdout,
            "missing_share": {
                table: share if table == "synthetic" else hide_share(share, n_rows.get(table))
                for table, share in column.missing_share.items()
            },
        }
    )


def _subgroup(group: Subgroup) -> Subgroup:
    if group.n_real is not None and group.n_real >= SMALL_CELL:
        return group
    return group.model_copy(
        update={"n_real": None, "share_ratio": None, "scores": dict.fromkeys(group.scores)},
    )
