"""Values of events as symbols of their code, and what follows what: the value of an event given the last of its code.

What belongs here: values, once codes and times are there. What does not: codes and times (`timeline_markov.py`).

A *symbol* of a code is: no value, a level of its numbers (`number_codec.py`), or a text; `SAME` says that a number is
exactly the one before it of the same code and patient (weights, settings). An event with number and text counts by its
number. Numbers keep each code's own resolution; none is drawn beyond what enough patients reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ehr_pipeline.generators.backoff_counts import OTHER, Backoff, CountTable
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.persistence import under

SAME = 0
"""The one symbol that all codes share. After it, each code has: no value, its levels of numbers, its texts."""


@dataclass(frozen=True, kw_only=True)
class Symbols:
    """The symbols of all codes.

    Attributes
    ----------
    numbers
        Codec of each code whose values are numbers, by code.
    texts
        Texts of each code that enough patients have, by code.
    starts
        int64 of shape (n_codes + 1,): the symbol "no value" of each code, and the number of symbols.
    """

    numbers: dict[int, NumberCodec]
    texts: dict[int, tuple[str, ...]]
    starts: np.ndarray

    @classmethod
    def learn(
        cls,
        code: np.ndarray,
        value: np.ndarray,
        text: np.ndarray,
        patient: np.ndarray,
        *,
        n_codes: int,
        n_levels: int,
    ) -> Self:
        """Learn from n events: code and patient int64, value float64 (NaN where missing), text object (or None)."""
        numbers, texts = {}, {}
        for one, which in _by_code(code, np.isfinite(value)):
            codec = NumberCodec.fit(
                value[which], patient[which], minimum_patients=MINIMUM_PATIENTS, n_levels=n_levels, may_miss=True
            )
            if codec.n_number_levels:
                numbers[one] = codec
        for one, which in _by_code(code, pd.notna(text)):
            pairs = pd.DataFrame({"text": text[which], "patient": patient[which]}).drop_duplicates()
            carriers = pairs["text"].value_counts()
            if kept := tuple(sorted(carriers.index[carriers >= MINIMUM_PATIENTS])):
                texts[one] = kept
        return cls.of_parts(numbers, texts, n_codes)

    @classmethod
    def of_parts(cls, numbers: dict[int, NumberCodec], texts: dict[int, tuple[str, ...]], n_codes: int) -> Self:
        """Symbols of what is known of each code already."""
        return cls(numbers=numbers, texts=texts, starts=_starts(numbers, texts, n_codes))

    def of(self, code: np.ndarray, value: np.ndarray, text: np.ndarray) -> np.ndarray:
        """The symbol of each event, never `SAME`: int64 of shape (n,). A rare text counts as no value."""
        symbol = self.starts[code].copy()
        for one, which in _by_code(code, np.isfinite(value)):
            if one in self.numbers:
                symbol[which] += 1 + self.numbers[one].levels(value[which])
        for one, which in _by_code(code, pd.notna(text) & ~np.isfinite(value)):
            if one in self.texts:
                first = 1 + self._n_levels(one)
                level = pd.Index(self.texts[one]).get_indexer(text[which])
                symbol[which] += np.where(level >= 0, first + level, 0)
        return symbol

    def draw(self, code: np.ndarray, symbol: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Value and text of each event; `SAME` gets neither: float64 and object of shape (n,)."""
        value, text = np.full(len(code), np.nan), np.full(len(code), None, dtype=object)
        place = symbol - self.starts[code] - 1
        for one, which in _by_code(code, (symbol != SAME) & (place >= 0)):
            n_levels = self._n_levels(one)
            is_number = place[which] < n_levels
            if is_number.any():
                value[which[is_number]] = self.numbers[one].draw(place[which[is_number]], rng)
            if not is_number.all():
                texts = np.array(self.texts[one], dtype=object)
                text[which[~is_number]] = texts[place[which[~is_number]] - n_levels]
        return value, text

    def _n_levels(self, code: int) -> int:
        return self.numbers[code].n_number_levels if code in self.numbers else 0


@dataclass(frozen=True, kw_only=True)
class EventValues:
    """Values by code and the value before: `first` has the code as context, `next` the symbol before it."""

    symbols: Symbols
    first: Backoff
    next: Backoff

    @classmethod
    def learn(
        cls,
        code: np.ndarray,
        value: np.ndarray,
        text: np.ndarray,
        patient: np.ndarray,
        *,
        n_codes: int,
        n_levels: int,
    ) -> Self:
        """Learn from n events, in order of patient and time, as `Symbols.learn`."""
        symbols = Symbols.learn(code, value, text, patient, n_codes=n_codes, n_levels=n_levels)
        order = np.lexsort((np.arange(len(code)), code, patient))
        code, value, patient = code[order], value[order], patient[order]
        symbol = symbols.of(code, value, text[order])
        has_before = np.zeros(len(code), dtype=bool)
        has_before[1:] = (code[1:] == code[:-1]) & (patient[1:] == patient[:-1])
        after = np.flatnonzero(has_before)
        is_same = value[after] == value[after - 1]  # NaN never is
        following = np.where(is_same, SAME, symbol[after])
        # As a context, SAME is what it repeats.
        before = symbol[after - 1]
        firsts = np.flatnonzero(~has_before)
        overall = _counted(code, symbol, patient, has_other=False)
        first = _counted(code[firsts], symbol[firsts], patient[firsts], has_other=True)
        following = _counted(before, following, patient[after], has_other=True)
        return cls(symbols=symbols, first=Backoff(tables=(first, overall)), next=Backoff(tables=(following, overall)))

    def draw(self, code: np.ndarray, patient: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Values and texts of n events in order of patient and time: float64 and object of shape (n,).

        All patients and codes take a step at once: the k-th event of each code of each patient.
        """
        order = np.lexsort((np.arange(len(code)), code, patient))
        sorted_code, sorted_patient = code[order], patient[order]
        is_first = np.ones(len(code), dtype=bool)
        is_first[1:] = (sorted_code[1:] != sorted_code[:-1]) | (sorted_patient[1:] != sorted_patient[:-1])
        place = np.arange(len(code))
        occurrence = place - np.maximum.accumulate(np.where(is_first, place, 0))
        by_occurrence = np.argsort(occurrence, kind="stable")
        ends = np.cumsum(np.bincount(occurrence)) if len(code) else []
        state = np.empty(len(code), dtype=np.int64)  # what each stands for as a context: never SAME
        drawn = np.empty(len(code), dtype=np.int64)
        nothing = self.symbols.starts[sorted_code]
        for k, end in enumerate(ends):
            now = by_occurrence[ends[k - 1] if k else 0 : end]
            if k:
                symbol = self.next.draw([state[now - 1], sorted_code[now]], rng)
            else:
                symbol = self.first.draw([sorted_code[now], sorted_code[now]], rng)
            drawn[now] = np.where(symbol == OTHER, nothing[now], symbol)
            state[now] = np.where(drawn[now] == SAME, state[now - 1], drawn[now]) if k else drawn[now]
        value, text = self.symbols.draw(sorted_code, drawn, rng)
        source = np.maximum.accumulate(np.where(drawn == SAME, 0, place))  # the one that SAME repeats
        back = np.empty(len(code), dtype=np.int64)
        back[order] = source
        return value[back], text[back]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What JSON and safetensors hold of it."""
        plain: dict[str, Any] = {"texts": {str(code): list(texts) for code, texts in self.symbols.texts.items()}}
        arrays = {"starts": self.symbols.starts}
        plain["numbers"] = {}
        for code, codec in self.symbols.numbers.items():
            plain["numbers"][str(code)], parts = codec.state()
            arrays |= {f"numbers.{code}.{name}": array for name, array in parts.items()}
        for name, table in (("first", self.first), ("next", self.next)):
            arrays |= {f"{name}.{key}": array for key, array in table.state().items()}
        return plain, arrays

    @classmethod
    def of_state(cls, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Read what `state` gave."""
        parts = ("lower", "upper", "segment_ranks", "level_starts")
        numbers = {
            int(code): NumberCodec(**fields, **{part: arrays[f"numbers.{code}.{part}"] for part in parts})
            for code, fields in plain["numbers"].items()
        }
        texts = {int(code): tuple(texts) for code, texts in plain["texts"].items()}
        return cls(
            symbols=Symbols(numbers=numbers, texts=texts, starts=arrays["starts"]),
            first=Backoff.of_state(under("first.", arrays)),
            next=Backoff.of_state(under("next.", arrays)),
        )


def _counted(context: np.ndarray, outcome: np.ndarray, patient: np.ndarray, *, has_other: bool) -> CountTable:
    weight = np.ones(len(outcome))
    return CountTable.of(context, outcome, weight, patient, minimum_patients=MINIMUM_PATIENTS, has_other=has_other)


def _starts(numbers: dict[int, NumberCodec], texts: dict[int, tuple[str, ...]], n_codes: int) -> np.ndarray:
    n_symbols = np.ones(n_codes, dtype=np.int64)
    for code, codec in numbers.items():
        n_symbols[code] += codec.n_number_levels
    for code, kept in texts.items():
        n_symbols[code] += len(kept)
    return 1 + np.concatenate([[0], np.cumsum(n_symbols)])


def _by_code(code: np.ndarray, which: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each code with the places of its events among those of `which`."""
    places = np.flatnonzero(which)
    places = places[np.argsort(code[places], kind="stable")]
    codes, starts = np.unique(code[places], return_index=True)
    yield from zip(codes.tolist(), np.split(places, starts[1:]), strict=True) if len(places) else ()
