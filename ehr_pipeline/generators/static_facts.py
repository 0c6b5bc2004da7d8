"""What does not change of a patient, as one row: static facts and the age at the origin; and back to events.

What belongs here: which columns static events make. What does not: how the row is learned (any generator of tables).

Static codes of one group (the part before `//`: `GENDER//F`, `GENDER//M`) are one categorical column if no patient has
two of them and none has a value; else each code is a column of its own: of numbers, of texts, or there or not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.timelines import BIRTH, DAY_MINUTES, TimelineCohort, events_frame, shortest
from ehr_pipeline.record import Column, Schema, conform

YEAR_MINUTES = 365.25 * DAY_MINUTES
MOST_COLUMNS = 200
"""Columns at most, those that most patients have."""
PRESENT = "present"
"""The one level of a code that is there or not there."""

Form = Literal["code", "number", "text", "presence"]


@dataclass(frozen=True, kw_only=True)
class StaticColumn:
    """One column of the row.

    Attributes
    ----------
    name
        The group, or the one code.
    form
        What its values are: codes of the group, the code's numbers, its texts, or nothing but its presence. `BIRTH` has
        the form number: years before the origin.
    levels
        Codes or texts that enough patients have; empty for numbers.
    """

    name: str
    form: Form
    levels: tuple[str, ...]


@dataclass(frozen=True)
class StaticFacts:
    """The columns, in order: those that most patients have come first."""

    columns: tuple[StaticColumn, ...]

    @classmethod
    def learn(cls, cohort: TimelineCohort) -> Self:
        """Columns of what at least `MINIMUM_PATIENTS` patients have."""
        events = _static_events(cohort)
        carriers = events.groupby("code", observed=True)["patient"].nunique()
        codes = carriers.index[carriers >= MINIMUM_PATIENTS]
        events = events[events["code"].isin(codes)]
        columns = []
        for group, part in events.groupby("group", sort=True):
            codes, has_value = (
                sorted(part["code"].unique()),
                part[["numeric_value", "text_value"]].notna().any(axis=None),
            )
            if len(codes) > 1 and not has_value and not part["patient"].duplicated().any():
                column = StaticColumn(name=group, form="code", levels=tuple(codes))
                columns.append((part["patient"].nunique(), column))
            else:
                for code, rows in part.groupby("code", sort=True):
                    columns.append((rows["patient"].nunique(), _own_column(code, rows)))
        columns.sort(key=lambda pair: (-pair[0], pair[1].name))
        return cls(tuple(column for _, column in columns[:MOST_COLUMNS]))

    @property
    def schema(self) -> Schema:
        """The row's columns: named by their place, since a code may be longer than a name."""
        kinds = {"number": "continuous"}
        return Schema(
            columns=tuple(
                Column(
                    name=str(k),
                    kind=kinds.get(column.form, "categorical"),
                    levels=column.levels or None,
                    minimum=0 if column.name == BIRTH else None,
                    decimals=1 if column.name == BIRTH else None,
                )
                for k, column in enumerate(self.columns)
            )
        )

    def table(self, cohort: TimelineCohort) -> pd.DataFrame:
        """One row per patient, missing where a fact is not there; of several of one code the last counts."""
        events = _static_events(cohort)
        index, table = np.arange(cohort.n_patients), {}
        for k, column in enumerate(self.columns):
            where = events["group"] if column.form == "code" else events["code"]
            rows = events[where == column.name].drop_duplicates("patient", keep="last").set_index("patient")
            if column.form == "presence":
                values = pd.Series(PRESENT, index=rows.index)
            else:
                values = rows[{"code": "code", "number": "numeric_value", "text": "text_value"}[column.form]]
            if column.levels:
                values = values.where(values.isin(column.levels))
            table[str(k)] = values.reindex(index)
        return conform(pd.DataFrame(table, index=index), self.schema)

    def conditions(self, conditions: Mapping[str, str | float] | None) -> dict[str, Any]:
        """Conditions by the row's own names.

        Raises
        ------
        OptionError
            There is no such static fact.
        """
        places = {column.name: str(k) for k, column in enumerate(self.columns)}
        for name in conditions or {}:
            if name not in places:
                raise OptionError(f"there is no static fact {name!r} to set; there are {', '.join(places) or 'none'}")
            levels = self.columns[int(places[name])].levels
            if levels and conditions[name] not in {*levels, ""}:
                raise OptionError(f"the static fact {name} cannot be set to that; it may be {', '.join(levels)}")
        return {places[name]: value for name, value in (conditions or {}).items()}

    def events(self, table: pd.DataFrame, origin: np.ndarray) -> pd.DataFrame:
        """The events of n rows, patients numbered from 1: unsorted; a birth lies before the patient's `origin`."""
        parts = []
        for k, column in enumerate(self.columns):
            values = table[str(k)]
            values = values[values.notna()]
            n = len(values)
            code = values.to_numpy(dtype=object) if column.form == "code" else np.full(n, column.name, dtype=object)
            number = values.to_numpy(dtype=np.float64) if column.form == "number" else np.full(n, np.nan)
            text = values.to_numpy(dtype=object) if column.form == "text" else np.full(n, None, dtype=object)
            patient, time = values.index.to_numpy(), np.full(n, np.datetime64("NaT"), dtype="datetime64[us]")
            if column.name == BIRTH:
                age = (number * YEAR_MINUTES).astype("timedelta64[m]")
                time, number = origin[patient] - age, np.full(n, np.nan)
            parts.append(events_frame(patient + 1, time, code, number, text))
        nobody = np.empty(0, dtype=object)
        return pd.concat([events_frame([], [], nobody, [], nobody), *parts], ignore_index=True)

    def state(self) -> list[dict[str, Any]]:
        """The columns as JSON."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def of_state(cls, state: list[dict[str, Any]]) -> Self:
        """Read what `state` gave."""
        return cls(tuple(StaticColumn(**{**column, "levels": tuple(column["levels"])}) for column in state))


def _own_column(code: str, rows: pd.DataFrame) -> StaticColumn:
    if rows["numeric_value"].notna().any():
        return StaticColumn(name=code, form="number", levels=())
    carriers = rows.dropna(subset=["text_value"]).groupby("text_value")["patient"].nunique()
    texts = tuple(sorted(carriers.index[carriers >= MINIMUM_PATIENTS]))
    if texts:
        return StaticColumn(name=code, form="text", levels=texts)
    return StaticColumn(name=code, form="presence", levels=(PRESENT,))


def _static_events(cohort: TimelineCohort) -> pd.DataFrame:
    """Static facts and births: patient, group, code, numeric_value, text_value; a birth's value is the age in years."""
    is_birth = (cohort.events["code"] == BIRTH).to_numpy() & ~cohort.is_static
    which = cohort.is_static | is_birth
    rows = cohort.events[which]
    code = rows["code"].astype(object).to_numpy()
    groups = np.array([name.partition("//")[0] for name in rows["code"].cat.categories], dtype=object)
    age = np.maximum(0.0, -cohort.minutes[which] / YEAR_MINUTES)
    return pd.DataFrame(
        {
            "patient": cohort.patient[which],
            "group": groups[rows["code"].cat.codes],
            "code": code,
            "numeric_value": np.where(is_birth[which], age, shortest(rows["numeric_value"].to_numpy())),
            "text_value": rows["text_value"].astype(object).to_numpy(),
        }
    )
