"""The one reader of sanity records (`prepared/sanity.json`, `<generator>/sanity.json`): rules and rejections as lines.

What belongs here: the shape of those files. What does not: counting and judging (`sanity/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.record import SMALL_CELL
from ehr_pipeline.report.numbers import ABSENT, percent


@dataclass(frozen=True, kw_only=True)
class RuleLine:
    """One rule on the columns that it reads, in one table.

    `n_failed` is None for some, but fewer than `SMALL_CELL` real records; `state` is the verdict of `sanity/judge.py`
    in words.
    """

    key: str
    title: str
    severity: str
    heading: str
    sources: tuple[str, ...]
    is_confirmed: bool
    n_checked: int | None
    n_failed: int | None
    state: str
    note: str | None

    @property
    def shown_share(self) -> str:
        """Share of the checked records that break the rule; only its bound where the count is hidden."""
        if not self.n_checked:
            return ABSENT
        if self.n_failed is None:
            return f"< {percent(min(1.0, SMALL_CELL / self.n_checked))}"
        return percent(self.n_failed / self.n_checked)

    @property
    def is_applicable(self) -> bool:
        """Whether the rule found columns to read."""
        return self.state != "not applicable"

    @property
    def is_clinical(self) -> bool:
        """Whether the rule says something of medicine; the others restate a column's own schema."""
        return self.sources != ("schema",)


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """How often drawn records were rejected: in all, for one rule, or in one subgroup."""

    label: str
    n_drawn: int
    n_rejected: int

    @property
    def share(self) -> float | None:
        """Share of the drawn records that were rejected."""
        return self.n_rejected / self.n_drawn if self.n_drawn else None


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How far rejection moved one quantity of a column, in standard deviations of the rows drawn."""

    label: str
    shift_sd: float | None


@dataclass(frozen=True, kw_only=True)
class SanityView:
    """Rules and rejections of one table; a real table has rules only."""

    rules: tuple[RuleLine, ...]
    rejected: Rejection | None = None
    by_rule: tuple[Rejection, ...] = ()
    by_subgroup: tuple[Rejection, ...] = ()
    shifts: tuple[Shift, ...] = ()


def read_sanity(content: Mapping[str, Any] | None, table: str) -> SanityView | None:
    """Read the record of one table, `real` or `synthetic`; None where there is none.

    Raises
    ------
    DefinitionError
        The record has not the shape that this version of the pipeline writes.
    """
    if content is None:
        return None
    try:
        return _read(content, table)
    except (KeyError, TypeError, AttributeError) as error:
        raise DefinitionError(
            f"the sanity record of the {table} table has another shape ({type(error).__name__}); run sanity again"
        ) from None


def _read(content: Mapping[str, Any], table: str) -> SanityView:
    rules = tuple(_rule(entry, entry[table]) for entry in _entries(content["rules"]))
    account = content.get("accounting")
    if account is None:
        return SanityView(rules=rules)
    return SanityView(
        rules=rules,
        rejected=_rejection("all records", account["rejection"]),
        by_rule=tuple(_rejection(entry["rule"], entry) for entry in account["rules"] if entry["n_rejected"]),
        by_subgroup=tuple(
            _rejection(f"{entry['column']}: {'no value' if entry['level'] is None else entry['level']}", entry)
            for entry in account["subgroups"]
        ),
        shifts=tuple(_shift(entry) for entry in account["shifts"]),
    )


def _entries(rules: Any) -> Iterator[Mapping[str, Any]]:
    """Rules as one list; synthetic records have them by Kahn heading."""
    if isinstance(rules, Mapping):
        for entries in rules.values():
            yield from entries
    else:
        yield from rules


def _rule(entry: Mapping[str, Any], counts: Mapping[str, Any]) -> RuleLine:
    return RuleLine(
        key=entry["key"],
        title=entry["title"],
        severity=_severity(entry["severity"], entry["severity_here"]),
        heading=entry["heading"],
        sources=tuple(entry["sources"]),
        is_confirmed=entry["confirmed"],
        n_checked=counts["n_checked"],
        n_failed=counts["n_failed"],
        state=entry["verdict"].replace("_", " "),
        note=entry["note"],
    )


def _severity(stated: str, here: str) -> str:
    return stated if stated == here else f"{stated}, here {here}"


def _rejection(label: str, counts: Mapping[str, Any]) -> Rejection:
    return Rejection(label=label, n_drawn=counts["n_drawn"], n_rejected=counts["n_rejected"])


def _shift(entry: Mapping[str, Any]) -> Shift:
    what = "" if entry["quantity"] == "mean" else f" = {entry['level']}" if entry["level"] is not None else ""
    missing = ", missing" if entry["quantity"] == "missing_share" else ""
    return Shift(label=f"{entry['column']}{what}{missing}", shift_sd=entry["shift_sd"])
