"""Files of delimited text, read as what they say: every value as it is spelled, in a file without a name.

What belongs here: dialects, and what is wrong with a file (empty, ragged, not UTF-8, cut off). What does not: what a
column's text means (`text_columns.py`).

The text streams into a Parquet file that has been unlinked, so that memory holds a few blocks of 16 MiB at a time,
and nothing of it outlives the process.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ehr_pipeline.errors import SourceError
from ehr_pipeline.tables.layout import Dialect
from ehr_pipeline.tables.text_columns import MISSING_SPELLINGS

BLOCK_BYTES = 16 << 20
BLANK = MISSING_SPELLINGS | {""}
"""Values that stand bare where a file puts its words in quotes."""
_HEAD_BYTES = 1 << 18
_MARK = b"\xef\xbb\xbf"
_DELIMITERS = (",", "\t", ";", "|")


def read_text_file(path: Path, most_columns: int) -> tuple[pq.ParquetFile, Dialect]:
    """The file's columns as text, under names of their number (`0`, `1`, ...), and how the file is laid out.

    Raises
    ------
    SourceError
        The file is empty, has a header alone, too many columns, a name twice, a row of another length, bytes that
        are not UTF-8, or an end that is not there.
    """
    dialect = _dialect(path, most_columns)
    width = len(dialect.header)
    types = pa.schema([(str(k), pa.string()) for k in range(width)])
    store = tempfile.TemporaryFile()  # noqa: SIM115 - it is the table's as long as the table lives
    try:
        with _opened(path) as file:
            file.seek(len(_MARK) if dialect.has_mark else 0)
            reader = pa.csv.open_csv(
                file,
                read_options=pa.csv.ReadOptions(
                    use_threads=False, block_size=BLOCK_BYTES, skip_rows_after_names=1, column_names=types.names
                ),
                parse_options=pa.csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
                convert_options=pa.csv.ConvertOptions(column_types=types, strings_can_be_null=False),
            )
            with pq.ParquetWriter(store, types, compression="lz4") as writer:
                for batch in reader:
                    writer.write_batch(batch)
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException, OSError) as error:
        store.close()
        raise _fault(path, error) from None
    except BaseException:
        store.close()
        raise
    store.seek(0)
    table = pq.ParquetFile(store, memory_map=False)
    if not table.metadata.num_rows:
        store.close()
        raise SourceError(f"{path} has a header and no rows; a table needs at least two")
    return table, dialect


def _fault(path: Path, error: Exception) -> SourceError:
    """What went wrong, in one line without a word of the file."""
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
        return SourceError(f"{path} is cut off or damaged: its compressed data ends early; copy the file again")
    if isinstance(error, OSError) and not isinstance(error, pa.ArrowException):
        return SourceError(f"{path} cannot be read: {error.strerror or type(error).__name__}")
    line = _line_not_utf8(path)
    if line is not None:
        return SourceError(f"{path}, line {line}: bytes that are not UTF-8; save the file as UTF-8")
    # Arrow's message ends with the row itself: only its numbers are taken.
    if ragged := re.match(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+):", str(error)):
        row, width, found = ragged.groups()
        return SourceError(f"{path}, row {row} (the header is row 1): {found} values where the header has {width}")
    return SourceError(f"{path} cannot be read as delimited text: a quote is left open or a value is too long")


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _line_not_utf8(path: Path) -> int | None:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def _dialect(path: Path, most_columns: int) -> Dialect:
    """How the file is laid out, from its first 256 KiB."""
    try:
        with _opened(path) as file:
            head = file.read(_HEAD_BYTES)
            while b"\n" not in head and (more := file.read(_HEAD_BYTES)):
                head += more
    except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
        raise _fault(path, error) from None
    has_mark = head.startswith(_MARK)
    text = head.removeprefix(_MARK).decode("utf-8", errors="replace")
    if not text.strip():
        raise SourceError(f"{path} is empty; a table has a header and rows")
    if "\x00" in text:
        raise SourceError(f"{path} is not delimited text in UTF-8 (it holds zero bytes)")
    first = (
        re.match(r'(?:"(?:[^"]|"")*"|[^"\r\n]|"(?!"))*', text)[0] if text.count('"') else re.split(r"[\r\n]", text)[0]
    )
    if not first.strip():
        raise SourceError(f"{path} begins with an empty line; its first line must be the header")
    delimiter = "\t" if ".tsv" in path.suffixes else _delimiter(first)
    end = text[len(first) : len(first) + 2]
    if not text[len(first) :].strip() and len(head) < _HEAD_BYTES:
        raise SourceError(f"{path} has a header and no rows; a table needs at least two")
    try:
        names = next(csv.reader(io.StringIO(first, newline=""), delimiter=delimiter))
    except (csv.Error, StopIteration):
        raise SourceError(f"{path}: the first line cannot be read as names of columns") from None
    _check_names(path, names, most_columns)
    rows = _raw_rows(text, delimiter, complete=len(head) < _HEAD_BYTES)
    body = [row for row in rows[1:] if len(row) == len(names)]
    quoted, quotes_missing = zip(*(_quoting([row[k] for row in body]) for k in range(len(names))), strict=True)
    return Dialect(
        delimiter=delimiter,
        line_end="\r\n" if end.startswith("\r\n") else "\r" if end.startswith("\r") else "\n",
        header=tuple(names),
        quoted=quoted,
        quotes_header=bool(rows) and all(value.startswith('"') for value in rows[0]),
        quotes_missing=quotes_missing,
        has_mark=has_mark,
    )


def _delimiter(header: str) -> str:
    """The delimiter that a header has most of, outside quotes."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(_DELIMITERS, key=bare.count)


def _raw_rows(text: str, delimiter: str, complete: bool) -> list[list[str]]:
    """Rows of a head of the file, values with their quotes as they stand."""
    mark = re.escape(delimiter)
    value = re.compile(rf'("(?:[^"]|"")*"|[^{mark}\r\n]*)({mark}|\r\n|\n|\r|$)')
    rows: list[list[str]] = [[]]
    for found in value.finditer(text):
        rows[-1].append(found[1])
        if found[2] != delimiter:
            rows.append([])
        if found.end() == len(text):
            break
    rows = [row for row in rows if row and row != [""]]
    return rows if complete else rows[:-1]


def _quoting(raw: list[str]) -> tuple[bool, bool]:
    """Whether all values of a column stand in quotes, and whether its missing ones do."""
    missing = [value for value in raw if value.strip('"') in BLANK]
    values = [value for value in raw if value.strip('"') not in BLANK]
    is_quoted = bool(values) and all(value.startswith('"') for value in values)
    return is_quoted, sum(value.startswith('"') for value in missing) > len(missing) / 2


def _check_names(path: Path, names: list[str], most_columns: int) -> None:
    if len(names) > most_columns:
        raise SourceError(f"{path} has {len(names):,} columns; at most {most_columns:,} can be learned from")
    if len(names) < 2:
        raise SourceError(f"{path} has one column (or a delimiter other than , ; | or tab); a table needs two at least")
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise SourceError(f"{path} has the column name {twice[0]!r} twice; give each column a name of its own")
    unfit = [k for k, name in enumerate(names, start=1) if len(name) > 128 or re.search(r"[\x00-\x1f]", name)]
    if unfit:
        raise SourceError(f"{path}: the name of column {unfit[0]} is too long or has a line break or tab; rename it")
