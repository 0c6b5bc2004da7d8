"""What must hold in every table of the warehouse: its columns, its keys, its references, its rows.

What belongs here: counting by SQL, refusing at ingest, and the verdicts for asset checks, which Great
Expectations gives over the counts. What does not: clinical rules (`sanity/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd

from ehr_pipeline import storage
from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest.connection import connect
from ehr_pipeline.ingest.reading import plain_error
from ehr_pipeline.ingest.summary import IngestSummary
from ehr_pipeline.mimic.tables import Reference, Table, tables
from ehr_pipeline.validation import Expectation, Severity, Verdict, validate

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
    """Columns that are absent or of another type; if none is, what `count_cells` counts."""
    schema, name = table.name.split(".")
    present = con.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [schema, name],
    ).fetchall()
    missing = [column.name for column in table.columns if (column.name, column.type) not in present]
    if missing:
        return [Count(f"column {missing[0]} is absent or of another type", len(table.columns), len(missing))]
    return count_cells(con, table)


def count_cells(con: duckdb.DuckDBPyConnection, table: Table) -> list[Count]:
    """Empty cells where none may be, NaN and infinity."""
    tests = {f"{column.name} is empty": f"{column.name} IS NULL" for column in table.columns if column.not_null}
    tests |= {
        f"{column.name} is not finite": f"NOT isfinite({column.name})"
        for column in table.columns
        if column.may_be_infinite
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
    counts = []
    for reference in table.references:
        n_checked, n_orphans, has_target = con.execute(_reference_sql(table, reference)).fetchone()
        if has_target:
            fault = f"{', '.join(reference.columns)} is not in {reference.table}"
            counts.append(Count(fault, n_checked, n_orphans, "critical" if reference.strict else "warning"))
    return counts


def count_rows(con: duckdb.DuckDBPyConnection, table: Table, n_read: int, *, is_mimic: bool = True) -> list[Count]:
    """Rows that the ingest read and that aren't there, or the other way round.

    A required table has some, where the source is MIMIC-IV; of others there are events alone.
    """
    (n_rows,) = con.execute(f"SELECT count(*) FROM {table.name}").fetchone()
    counts = [Count(f"of {n_read:,} rows read there are {n_rows:,}", n_rows, abs(n_rows - n_read))]
    if table.required and is_mimic:
        counts.append(Count("it is required and has no rows", n_rows, int(n_rows == 0)))
    return counts


def refuse_table(con: duckdb.DuckDBPyConnection, table: Table, path: Path) -> None:
    """Refuse a file whose table has an empty cell where none may be, NaN, infinity, or a key twice.

    Raises
    ------
    SourceError
        The first fault, with its count.
    """
    try:
        counts = count_cells(con, table) + count_keys(con, table)
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
        n_read = summary.tables[table.name].n_rows
        return count_rows(con, table, n_read, is_mimic=summary.form == "mimic-iv")

    return dict(zip(CHECKS, (count_columns, count_keys, count_references, rows), strict=True))


def _counts(count: Callable[..., list[Count]], con: duckdb.DuckDBPyConnection, table: Table) -> list[Count] | None:
    """The counts, or None if they could not be made."""
    try:
        return count(con, table)
    except (duckdb.Error, KeyError):
        return None


def _verdicts(counted: dict[tuple[str, str], list[Count] | None]) -> dict[tuple[str, str], CheckResult]:
    """Great Expectations' verdict on each (table, check), and the counts behind it."""
    results = {}
    for check in CHECKS:  # a few at a time: the cost of a call grows with the square of its expectations
        of_check = {table: counts for (table, of), counts in counted.items() if of == check}
        verdicts = _validate_counts(of_check)
        for table, counts in of_check.items():
            failed = [count for count in counts or () if count.n_failed]
            fatal = [verdict for verdict in verdicts[table] if not verdict.passed and verdict.severity == "critical"]
            results[table, check] = CheckResult(
                check=check,
                passed=all(verdict.passed for verdict in verdicts[table]),
                could_run=all(verdict.could_run for verdict in verdicts[table]),
                severity="warning" if failed and not fatal else "critical",
                n_checked=sum(count.n_checked for count in counts or ()),
                n_failed=sum(count.n_failed for count in failed),
                details=tuple(f"{count.fault}: {count.n_failed:,} of {count.n_checked:,}" for count in failed),
            )
    return results


def _validate_counts(counted: dict[str, list[Count] | None]) -> dict[str, list[Verdict]]:
    """Per table: no failure was counted. What could not be counted is no column, and fails for that."""
    failures: dict[str, list[int]] = {}
    expectations = []
    for table, counts in counted.items():
        severities = {"critical", *(count.severity for count in counts or ())}
        for severity in sorted(severities):
            column = f"{table}, {severity}"
            if counts is not None:
                failures[column] = [sum(count.n_failed for count in counts if count.severity == severity)]
            expectations.append(
                Expectation(
                    check=table,
                    type="ExpectColumnValuesToBeBetween",
                    arguments={"column": column, "min_value": 0, "max_value": 0},
                    severity=severity,
                )
            )
    verdicts = validate(pd.DataFrame(failures), expectations)
    return {table: [verdict for verdict in verdicts if verdict.check == table] for table in counted}


def _reference_sql(table: Table, reference: Reference) -> str:
    """SQL of: references, those that lead nowhere, whether the table that they name has rows."""
    pairs = zip(reference.columns, reference.table_columns, strict=True)
    known = " AND ".join(f"child.{column} IS NOT NULL" for column in reference.columns)
    equal = " AND ".join(f"child.{column} = parent.{parent}" for column, parent in pairs)
    child, parent = f"{table.name} AS child", f"{reference.table} AS parent"
    return (
        f"SELECT (SELECT count(*) FROM {child} WHERE {known}), "
        f"(SELECT count(*) FROM {child} ANTI JOIN {parent} ON {equal} WHERE {known}), EXISTS (FROM {parent})"
    )
