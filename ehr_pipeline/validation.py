"""Great Expectations, called directly: what a frame must satisfy, and the verdicts as counts.

What belongs here: the one place that imports Great Expectations, and the wall that keeps patients' values
out of what it returns. What does not: which expectations hold for which table (the stages know).

Rules that need SQL are counted in DuckDB first; their counts (`rule_id, n_checked, n_failed`) are the
frame that is validated here, because DuckDB is not a data source of Great Expectations.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

Severity = Literal["critical", "warning"]

# Counts and percentages only: no value, no row index (measured on map and set expectations).
_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0, "exclude_unexpected_values": True}


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One expectation by its Great Expectations class name, and the check that it belongs to.

    Parameters
    ----------
    check
        Name of the check that this expectation is part of (a few expectations make one check).
    type
        Class name in `great_expectations.expectations`, such as `ExpectColumnValuesToBeBetween`.
    arguments
        Keyword arguments of that class.
    severity
        `critical` makes the check fail; `warning` makes it warn.
    """

    check: str
    type: str
    arguments: dict[str, Any]
    severity: Severity = "critical"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one expectation: counts, never values."""

    check: str
    expectation: str
    column: str | None
    severity: Severity
    passed: bool
    could_run: bool
    n_checked: int | None
    n_failed: int | None

    @property
    def blocks(self) -> bool:
        """Whether the verdict stops what comes after. What could not run stops it too (fail closed)."""
        return not self.passed and (self.severity == "critical" or not self.could_run)

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain JSON."""
        return asdict(self)


def expectation_severity(is_hard: bool) -> Severity:
    """Severity of a HARD (critical) or SOFT (warning) rule."""
    return "critical" if is_hard else "warning"


def validate(frame: pd.DataFrame, expectations: Sequence[Expectation]) -> list[Verdict]:
    """Validate a frame; one verdict per expectation, in the order given.

    An expectation that raises inside Great Expectations (an unknown column, a wrong type) has
    `could_run=False`. A frame without rows gives verdicts like any other; ask for a row count where an
    empty frame must fail.
    """
    if not expectations:
        return []
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the package is imported
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    # It tells of temporary folders that it makes, where another library has switched on messages of that kind, and this
    # module sets a level of its own.
    logging.getLogger(ProgressBarsConfig.__module__).setLevel(logging.WARNING)

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
    suite = gx.ExpectationSuite(name="suite")
    for number, expectation in enumerate(expectations):
        suite.add_expectation(
            getattr(gx.expectations, expectation.type)(
                **expectation.arguments, severity=expectation.severity, meta={"number": number}
            )
        )
    definition = batch.add_batch_definition_whole_dataframe("whole")
    answer = definition.get_batch({"dataframe": frame}).validate(suite, result_format=_COUNTS_ONLY)
    results = {result["expectation_config"]["meta"]["number"]: result for result in answer.to_json_dict()["results"]}
    return [_verdict(expectation, results.get(number)) for number, expectation in enumerate(expectations)]


def _verdict(expectation: Expectation, result: dict[str, Any] | None) -> Verdict:
    """Read one result. A missing result, or one without content that failed, could not run."""
    counts = (result or {}).get("result") or {}
    could_run = result is not None and not _raised(result.get("exception_info") or {})
    return Verdict(
        check=expectation.check,
        expectation=expectation.type,
        column=expectation.arguments.get("column") or expectation.arguments.get("column_A"),
        severity=expectation.severity,
        passed=could_run and bool(result["success"]),
        could_run=could_run,
        n_checked=counts.get("element_count"),
        n_failed=counts.get("unexpected_count"),
    )


def _raised(exception_info: dict[str, Any]) -> bool:
    """Whether an expectation raised; the field is one record, or one per metric."""
    if "raised_exception" in exception_info:
        return bool(exception_info["raised_exception"])
    return any(info.get("raised_exception") for info in exception_info.values())
