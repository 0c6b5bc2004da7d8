"""The section of analyses: per analysis one table, real beside each generator's synthetic MIMIC-IV.

What belongs here: findings to rows of text. What does not: running and hiding (`analyses.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.report.analyses import MAX_PATIENTS, AnalysisResult, AnalysisTable
from ehr_pipeline.report.code_titles import calm
from ehr_pipeline.report.inputs import ReportInputs
from ehr_pipeline.report.limits import patients
from ehr_pipeline.report.numbers import ABSENT, count, number, percent
from ehr_pipeline.report.tables import Table

ABBREVIATIONS = ("icu", "kdigo", "sofa", "saps", "ii")
SHARES = ("share", "mortality", "share_above_0", "over_3_days", "over_7_days")


def analyses_view(inputs: ReportInputs) -> dict[str, Any]:
    """What `analyses.html` shows."""
    found = inputs.analyses or ()
    titles = {one.name: one.title for one in inputs.generators}
    return {
        "analyses": [
            (_title(one.name), one.words, table, _hidden_rows(one))
            for one in found
            if (table := side_by_side(one, titles)) is not None
        ],
        "analyses_not_run": [one.name for one in found if one.real is None],
        "analyses_max_patients": count(MAX_PATIENTS),
    }


def side_by_side(result: AnalysisResult, titles: Mapping[str, str]) -> Table | None:
    """Rows are what the analysis counts and measures, columns the databases; None where no database answered."""
    tables = {"Real": result.real} | {titles.get(name, name): table for name, table in result.synthetic.items()}
    answered = [table for table in tables.values() if table is not None]
    if not any(table.rows for table in answered):
        return None
    columns = answered[0].columns
    n_patients = (
        ABSENT if table is None else patients(table.n_patients) if name == "Real" else count(table.n_patients)
        for name, table in tables.items()
    )
    rows = [("patients looked at", *n_patients)]
    for key in dict.fromkeys(key for table in answered for key in table.rows):
        for place, column in enumerate(columns):
            what = column.replace("_", " ").removeprefix("n ")
            label = f"{calm(key, 70)}: {what}"
            rows.append((label, *(_cell(table, key, place, is_real=name == "Real") for name, table in tables.items())))
    return Table(heads=("", *tables), rows=tuple(rows))


def _title(name: str) -> str:
    """An analysis by its name, abbreviations in capitals.

    >>> _title("saps_ii_first_day"), _title("top_drugs")
    ('SAPS II first day', 'Top drugs')
    """
    words = [word.upper() if word in ABBREVIATIONS else word for word in name.split("_")]
    return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])


def _cell(table: AnalysisTable | None, key: str, place: int, *, is_real: bool) -> str:
    row = None if table is None else table.rows.get(key)
    if row is None:
        return ABSENT
    value, column = row[place], table.columns[place]
    if value is None:
        return "hidden" if is_real else ABSENT
    if column.startswith("n_"):
        return count(int(value))
    return percent(value) if column in SHARES else number(value)


def _hidden_rows(result: AnalysisResult) -> str:
    n = result.real.n_hidden if result.real else 0
    return f"{n} rows of few real patients are left out" if n else ""
