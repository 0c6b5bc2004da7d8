"""Events as a complete MIMIC-IV: a folder in the official layout, Parquet, and a DuckDB database.

What belongs here: the order of the steps, and what is said of what was made. What does not: the steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline import storage
from ehr_pipeline.errors import SourceError
from ehr_pipeline.export.complete import empty_columns, fill_tables
from ehr_pipeline.export.database import create_database, write_files
from ehr_pipeline.export.place import place
from ehr_pipeline.export.stream import stream_relation
from ehr_pipeline.ingest.connection import open_to_build
from ehr_pipeline.progress import Progress, Step, silent

DATABASE, SUMMARY = "mimic-iv.duckdb", "export.json"


@dataclass(frozen=True)
class MimicExport:
    """What was written: rows per table (full names), and how many events were left out, by reason."""

    out: Path
    n_rows: dict[str, int]
    left_out: dict[str, int]

    def __str__(self) -> str:
        patients, stays = self.n_rows["mimiciv_hosp.patients"], self.n_rows["mimiciv_icu.icustays"]
        rows, tables = sum(self.n_rows.values()), sum(n > 0 for n in self.n_rows.values())
        return f"{rows:,} rows in {tables} tables: {patients:,} patients, {stays:,} ICU stays"


def export_mimic_iv(
    events: Sequence[Path], dictionaries: Path, out: Path, *, seed: int = 0, progress: Progress | None = None
) -> MimicExport:
    """Write events as a MIMIC-IV database into the folder `out`, which is replaced.

    Parameters
    ----------
    events
        Parquet files in the columns of `record.EVENT_SCHEMA`; `hadm_id` and `stay_id` are not needed and not read.
    dictionaries
        A warehouse, whose public dictionaries (d_*) are copied; nothing else of it is read.
    seed
        Chooses the years to which dates are shifted.

    Leaves `hosp/`, `icu/`, `ed/` with CSV.gz, the same below `parquet/`, `mimic-iv.duckdb` with primary and foreign
    keys enforced, and `export.json`: rows per table, events left out and why, columns that stay empty. Memory: half
    of the machine's at most, the rest spills beside `out`; the indexes of the keys take some 100 bytes per row.

    Raises
    ------
    SourceError
        The files are no event stream, or hold no patient.
    ResourceShort
        Memory or disk ran out; what stood at `out` still stands.
    """
    told = _teller(progress or silent)
    with storage.atomic_folder(out) as folder, storage.scratch_folder(folder / ".spill") as spill:
        with open_to_build(folder / DATABASE, spill, "the event stream") as con:
            stream = stream_relation(con, events)
            order = create_database(con, dictionaries)
            told("admissions and stays")
            left_out = place(con, stream, seed)
            told("tables")
            n_rows = fill_tables(con, order)
            if not n_rows["mimiciv_hosp.patients"]:
                raise SourceError("the event stream holds no patient; generate some first")
            told("files")
            write_files(con, folder, n_rows)
            told("done")
        content = {
            "rows": n_rows,
            "events_left_out": left_out,
            "columns_left_empty": {name: list(columns) for name, columns in empty_columns().items()},
        }
        storage.write_json(folder / SUMMARY, content)
    return MimicExport(out, n_rows, left_out)


def _teller(progress: Progress) -> Callable[[str], None]:
    """Report each step by name as it begins, and how many lie behind."""
    begin, names = time.monotonic(), []

    def tell(name: str) -> None:
        elapsed_s = time.monotonic() - begin
        progress(Step(task=f"export, {name}", done=len(names), total=3, unit="steps", elapsed_s=elapsed_s))
        names.append(name)

    return tell
