"""Which files of a source are which tables, and whether each is what its name says.

What belongs here: looking at folders, first bytes and headers; it takes milliseconds and refuses before
anything is read. What does not: reading the rows (`reading.py`).
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.errors import SourceError
from ehr_pipeline.mimic.tables import SCHEMAS, Table, tables

SUFFIXES = (".csv", ".csv.gz", ".parquet")
HEADER_BYTES = 1 << 16
TRUTH = "truth.json"

# First bytes of what is handed over by mistake; text has none of them.
_SIGNATURES = {
    b"\x1f\x8b": "a gzip file",
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip archive or Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML file",
}


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

    files: tuple[SourceFile, ...]
    unread: tuple[Path, ...]
    truth: Path | None


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
            raise SourceError(
                f"{folder} holds no MIMIC-IV table: no *.csv, *.csv.gz or *.parquet of that name in it or in its {inside}"
            )
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
    files = [SourceFile(by_stem[stem], path, _header(path, by_stem[stem])) for stem, path in found.items()]
    files.sort(key=lambda file: (not file.table.required, -file.path.stat().st_size))
    truths = [folder / TRUTH for folder in folders if (folder / TRUTH).is_file()]
    return Source(tuple(files), tuple(unread), truths[0] if truths else None)


def _candidates(folder: Path) -> list[Path]:
    """The files that may be tables: those in the folder and in its folders that MIMIC-IV names."""
    try:
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise SourceError(f"{folder} {what}; name the folder that holds hosp/ and icu/")
        inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name.lower() in (*SCHEMAS, "note")]
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


def _header(path: Path, table: Table) -> tuple[str, ...]:
    """The column names of a file, spelt as the table spells them."""
    try:
        names = _parquet_names(path) if path.suffix.lower() == ".parquet" else _csv_names(path)
    except PermissionError:
        raise SourceError(f"{path} may not be read by this user; change its permissions") from None
    names = [name.strip().lower() for name in names]
    twice = sorted({name for name in names if names.count(name) > 1} & set(table.column_names))
    if twice:
        raise SourceError(f"{path} has the column {twice[0]} twice; keep one of them")
    missing = [name for name in table.column_names if name not in names]
    if missing:
        raise SourceError(_lacks(path, missing, [name for name in names if name not in table.column_names]))
    return tuple(names)


def _lacks(path: Path, missing: list[str], unknown: list[str]) -> str:
    if len(unknown) == 1 and any(mark in unknown[0] for mark in ";\t|"):
        return f"{path} is not separated by commas; write it as CSV with commas"
    wanted = missing[0]
    near = difflib.get_close_matches(wanted, unknown, 1, 0.5) or [
        name for name in unknown if sorted(name.split("_")) == sorted(wanted.split("_")) or set(wanted.split("_")) < set(name.split("_"))
    ]
    hint = f": is it the column that the file calls {near[0]}?" if near else f"; MIMIC-IV's {_stem(path)} has it"
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"{path} lacks the column {wanted}{more}{hint}"


def _parquet_names(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if not start.startswith(b"PAR1"):
        raise SourceError(f"{path} is {_what(start)}, not a Parquet file")
    try:
        return pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        raise SourceError(f"{path} is a damaged or truncated Parquet file; copy it again") from None


def _csv_names(path: Path) -> list[str]:
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if path.suffix.lower() == ".gz":
        if not start.startswith(b"\x1f\x8b"):
            raise SourceError(f"{path} is {_what(start)}, not a gzip file")
        start = _unzipped(path)
        name = f"{path} holds, unzipped,"
    else:
        name = f"{path} is"
    what = _what(start)
    if what != "plain text":
        raise SourceError(f"{name} {what}, not CSV text")
    try:
        text = start.decode("utf-8-sig", errors="ignore" if len(start) == HEADER_BYTES else "strict")
    except UnicodeDecodeError:
        text = start.decode("latin-1")  # which row is not UTF-8, the reading will say
    return next(csv.reader(io.StringIO(text, newline="")), [])


def _unzipped(path: Path) -> bytes:
    """The first bytes inside a gzip file."""
    try:
        with gzip.open(path) as file:
            return file.read(HEADER_BYTES)
    except EOFError:
        raise SourceError(f"{path} is a truncated gzip file; copy it again") from None
    except (gzip.BadGzipFile, zlib.error):
        raise SourceError(f"{path} is a damaged gzip file; copy it again") from None


def _what(start: bytes) -> str:
    """What a file is, by its first bytes."""
    if not start:
        return "empty"
    head = start[:64].lstrip().lower()
    for signature, what in _SIGNATURES.items():
        if start.startswith(signature) or head.startswith(signature.lower()):
            return what
    return "binary data" if b"\x00" in start else "plain text"
