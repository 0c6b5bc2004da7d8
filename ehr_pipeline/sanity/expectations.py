"""What Great Expectations is asked about a table: its rules' counts, and its columns.

What belongs here: expectations as data. What does not: running them (`validation.py`), grouping their verdicts into
checks (`verdict.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ehr_pipeline.record import Column, Schema
from ehr_pipeline.sanity.binding import domain, limits
from ehr_pipeline.sanity.judge import JudgedRule
from ehr_pipeline.sanity.rules import CHECK_NAMES
from ehr_pipeline.validation import Expectation, expectation_severity

RULE_PAIR = "ExpectColumnPairValuesAToBeGreaterThanB"


def rule_expectations(
    judged: Sequence[JudgedRule], n_rows: int, n_expected: int | None
) -> tuple[pd.DataFrame, list[Expectation]]:
    """The rule results as a frame, and that no rule has more failures than it may.

    The frame has one row per rule and a pair of columns per check and severity (failures allowed, failures), empty
    where a rule belongs elsewhere; its first row also holds the number of rows of the table. A rule that could not
    run has one failure more than it may.
    """
    counted = [one for one in judged if one.n_allowed is not None]
    frame = pd.DataFrame({"rule": [one.result.key for one in counted] or ["none"]})
    frame["n_rows"] = np.nan
    frame.loc[0, "n_rows"] = n_rows
    exact = {"min_value": 1} if n_expected is None else {"min_value": n_expected, "max_value": n_expected}
    expectations = [
        Expectation(check="structure", type="ExpectColumnValuesToBeBetween", arguments={"column": "n_rows", **exact})
    ]
    for check in CHECK_NAMES:
        for severity in ("hard", "soft"):
            mine = [_stops_or_warns(one) == severity and one.result.rule.check == check for one in counted]
            if not any(mine):
                continue
            allowed, failed = f"{check}, {severity}: failures allowed", f"{check}, {severity}: failures"
            frame[allowed] = np.where(mine, [one.n_allowed for one in counted], np.nan)
            frame[failed] = np.where(mine, [_n_failed(one) for one in counted], np.nan)
            arguments = {
                "column_A": allowed,
                "column_B": failed,
                "or_equal": True,
                "ignore_row_if": "either_value_is_missing",
            }
            expectations.append(
                Expectation(
                    check=check, type=RULE_PAIR, arguments=arguments, severity=expectation_severity(severity == "hard")
                )
            )
    return frame, expectations


def _n_failed(one: JudgedRule) -> int:
    return one.result.n_failed if one.result.could_run else (one.n_allowed or 0) + 1


def _stops_or_warns(one: JudgedRule) -> str:
    """A rule that could not run counts as hard."""
    return one.severity if one.result.could_run else "hard"


def column_expectations(schema: Schema) -> list[Expectation]:
    """What each column must hold: values where none may be missing, its range, its levels."""
    return [expectation for column in schema.columns for expectation in _of_column(column)]


def _of_column(column: Column) -> list[Expectation]:
    expectations = []
    if not column.missing:
        arguments = {"column": column.name}
        expectations.append(
            Expectation(check="completeness", type="ExpectColumnValuesToNotBeNull", arguments=arguments)
        )
    if column.is_number and (column.minimum is not None or column.maximum is not None):
        low, high = limits(column)
        arguments = {"column": column.name, "min_value": low, "max_value": high}
        expectations.append(
            Expectation(check=domain(column), type="ExpectColumnValuesToBeBetween", arguments=arguments)
        )
    levels = (0, 1) if column.kind == "binary" else column.levels
    if levels is not None:
        arguments = {"column": column.name, "value_set": list(levels)}
        expectations.append(Expectation(check=domain(column), type="ExpectColumnValuesToBeInSet", arguments=arguments))
    return expectations


def key_expectations(key: Sequence[str]) -> list[Expectation]:
    """That the key's columns are there and name each row once."""
    present = [
        Expectation(check="structure", type="ExpectColumnValuesToNotBeNull", arguments={"column": name}) for name in key
    ]
    if len(key) == 1:
        unique = Expectation(check="structure", type="ExpectColumnValuesToBeUnique", arguments={"column": key[0]})
    else:
        unique = Expectation(
            check="structure", type="ExpectCompoundColumnsToBeUnique", arguments={"column_list": list(key)}
        )
    return [*present, unique]
