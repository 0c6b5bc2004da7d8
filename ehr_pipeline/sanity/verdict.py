"""Checks: a table's rules and columns, validated and gathered into the same few verdicts for every table.

What belongs here: `check_table`. Every name of CHECK_NAMES is always in the answer, and what could not run is a
failure that says so. What does not: counting (`run.py`), judging (`judge.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ehr_pipeline import validation
from ehr_pipeline.record import Schema, conform
from ehr_pipeline.sanity.expectations import column_expectations, key_expectations, rule_expectations
from ehr_pipeline.sanity.judge import JudgedRule
from ehr_pipeline.sanity.rules import CHECK_NAMES, Check

BATCH_ROWS = 250_000
"""Rows validated at a time."""


@dataclass(frozen=True, kw_only=True)
class TableCheck:
    """One verdict on a table.

    Attributes
    ----------
    passed
        Nothing failed. A check that had nothing to say is passed for the run, with `is_applicable` False and a
        description that says so.
    blocking
        Whether the failure stops what comes after; False for a warning (and for a check that passed).
    counts
        Numbers of rules and expectations, never of patients.
    """

    name: Check
    passed: bool
    blocking: bool
    is_applicable: bool
    counts: dict[str, int]
    description: str

    def as_dict(self) -> dict[str, Any]:
        """The check as plain JSON."""
        return asdict(self)


def check_table(
    table: pd.DataFrame | Path,
    schema: Schema,
    judged: Sequence[JudgedRule],
    *,
    n_expected: int | None = None,
    key: Sequence[str] = (),
) -> list[TableCheck]:
    """Validate a table and its judged rules; one check per name of CHECK_NAMES, in that order.

    Parameters
    ----------
    table
        A frame, or a Parquet file that is read in batches.
    n_expected
        Rows the table must have; at least one when not given.
    key
        Columns of the table that together name each row once.
    """
    try:
        verdicts = _validate(table, schema, judged, n_expected, key)
    except Exception as error:  # noqa: BLE001  whatever goes wrong in validating must close the gate, not pass by
        return [_could_not_validate(name, type(error).__name__) for name in CHECK_NAMES]
    return [_gather(name, judged, verdicts) for name in CHECK_NAMES]


def _validate(
    table: pd.DataFrame | Path, schema: Schema, judged: Sequence[JudgedRule], n_expected: int | None, key: Sequence[str]
) -> list[validation.Verdict]:
    n_rows = len(table) if isinstance(table, pd.DataFrame) else pq.read_metadata(table).num_rows
    verdicts = _validate_frame(*rule_expectations(judged, n_rows, n_expected))
    expected = column_expectations(schema)
    verdicts += _merge(_validate_frame(conform(batch, schema), expected) for batch in _batches(table, schema.names))
    if key:
        columns = table if isinstance(table, pd.DataFrame) else pd.read_parquet(table, columns=list(key))
        verdicts += _validate_frame(columns[list(key)], key_expectations(key))
    return verdicts


def _validate_frame(frame: pd.DataFrame, expectations: Sequence[validation.Expectation]) -> list[validation.Verdict]:
    verdicts = validation.validate(frame, expectations)
    if len(verdicts) != len(expectations):
        raise ValueError("an expectation has no verdict")
    return verdicts


def _batches(table: pd.DataFrame | Path, names: list[str]) -> Iterator[pd.DataFrame]:
    if isinstance(table, pd.DataFrame):
        for start in range(0, max(len(table), 1), BATCH_ROWS):
            yield table.iloc[start : start + BATCH_ROWS]
        return
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            yield batch.to_pandas()


def _merge(batches: Iterable[list[validation.Verdict]]) -> list[validation.Verdict]:
    """One verdict per expectation: it holds where it holds in every batch."""
    merged: list[validation.Verdict] = []
    for verdicts in batches:
        merged = [_both(one, other) for one, other in zip(merged, verdicts, strict=True)] if merged else verdicts
    return merged


def _both(one: validation.Verdict, other: validation.Verdict) -> validation.Verdict:
    return replace(
        one,
        passed=one.passed and other.passed,
        could_run=one.could_run and other.could_run,
        n_checked=(one.n_checked or 0) + (other.n_checked or 0),
        n_failed=(one.n_failed or 0) + (other.n_failed or 0),
    )


def _gather(name: Check, judged: Sequence[JudgedRule], verdicts: Sequence[validation.Verdict]) -> TableCheck:
    """The verdict on one domain: its rules, and what Great Expectations found of them and of the columns."""
    rules = [one for one in judged if one.result.rule.check == name]
    mine = [verdict for verdict in verdicts if verdict.check == name]
    stopping = [one.result.key for one in rules if one.stops]
    warning = [one.result.key for one in rules if one.warns]
    broken = [verdict for verdict in mine if verdict.blocks]
    not_run = [one.result.key for one in rules if one.verdict == "could_not_run"]
    not_run += [f"{verdict.expectation} on {verdict.column}" for verdict in mine if not verdict.could_run]
    is_applicable = any(one.is_applicable for one in rules) or bool(mine)
    blocking = bool(stopping or broken)
    counts = {
        "rules": sum(one.is_applicable for one in rules),
        "rules_not_applicable": sum(not one.is_applicable for one in rules),
        "rules_failed": len(stopping),
        "rules_warned": len(warning),
        "expectations": len(mine),
        "expectations_failed": sum(not verdict.passed for verdict in mine),
        "could_not_run": len(not_run),
    }
    passed = not blocking and not warning and all(verdict.passed for verdict in mine)
    columns = [f"{verdict.expectation} on {verdict.column}" for verdict in broken]
    return TableCheck(
        name=name,
        passed=passed,
        blocking=blocking,
        is_applicable=is_applicable,
        counts=counts,
        description=_describe(counts, is_applicable, not_run, stopping or columns, warning),
    )


def _describe(
    counts: dict[str, int], is_applicable: bool, not_run: list[str], stopping: list[str], warning: list[str]
) -> str:
    if not is_applicable:
        return "not applicable: the table has no column for any rule of this check"
    if not_run:
        return f"could not run, so it counts as failed: {_some(not_run)}"
    if stopping:
        return f"failed: {_some(stopping)}"
    if warning:
        return f"look at: {_some(warning)}"
    return f"{counts['rules']} rules and {counts['expectations']} expectations hold"


def _some(names: list[str], n_shown: int = 5) -> str:
    rest = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(names[:n_shown]) + rest


def _could_not_validate(name: Check, error: str) -> TableCheck:
    return TableCheck(
        name=name,
        passed=False,
        blocking=True,
        is_applicable=True,
        counts={"could_not_run": 1},
        description=f"could not run, so it counts as failed: validation raised {error}",
    )
