"""How a file spells dates and times: recognised from its distinct spellings, read, and written in the same manner.

What belongs here: the formats that hospitals' files come in. A format counts only if it writes every spelling back
exactly as it was. What does not: dates that were never text (`arrow_columns.py`).
"""

from __future__ import annotations

import re
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

_DATES = {
    r"\d{4}-\d\d-\d\d": ("%Y-%m-%d",),
    r"\d{4}/\d\d/\d\d": ("%Y/%m/%d",),
    r"\d{4}\.\d\d\.\d\d": ("%Y.%m.%d",),
    r"(?:19|20|21)\d\d[01]\d[0-3]\d": ("%Y%m%d",),
    r"\d\d?/\d\d?/\d{4}": ("%m/%d/%Y", "%d/%m/%Y"),
    r"\d\d?/\d\d?/\d\d": ("%m/%d/%y", "%d/%m/%y"),
    r"\d\d?\.\d\d?\.\d{4}": ("%d.%m.%Y",),
    r"\d\d?-\d\d?-\d{4}": ("%d-%m-%Y", "%m-%d-%Y"),
    r"\d\d?-[A-Za-z]{3}-\d{4}": ("%d-%b-%Y",),
    r"\d\d?-[A-Za-z]{3}-\d\d": ("%d-%b-%y",),
    r"\d\d?[A-Za-z]{3}\d{4}": ("%d%b%Y",),
    r"\d\d? [A-Za-z]{3} \d{4}": ("%d %b %Y",),
    r"[A-Za-z]{3} \d\d?, \d{4}": ("%b %d, %Y",),
    r"\d{4}-\d\d": ("%Y-%m",),
}
_TIMES = {
    r"\d\d?:\d\d:\d\d": "%H:%M:%S",
    r"\d\d?:\d\d": "%H:%M",
    r"\d\d?:\d\d:\d\d [AP]M": "%I:%M:%S %p",
    r"\d\d?:\d\d [AP]M": "%I:%M %p",
}
_PARTS = re.compile(
    r"(?P<date>.+?)(?:(?P<gap>[ T:])(?P<time>\d\d?:\d\d(?::\d\d)?(?: [AP]M)?)(?P<fraction>\.\d{1,6})?"
    r"(?P<suffix>Z|[+-]\d\d:?\d\d| UTC)?)?"
)
_ISO = {
    "%Y-%m-%d": ("D", ""),
    "%Y-%m-%d %H:%M": ("m", " "),
    "%Y-%m-%dT%H:%M": ("m", "T"),
    "%Y-%m-%d %H:%M:%S": ("s", " "),
    "%Y-%m-%dT%H:%M:%S": ("s", "T"),
}
"""Patterns that numpy writes, many times faster: unit, and what stands before the hour."""
_TRIED = 200
"""Spellings that a format is tried on before all of them."""


class TimeFormat(BaseModel):
    """The manner in which a column spells its times.

    Attributes
    ----------
    pattern
        As strftime has it, to the second.
    padded
        Whether one digit gets a zero before it (01/05/2020, not 1/5/2020).
    fraction_digits
        Digits after the second.
    suffix
        What follows every time: Z, or an offset from UTC.
    upper
        Whether names of months are in capitals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str
    padded: bool = True
    fraction_digits: int = 0
    suffix: str = ""
    upper: bool = False

    @classmethod
    def of(cls, spellings: pa.Array) -> Self | None:
        """The manner of distinct spellings, or None if they are not all times spelled in one manner."""
        if not len(spellings):
            return None
        tried = spellings.take(pa.array(np.linspace(0, len(spellings) - 1, min(_TRIED, len(spellings))).astype(int)))
        fitting = [manner for manner in cls._candidates(tried[0].as_py()) if manner.fits(tried).all()]
        return next((manner for manner in fitting if manner.fits(spellings).all()), None)

    @classmethod
    def most(cls, spellings: pa.Array) -> tuple[Self, np.ndarray] | None:
        """The manner of most of the spellings, and which keep to it; None if no manner is that of half of them."""
        tried = spellings.slice(0, _TRIED)
        manners = {manner for text in tried.slice(0, 5).to_pylist() for manner in cls._candidates(text)}
        shares = {manner: manner.fits(tried).mean() for manner in manners}
        best = max(shares, key=shares.__getitem__, default=None)
        if best is None or shares[best] < 0.5:
            return None
        return best, best.fits(spellings)

    @classmethod
    def _candidates(cls, text: str) -> list[Self]:
        """Every manner in which one text may have been spelled."""
        parts = _PARTS.fullmatch(text)
        if parts is None:
            return []
        times = [pattern for shape, pattern in _TIMES.items() if parts["time"] and re.fullmatch(shape, parts["time"])]
        if parts["time"] and not times:
            return []
        dates = [date for shape, patterns in _DATES.items() if re.fullmatch(shape, parts["date"]) for date in patterns]
        fraction_digits = len(parts["fraction"] or ".") - 1
        after_date = parts["gap"] + times[0] if times else ""
        return [
            cls(
                pattern=date + after_date,
                padded=padded,
                fraction_digits=fraction_digits,
                suffix=parts["suffix"] or "",
                upper=upper,
            )
            for date in dates
            for padded in (True, False)
            for upper in ((False, True) if "%b" in date else (False,))
        ]

    def fits(self, spellings: pa.Array) -> np.ndarray:
        """Which texts come back exactly as they are, bool of the same length."""
        back = self.write(self.read(spellings))
        return pc.fill_null(pc.equal(back, spellings.cast(pa.string())), False).to_numpy(zero_copy_only=False)

    def read(self, spellings: pa.Array) -> np.ndarray:
        """Texts as datetime64[us], NaT where a text is null or no such time."""
        texts = spellings.to_pandas().astype(object)
        if self.suffix:
            texts = texts.str.removesuffix(self.suffix)
        pattern = self.pattern + (".%f" if self.fraction_digits else "")
        return pd.to_datetime(texts, format=pattern, errors="coerce").to_numpy().astype("datetime64[us]")

    def _seconds(self, seconds: np.ndarray) -> pa.Array:
        """datetime64[s] as texts by the pattern, null where it is NaT."""
        if self.pattern not in _ISO:
            return pc.strftime(pa.array(seconds), format=self.pattern, locale="C")
        unit, gap = _ISO[self.pattern]
        texts = pa.array(np.datetime_as_string(seconds, unit=unit), pa.string(), mask=np.isnat(seconds))
        return pc.replace_substring(texts, "T", gap) if gap == " " else texts

    def write(self, values: np.ndarray) -> pa.Array:
        """datetime64[us] of shape (n,) as texts, null where it is NaT."""
        seconds = values.astype("datetime64[s]")
        texts = self._seconds(seconds)
        if not self.padded:
            texts = pc.replace_substring_regex(texts, r"(^|[/. T-])0(\d)", r"\1\2")
            texts = pc.replace_substring_regex(texts, r"(^|[/. T-])0(\d)", r"\1\2")
        if self.upper:
            texts = pc.utf8_upper(texts)
        if self.fraction_digits:
            microseconds = (values - seconds.astype("datetime64[us]")).astype(np.int64)
            units = pa.array(np.where(np.isnat(values), 0, microseconds) // 10 ** (6 - self.fraction_digits))
            digits = pc.utf8_lpad(pc.cast(units, pa.string()), width=self.fraction_digits, padding="0")
            texts = pc.binary_join_element_wise(texts, digits, ".")
        return pc.binary_join_element_wise(texts, self.suffix, "") if self.suffix else texts
