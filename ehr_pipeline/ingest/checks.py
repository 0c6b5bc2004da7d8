"""What must hold in every table of the warehouse: its columns, its keys, its references, its rows.

What belongs here: counting by SQL, refusing at ingest, and the verdicts for asset checks, which Great
Expectations gives over the counts. What does not: clinical rules (`sanity/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from ehr_pipeline import storage
from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest.reading import plain_error
from ehr_pipeline.ingest.summary import IngestSummary
from ehr_pipeline.mimic.tables import Reference, Table, tables
from ehr_pipeline.validation import Expectation, Severity, validate

CHECKS = ("columns", "keys", "references", "rows")


@dataclass(frozen=True)
class Count:
    """How many of `n_checked` things failed; `fault` says in words what did."""

    fault: str
    n_checked: int
    n_failed: int
    severity: Severity = "critical"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The verdict of one check on one table: counts and names, never a value."""

    check: str
    passed: bool
    could_run: bool
    severity: Severity
    n_checked: int
    n_failed: int
    details: tuple[str, ...]

    @property
    def blocks(self) -> bool:
        """Whether it stops what comes after. What could not run stops it too."""
        return not self.passed and (self.severity == "critical" or not self.could_run)


def count_columns(con: duckdb.DuckDBPyConnection, table: Table) -> list[Count]:
    """Columns that are absent or of another type, empty cells where none may be, numbers that are not finite."""
    schema, name = table.name.split(".")
    present = con.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [schema, name],
    ).fetchall()
    missing = [column.name for column in table.columns if (column.name, column.type) not in present]
    if missing:
        return [Count(f"column {missing[0]} is absent or of another type", len(table.columns), len(missing))]
    tests = {f"{column.name} is empty": f"{column.name} IS NULL" for column in table.columns if column.not_null}
    tests |= {
        f"{column.name} is not a finite number": f"NOT isfinite({column.name})"
        for column in table.columns
        if column.is_float
    }
    filters = "".join(f", count(*) FILTER (WHERE {test})" for test in tests.values())
    n_rows, *failed = con.execute(f"SELECT count(*){filters} FROM {table.name}").fetchone()
    return [Count(fault, n_rows, n_failed) for fault, n_failed in zip(tests, failed, strict=True)]


def count_keys(con: duckdb.DuckDBPyConnection, table: Table) -> list[Count]:
    """Keys that stand in more than one row."""
    if not table.key:
        return []
    key = ", ".join(table.key)
    n_keys, n_repeated = con.execute(
        f"SELECT count(*), count(*) FILTER (WHERE n > 1) FROM (SELECT count(*) AS n FROM {table.name} GROUP BY {key})"
    ).fetchone()
    return [Count(f"{key} (the primary key) is there more than once", n_keys, n_repeated)]


def count_references(con: duckdb.DuckDBPyConnection, table: Table) -> list[Count]:
    """Rows that name a row of another table that isn't there; empty references don't count.

    A reference to a table without rows is not counted: the source doesn't have that table.
    """
    return [_count_reference(con, table, reference) for reference in table.references if _has_rows(con, reference)]


def count_rows(con: duckdb.DuckDBPyConnection, table: Table, n_read: int) -> list[Count]:
    """Rows that the ingest read and that aren't there, or the other way round; a required table has some."""
    (n_rows,) = con.execute(f"SELECT count(*) FROM {table.name}").fetchone()
    counts = [Count(f"of {n_read:,} rows read there are {n_rows:,}", n_rows, abs(n_rows - n_read))]
    if table.required:
        counts.append(Count("it is required and has no rows", n_rows, int(n_rows == 0)))
    return counts


def refuse_table(con: duckdb.DuckDBPyConnection, table: Table, path: Path) -> None:
    """Refuse a file whose table has an empty cell where none may be, or a key twice.

    Raises
    ------
    SourceError
        The first fault, with its count.
    """
    try:
        counts = count_columns(con, table) + count_keys(con, table)
    except duckdb.Error as error:
        raise plain_error(error, str(path)) from None
    for count in counts:
        if count.n_failed:
            raise SourceError(f"{path}: {count.fault}: {count.n_failed:,} of {count.n_checked:,}")


def refuse_references(con: duckdb.DuckDBPyConnection, chosen: Iterable[Table]) -> list[str]:
    """Refuse tables with references to nothing; returns a line for each link that MIMIC-IV itself leaves open.

    Raises
    ------
    SourceError
        The first broken reference, with its count.
    """
    warnings = []
    for table in chosen:
        try:
            counts = count_references(con, table)
        except duckdb.Error as error:
            raise plain_error(error, table.name) from None
        for count in counts:
            line = f"{table.name}: {count.fault}: {count.n_failed:,} of {count.n_checked:,} rows"
            if count.n_failed and count.severity == "critical":
                raise SourceError(f"{line}; every one must be there")
            if count.n_failed:
                warnings.append(line)
    return warnings


def check_tables(data: storage.DataFolder) -> dict[str, tuple[CheckResult, ...]]:
    """Check every table of the warehouse: per table one result for each of `CHECKS`, always.

    Raises
    ------
    NotReady
        Nothing has been ingested.
    """
    from ehr_pipeline.ingest.warehouse import connect

    manifest = storage.read_json(data.ingest_manifest, "run `ehr-pipeline ingest` first")
    summary = IngestSummary.model_validate(manifest["summary"])
    with connect(data) as con:
        counted = {
            (table.name, check): _counts(count, con, table)
            for table in tables().values()
            for check, count in _counters(summary, table).items()
        }
    verdicts = _verdicts(counted)
    return {name: tuple(verdicts[name, check] for check in CHECKS) for name in tables()}


def _counters(summary: IngestSummary, table: Table) -> dict[str, Callable[..., list[Count]]]:
    def rows(con: duckdb.DuckDBPyConnection, table: Table) -> list[Count]:
        return count_rows(con, table, summary.tables[table.name].n_rows)

    return dict(zip(CHECKS, (count_columns, count_keys, count_references, rows), strict=True))


def _counts(count: Callable[..., list[Count]], con: duckdb.DuckDBPyConnection, table: Table) -> list[Count] | None:
    """The counts, or None if they could not be made."""
    try:
        return count(con, table)
    except (duckdb.Error, KeyError):
        return None


def _verdicts(counted: dict[tuple[str, str], list[Count] | None]) -> dict[tuple[str, str], CheckResult]:
    """Great Expectations' verdict on each (table, check): no failure may have been counted.

    A check that could not be counted has no column in the frame, and fails for that.
    """
    failures: dict[str, list[int]] = {}
    expectations = []
    for (table, check), counts in counted.items():
        for severity in ("critical", "warning"):
            column = f"{table} {check} {severity}"
            if counts is not None:
                failures[column] = [sum(count.n_failed for count in counts if count.severity == severity)]
            arguments: dict[str, Any] = {"column": column, "min_value": 0, "max_value": 0}
            expectations.append(
                Expectation(check=column, type="ExpectColumnValuesToBeBetween", arguments=arguments, severity=severity)
            )
    verdicts = {verdict.check: verdict for verdict in validate(pd.DataFrame(failures), expectations)}
    results = {}
    for (table, check), counts in counted.items():
        of_check = [verdicts[f"{table} {check} {severity}"] for severity in ("critical", "warning")]
        failed = [count for count in counts or () if count.n_failed]
        results[table, check] = CheckResult(
            check=check,
            passed=all(verdict.passed for verdict in of_check),
            could_run=all(verdict.could_run for verdict in of_check),
            severity="critical" if not of_check[0].passed else "warning" if not of_check[1].passed else "critical",
            n_checked=sum(count.n_checked for count in counts or ()),
            n_failed=sum(count.n_failed for count in failed),
            details=tuple(f"{count.fault}: {count.n_failed:,} of {count.n_checked:,}" for count in failed),
        )
    return results


def _has_rows(con: duckdb.DuckDBPyConnection, reference: Reference) -> bool:
    return con.execute(f"SELECT 1 FROM {reference.table} LIMIT 1").fetchone() is not None


def _count_reference(con: duckdb.DuckDBPyConnection, table: Table, reference: Reference) -> Count:
    pairs = list(zip(reference.columns, reference.table_columns, strict=True))
    known = " AND ".join(f"child.{column} IS NOT NULL" for column in reference.columns)
    equal = " AND ".join(f"child.{column} = parent.{parent}" for column, parent in pairs)
    (n_checked,) = con.execute(f"SELECT count(*) FROM {table.name} AS child WHERE {known}").fetchone()
    (n_orphans,) = con.execute(
        f"SELECT count(*) FROM {table.name} AS child ANTI JOIN {reference.table} AS parent ON {equal} WHERE {known}"
    ).fetchone()
    fault = f"{', '.join(reference.columns)} is not in {reference.table}"
    return Count(fault, n_checked, n_orphans, "critical" if reference.strict else "warning")
