"""How numbers are written on the page.

What belongs here: number to text, and nothing else. A value that is not there is an en dash.
"""

from __future__ import annotations

import math

ABSENT = "–"


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits, thousands apart; at most three after the point, four below 0.01.

    >>> number(0.51234), number(0.0053), number(12345.6), number(-0.8), number(None), number(0.00001)
    ('0.512', '0.0053', '12,346', '−0.800', '–', '< 0.0001')

    >>> number(0.0212), number(27.13)
    ('0.021', '27.1')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    if value == 0:
        return "0"
    size = abs(value)
    if size < 0.00005:
        return "< 0.0001" if value > 0 else "> −0.0001"
    decimals = min(max(digits - 1 - math.floor(math.log10(size)), 0), 3 if size >= 0.01 else 4)
    return signed(f"{value:,.{decimals}f}")


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval in brackets, or nothing where there is none.

    >>> interval(0.49, 0.53), interval(None, 1.0)
    ('[0.490, 0.530]', '')
    """
    return "" if low is None or high is None else f"[{number(low, digits)}, {number(high, digits)}]"


def position(normalised: float | None) -> str:
    """Where a score stands between floor (0) and null (1).

    >>> position(1.0), position(-0.031), position(None)
    ('1.00', '−0.03', '–')
    """
    return ABSENT if normalised is None else signed(f"{normalised:.2f}".replace("-0.00", "0.00"))


def percent(share: float | None) -> str:
    """A share as per cent.

    >>> percent(0.1234), percent(0.0004), percent(0.0), percent(1.0), percent(None)
    ('12.3 %', '0.04 %', '0 %', '100 %', '–')
    """
    if share is None or not math.isfinite(share):
        return ABSENT
    if share in (0, 1):
        return "100 %" if share else "0 %"
    value = 100 * share
    return signed(f"{value:.1f} %" if abs(value) >= 1 else f"{value:.2g} %" if abs(value) >= 0.001 else "< 0.001 %")


def count(value: int | None) -> str:
    """A whole number, thousands apart.

    >>> count(50000), count(None)
    ('50,000', '–')
    """
    return ABSENT if value is None else f"{value:,}"


def signed(text: str) -> str:
    """The text with a true minus sign."""
    return text.replace("-", "−")
