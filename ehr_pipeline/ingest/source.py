"""Which files of a source are which tables.

What belongs here: looking at folders and names; it refuses before anything is read. What does not: looking into
the files (`header.py`, `reading.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.errors import SourceError
from ehr_pipeline.ingest.header import read_header
from ehr_pipeline.mimic.tables import SCHEMAS, Table, tables

SUFFIXES = (".csv", ".csv.gz", ".parquet")
_EXAMPLES = "patients.csv, patients.csv.gz or patients.parquet"
TRUTH = "truth.json"


@dataclass(frozen=True)
class SourceFile:
    """The file of one table. `header` holds its column names as the table spells them, in the file's order."""

    table: Table
    path: Path
    header: tuple[str, ...]

    @property
    def is_parquet(self) -> bool:
        """Whether it is Parquet; else it is CSV, compressed or not."""
        return self.path.suffix.lower() == ".parquet"

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        """Columns of the file that the table doesn't have."""
        return tuple(name for name in self.header if name not in self.table.column_names)


@dataclass(frozen=True)
class Source:
    """What was found in the folders: one file per table, files that are no table, and the known truth if any."""

    folders: tuple[Path, ...]
    files: tuple[SourceFile, ...]
    unread: tuple[Path, ...]
    truth: Path | None

    @property
    def paths(self) -> dict[str, Path]:
        """Every file that is read, by a name of its own."""
        return {file.table.name: file.path for file in self.files} | ({"truth": self.truth} if self.truth else {})


def find_source(folders: Sequence[Path]) -> Source:
    """Find the tables in `folders`, each laid out as MIMIC-IV (`hosp/`, `icu/`, `ed/`, `extension/`) or flat.

    The files come with the required tables first, then the large ones, so that faults show early.

    Raises
    ------
    SourceError
        A folder is missing or holds no table; a table is there twice; a required one isn't; a file is not
        what its name says, or lacks columns.
    """
    by_stem = {table.short_name: table for table in tables().values()}
    found: dict[str, Path] = {}
    unread: list[Path] = []
    for folder in folders:
        candidates = _candidates(folder)
        if not any(_stem(path) in by_stem for path in candidates):
            inside = ", ".join(f"{name}/" for name in SCHEMAS)
            raise SourceError(f"{folder} holds no MIMIC-IV table, such as {_EXAMPLES}, in it or in its {inside}")
        for path in candidates:
            stem = _stem(path)
            if stem not in by_stem:
                unread.append(path)
            elif stem in found:
                raise SourceError(f"{stem} is there twice: {found[stem]} and {path}; keep one of them")
            else:
                found[stem] = path
    for table in by_stem.values():
        if table.required and table.short_name not in found:
            raise SourceError(_missing(table, folders, unread))
    files = [SourceFile(by_stem[stem], path, read_header(path, by_stem[stem])) for stem, path in found.items()]
    files.sort(key=lambda file: (not file.table.required, -file.path.stat().st_size))
    truths = [folder / TRUTH for folder in folders if (folder / TRUTH).is_file()]
    return Source(tuple(folders), tuple(files), tuple(unread), truths[0] if truths else None)


def _candidates(folder: Path) -> list[Path]:
    """The files that may be tables: those in the folder and in its folders that MIMIC-IV names."""
    try:
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise SourceError(f"{folder} {what}; name the folder that holds hosp/ and icu/")
        named = [path for path in sorted(folder.iterdir()) if path.name.lower() in (*SCHEMAS, "note")]
        inside = [path for path in named if path.is_dir()]
        return [path for place in (folder, *inside) for path in sorted(place.iterdir()) if path.is_file()]
    except PermissionError as error:
        raise SourceError(f"{error.filename} may not be read by this user; change its permissions") from None


def _stem(path: Path) -> str | None:
    """The table's name in a file's name, or None if the file is no CSV or Parquet."""
    name = path.name.lower()
    return next((name.removesuffix(suffix) for suffix in reversed(SUFFIXES) if name.endswith(suffix)), None)


def _missing(table: Table, folders: Sequence[Path], unread: list[Path]) -> str:
    near = [path.name for path in unread if path.name.lower().split(".")[0] == table.short_name]
    if not near:
        names = {path.name.lower().split(".")[0]: path.name for path in unread}
        near = [names[stem] for stem in difflib.get_close_matches(table.short_name, names, 1, 0.8)]
    hint = f"; {near[0]} is not read" if near else ""
    places = " or ".join(str(folder) for folder in folders)
    names = ", ".join(f"{table.short_name}{suffix}" for suffix in SUFFIXES)
    return f"{table.short_name} is missing from {places}: it is required, as one of {names}{hint}"
