"""Rejection: drawn rows that break a HARD rule are thrown away until enough are accepted, and all is accounted for.

Rows are put in order first (`order.py`): what can be true by construction is not left to rejection.

What belongs here: the loop over chunks, the growing Parquet file, and the account of what was thrown away. What does
not: drawing (`generators/`), and deciding which rules are HARD here (`judge.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.errors import CheckFailed, OptionError, RejectionCapReached
from ehr_pipeline.progress import Progress, Step, silent
from ehr_pipeline.record import Schema, conform
from ehr_pipeline.sanity.binding import BoundRule
from ehr_pipeline.sanity.moments import Shift, ShiftMeter
from ehr_pipeline.sanity.order import ordered_columns, put_in_order
from ehr_pipeline.sanity.run import RuleResults, run_table_rules

DRAWS_PER_ROW = 20
"""Draws allowed per row asked for, unless the caller says otherwise."""

_ARROW_TYPES = {
    "continuous": pa.float64(),
    "integer": pa.int64(),
    "binary": pa.int8(),
    "categorical": pa.string(),
    "time": pa.timestamp("us"),
    "text": pa.string(),
    "id": pa.int64(),
}


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Rows drawn and rejected, of all rows or of one group of them; the interval is Wilson's, 95 %."""

    n_drawn: int
    n_rejected: int

    @property
    def rate(self) -> float | None:
        """Share of the drawn rows that were rejected."""
        return self.n_rejected / self.n_drawn if self.n_drawn else None

    def as_dict(self) -> dict[str, Any]:
        """Counts, rate and interval as plain JSON."""
        low, high = wilson_interval(self.n_rejected, self.n_drawn)
        return {"n_drawn": self.n_drawn, "n_rejected": self.n_rejected, "rate": self.rate, "low": low, "high": high}


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """What it took to get `n_accepted` rows that break no HARD rule.

    Attributes
    ----------
    ordered
        Drawn rows whose minimum, mean and maximum of an item were put in order before they were judged, by item.
    rules
        Rows that broke each HARD rule, by rule key; a row may break several.
    subgroups
        Rejection by (sensitive column, level); the level None holds rows without a value.
    mended
        Of timelines: events and facts set right before anything was judged, by what was wrong with them.
    """

    n_accepted: int
    total: Rejection
    ordered: dict[str, int]
    rules: dict[str, Rejection]
    subgroups: dict[tuple[str, str | None], Rejection]
    shifts: tuple[Shift, ...]
    mended: dict[str, int] = field(default_factory=dict)

    @property
    def n_drawn(self) -> int:
        """Rows drawn up to the last one accepted."""
        return self.total.n_drawn

    @property
    def rejection_rate(self) -> float:
        """The share rejected of all rows drawn, whatever the rule."""
        return self.total.n_rejected / self.total.n_drawn

    def as_dict(self) -> dict[str, Any]:
        """The account as plain JSON."""
        return {
            "n_drawn": self.n_drawn,
            "n_accepted": self.n_accepted,
            "rejection": self.total.as_dict(),
            "ordered": [{"item": item, "n_drawn": self.n_drawn, "n_ordered": n} for item, n in self.ordered.items()],
            "rules": [{"rule": key, **rejection.as_dict()} for key, rejection in self.rules.items()],
            "subgroups": [
                {"column": column, "level": level, **rejection.as_dict()}
                for (column, level), rejection in self.subgroups.items()
            ],
            "shifts": [shift.as_dict() for shift in self.shifts],
            **({"mended": self.mended} if self.mended else {}),
        }


def draw_accepted(
    chunks: Iterable[pd.DataFrame],
    n: int,
    schema: Schema,
    hard: Sequence[BoundRule],
    path: Path,
    *,
    max_draws: int | None = None,
    progress: Progress = silent,
) -> Accounting:
    """Write exactly `n` rows that break no HARD rule to a Parquet file, holding one chunk at a time.

    Rows after the n-th accepted one are neither written nor counted as drawn.

    Parameters
    ----------
    chunks
        Drawn frames with the schema's columns; may be endless.
    hard
        The rules whose breach rejects a row, bound to `schema`.
    path
        The file to write. Give a temporary path of `storage.atomic_file`: a refusal leaves it half written.
    max_draws
        Rows that may be drawn; DRAWS_PER_ROW per row asked for when not given.

    Raises
    ------
    RejectionCapReached
        `max_draws` rows were drawn before `n` were accepted; the message names the rules that reject most.
    CheckFailed
        A HARD rule could not run, or the chunks ended too early.
    OptionError
        `n` or `max_draws` is too small to mean anything.
    """
    if n < 1:
        raise OptionError(f"rows must be 1 or more, not {n}")
    max_draws = DRAWS_PER_ROW * n if max_draws is None else max_draws
    if max_draws < n:
        raise OptionError(f"the cap on draws ({max_draws:,}) must not be below the rows asked for ({n:,})")
    ledger = Ledger(schema, hard)
    started = time.monotonic()
    with pq.ParquetWriter(path, arrow_schema(schema)) as writer:
        for chunk in chunks:
            if chunk.empty:
                break
            drawn = conform(chunk.iloc[: max_draws - ledger.n_drawn], schema).reset_index(drop=True)
            accepted = ledger.judge(drawn, n - ledger.n_accepted)
            if len(accepted):
                writer.write_table(pa.Table.from_pandas(accepted, schema=writer.schema, preserve_index=False))
            elapsed_s = time.monotonic() - started
            progress(Step(task="accept", done=ledger.n_accepted, total=n, unit="rows", elapsed_s=elapsed_s))
            if ledger.n_accepted == n:
                return ledger.close()
            if ledger.n_drawn >= max_draws:
                raise RejectionCapReached(ledger.refusal(n))
    raise CheckFailed(f"the sampler ended after {ledger.n_drawn:,} rows with {ledger.n_accepted:,} of {n:,} accepted")


class Ledger:
    """Judges chunks, and counts what was drawn and accepted so far."""

    def __init__(self, schema: Schema, hard: Sequence[BoundRule]) -> None:
        self._schema = schema
        self._hard = [one for one in hard if one.columns and not one.rule.is_of_whole_table]
        self._meter = ShiftMeter(schema)
        self._groups = ordered_columns(schema, self._hard)
        self._ordered = np.zeros(len(self._groups), dtype=np.int64)
        self._by_rule = np.zeros(len(self._hard), dtype=np.int64)
        self._by_group: dict[tuple[str, str | None], np.ndarray] = {}
        self.n_drawn = 0
        self.n_accepted = 0

    def judge(self, drawn: pd.DataFrame, n_wanted: int, fixed: Sequence[str] = ()) -> pd.DataFrame:
        """The accepted rows of a chunk, no more than wanted; the chunk is counted up to the last of them.

        A row in which putting in order changed a column of `fixed` is not accepted.
        """
        ordered, is_ordered = put_in_order(drawn, self._schema, self._groups)
        ran = run_table_rules(ordered, self._schema, self._hard)
        if ran.could_not_run:
            raise CheckFailed(
                f"these HARD rules could not run, nothing is accepted: {', '.join(ran.could_not_run[:5])}"
            )
        is_accepted = ~ran.breaks_hard & _unchanged(drawn, ordered, fixed)
        n_used = _rows_used(is_accepted, n_wanted)
        if n_used < len(drawn):
            return self.judge(drawn.iloc[:n_used], n_wanted, fixed)
        accepted = ordered[is_accepted]
        self._meter.add(drawn, accepted)
        self._ordered += np.array([rows.sum() for rows in is_ordered.values()], dtype=np.int64)
        self._count(drawn, ran, is_accepted)
        return accepted

    def _count(self, drawn: pd.DataFrame, ran: RuleResults, is_accepted: np.ndarray) -> None:
        self.n_drawn += len(drawn)
        self.n_accepted += int(is_accepted.sum())
        self._by_rule += np.array([result.n_failed for result in ran.results], dtype=np.int64)
        for column, groups in sensitive_groups(drawn, self._schema).items():
            for level, is_rejected in pd.Series(~is_accepted).groupby(groups, dropna=False):
                key = (column, None if pd.isna(level) else str(level))
                self._by_group[key] = self._by_group.get(key, 0) + np.array([len(is_rejected), is_rejected.sum()])

    def close(self) -> Accounting:
        """The account of all chunks."""
        return Accounting(
            n_accepted=self.n_accepted,
            total=Rejection(n_drawn=self.n_drawn, n_rejected=self.n_drawn - self.n_accepted),
            ordered={item: int(n) for item, n in zip(self._groups, self._ordered, strict=True)},
            rules={
                one.key: Rejection(n_drawn=self.n_drawn, n_rejected=int(n_failed))
                for one, n_failed in zip(self._hard, self._by_rule, strict=True)
            },
            subgroups={
                key: Rejection(n_drawn=int(n_drawn), n_rejected=int(n_rejected))
                for key, (n_drawn, n_rejected) in sorted(self._by_group.items(), key=str)
            },
            shifts=tuple(self._meter.shifts()),
        )

    def refusal(self, n: int, mend: str = "train longer, choose another generator, or raise the cap on draws") -> str:
        """One line: how far it came, and the rules that reject most."""
        worst = sorted(zip(self._by_rule, (one.key for one in self._hard), strict=True), reverse=True)[:3]
        named = ", ".join(f"{key} ({n_failed / self.n_drawn:.1%})" for n_failed, key in worst if n_failed)
        return (
            f"only {self.n_accepted:,} of {n:,} rows were accepted after {self.n_drawn:,} draws; most are rejected by "
            f"{named}: {mend}"
        )


def _unchanged(drawn: pd.DataFrame, ordered: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Rows whose columns `names` are as they were drawn, bool of shape (n_rows,)."""
    before, after = drawn[list(names)], ordered[list(names)]
    return ((before == after).fillna(False) | (before.isna() & after.isna())).all(axis=1).to_numpy(dtype=bool)


def _rows_used(is_accepted: np.ndarray, n_wanted: int) -> int:
    """Rows of a chunk up to the last one wanted, all of them when it has no more than wanted."""
    places = np.flatnonzero(is_accepted)
    return len(is_accepted) if len(places) <= n_wanted else int(places[n_wanted - 1]) + 1


def sensitive_groups(frame: pd.DataFrame, schema: Schema) -> dict[str, pd.Series]:
    """The group of each row in every sensitive column: its level, or one of four equal bands of a number's range."""
    groups = {}
    for column in schema.with_role("sensitive"):
        values = frame[column.name]
        if column.kind in ("categorical", "binary"):
            groups[column.name] = values.astype("str").where(values.notna())
        elif column.is_number and column.minimum is not None and column.maximum is not None:
            edges = np.linspace(column.minimum, column.maximum, 5)
            labels = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
            bands = pd.cut(values.astype("float64"), edges, labels=labels, include_lowest=True)
            groups[column.name] = bands.astype("str").where(bands.notna())
    return groups


def wilson_interval(n_hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion; (0, 1) where nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    z2 = 1.96**2
    centre = (n_hits + z2 / 2) / (n + z2)
    half = 1.96 / (n + z2) * np.sqrt(n_hits * (n - n_hits) / n + z2 / 4)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def arrow_schema(schema: Schema) -> pa.Schema:
    """Types of the file, with the pandas metadata that brings a frame's nullable dtypes back."""
    types = pa.schema([(column.name, _ARROW_TYPES[column.kind]) for column in schema.columns])
    empty = conform(pd.DataFrame(columns=schema.names), schema)
    return pa.Table.from_pandas(empty, schema=types, preserve_index=False).schema
