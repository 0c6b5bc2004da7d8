"""One column of text: what its spellings are, read to typed values, and typed values spelled again.

What belongs here: everything between a column of text and the dtypes of `record.DTYPES`. What does not: files
(`text_file.py`), columns that have types of their own (`arrow_columns.py`), and the rules of kinds (`kinds.py`).

An empty field is missing in any column. A spelled one (NA, ?, None) is read as missing only among numbers and times,
where it can be nothing else; in a column of words it stays a level like any other, and comes back as it was written.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.errors import SourceError
from ehr_pipeline.generators.category_codec import POOLED
from ehr_pipeline.record import DTYPES, SMALL_CELL, Column, Kind, shown_count
from ehr_pipeline.tables import kinds
from ehr_pipeline.tables.binary_words import read_binary, spelling_of, write_binary
from ehr_pipeline.tables.identifiers import IdentifierFormat, integer_format, text_format
from ehr_pipeline.tables.layout import ColumnLayout, Treatment
from ehr_pipeline.tables.number_format import ZERO_PADDED, NumberFormat, is_number
from ehr_pipeline.tables.time_format import TimeFormat

MISSING_SPELLINGS = frozenset({
    "NA", "N/A", "n/a", "na", "#N/A", "NULL", "Null", "null", "#NULL!", "None", "none", "NONE", "NaN", "nan", "NAN",
    "<NA>", "NaT", "?", ".", "-", "--", "missing", "Missing", "MISSING", "unknown", "Unknown", "UNKNOWN",
})  # fmt: skip
_INFINITE = r"(?i)^[-+]?inf(inity)?$"
_LONGEST_IDENTIFIER = 64
_EXACT_DIGITS = 15


class TextColumn:
    """The distinct spellings of a column and how many rows have each: what its layout is made of.

    Parameters
    ----------
    name
        Its name in the file.
    spellings
        Distinct texts (string, without null), in the order of their first row.
    counts
        Rows that have each.
    n_null
        Rows that have a null instead (Parquet).
    """

    def __init__(self, name: str, spellings: pa.Array, counts: np.ndarray, n_null: int = 0) -> None:
        self.name = name
        is_empty = pc.equal(spellings, "").to_numpy(zero_copy_only=False)
        self.n_empty = int(counts[is_empty].sum())
        self.n_null = n_null
        self.words = spellings.filter(pa.array(~is_empty))
        self.counts = counts[~is_empty]
        self.spaced = bool(len(self.words)) and bool(pc.all(pc.starts_with(self.words, " ")).as_py())
        if self.spaced:
            self.words = pc.utf8_slice_codeunits(self.words, 1)

    def layout(self, declared: Column | None = None) -> ColumnLayout:
        """What the column is: as declared, else as inferred.

        Raises
        ------
        SourceError
            Numbers or times are mixed with words, or a number is infinite.
        """
        spelled = pc.is_in(self.words, value_set=pa.array(sorted(MISSING_SPELLINGS))).to_numpy(zero_copy_only=False)
        if spelled.all():
            return self._made("categorical", "empty", declared, missing=self._missing(spelled))
        layout = self._filled(spelled, declared)
        if layout.treatment == "learned" and len(self.words) == 1 and not self.n_empty + self.n_null:
            return layout.model_copy(update={"treatment": "constant", "constant": self.words[0].as_py()})
        return layout

    def _filled(self, spelled: np.ndarray, declared: Column | None) -> ColumnLayout:
        """What a column with a value in some row is."""
        kind = declared.kind if declared is not None else None
        if kind == "text":
            return self._made("text", "left_out", declared, missing=self._missing(spelled & False))
        if kind == "id":
            return self._identifier(declared, self._without(spelled)[0]) or self._made("text", "left_out", declared)
        if kind == "categorical":
            return self._words(declared)
        if kind == "time":
            return self._declared_times(declared, spelled)
        if kind is not None:
            return self._declared_numbers(declared, spelled)
        return self._numbers(spelled) or self._times(spelled) or self._words(None)

    # Numbers

    def _numbers(self, spelled: np.ndarray) -> ColumnLayout | None:
        rest, counts = self._without(spelled)
        is_infinite = pc.match_substring_regex(rest, _INFINITE).to_numpy(zero_copy_only=False)
        for comma in (False, True):
            numeric = is_number(rest, comma)
            if is_infinite.any() and (numeric | is_infinite).all():
                raise self._infinite(int(counts[is_infinite].sum()))
            if numeric.all():
                return self._as_numbers(rest, counts, comma, spelled)
            if not comma and counts[numeric].sum() >= 0.5 * counts.sum():
                self._refuse_mixture(rest, counts, numeric)
        return None

    def _infinite(self, n_rows: int) -> SourceError:
        return SourceError(
            f"column {self.name} has infinite values in {shown_count(n_rows)} rows; leave them empty, or give the "
            f"column another kind in a schema file (--schema)"
        )

    def _as_numbers(self, rest: pa.Array, counts: np.ndarray, comma: bool, spelled: np.ndarray) -> ColumnLayout | None:
        number = NumberFormat.of(rest, comma)
        if number.decimals == 0 and pc.max(pc.utf8_length(rest)).as_py() > _EXACT_DIGITS:
            return None  # no float64 holds them: identifiers, or words
        values = number.read(rest)
        if not np.isfinite(values).all():
            raise self._infinite(int(counts[~np.isfinite(values)].sum()))
        distinct, is_whole = _distinct(values, counts)
        kind = kinds.kind_of_numbers(self.name, distinct, is_whole)
        if kind == "categorical":
            return self._words(None)
        if kind == "id":
            return self._identifier(None, rest)
        decimals = number.resolution if kind == "continuous" else None
        return self._made(kind, "learned", None, decimals=decimals, number=number, missing=self._missing(spelled))

    def _refuse_mixture(self, rest: pa.Array, counts: np.ndarray, numeric: np.ndarray) -> None:
        """Raise if the numbers would be a quantity without the words between them."""
        words = rest.filter(pa.array(~numeric))
        if kinds.look_like_codes(words) or pc.any(pc.match_substring_regex(words, ZERO_PADDED)).as_py():
            return
        numbers = rest.filter(pa.array(numeric))
        values = NumberFormat.of(numbers).read(numbers)
        distinct, is_whole = _distinct(values, counts[numeric])
        if kinds.is_quantity(self.name, distinct, is_whole):
            raise SourceError(
                f"column {self.name} mixes numbers with words in {shown_count(int(counts[~numeric].sum()))} rows; in "
                f"a schema file (--schema) kind: continuous reads the words as missing, kind: categorical keeps them"
            )

    def _declared_numbers(self, declared: Column, spelled: np.ndarray) -> ColumnLayout:
        """Numbers as the schema says; what is no number is missing, and no spelling of it comes back."""
        for comma in (False, True):
            numeric = is_number(self.words, comma)
            if numeric.any():
                break
        else:
            return self._declared_words(declared, spelled)
        rest = self.words.filter(pa.array(numeric))
        number = NumberFormat.of(rest, comma)
        values = number.read(rest)
        if declared.kind == "binary" and not np.isin(values, (0, 1)).all():
            raise SourceError(f"column {self.name} is not only 0 and 1; the schema file says kind: binary")
        if declared.kind == "integer" and (values != np.round(values)).any():
            raise SourceError(f"column {self.name} is not only whole numbers; the schema file says kind: integer")
        decimals = number.resolution if declared.kind == "continuous" else None
        missing = self._missing(spelled & ~numeric)
        return self._made(declared.kind, "learned", declared, decimals=decimals, number=number, missing=missing)

    def _declared_words(self, declared: Column, spelled: np.ndarray) -> ColumnLayout:
        """A binary column that is spelled in words (F and M, no and yes), as the schema says."""
        rest, counts = self._without(spelled)
        if declared.kind != "binary":
            raise SourceError(f"column {self.name} holds no numbers; the schema file says kind: {declared.kind}")
        words = spelling_of(rest, counts, declared.levels)
        if words is None:
            raise SourceError(
                f"column {self.name} holds words that are neither yes nor no; the schema file says kind: binary (give "
                f"its two words as levels there, that for 0 first, or say kind: categorical)"
            )
        return self._made("binary", "learned", declared, spelled=words, missing=self._missing(spelled))

    # Times

    def _times(self, spelled: np.ndarray) -> ColumnLayout | None:
        rest, counts = self._without(spelled)
        time = TimeFormat.of(rest)
        if time is not None:
            return self._made("time", "learned", None, time=time, missing=self._missing(spelled))
        most = TimeFormat.most(rest)
        if most is not None and 0.5 <= counts[most[1]].sum() / counts.sum() < 1:
            raise SourceError(
                f"column {self.name} mixes times with others in {shown_count(int(counts[~most[1]].sum()))} rows; in a "
                f"schema file (--schema) kind: time reads those as missing, kind: categorical keeps them"
            )
        return None

    def _declared_times(self, declared: Column, spelled: np.ndarray) -> ColumnLayout:
        rest, _ = self._without(spelled)
        time = TimeFormat.of(rest)
        if time is None:
            most = TimeFormat.most(rest)
            if most is None:
                raise SourceError(f"column {self.name} has no format of times; the schema file says kind: time")
            time = most[0]
        return self._made("time", "learned", declared, time=time, missing=self._missing(spelled))

    # Words

    def _words(self, declared: Column | None) -> ColumnLayout:
        missing = (("", 1.0),) if self.n_empty else ()
        shaped = declared is None and _text_identifier(self.words) is not None
        kind: Kind = (
            kinds.kind_of_words(self.name, self.words, self.counts, shaped) if declared is None else "categorical"
        )
        if kind == "id":
            return self._identifier(declared, self.words)
        if kind == "text":
            return self._made("text", "left_out", declared, missing=missing)
        return self._made("categorical", "learned", declared, missing=missing, pool=self._pool())

    def _pool(self) -> str | None:
        """What rare levels are written as: the file's own word for others, if enough rows have it."""
        folded = pc.utf8_lower(self.words).to_numpy(zero_copy_only=False)
        others = np.flatnonzero((folded == POOLED) & (self.counts >= SMALL_CELL))
        if len(others):
            return self.words[int(others[np.argmax(self.counts[others])])].as_py()
        return None if kinds.are_codes(self.words) or is_number(self.words).all() else POOLED

    # Identifiers

    def _identifier(self, declared: Column | None, words: pa.Array) -> ColumnLayout | None:
        """Identifiers that are spelled as `words`; what else there is, is missing."""
        identifier = _number_identifier(self.name, words) or _text_identifier(words)
        if identifier is None:
            return None
        n_rows = self.n_empty + self.n_null + int(self.counts.sum())
        n_present = int(self.counts[pc.is_in(self.words, value_set=words).to_numpy(zero_copy_only=False)].sum())
        identifier = identifier.with_missing(n_rows - n_present, n_rows)
        return self._made(
            "id", "identifier", declared, identifier=identifier, missing=(("", 1.0),) if self.n_empty else ()
        )

    # What all of them share

    def _without(self, spelled: np.ndarray) -> tuple[pa.Array, np.ndarray]:
        return self.words.filter(pa.array(~spelled)), self.counts[~spelled]

    def _missing(self, spelled: np.ndarray) -> tuple[tuple[str, float], ...]:
        """The spellings of a missing value with their shares, the empty one first."""
        counts = {"": self.n_empty} | dict(
            zip(self.words.filter(pa.array(spelled)).to_pylist(), self.counts[spelled].tolist(), strict=True)
        )
        total = sum(counts.values())
        return tuple((text, count / total) for text, count in counts.items() if count)

    def _made(
        self, kind: Kind, treatment: Treatment, declared: Column | None, decimals: int | None = None, **how: object
    ) -> ColumnLayout:
        column = declared or Column(name=self.name, kind=kind)
        if column.decimals is None and decimals is not None:
            column = column.model_copy(update={"decimals": decimals})
        return ColumnLayout(column=column, treatment=treatment, spaced=self.spaced, **how)


def _distinct(values: np.ndarray, counts: np.ndarray) -> tuple[kinds.Distinct, bool]:
    """Distinct numbers, whole ones as int64, and whether they are whole."""
    is_whole = bool((values == np.round(values)).all()) and np.abs(values).max() < 10.0**_EXACT_DIGITS
    return kinds.Distinct(values=values.astype(np.int64) if is_whole else values, counts=counts), is_whole


def _number_identifier(name: str, words: pa.Array) -> IdentifierFormat | None:
    if not pc.all(pc.match_substring_regex(words, r"^(0|[1-9]\d{0,17})$")).as_py():
        return None
    return integer_format(name, pc.cast(words, pa.int64()).to_numpy())


def _text_identifier(words: pa.Array) -> IdentifierFormat | None:
    return text_format(words) if pc.max(pc.utf8_length(words)).as_py() <= _LONGEST_IDENTIFIER else None


def read_spellings(layout: ColumnLayout, spellings: pa.Array) -> pd.Series:
    """Texts in the dtype of their column's kind; what is missing, or not of the kind, is missing."""
    kind = layout.column.kind
    texts = pc.utf8_slice_codeunits(spellings, 1) if layout.spaced else spellings
    if layout.treatment == "empty":
        return pd.Series([None] * len(texts), dtype=DTYPES[kind])
    if layout.spelled is not None or layout.time is not None:
        return read_binary(texts, layout.spelled) if layout.spelled else pd.Series(layout.time.read(texts))
    if layout.number is not None:
        numeric = pa.array(is_number(texts.fill_null("") if texts.null_count else texts, layout.number.comma))
        values = pd.Series(layout.number.read(pc.if_else(numeric, texts, None)))
        return values if kind == "continuous" else values.astype("Float64").astype(DTYPES[kind])
    if kind == "id":
        return pd.Series(np.arange(len(texts)), dtype="Int64").mask(pc.equal(texts, "").to_pandas().astype(bool))
    return pc.if_else(pc.equal(texts, ""), None, texts).to_pandas().astype("str")


def write_spellings(
    layout: ColumnLayout, values: pd.Series, rng: np.random.Generator, unspelled: str | None = ""
) -> pa.Array:
    """Typed values as the column spells them (string): missing ones in the column's own spellings, else `unspelled`."""
    if layout.treatment == "constant":
        texts = pa.repeat(pa.scalar(str(layout.constant)), len(values))
    elif layout.spelled is not None:
        texts = write_binary(values, layout.spelled)
    elif layout.time is not None:
        texts = layout.time.write(values.to_numpy().astype("datetime64[us]"))
    elif layout.number is not None:
        texts = layout.number.write(values.to_numpy(dtype=np.float64, na_value=np.nan))
    else:
        texts = pa.array(values, from_pandas=True).cast(pa.string())
    if layout.spaced:
        texts = pc.binary_join_element_wise(" ", texts, "")
    if not texts.null_count:
        return texts
    if not layout.missing:
        return texts if unspelled is None else texts.fill_null(unspelled)
    spellings, shares = zip(*layout.missing, strict=True)
    if layout.spaced:
        spellings = [f" {text}" if text else text for text in spellings]
    drawn = pa.array(spellings, pa.string()).take(pa.array(rng.choice(len(spellings), len(texts), p=np.array(shares))))
    return pc.if_else(pc.is_null(texts), drawn, texts)
