"""Counting: how many rows of a patient table each bound rule read, how many break it, and which rows break a HARD one.

What belongs here: the DuckDB relation `rows` (columns c0, c1, ...) over a frame or a Parquet file, and the counts
from it. What a count means (passed, demoted, failed) is in `judge.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from ehr_pipeline.record import Schema
from ehr_pipeline.sanity.binding import BoundRule
from ehr_pipeline.sanity.rules import Rule


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """Counts of one rule on one set of columns. `n_checked` 0 means not applicable, never passed."""

    rule: Rule
    columns: tuple[str, ...]
    key: str
    n_checked: int
    n_failed: int
    could_run: bool = True

    @property
    def is_applicable(self) -> bool:
        """Whether there was anything to check; what could not run is never excused."""
        return self.n_checked > 0 or not self.could_run


@dataclass(frozen=True, kw_only=True)
class RuleResults:
    """Counts of every bound rule, in its order.

    Attributes
    ----------
    breaks_hard
        bool of shape (n_rows,): rows that break a HARD rule; all of them when a HARD rule could not run.
    """

    results: tuple[RuleResult, ...]
    breaks_hard: np.ndarray

    @property
    def could_not_run(self) -> list[str]:
        """Keys of the rules that raised."""
        return [result.key for result in self.results if not result.could_run]


def run_table_rules(frame: pd.DataFrame, schema: Schema, bound: Sequence[BoundRule]) -> RuleResults:
    """Count every bound rule over a frame that has the schema's columns.

    A rule that raises (broken SQL, an unknown column, a wrong type) has `could_run=False` and fails closed.
    """
    with _frame_rows(frame, schema) as connection:
        results = count(connection, bound)
        breaks_hard = _mark(connection, bound, results, len(frame))
    return RuleResults(results=results, breaks_hard=breaks_hard)


def run_file_rules(path: Path, schema: Schema, bound: Sequence[BoundRule]) -> tuple[RuleResult, ...]:
    """Count every bound rule over a Parquet file that has the schema's columns in order; it is streamed."""
    with _file_rows(path, schema) as connection:
        return count(connection, bound)


@contextlib.contextmanager
def _frame_rows(frame: pd.DataFrame, schema: Schema) -> Iterator[duckdb.DuckDBPyConnection]:
    """A locked connection whose `rows` is the frame, columns by position; NaN is null."""
    table = pa.Table.from_pandas(frame[schema.names], preserve_index=False)
    names = [f"c{place}" for place in range(len(schema.columns))]
    with duckdb.connect() as connection:
        connection.register("rows", table.rename_columns(names))
        _lock(connection)
        yield connection


@contextlib.contextmanager
def _file_rows(path: Path, schema: Schema) -> Iterator[duckdb.DuckDBPyConnection]:
    """A locked connection whose `rows` streams the file, and that may read nothing else."""
    names = ", ".join(f"c{place}" for place in range(len(schema.columns)))
    text = str(path.resolve()).replace("'", "''")
    with duckdb.connect() as connection:
        connection.execute(f"SET allowed_paths = ['{text}']")
        _lock(connection)
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet('{text}') AS file({names})")
        yield connection


def _lock(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")


def count(connection: duckdb.DuckDBPyConnection, bound: Sequence[BoundRule]) -> tuple[RuleResult, ...]:
    """Counts of each rule over `rows`: all in one scan, or one by one to find the rule that cannot run."""
    applicable = [one for one in bound if one.columns]
    try:
        counts = dict(zip((one.key for one in applicable), _counts(connection, applicable), strict=True))
    except duckdb.Error:
        counts = {one.key: _counts_or_none(connection, one) for one in applicable}
    return tuple(_result(one, counts.get(one.key, (0, 0))) for one in bound)


def _result(one: BoundRule, counts: tuple[int, int] | None) -> RuleResult:
    n_checked, n_failed = counts or (0, 0)
    return RuleResult(
        rule=one.rule,
        columns=one.columns,
        key=one.key,
        n_checked=n_checked,
        n_failed=n_failed,
        could_run=counts is not None,
    )


def _counts(connection: duckdb.DuckDBPyConnection, bound: Sequence[BoundRule]) -> list[tuple[int, int]]:
    if not bound:
        return []
    parts, parameters = [], []
    for one in bound:
        if one.rule.is_of_whole_table:
            present = f"count(*) FILTER (WHERE {one.checked})"
            parts += [
                f"least(1, {present})",
                f"CASE WHEN {present} > 0 AND ({one.violates}) IS NOT FALSE THEN 1 ELSE 0 END",
            ]
        else:
            parts += [f"count(*) FILTER (WHERE {one.checked})", f"count(*) FILTER (WHERE {breaks(one)})"]
        parameters += one.parameters
    row = connection.execute(f"SELECT {', '.join(parts)} FROM rows", parameters).fetchone()
    assert row is not None  # an aggregate always has one row
    return list(zip(row[::2], row[1::2], strict=True))


def _counts_or_none(connection: duckdb.DuckDBPyConnection, one: BoundRule) -> tuple[int, int] | None:
    try:
        return _counts(connection, [one])[0]
    except duckdb.Error:  # its text may quote a value: nothing of it is kept
        return None


def breaks(one: BoundRule) -> str:
    """SQL predicate of the rows that break a rule; what cannot be decided (NULL) does."""
    return f"({one.checked}) AND ({one.violates}) IS NOT FALSE"


def _mark(
    connection: duckdb.DuckDBPyConnection, bound: Sequence[BoundRule], results: Sequence[RuleResult], n_rows: int
) -> np.ndarray:
    """Which rows break a HARD rule, in the order of the frame."""
    hard = [one for one in bound if one.rule.is_hard and one.columns and not one.rule.is_of_whole_table]
    if any(result.rule.is_hard and not result.could_run for result in results):
        return np.ones(n_rows, dtype=bool)
    if not hard:
        return np.zeros(n_rows, dtype=bool)
    parameters = [value for one in hard for value in one.parameters]
    marks = connection.execute(
        f"SELECT {' OR '.join(f'({breaks(one)})' for one in hard)} AS broken FROM rows", parameters
    )
    return marks.fetchnumpy()["broken"].astype(bool)
