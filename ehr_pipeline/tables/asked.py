"""What a user asks of a table's rows: conditions in the file's own spelling, checked before anything is trained.

What belongs here: from `COLUMN=VALUE` to a value that a generator takes, and whether patients have it. What does not:
meeting a condition (the generators).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.tables.binary_words import binary_value
from ehr_pipeline.tables.layout import ColumnLayout, Layout
from ehr_pipeline.tables.table import Table


def check_conditions(table: Table, conditions: Mapping[str, Any] | None) -> dict[str, Any]:
    """The conditions as a generator takes them; None means missing. What holds in every row is left out.

    Raises
    ------
    OptionError
        A column is unknown or not learned, a value is none of the column's, or fewer than `MINIMUM_PATIENTS` patients
        have it; or no row meets all conditions on categories together. The message names columns, not values.
    """
    if table.layout.is_public:
        return _public_conditions(table.layout, conditions or {})
    typed: dict[str, Any] = {}
    together = np.ones(len(table), dtype=bool)
    for name, value in (conditions or {}).items():
        if name not in table.schema:
            raise OptionError(f"the condition names the column {name!r}, which {table.layout.source} does not have")
        layout = table.layout[name]
        if layout.treatment in ("identifier", "left_out"):
            raise OptionError(f"a condition on {name} cannot be met: it is an identifier or free text, not learned")
        wanted = typed_value(layout, value)
        values = table[name]
        meets = _meeting(layout, values, wanted)
        together &= meets
        if layout.treatment == "learned":
            _check_patients(table, layout, values, wanted, meets)
            typed[name] = wanted
        elif not meets.all():
            raise OptionError(f"no patient meets the condition on {name}: all rows have the same, which is another")
    if not together.any():
        raise OptionError(f"no patient meets the conditions on {', '.join(conditions or {})} together; leave one out")
    return typed


def _public_conditions(layout: Layout, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions as far as the schema can tell; no patient is looked up (a private run)."""
    typed = {}
    for name, value in conditions.items():
        if name not in layout.schema:
            raise OptionError(f"the condition names the column {name!r}, which {layout.source} does not have")
        if layout[name].treatment != "learned":
            raise OptionError(f"a condition on {name} cannot be met: it is an identifier or free text, not learned")
        column, wanted = layout[name].column, typed_value(layout[name], value)
        if wanted is None:
            is_known = column.missing
        elif column.is_number:
            is_known = column.minimum <= wanted <= column.maximum
        else:
            is_known = wanted in ((0, 1) if column.kind == "binary" else column.levels)
        if not is_known:
            raise OptionError(f"the condition on {name} asks for a value that its schema does not allow")
        typed[name] = wanted
    return typed


def typed_value(layout: ColumnLayout, value: Any) -> Any:
    """A value in the column's spelling as a generator takes it; None for a missing one.

    Raises
    ------
    OptionError
        It is no value of such a column.
    """
    kind = layout.column.kind
    if value is None or value == "" or value is pd.NA or value != value:  # noqa: PLR0124 - NaN
        return None
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    if (layout.number is not None or layout.time is not None) and text in dict(layout.missing):
        return None
    if kind in ("categorical", "text"):
        return text
    if kind == "binary":
        known = binary_value(text, layout.spelled)
        text = text if known is None else str(known)
    try:
        if kind == "time":
            spelled = layout.time.read(pa.array([text]))[0] if layout.time is not None else pd.NaT
            return str(pd.Timestamp(text if pd.isna(spelled) else spelled))
        number = float(text.replace(",", ".") if layout.number is not None and layout.number.comma else text)
    except (ValueError, TypeError, OverflowError):
        number = np.nan
    decimals = layout.column.decimals if kind == "continuous" else 0
    if not np.isfinite(number) or (decimals is not None and round(number, decimals) != number):
        raise OptionError(f"the condition on {layout.name} must be a value that a {kind} column can have")
    return number if kind == "continuous" else int(number)


def _meeting(layout: ColumnLayout, values: pd.Series, wanted: Any) -> np.ndarray:
    """Which rows have the value; any row that has a number, for between two patients' numbers others may lie."""
    if wanted is None:
        return values.isna().to_numpy()
    if layout.column.kind in ("continuous", "integer", "time") and layout.treatment == "learned":
        return values.notna().to_numpy()
    return (values == (pd.Timestamp(wanted) if layout.column.kind == "time" else wanted)).fillna(False).to_numpy(bool)


def _check_patients(table: Table, layout: ColumnLayout, values: pd.Series, wanted: Any, meets: np.ndarray) -> None:
    """Refuse what too few patients have, or a number that too few patients reach."""
    sides = [meets]
    if wanted is not None and (layout.column.is_number or layout.column.kind == "time"):
        bound = pd.Timestamp(wanted) if layout.column.kind == "time" else wanted
        sides = [side.fillna(False).to_numpy(bool) for side in (values >= bound, values <= bound)]
    n_patients = min(len(np.unique(table.subject_id[side])) for side in sides)
    if n_patients < MINIMUM_PATIENTS:
        what = "a missing value" if wanted is None else "a value"
        raise OptionError(
            f"the condition on {layout.name} asks for {what} that no patient has, or fewer than {MINIMUM_PATIENTS}"
        )
