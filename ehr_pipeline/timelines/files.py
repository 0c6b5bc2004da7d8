"""MEDS Parquet files as arrays: one pass, no row in Python.

What belongs here: files, column types, dictionaries of codes and texts. What does not: what is wrong with the events
(`mend.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehr_pipeline.errors import SourceError
from ehr_pipeline.generators.timelines import EVENT_COLUMNS

NEEDED = EVENT_COLUMNS[:4]
"""Columns that every MEDS file has; `text_value` may be absent."""
LONGEST_TEXT = 200
"""Characters of a text that still is a category; longer ones are free text, which is not learned."""
BATCH_ROWS = 1 << 20
NO_TIME = np.iinfo(np.int64).min
"""Microseconds of a static fact: how numpy stores a missing time."""


@dataclass(frozen=True, kw_only=True)
class RawEvents:
    """Events in file order, not mended: 28 bytes each.

    Attributes
    ----------
    schema
        Columns and types of the file, for writing.
    subject_id
        int64 of shape (n,).
    time
        int64 of shape (n,): microseconds since 1970, UTC, or `NO_TIME`.
    code, text
        int32 of shape (n,): places in `codes` and `texts`, -1 where missing.
    value
        float32 of shape (n,), NaN where missing.
    n_without_subject, n_odd_values, n_long_texts
        Rows that were left out since they name no patient; values that are no number or infinite, and texts that are
        too long, both set to missing.
    """

    schema: pa.Schema
    subject_id: np.ndarray
    time: np.ndarray
    code: np.ndarray
    value: np.ndarray
    text: np.ndarray
    codes: np.ndarray
    texts: np.ndarray
    n_without_subject: int
    n_odd_values: int
    n_long_texts: int


def event_files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder in order; of a MEDS folder those in `data/`.

    Raises
    ------
    SourceError
        There is none.
    """
    if not path.exists():
        raise SourceError(f"{path} does not exist")
    if path.is_file():
        return [path]
    folder = path / "data" if (path / "data").is_dir() else path
    files = sorted(file for file in folder.rglob("*.parquet") if "metadata" not in file.relative_to(folder).parts)
    if not files:
        raise SourceError(f"{path} holds no Parquet file")
    return files


def read_raw(path: Path) -> RawEvents:
    """Read every event of a file or folder.

    Raises
    ------
    SourceError
        A file is no Parquet file, lacks a column, or a column has a type that cannot be what MEDS says.
    """
    files = event_files(path)
    schema = _schema(files[0])
    pieces = _Pieces()
    for file in files:
        own = _schema(file)
        if own.names != schema.names:
            raise SourceError(f"{file} has other columns than {files[0].name}; make them the same")
        try:
            for batch in _batches(file, own):
                pieces.add(batch, file)
        except (pa.ArrowException, OSError):
            raise SourceError(f"{file} cannot be read to its end as Parquet; write it again") from None
    return pieces.events(schema)


def _schema(file: Path) -> pa.Schema:
    try:
        schema = pq.read_schema(file)
        names = schema.names
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise SourceError(f"{file} is no Parquet file; write it again") from None
    if absent := [name for name in NEEDED if name not in names]:
        raise SourceError(f"{file} lacks the column {', '.join(absent)}; MEDS events have {', '.join(NEEDED)}")
    if len(set(names)) < len(names):
        raise SourceError(f"{file} has two columns of one name; rename one")
    for name, allowed, wanted in (
        ("subject_id", _is_number, "whole numbers"),
        ("time", _is_time, "timestamps"),
        ("code", _is_text, "text"),
        ("numeric_value", _is_number, "numbers"),
        ("text_value", _is_text, "text"),
    ):
        if name in names and not (allowed(schema.field(name).type) or pa.types.is_null(schema.field(name).type)):
            raise SourceError(f"column {name} of {file} holds {schema.field(name).type}; MEDS wants {wanted}")
    return schema


def _batches(file: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    names = [name for name in EVENT_COLUMNS if name in schema.names]
    with pq.ParquetFile(file) as parquet:
        yield from parquet.iter_batches(batch_size=BATCH_ROWS, columns=names)


@dataclass
class _Words:
    """Distinct words so far; memory grows with them, not with the rows."""

    known: pa.Array = field(default_factory=lambda: pa.array([], pa.large_string()))

    def places(self, column: pa.Array) -> np.ndarray:
        """The place of each word among all, new ones added; -1 where missing or empty: int32 of shape (n,)."""
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.large_string()).dictionary_encode()
        words = column.dictionary.cast(pa.large_string())
        words.validate(full=True)
        is_new = pc.and_(pc.invert(pc.is_in(words, value_set=self.known)), pc.is_valid(words))
        self.known = pa.concat_arrays([self.known, words.filter(is_new).unique()])
        place = pc.index_in(words, value_set=self.known)
        place = pc.if_else(pc.fill_null(pc.equal(words, ""), True), -1, place).to_numpy(zero_copy_only=False)
        indices = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.append(place, -1)[indices].astype(np.int32)

    def all(self) -> np.ndarray:
        """Every word: object of shape (n_words,)."""
        return self.known.to_numpy(zero_copy_only=False)


@dataclass
class _Pieces:
    """Arrays of the batches so far."""

    arrays: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in EVENT_COLUMNS})
    codes: _Words = field(default_factory=_Words)
    texts: _Words = field(default_factory=_Words)
    n_without_subject: int = 0
    n_odd_values: int = 0
    n_long_texts: int = 0

    def add(self, batch: pa.RecordBatch, file: Path) -> None:
        """One batch more."""
        subjects = batch["subject_id"]
        has_subject = pc.is_valid(subjects)
        if pa.types.is_floating(subjects.type):  # whole numbers with gaps, as pandas writes them
            has_subject = pc.and_(has_subject, pc.invert(pc.is_nan(pc.fill_null(subjects, 0.0))))
        self.n_without_subject += len(batch) - pc.sum(has_subject).as_py() if len(batch) else 0
        batch = batch.filter(has_subject)
        try:
            subject_id = batch["subject_id"].cast(pa.int64())
        except pa.ArrowInvalid:
            raise SourceError(f"column subject_id of {file} holds numbers that are not whole, or too large") from None
        self._append("subject_id", subject_id)
        time = batch["time"].cast(pa.timestamp("us", getattr(batch["time"].type, "tz", None)), safe=False)
        self._append("time", time.cast(pa.int64()).fill_null(NO_TIME))  # UTC, where there is a zone
        value = batch["numeric_value"].cast(pa.float32(), safe=False)
        is_odd = pc.invert(pc.is_finite(value))
        self.n_odd_values += pc.sum(is_odd).as_py() or 0
        self._append("numeric_value", pc.if_else(is_odd, np.float32("nan"), value).fill_null(np.float32("nan")))
        self.arrays["code"].append(self.codes.places(batch["code"]))
        texts = batch["text_value"] if "text_value" in batch.schema.names else pa.nulls(len(batch))
        texts = texts.cast(pa.large_string())
        is_long = pc.greater(pc.binary_length(texts), LONGEST_TEXT)
        self.n_long_texts += pc.sum(is_long).as_py() or 0
        self.arrays["text_value"].append(
            self.texts.places(pc.if_else(is_long.fill_null(False), pa.scalar(None, pa.large_string()), texts))
        )

    def _append(self, name: str, column: pa.Array) -> None:
        self.arrays[name].append(column.to_numpy(zero_copy_only=False))

    def events(self, schema: pa.Schema) -> RawEvents:
        """All batches as one."""
        types = {"code": np.int32, "text_value": np.int32, "numeric_value": np.float32}
        columns = {
            name: np.concatenate([np.empty(0, dtype=types.get(name, np.int64)), *pieces])
            for name, pieces in self.arrays.items()
        }
        return RawEvents(
            schema=schema,
            subject_id=columns["subject_id"],
            time=columns["time"],
            code=columns["code"],
            value=columns["numeric_value"],
            text=columns["text_value"],
            codes=self.codes.all(),
            texts=self.texts.all(),
            n_without_subject=self.n_without_subject,
            n_odd_values=self.n_odd_values,
            n_long_texts=self.n_long_texts,
        )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _is_time(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _is_text(kind: pa.DataType) -> bool:
    own = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(own) or pa.types.is_large_string(own) or pa.types.is_string_view(own)
