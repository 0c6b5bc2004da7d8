"""What rejection does to a table: how far each column moves between rows as drawn and rows as accepted.

What belongs here: running means in one pass over chunks. What does not: which rows are accepted (`accept.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ehr_pipeline.record import Column, Schema


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How far one quantity of a column moved, in standard deviations of the rows drawn.

    `quantity` is the mean of a number, the share of 1 or of one level, or the share of missing values.
    """

    column: str
    quantity: Literal["mean", "share", "missing_share"]
    level: str | None
    drawn: float | None
    accepted: float | None
    shift_sd: float | None

    def as_dict(self) -> dict[str, Any]:
        """The shift as plain JSON."""
        return asdict(self)


class RunningMoments:
    """Counts, means and squared deviations of k features, updated chunk by chunk (Chan et al. 1983)."""

    def __init__(self, n_features: int) -> None:
        self.n = np.zeros(n_features)
        self.mean = np.zeros(n_features)
        self.squared_deviation = np.zeros(n_features)

    def add(self, features: np.ndarray) -> None:
        """Take in float64 features of shape (n_rows, k); NaN is not counted."""
        present = np.isfinite(features)
        n_new = present.sum(axis=0)
        safe_n = np.maximum(n_new, 1)
        values = np.where(present, features, 0.0)
        mean_new = values.sum(axis=0) / safe_n
        squared_new = np.where(present, (values - mean_new) ** 2, 0.0).sum(axis=0)
        n_total = np.maximum(self.n + n_new, 1)
        gap = np.where(n_new > 0, mean_new - self.mean, 0.0)
        self.squared_deviation += squared_new + gap**2 * self.n * n_new / n_total
        self.mean += gap * n_new / n_total
        self.n += n_new

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of each feature, shape (k,)."""
        return np.sqrt(self.squared_deviation / np.maximum(self.n, 1))


class ShiftMeter:
    """Measures what rejection changes, column by column; text and id columns are left out."""

    def __init__(self, schema: Schema) -> None:
        self._columns = [column for column in schema.columns if column.kind not in ("text", "id")]
        self._labels = [label for column in self._columns for label in _labels(column)]
        self._drawn = RunningMoments(len(self._labels))
        self._accepted = RunningMoments(len(self._labels))

    def add(self, drawn: pd.DataFrame, accepted: pd.DataFrame) -> None:
        """Take in a chunk of rows as they were drawn, and those of them that were accepted, as they were written."""
        self._drawn.add(self._features(drawn))
        self._accepted.add(self._features(accepted))

    def _features(self, frame: pd.DataFrame) -> np.ndarray:
        features = [feature for column in self._columns for feature in _features(frame, column)]
        return np.column_stack(features) if features else np.empty((len(frame), 0))

    def shifts(self) -> list[Shift]:
        """One shift per feature, in the order of the schema."""
        return [self._shift(place, *label) for place, label in enumerate(self._labels)]

    def _shift(self, place: int, column: str, quantity: str, level: str | None) -> Shift:
        n_drawn, n_accepted = self._drawn.n[place], self._accepted.n[place]
        drawn = float(self._drawn.mean[place]) if n_drawn else None
        accepted = float(self._accepted.mean[place]) if n_accepted else None
        deviation = float(self._drawn.deviation[place])
        shift_sd = None
        if drawn is not None and accepted is not None:
            shift_sd = (accepted - drawn) / deviation if deviation > 0 else 0.0
        return Shift(column=column, quantity=quantity, level=level, drawn=drawn, accepted=accepted, shift_sd=shift_sd)


def _labels(column: Column) -> list[tuple[str, str, str | None]]:
    """What is measured of a column: (column, quantity, level), in the order of `_features`."""
    if column.kind == "categorical":
        labels = [(column.name, "share", level) for level in column.levels or ()]
    elif column.kind == "binary":
        labels = [(column.name, "share", None)]
    else:
        labels = [(column.name, "mean", None)]
    return [*labels, (column.name, "missing_share", None)] if column.missing else labels


def _features(frame: pd.DataFrame, column: Column) -> list[np.ndarray]:
    """float64 features of a column; a level's indicator is NaN where the value is missing."""
    values = frame[column.name]
    is_missing = values.isna().to_numpy()
    if column.kind == "categorical":
        features = [
            np.where(is_missing, np.nan, (values == level).to_numpy(bool, na_value=False))
            for level in column.levels or ()
        ]
    elif column.kind == "time":  # in days
        days = values.to_numpy("datetime64[us]").astype("int64") / 86_400e6
        features = [np.where(is_missing, np.nan, days)]
    else:
        features = [values.to_numpy(dtype="float64", na_value=np.nan)]
    return [*features, is_missing.astype("float64")] if column.missing else features
