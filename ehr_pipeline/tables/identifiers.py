"""Identifiers: told by their name and shape, and made anew in the same format, never one of the originals.

What belongs here: names and shapes of identifiers, and fresh ones. What does not: which of a table's identifiers is
the patient's (`kinds.py`).
"""

from __future__ import annotations

import re
from typing import Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS

UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_PERSON = frozenset({
    "patient", "subject", "person", "pat", "pt", "member", "participant", "beneficiary", "client", "individual",
    "case",
})  # fmt: skip
_PERSON_ALONE = frozenset({
    "mrn", "empi", "enrolid", "pid", "patientid", "subjectid", "personid", "memberid", "patid", "ptid", "patient",
    "subject",
})  # fmt: skip
_EVENT = frozenset({
    "encounter", "visit", "stay", "admission", "hadm", "hospitalization", "episode", "claim", "specimen", "order",
    "event",
})  # fmt: skip
_NUMBERED = frozenset({
    "id", "ids", "nbr", "number", "num", "no", "nr", "key", "identifier", "uuid", "guid", "mrn", "csn",
})  # fmt: skip
_ROW_NUMBER = frozenset({"", "index", "unnamed: 0", "row", "rowid", "row_id", "rownum", "row_number", "x", "obs"})
_SHAPES_KEPT = 20
_LETTERS, _CAPITALS, _DIGITS, _HEX = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    "0123456789abcdef",
)


def words_of(name: str) -> list[str]:
    """The words of a column's name: `patientNbr`, `patient_nbr` and `PATIENT NBR` have the same two."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def names_a_patient(name: str) -> bool:
    """Whether a column so named identifies the patient of a row."""
    words = words_of(name)
    if len(words) == 1:
        return words[0] in _PERSON_ALONE
    return (
        bool(words)
        and bool(set(words) & (_PERSON | _PERSON_ALONE))
        and set(words) <= _PERSON | _PERSON_ALONE | _NUMBERED
    )


def names_an_identifier(name: str) -> bool:
    """Whether a column so named identifies something: a patient, a visit, a row."""
    words = words_of(name)
    numbered = bool(words) and words[-1] in _NUMBERED
    return names_a_patient(name) or numbered or (len(words) == 1 and words[0] in _EVENT)


def names_a_row(name: str) -> bool:
    """Whether a column so named is no more than the number of its row."""
    return name.strip().lower() in _ROW_NUMBER


class IdentifierFormat(BaseModel):
    r"""What an identifier looks like: whole numbers of so many digits, UUIDs, or texts of a few shapes.

    In a shape `9` stands for a digit, `a` and `A` for a letter, `\` before a character for itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal["integer", "uuid", "shapes", "row"]
    shapes: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    digits: int = 0
    maximum: int = 2**63 - 1
    upper: bool = False
    first_row: int = 0
    missing_share: float = 0.0

    def with_missing(self, n_missing: int, n_rows: int) -> Self:
        """The same, missing in `n_missing` of `n_rows` rows; a few are not told from none."""
        share = n_missing / n_rows if n_missing >= MINIMUM_PATIENTS else 0.0
        return self.model_copy(update={"missing_share": share})


def integer_format(name: str, values: np.ndarray, maximum: int = 2**63 - 1) -> IdentifierFormat:
    """The format of int64 identifiers, distinct values in the order of their rows; `maximum` is their type's."""
    in_rows = len(values) and names_a_row(name) and (values == np.arange(values[0], values[0] + len(values))).all()
    if in_rows:
        return IdentifierFormat(form="row", first_row=int(values[0]))
    digits = len(str(int(np.abs(values).max()))) if len(values) else 1
    return IdentifierFormat(form="integer", digits=digits, maximum=maximum)


def text_format(spellings: pa.Array) -> IdentifierFormat | None:
    """The format of distinct texts, or None if they are no identifiers: words between spaces, or too many shapes."""
    if pc.all(pc.match_substring_regex(spellings, UUID)).as_py():
        return IdentifierFormat(form="uuid", upper=bool(pc.any(pc.match_substring_regex(spellings, "[A-F]")).as_py()))
    if pc.any(pc.match_substring_regex(spellings, r"[A-Za-z].*\s|\s.*[A-Za-z]")).as_py():
        return None
    shapes = pc.replace_substring_regex(spellings, r"[^0-9a-zA-Z]", r"\\\0")
    shapes = pc.replace_substring_regex(shapes, r"\d", "9")
    if pc.all(pc.ends_with(spellings, ".0")).as_py():  # whole numbers that a float held
        shapes = pc.replace_substring_regex(shapes, "9$", r"\\0")
    shapes = pc.replace_substring_regex(shapes, r"[a-z]", "a")
    shapes = pc.replace_substring_regex(shapes, r"[A-Z]", "A")
    counts = pc.value_counts(shapes).to_pylist()
    if len(counts) > min(_SHAPES_KEPT, max(1, len(spellings) // MINIMUM_PATIENTS)) or any(
        "9" not in count["values"].replace("\\9", "") for count in counts
    ):
        return None
    counts = sorted(counts, key=lambda count: (-count["counts"], count["values"]))
    names = [_with_constants(count["values"], spellings.filter(pc.equal(shapes, count["values"]))) for count in counts]
    total = sum(count["counts"] for count in counts)
    return IdentifierFormat(
        form="shapes", shapes=tuple(names), shares=tuple(count["counts"] / total for count in counts)
    )


def _with_constants(shape: str, spellings: pa.Array) -> str:
    """The shape with the letters at its start that all spellings share (the P of P00123)."""
    texts = spellings.slice(0, 1000).to_pylist()
    places = _places(shape)
    if len(texts) < MINIMUM_PATIENTS:
        return shape
    for k, (_, is_itself) in enumerate(places):
        if is_itself:
            continue
        if places[k][0] == "9" or len({text[k] for text in texts}) > 1:
            break
        places[k] = (texts[0][k], True)
    return "".join(f"\\{character}" if is_itself else character for character, is_itself in places)


def _places(shape: str) -> list[tuple[str, bool]]:
    """Each place of a shape: its character, and whether that stands for itself."""
    return [(text[-1], len(text) == 2) for text in re.findall(r"\\.|.", shape, flags=re.DOTALL)]


class FreshIdentifiers:
    """Identifiers of one column: distinct, and none of the originals.

    Keeps 8 bytes for each original and for each one made.

    Parameters
    ----------
    layout
        What they look like.
    originals
        int64 hashes of the originals (`hashes`); None if they are not known (a model read from its folder): then
        all are one character longer than any original.
    """

    def __init__(self, layout: IdentifierFormat, originals: np.ndarray | None) -> None:
        self.format = layout
        self.longer = 0 if originals is not None else 1
        self.taken = np.empty(0, dtype=np.uint64) if originals is None else np.sort(originals)
        self.made = 0

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """`n` more of them: int64 for integers, else objects of text."""
        if self.format.form == "row":
            self.made += n
            return np.arange(n, dtype=np.int64) + self.format.first_row + self.made - n
        kept: list[np.ndarray] = []
        n_kept, n_barren = 0, 0
        while n_kept < n:
            drawn = pd.unique(self._candidates(max(1000, 2 * (n - n_kept)), rng))
            marks = hashes(drawn)
            is_fresh = ~_among(marks, self.taken)
            drawn, marks = drawn[is_fresh][: n - n_kept], marks[is_fresh][: n - n_kept]
            n_barren = n_barren + 1 if len(drawn) < 100 and len(drawn) < n - n_kept else 0
            if n_barren > 3:  # the width is used up
                self.longer, n_barren = self.longer + 1, 0
            self.taken = np.sort(np.concatenate([self.taken, marks]))
            kept.append(drawn)
            n_kept += len(drawn)
        return np.concatenate(kept) if kept else self._candidates(0, rng)

    def _candidates(self, n: int, rng: np.random.Generator) -> np.ndarray:
        if self.format.form == "integer":
            lowest = 10 ** (self.format.digits + self.longer - 1)
            if lowest > self.format.maximum:
                raise DefinitionError("an identifier has no free numbers left; give its column kind: text in a schema")
            return rng.integers(lowest, min(10 * lowest - 1, self.format.maximum), n, endpoint=True)
        if self.format.form == "uuid":
            return _uuids(n, rng, self.format.upper)
        which = rng.choice(len(self.format.shapes), n, p=np.array(self.format.shares))
        drawn = np.empty(n, dtype=object)
        for k in range(len(self.format.shapes)):
            rows = np.flatnonzero(which == k)
            drawn[rows] = _spelled(self._longest(k), len(rows), rng)
        return drawn

    def _longest(self, k: int) -> str:
        """The k-th shape; as long as the longest and more, where originals are not known or shapes are used up."""
        shape = self.format.shapes[k]
        if not self.longer:
            return shape
        longest = max(len(_places(shape)) for shape in self.format.shapes)
        return shape + "9" * (longest - len(_places(shape)) + self.longer)


def hashes(identifiers: np.ndarray) -> np.ndarray:
    """uint64 of the same length: the identifiers as text, hashed."""
    return pd.util.hash_array(np.asarray(identifiers).astype(str).astype(object), categorize=False)


def _among(marks: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Which of `marks` stand in `taken`, which is sorted."""
    places = np.searchsorted(taken, marks)
    return taken[np.minimum(places, len(taken) - 1)] == marks if len(taken) else np.zeros(len(marks), dtype=bool)


def _spelled(shape: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` texts of a shape, objects."""
    alphabets = {"9": _DIGITS, "a": _LETTERS, "A": _CAPITALS}
    places = [
        np.full(n, character, dtype="U1") if is_itself else rng.choice(list(alphabets[character]), n).astype("U1")
        for character, is_itself in _places(shape)
    ]
    return np.column_stack(places).view(f"U{len(places)}").ravel().astype(object) if n else np.empty(0, dtype=object)


def _uuids(n: int, rng: np.random.Generator, upper: bool) -> np.ndarray:
    """`n` random UUIDs, version 4."""
    places = rng.choice(list(_HEX), (n, 36)).astype("U1")
    places[:, [8, 13, 18, 23]] = "-"
    places[:, 14] = "4"
    places[:, 19] = rng.choice(list("89ab"), n)
    texts = np.ascontiguousarray(places).view("U36").ravel()
    return (np.char.upper(texts) if upper else texts).astype(object)
