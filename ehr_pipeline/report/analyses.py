"""Published kinds of analysis on the real warehouse and on synthetic events written as MIMIC-IV, side by side.

What belongs here: running `mimic/analyses` on both, alike, and hiding what speaks of few real patients before anything
leaves this module. What does not: the analyses (`mimic/analyses`), how they are shown (`analyses_view.py`).

The real side is what the cohort takes of its members: one admission a patient, and of what has a time the cohort's
window. Bounds: `MAX_PATIENTS` patients on either side; each table that an analysis names is read once; memory is half
of the machine's, the rest spills.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from ehr_pipeline import storage
from ehr_pipeline.errors import EhrPipelineError, NotReady
from ehr_pipeline.export.complete import fill_tables
from ehr_pipeline.export.database import create_database
from ehr_pipeline.export.place import place
from ehr_pipeline.export.stream import stream_relation
from ehr_pipeline.ingest.connection import connect, open_to_build
from ehr_pipeline.ingest.reading import sql_text
from ehr_pipeline.mimic import tables
from ehr_pipeline.mimic.analyses import analyses, run_analysis
from ehr_pipeline.mimic.tables import SCHEMAS
from ehr_pipeline.record import SMALL_CELL
from ehr_pipeline.report.smallcells import hide_share, hide_small, is_small

MAX_PATIENTS = 2_000
PARTITIONS = ("charlson", "icu_mortality_by_age", "kdigo_creatinine", "suspected_infection")
"""Analyses whose rows divide all patients, so that one hidden count could be worked out from the others."""
LISTS = ("top_diagnoses", "top_drugs")
"""Analyses whose rows are named by what patients have: a row of few patients is left out, its name too."""
PROPORTIONS = ("mortality", "share_above_0", "over_3_days", "over_7_days")
TOTAL = "total"
"""The row of a score that sums the others."""
QUARTILES = ("quarter", "median", "three_quarters")
_NAMED = re.compile(r"\bmimiciv_\w+\.\w+")
_TIMES = ("charttime", "starttime", "chartdate", "transfertime", "ordertime")
_FRAMES = tuple(f"mimiciv_hosp.{name}" for name in ("admissions", "diagnoses_icd", "procedures_icd", "drgcodes"))
"""Tables of which a cohort takes the member's whole admission."""

Cell = float | None


@dataclass(frozen=True, kw_only=True)
class AnalysisTable:
    """What one analysis found in one database: `rows[key]` are the values of `columns`, the first of which counts.

    `n_patients` were looked at; `n_hidden` rows named something that too few of them have.
    """

    columns: tuple[str, ...]
    rows: dict[str, tuple[Cell, ...]]
    n_patients: int
    n_hidden: int = 0


@dataclass(frozen=True, kw_only=True)
class AnalysisResult:
    """One analysis on the real members of a cohort and on each generator's events; None where it could not be run."""

    name: str
    words: str
    real: AnalysisTable | None
    synthetic: dict[str, AnalysisTable | None] = field(default_factory=dict)


def analyse_cohort(data: storage.DataFolder, cohort: str, generators: Sequence[str]) -> tuple[AnalysisResult, ...]:
    """Run every analysis on the cohort's members, and on what these generators of timelines made.

    What is found in synthetic events is kept beside them (`GeneratorFolder.analyses`) while they stay the same.

    Raises
    ------
    NotReady
        Nothing was ingested, or the cohort was not built.
    """
    folder = data.cohort(cohort)
    members = storage.require(folder.members, f"build the cohort {cohort} first")
    real = analyse_members(data, members)
    made = {name: _kept(data, folder.generator(name)) for name in generators}
    return tuple(
        AnalysisResult(
            name=name,
            words=_words(sql),
            real=real.get(name),
            synthetic={generator: found.get(name) for generator, found in made.items()},
        )
        for name, sql in analyses().items()
    )


def analyse_members(data: storage.DataFolder, members: Path) -> dict[str, AnalysisTable]:
    """Analyses of the real warehouse, of a cohort's members alone; small cells are hidden."""
    with connect(data) as con:
        con.execute("USE memory")
        con.execute(
            f"CREATE TEMP TABLE members AS FROM (FROM read_parquet({sql_text(members)}) QUALIFY row_number() OVER "
            f"(PARTITION BY subject_id ORDER BY start_time) = 1) ORDER BY hash(subject_id) LIMIT {MAX_PATIENTS}"
        )
        for schema in SCHEMAS.values():
            con.execute(f"CREATE SCHEMA {schema}")
        for name in _tables_named():
            con.execute(f"CREATE TABLE {name} AS {_of_members_sql(name)}")
        found = _run_all(con)
    return {name: masked(name, table) for name, table in found.items()}


def analyse_events(events: Path, dictionaries: Path, scratch: Path) -> dict[str, AnalysisTable]:
    """Analyses of synthetic events, made a MIMIC-IV database in the folder `scratch`, which is gone afterwards.

    Raises
    ------
    SourceError
        The file is no event stream.
    """
    with (
        storage.scratch_folder(scratch) as folder,
        storage.scratch_folder(folder / "spill") as spill,
        open_to_build(folder / "analyses.duckdb", spill, "the synthetic events") as con,
    ):
        stream = stream_relation(con, [events])
        con.execute(
            f"CREATE TEMP TABLE shown AS SELECT subject_id FROM (SELECT DISTINCT subject_id FROM {stream}) "
            f"ORDER BY hash(subject_id) LIMIT {MAX_PATIENTS}"
        )
        order = create_database(con, dictionaries)
        place(con, f"(FROM {stream} SEMI JOIN shown USING (subject_id))", seed=0)
        fill_tables(con, order)
        return _run_all(con)


def _kept(data: storage.DataFolder, files: storage.GeneratorFolder) -> dict[str, AnalysisTable]:
    """What is kept of the present events, else what is found in them now; nothing where they are no MIMIC-IV."""
    if not files.events.exists():
        return {}
    sql = "\n".join(analyses().values())
    of = f"{storage.sha256(files.events)} {hashlib.sha256(sql.encode()).hexdigest()} {MAX_PATIENTS}"
    if files.analyses.exists() and (kept := storage.read_json(files.analyses)).get("of") == of:
        return {name: _table(content) for name, content in kept["analyses"].items()}
    try:
        found = analyse_events(files.events, storage.require(data.warehouse, "ingest first"), files.analyses_scratch)
    except NotReady:
        raise
    except EhrPipelineError:
        return {}
    storage.write_json(files.analyses, {"of": of, "analyses": {name: asdict(table) for name, table in found.items()}})
    return found


def _table(content: dict[str, Any]) -> AnalysisTable:
    rows = {key: tuple(cells) for key, cells in content["rows"].items()}
    return AnalysisTable(
        columns=tuple(content["columns"]), rows=rows, n_patients=content["n_patients"], n_hidden=content["n_hidden"]
    )


def _run_all(con: duckdb.DuckDBPyConnection) -> dict[str, AnalysisTable]:
    """Every analysis that runs on this database; one that fails is absent."""
    found = {}
    ((n_patients,),) = con.execute("SELECT count(DISTINCT subject_id) FROM mimiciv_hosp.admissions").fetchall()
    for name in analyses():
        try:
            found[name] = _as_table(run_analysis(con, name), n_patients)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error:
            continue
    return found


def _as_table(frame: pd.DataFrame, n_patients: int) -> AnalysisTable:
    """Rows by their first column, in words; numbers rounded to six digits."""
    rows = {}
    for key, *cells in frame.itertuples(index=False, name=None):
        numbers = (None if pd.isna(cell) else float(f"{float(cell):.6g}") for cell in cells)
        rows["no value" if pd.isna(key) else f"{key:g}" if isinstance(key, float) else str(key)] = tuple(numbers)
    return AnalysisTable(columns=tuple(str(name) for name in frame.columns[1:]), rows=rows, n_patients=n_patients)


def masked(name: str, table: AnalysisTable) -> AnalysisTable:
    """A table of real patients without what speaks of fewer than `SMALL_CELL` of them.

    Counts that are small are hidden, with another where it could be worked out; so are proportions of few patients (or
    all but few), quartiles with few patients beyond them, and in lists the whole row.
    """
    at = {column: place for place, column in enumerate(table.columns)}
    if name in LISTS:
        shown = {key: row for key, row in table.rows.items() if _is_of_many(row[at["share"]], table.n_patients)}
        return replace(table, rows=shown, n_hidden=len(table.rows) - len(shown))
    counts = [int(row[0] or 0) for row in table.rows.values()]
    kept = hide_small(counts) if name in PARTITIONS else [None if is_small(n) else n for n in counts]
    rows = [list(row) if n is not None else [None] * len(row) for n, row in zip(kept, table.rows.values(), strict=True)]
    before = [list(row) for row in rows]
    for column in PROPORTIONS:
        if column in at:
            _hide_proportion(rows, at[column], counts, is_partition=name in PARTITIONS)
    if rows != before and TOTAL in table.rows:  # with the other parts, the total would give a hidden part away
        total = rows[list(table.rows).index(TOTAL)]
        total[1:] = [None] * (len(total) - 1)
    for row, n in zip(rows, counts, strict=True):
        for column in QUARTILES:
            if column in at and n < 4 * SMALL_CELL:
                row[at[column]] = None
    return replace(table, rows=dict(zip(table.rows, map(tuple, rows), strict=True)))


def _hide_proportion(rows: list[list[Cell]], column: int, counts: Sequence[int], *, is_partition: bool) -> None:
    """Hide proportions of few patients, or of all but few, and what else their rows say but the count."""
    shares = [row[column] for row in rows]
    hits = [0 if share is None else round(share * n) for share, n in zip(shares, counts, strict=True)]
    misses = [0 if share is None else n - k for share, n, k in zip(shares, counts, hits, strict=True)]
    hide = hide_small if is_partition else _hide_each
    for row, hit, miss in zip(rows, hide(hits), hide(misses), strict=True):
        if row[column] is not None and (hit is None or miss is None):
            row[1:] = [None] * (len(row) - 1)


def _is_of_many(share: Cell, n: int) -> bool:
    return share is not None and hide_share(share, n) is not None


def _hide_each(counts: Sequence[int]) -> list[int | None]:
    return [None if is_small(n) else n for n in counts]


@cache
def _tables_named() -> tuple[str, ...]:
    """Every table that an analysis names."""
    named = {name for sql in analyses().values() for name in _NAMED.findall(sql)}
    return tuple(name for name in tables() if name in named)


def _of_members_sql(name: str) -> str:
    """The rows of a table that a cohort takes of its members: their admission, and of what has a time the window."""
    columns = tables()[name].column_names
    if "subject_id" not in columns:
        return f"FROM warehouse.{name}"
    conditions = ["t.subject_id = m.subject_id"]
    times = [column for column in _TIMES if column in columns]
    if name == "mimiciv_icu.icustays":
        conditions += ["t.hadm_id = m.hadm_id", "t.intime <= m.end_time"]
        conditions.append("coalesce(t.outtime, t.intime) >= m.start_time")
        return _semi_join(name, conditions, "QUALIFY row_number() OVER (PARTITION BY subject_id ORDER BY intime) = 1")
    if name in _FRAMES:
        conditions.append("t.hadm_id = m.hadm_id")
    elif times:
        # A day without its hour counts as in the window that it touches.
        own = f"coalesce({', '.join(f't.{column}::TIMESTAMP' for column in times)})"
        start = "date_trunc('day', m.start_time)" if times == ["chartdate"] else "m.start_time"
        conditions += [f"{own} >= {start}", f"{own} <= m.end_time"]
    return _semi_join(name, conditions, "")


def _semi_join(name: str, conditions: Sequence[str], rest: str) -> str:
    return f"SELECT * FROM warehouse.{name} t SEMI JOIN members m ON {' AND '.join(conditions)} {rest}"


def _words(sql: str) -> str:
    """What an analysis says of itself: its leading comment, as one text."""
    lines = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)
