"""How a file spells numbers: recognised from its distinct spellings, read, and written again in the same manner.

What belongs here: decimals, exponents, decimal commas. What does not: whether a column of numbers is a quantity or a
code (`kinds.py`), and numbers that were never text (`arrow_columns.py`).
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
NUMBER_WITH_COMMA = r"^-?\d+(,\d+)?$"
ZERO_PADDED = r"^-?0\d"
MAXIMUM_DECIMALS = 9
"""More digits than `record.Column` can say: such a column has no resolution of its own."""
LARGEST_SCALED = 2.0**53
"""Beyond this a float64 has no room for the digits asked for."""

Style = Literal["fixed", "trimmed", "float", "scientific"]


def is_number(spellings: pa.Array, comma: bool = False) -> np.ndarray:
    """Which texts are numbers, bool of the same length; a leading zero before a digit makes a code, not a number."""
    pattern = NUMBER_WITH_COMMA if comma else NUMBER
    return _truth(pc.match_substring_regex(spellings, pattern)) & ~_truth(
        pc.match_substring_regex(spellings, ZERO_PADDED)
    )


def _truth(array: pa.Array) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False)


class NumberFormat(BaseModel):
    """The manner in which a column spells its numbers.

    Attributes
    ----------
    style
        `fixed`: always `decimals` digits after the point; `trimmed`: no zero at the end (2, 2.5); `float`: the
        same, with one digit at least (2.0, 2.5); `scientific`: `decimals` digits and an exponent (1.50e+02).
    decimals
        Digits after the point at most; None for as many as the number needs.
    comma
        Whether the point is a comma.
    bare_point
        Whether the zero before the point is left out (.5).
    capital
        Whether the exponent's letter is a capital.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    style: Style
    decimals: int | None
    comma: bool = False
    bare_point: bool = False
    capital: bool = False

    @classmethod
    def of(cls, spellings: pa.Array, comma: bool = False) -> Self:
        """The manner of distinct spellings, all of them numbers."""
        texts = pc.replace_substring(spellings, ",", ".") if comma else spellings
        has_exponent = _truth(pc.match_substring_regex(texts, "[eE]"))
        mantissas = pc.replace_substring_regex(texts, "[eE].*", "") if has_exponent.any() else texts
        point = pc.find_substring(mantissas, ".").to_numpy(zero_copy_only=False)
        decimals = np.where(point < 0, 0, pc.utf8_length(mantissas).to_numpy(zero_copy_only=False) - point - 1)
        most = int(decimals.max())
        bare = bool(pc.any(pc.or_(pc.starts_with(texts, "."), pc.starts_with(texts, "-."))).as_py())
        capital = bool(has_exponent.any()) and bool(pc.any(pc.match_substring(texts, "E")).as_py())
        if has_exponent.all() and (decimals == most).all():
            return cls(style="scientific", decimals=most, capital=capital)
        ends_in_zero = _truth(pc.ends_with(mantissas, "0")) & (point >= 0)
        style: Style = "trimmed"
        if (decimals == most).all() and not has_exponent.any():
            style = "fixed"
        elif ((decimals > 0) | has_exponent).all() and not (ends_in_zero & (decimals > 1)).any():
            style = "float"
        known = None if has_exponent.any() or most > MAXIMUM_DECIMALS else most
        return cls(style=style if known is not None or style != "fixed" else "float", decimals=known, comma=comma,
                   bare_point=bare, capital=capital)  # fmt: skip

    @property
    def resolution(self) -> int | None:
        """Digits after the point that every number keeps to, where there is such a number."""
        return None if self.style == "scientific" else self.decimals

    def read(self, spellings: pa.Array) -> np.ndarray:
        """Texts as float64, NaN where a text is null."""
        texts = pc.replace_substring(spellings, ",", ".") if self.comma else spellings
        return pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False)

    def write(self, values: np.ndarray) -> pa.Array:
        """float64 of shape (n,) as texts, null where it is NaN."""
        numbers, positions = np.unique(values, return_inverse=True)
        present = numbers[np.isfinite(numbers)]
        texts = self._texts(present)
        if self.bare_point:
            texts = pc.replace_substring_regex(texts, r"^(-?)0\.", r"\1.")
        if self.comma:
            texts = pc.replace_substring(texts, ".", ",")
        dictionary = pa.concat_arrays([texts, pa.nulls(len(numbers) - len(present), pa.string())])
        return dictionary.take(pa.array(positions))

    def _texts(self, numbers: np.ndarray) -> pa.Array:
        if self.style == "scientific":
            texts = [f"{number:.{self.decimals}{'E' if self.capital else 'e'}}" for number in numbers.tolist()]
            return pa.array(texts, pa.string())
        scaled = np.round(numbers * 10.0 ** (self.decimals or 0))
        if self.decimals is None or (np.abs(scaled) > LARGEST_SCALED).any():
            texts = pa.array([repr(number) for number in numbers.tolist()], pa.string())
            texts = pc.utf8_upper(texts) if self.capital else texts
            return texts if self.style == "float" else pc.replace_substring_regex(texts, r"\.0$", "")
        return _digits(scaled.astype(np.int64), self.decimals, self.style)


def _digits(scaled: np.ndarray, decimals: int, style: Style) -> pa.Array:
    """Whole numbers of units in the last place as texts with a point `decimals` digits before their end."""
    sign = pa.array(np.where(scaled < 0, "-", ""), pa.string())
    whole, rest = np.divmod(np.abs(scaled), 10**decimals)
    whole_text = pc.cast(pa.array(whole), pa.string())
    if decimals == 0:
        return pc.binary_join_element_wise(sign, whole_text, "")
    fraction = pc.utf8_lpad(pc.cast(pa.array(rest), pa.string()), width=decimals, padding="0")
    if style != "fixed":
        fraction = pc.utf8_rtrim(fraction, characters="0")
    if style == "float":
        fraction = pc.if_else(pc.equal(fraction, ""), "0", fraction)
    point = pc.if_else(pc.equal(fraction, ""), "", ".")
    return pc.binary_join_element_wise(sign, whole_text, point, fraction, "")
