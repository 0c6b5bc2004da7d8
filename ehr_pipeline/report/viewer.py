"""Single synthetic patients for clinical review: which ones, and what is shown of each.

What belongs here: choosing and reading. It is given the path of a generator's own events and reads no other file of
patients, so that no real one can be shown. What does not: drawing (`pictures/patient.py`), verdicts (`reviews.py`).

Limits, so that a page stays a page: `N_PATIENTS` per generator, `N_EVENTS` timed events, `N_LANES` values over time,
`N_ROWS` rows of marks and `N_LISTED` words per list of each patient; what is beyond is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from ehr_pipeline.errors import SourceError
from ehr_pipeline.generators.timelines import BIRTH
from ehr_pipeline.report.code_titles import (
    DIAGNOSES,
    DRUGS,
    MOVES,
    OTHER,
    PROCEDURES,
    VALUES,
    CodeTitle,
    calm,
    code_titles,
)
from ehr_pipeline.report.numbers import number
from ehr_pipeline.storage import sha256

N_PATIENTS, N_EVENTS, N_LANES, N_ROWS, N_LISTED = 20, 2_000, 18, 24, 30
SEED = 0
YEAR_HOURS = 24 * 365.25
MARKED = (MOVES, DRUGS, PROCEDURES, DIAGNOSES, OTHER)
"""Kinds of rows of marks, in the order shown."""
PERSONAL = ("RACE", "INSURANCE", "LANGUAGE", "MARITAL_STATUS")
"""What is asked at an admission, and shown among the facts."""
HIDDEN_FACTS = ("ANCHOR_YEAR", "ANCHOR_YEAR_GROUP")


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One measured thing over time: hours and values of equal length, in order of time."""

    title: str
    unit: str | None
    hours: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MarkRow:
    """One thing that was done or found, and when; `kind` as in `code_titles`."""

    title: str
    kind: str
    hours: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ShownPatient:
    """One synthetic patient. Hours are since the first value (or event) that is drawn.

    `facts` are name and value; `lists` are a heading and its words; `beyond` counts what the limits left out, in words.
    """

    number: int
    facts: tuple[tuple[str, str], ...]
    lists: tuple[tuple[str, tuple[str, ...]], ...]
    lanes: tuple[Lane, ...]
    marks: tuple[MarkRow, ...]
    hours: float
    n_events: int
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """The synthetic patients of one generator that are shown, and of which events file they are."""

    events_sha256: str
    n_patients: int
    patients: tuple[ShownPatient, ...]


def read_viewer(events: Path, dictionaries: Path | None = None, seed: int = SEED) -> Viewer:
    """Choose patients by `seed` from a generator's synthetic events, and read what is shown of them.

    `dictionaries` is a warehouse, of which only the public dictionaries are read. Memory: the events of the chosen
    patients, at most `N_PATIENTS` times `N_EVENTS`.

    Raises
    ------
    SourceError
        The file is no event stream.
    """
    n_patients, chosen = choose_patients(events, seed)
    frame = _events_of(events, chosen)
    titles = code_titles(frame["code"].unique().tolist(), dictionaries)
    patients = tuple(_patient(int(number), own, titles) for number, own in frame.groupby("subject_id", sort=True))
    return Viewer(events_sha256=sha256(events), n_patients=n_patients, patients=patients)


def choose_patients(events: Path, seed: int = SEED) -> tuple[int, list[int]]:
    """How many patients the events have, and the numbers of those that are shown, in order."""
    found = _asked("SELECT DISTINCT subject_id FROM read_parquet(?) ORDER BY 1", [str(events)])["subject_id"].to_numpy()
    chosen = np.random.default_rng(seed).choice(found, size=min(N_PATIENTS, len(found)), replace=False)
    return len(found), sorted(int(one) for one in chosen)


def _events_of(events: Path, chosen: list[int]) -> pd.DataFrame:
    """Events of these patients in order, the first `N_EVENTS` timed ones of each, with `n` of all."""
    return _asked(
        f"""
        SELECT subject_id, time, CAST(code AS VARCHAR) AS code, CAST(numeric_value AS DOUBLE) AS value,
            CAST(text_value AS VARCHAR) AS text, count(*) OVER (PARTITION BY subject_id) AS n
        FROM read_parquet(?) WHERE subject_id IN (SELECT unnest(?))
        QUALIFY row_number() OVER (PARTITION BY subject_id, time IS NULL ORDER BY time, code) <= {N_EVENTS}
        ORDER BY subject_id, time NULLS FIRST, code, value, text""",
        [str(events), chosen],
    )


def _asked(sql: str, parameters: list) -> pd.DataFrame:
    try:
        with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as con:
            return con.execute(sql, parameters).df()
    except duckdb.Error:
        raise SourceError(f"{parameters[0]} cannot be read as synthetic events; sample the generator again") from None


def _patient(number_: int, events: pd.DataFrame, titles: dict[str, CodeTitle]) -> ShownPatient:
    is_birth = events["code"] == BIRTH
    is_fact = events["time"].isna() | events["code"].str.split("//").str[0].isin(PERSONAL)
    timed, static = events[~is_fact & ~is_birth], events[is_fact]
    kind = timed["code"].map(lambda code: titles[code].kind)
    is_value = timed["value"].notna() & np.isfinite(timed["value"]) & (kind.isna() | (kind == VALUES))
    # What is measured says which part of the time is drawn; an admission may lie days before it.
    drawn = timed[is_value] if is_value.any() else timed
    start = drawn["time"].min() if len(drawn) else None
    hours = (timed["time"] - start) / pd.Timedelta(hours=1) if len(drawn) else pd.Series(dtype="float64")
    end = float(hours[drawn.index].max()) if len(drawn) else 0.0
    reach = max(1.0, 0.05 * end)
    is_near = (hours >= -reach) & (hours <= end + reach)
    lanes, n_lanes = _lanes(timed[is_value], hours, titles)
    marks, n_rows = _marks(timed[~is_value & is_near], hours, titles)
    # What is coded at discharge says nothing of an hour: it is listed, as what has no time is.
    is_around = ~is_value & ~is_near
    is_coded = is_around & kind.isin([DIAGNOSES, PROCEDURES])
    untimed = pd.concat([static, timed[is_coded]])
    lists = [(heading.capitalize(), _listed(untimed, kind_, titles)) for heading, kind_ in _LISTS.items()]
    lists.append(("Before and after", _around(timed[is_around & ~is_coded], hours, titles)))
    n_events = int(events["n"].iloc[0])
    left_out = {
        "measured things": n_lanes - len(lanes), "rows of marks": n_rows - len(marks), "events": n_events - len(events),
    }  # fmt: skip
    return ShownPatient(
        number=number_,
        facts=_facts(events, static, timed, titles),
        lists=tuple((heading, words) for heading, words in lists if words),
        lanes=lanes,
        marks=marks,
        hours=end,
        n_events=n_events,
        beyond=tuple(f"{n:,} more {what}" for what, n in left_out.items() if n > 0),
    )


_LISTS = {"diagnoses": DIAGNOSES, "procedures": PROCEDURES, "drugs": DRUGS}


def _facts(
    events: pd.DataFrame, static: pd.DataFrame, timed: pd.DataFrame, titles: dict[str, CodeTitle]
) -> tuple[tuple[str, str], ...]:
    """Age, then static facts by the first word of their code."""
    found: list[tuple[str, str]] = []
    birth = events.loc[events["code"] == BIRTH, "time"]
    if len(birth.dropna()) and len(timed):
        years = (timed["time"].min() - birth.iloc[0]) / pd.Timedelta(hours=YEAR_HOURS)
        found.append(("age", f"{years:.0f} years"))
    for code, value, text in zip(static["code"], static["value"], static["text"], strict=True):
        first = code.split("//", maxsplit=1)[0]
        if titles[code].kind in _LISTS.values() or first in HIDDEN_FACTS:
            continue
        words = [] if "//" not in code else [titles[code].title]
        words += [number(value)] if pd.notna(value) else []
        words += [calm(text)] if isinstance(text, str) else []
        found.append((calm(first.replace("_", " ").lower(), 40), ", ".join(words) or "yes"))
    return tuple(dict.fromkeys(found))[:N_LISTED]


def _listed(untimed: pd.DataFrame, kind: str, titles: dict[str, CodeTitle]) -> tuple[str, ...]:
    found = dict.fromkeys(titles[code].title for code in untimed["code"] if titles[code].kind == kind)
    return _cut(list(found))


def _around(around: pd.DataFrame, hours: pd.Series, titles: dict[str, CodeTitle]) -> tuple[str, ...]:
    """What lies well before or after the values that are drawn, with its distance."""
    found = []
    for code, hour in zip(around["code"], hours[around.index], strict=True):
        distance = f"{abs(hour) / 24:.1f} days {'before' if hour < 0 else 'after'} the first value"
        found.append(f"{_full(code, titles)}, {distance}")
    return _cut(list(dict.fromkeys(found)))


def _cut(words: list[str]) -> tuple[str, ...]:
    return tuple(words) if len(words) <= N_LISTED else (*words[:N_LISTED], f"and {len(words) - N_LISTED} more")


def _lanes(values: pd.DataFrame, hours: pd.Series, titles: dict[str, CodeTitle]) -> tuple[tuple[Lane, ...], int]:
    """The things measured most often, in the order of the catalogue; and how many there are in all."""
    by_code = dict(list(values.groupby("code", sort=True)))
    most = sorted(by_code, key=lambda code: (-len(by_code[code]), code))[:N_LANES]
    ordered = sorted(most, key=lambda code: (titles[code].rank, titles[code].title, code))
    lanes = tuple(
        Lane(
            title=titles[code].title,
            unit=titles[code].unit,
            hours=tuple(round(float(hour), 3) for hour in hours[by_code[code].index]),
            values=tuple(float(value) for value in by_code[code]["value"]),
        )
        for code in ordered
    )
    return lanes, len(by_code)


def _marks(timed: pd.DataFrame, hours: pd.Series, titles: dict[str, CodeTitle]) -> tuple[tuple[MarkRow, ...], int]:
    """Rows of marks by kind, those with the first mark first; and how many rows there are in all."""
    rows = []
    for code, own in timed.groupby("code", sort=True):
        kind = titles[code].kind
        kind = OTHER if kind is None or kind == VALUES else kind
        words = {calm(text, 30) for text in own["text"] if isinstance(text, str)} if kind == OTHER else set()
        title = f"{_full(code, titles)}{': ' + ', '.join(sorted(words)[:2]) if words else ''}"
        rows.append(MarkRow(title=title, kind=kind, hours=tuple(round(float(hour), 3) for hour in hours[own.index])))
    rows = _together(rows)
    ordered = sorted(rows, key=lambda row: (MARKED.index(row.kind), row.hours[0], row.title))
    return tuple(ordered[:N_ROWS]), len(rows)


def _together(rows: list[MarkRow]) -> list[MarkRow]:
    """One row for what has one title and kind, such as a drug that was ordered and given."""
    found: dict[tuple[str, str], set[float]] = {}
    for row in rows:
        found.setdefault((row.title, row.kind), set()).update(row.hours)
    return [MarkRow(title=title, kind=kind, hours=tuple(sorted(hours))) for (title, kind), hours in found.items()]


def _full(code: str, titles: dict[str, CodeTitle]) -> str:
    """A title with the first word of its code where that says more: `admission: EW EMER.`."""
    first = code.split("//", maxsplit=1)[0]
    if titles[code].kind not in (MOVES, OTHER) or "//" not in code:
        return titles[code].title
    return calm(f"{first.replace('_', ' ').lower()}: {titles[code].title}")
