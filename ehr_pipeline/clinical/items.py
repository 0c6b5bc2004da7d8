"""Clinical items: what is measured, its canonical unit and plausible range, and the event codes that hold it.

What belongs here: the types and the loader of `items.yaml`. How item values are read out of an event stream
is in `measured.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from ehr_pipeline.clinical.catalogue import read_catalogue


@dataclass(frozen=True, kw_only=True)
class Source:
    """One event code whose numeric value is a measurement of an item.

    Attributes
    ----------
    code
        The whole code, unit included: `VITAL//223761//°F`, `OMR//Weight (Lbs)`.
    stem
        The code without its unit: `VITAL//223761`.
    unit
        The unit as the code states it; `UNK` where a missing unit is declared canonical, None where the code
        carries no unit.
    scale, offset
        canonical value = value * scale + offset.
    has_fractions
        Values up to 1 are fractions of 100 and are multiplied by 100 (inspired oxygen).
    priority
        Rank among the item's sources, 0 first: decides between values of the same time.
    unified_code
        `code` with the one unit that the source's values are in, however they state it: `LAB//50912//mg/dL` for
        `LAB//50912//UNK`.
    """

    code: str
    stem: str
    unified_code: str
    unit: str | None
    scale: float = 1.0
    offset: float = 0.0
    has_fractions: bool = False
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that is measured; limits are in `unit`, inclusive."""

    name: str
    title: str
    unit: str
    kind: Literal["continuous", "integer"]
    decimals: int
    minimum: float
    maximum: float
    reference: str
    sources: tuple[Source, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """Every event code that holds the item."""
        return tuple(source.code for source in self.sources)


@cache
def load_items() -> dict[str, Item]:
    """Every item by name, in the order of the catalogue."""
    return {name: _item(name, dict(content)) for name, content in read_catalogue("items").items()}


def _item(name: str, content: dict) -> Item:
    entries = content.pop("sources")
    sources = tuple(source for priority, entry in enumerate(entries) for source in _sources(dict(entry), priority))
    content["minimum"], content["maximum"] = float(content["minimum"]), float(content["maximum"])
    return Item(name=name, kind=content.pop("kind", "continuous"), sources=sources, **content)


def _sources(entry: dict, priority: int) -> list[Source]:
    """One source per unit that the entry lists, or one without a unit."""
    code, has_fractions = entry.pop("code"), entry.pop("fractions", False)
    units = entry.pop("units", [None])
    stated = [unit for unit in units if unit != "UNK"]
    return [
        Source(
            code=_with_unit(code, unit),
            stem=code,
            unified_code=_with_unit(code, (stated or units)[0]),
            unit=unit,
            has_fractions=has_fractions,
            priority=priority,
            **entry,
        )
        for unit in units
    ]


def _with_unit(code: str, unit: str | None) -> str:
    return code if unit is None else f"{code}//{unit}"
