"""The ledger as lines for a person.

What belongs here: words and columns. What does not: reading and proving the ledger (`ledger.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ehr_pipeline.privacy.entries import Recorded, Total, total_of
from ehr_pipeline.privacy.ledger import Ledger
from ehr_pipeline.release.policy import Policy, load_policy
from ehr_pipeline.storage import DataFolder

_HEADINGS = ("id", "time", "kind", "patients", "table", "generator", "epsilon", "delta", "who", "why")
_RIGHT = frozenset({"epsilon", "delta"})
_WIDEST = 44


def ledger_lines(data: DataFolder) -> Iterator[str]:
    """Every row of the ledger as a table, then each universe's total, its cap, and what is left.

    Raises
    ------
    LedgerBroken
        It does not verify: nothing of it is shown as true.
    """
    rows, policy = Ledger(data.ledger).entries(), load_policy(data)
    if not rows:
        yield f"{data.ledger}: nothing was written down yet"
        return
    yield from _aligned([_HEADINGS, *(_cells(row) for row in rows)])
    for universe in dict.fromkeys(row.universe for row in rows):
        yield ""
        yield from _total_lines(total_of(rows, universe), rows, policy)
    yield ""
    yield f"last row  {rows[-1].id}  (keep it elsewhere: it tells if the whole ledger is ever replaced)"


def _cells(row: Recorded) -> tuple[str, ...]:
    is_internal = row.kind == "internal"
    return (
        row.id,
        row.time,
        row.kind,
        row.universe,
        row.source,
        row.generator,
        "infinity once released" if is_internal else _number(row.epsilon),
        "" if is_internal else _number(row.delta),
        row.who,
        row.why,
    )


def _total_lines(total: Total, rows: Sequence[Recorded], policy: Policy) -> Iterator[str]:
    yield f"{_plain(total.universe)}: {total.n_spends} private fits, {total.n_internal} internal models, " + (
        f"{total.n_released} releases; per {total.unit}"
    )
    for name, spent, cap in (
        ("epsilon", total.epsilon, policy.epsilon_cap),
        ("delta", total.delta, policy.delta_cap),
    ):
        yield f"  {name:8} spent {_number(spent):>9}  cap {_number(cap):>7}  left {_number(max(0.0, cap - spent)):>7}"
    if stated := next((row for row in rows if row.universe == total.universe and row.is_stated), None):
        yield f"  that these are other patients was stated by {_plain(stated.who)} on {stated.time}"


def _number(value: float) -> str:
    return "infinity" if math.isinf(value) else f"{value:.6g}"


def _plain(text: str) -> str:
    """Text that cannot move a terminal's cursor, cut where it is long."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return plain if len(plain) <= _WIDEST else plain[: _WIDEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    plain = [[_plain(cell) for cell in row] for row in table]
    widths = [max(len(cell) for cell in column) for column in zip(*plain, strict=True)]
    for row in plain:
        cells = zip(_HEADINGS, row, widths, strict=True)
        yield "  ".join(f"{c:>{w}}" if name in _RIGHT else f"{c:{w}}" for name, c, w in cells).rstrip()
