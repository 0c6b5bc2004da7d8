"""What a file is and which columns it has, from its first bytes.

What belongs here: the header, and what is said of a file that is not what its name says; it takes milliseconds.
What does not: the rows (`reading.py`).
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zlib
from pathlib import Path

from ehr_pipeline.errors import SourceError
from ehr_pipeline.mimic.tables import Table

HEADER_BYTES = 1 << 16

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


def read_header(path: Path, table: Table) -> tuple[str, ...]:
    """The column names of the file of `table`, spelt as the table spells them, in the file's order.

    Raises
    ------
    SourceError
        The file is not what its name says, or not all the table's columns are in it.
    """
    names = [name.lower() for name in column_names(path)]
    twice = sorted({name for name in names if names.count(name) > 1} & set(table.column_names))
    if twice:
        raise SourceError(f"{path} has the column {twice[0]} twice; keep one of them")
    if not set(names) & set(table.column_names):
        raise SourceError(_no_header(path, table, names))
    missing = [name for name in table.column_names if name not in names]
    if missing:
        raise SourceError(_lacks(path, table, missing, [name for name in names if name not in table.column_names]))
    return tuple(names)


def column_names(path: Path, delimiter: str = ",") -> list[str]:
    """The column names that a file has, in its order; none where it has no line.

    Raises
    ------
    SourceError
        The file may not be read, or is not what its name says.
    """
    try:
        return _parquet_names(path) if path.suffix.lower() == ".parquet" else _csv_names(path, delimiter)
    except PermissionError:
        raise SourceError(f"{path} may not be read by this user; change its permissions") from None


def _no_header(path: Path, table: Table, names: list[str]) -> str:
    """What is said of a first row that names no column; it may be a patient's, so it is not quoted."""
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        return f"{path} is not separated by commas; write it as CSV with commas"
    return f"{path} has no header: its first row names no column of MIMIC-IV's {table.short_name}"


def _lacks(path: Path, table: Table, missing: list[str], unknown: list[str]) -> str:
    words = set(missing[0].split("_"))
    near = difflib.get_close_matches(missing[0], unknown, 1, 0.6)
    near += [name for name in unknown if words <= set(name.split("_"))]
    hint = f"; rename its column {near[0]} if it is that one" if near else f"; MIMIC-IV's {table.short_name} has it"
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"{path} lacks the column {missing[0]}{more}{hint}"


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


def _csv_names(path: Path, delimiter: str) -> list[str]:
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
    text = start.decode("utf-8-sig", errors="replace")  # which row is not UTF-8, the reading will say
    return [name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])]


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
