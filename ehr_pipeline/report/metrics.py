"""The words for scores: titles, plain meanings, and which stand in the side-by-side comparison.

What belongs here: reading `glossary.yaml`. What does not: any number.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict


class Meaning(BaseModel):
    """What one score means. `key` is its place in the side-by-side comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    plain: str
    key: int | None = None


class Glossary(BaseModel):
    """All scores with a meaning, and the words that the report uses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: dict[str, Meaning]
    words: dict[str, str]


@functools.cache
def glossary() -> Glossary:
    """The glossary that ships with the report."""
    return Glossary.model_validate(
        yaml.safe_load(Path(__file__).with_name("glossary.yaml").read_text(encoding="utf-8"))
    )


def base(name: str) -> str:
    """A score's name without what stands in brackets.

    >>> base("tstr_hgb[diabetes]")
    'tstr_hgb'
    """
    return name.partition("[")[0]


def title(name: str) -> str:
    """A score's name for readers.

    >>> title("membership_auc[all]"), title("c2st_auc"), title("some_new_score")
    ('Membership attack, AUC: all', 'Two-sample AUC', 'some new score')
    """
    stem, _, which = name.partition("[")
    meaning = glossary().scores.get(stem)
    words = meaning.title if meaning else stem.replace("_", " ")
    return f"{words}: {which.rstrip(']').replace('_', ' ')}" if which else words


def plain(name: str) -> str | None:
    """What a score means in plain words, if the glossary has it."""
    meaning = glossary().scores.get(base(name))
    return meaning.plain if meaning else None


def key_names(names: Iterable[str]) -> list[str]:
    """Those of `names` that stand in the side-by-side comparison, in its order; one per kind, the first."""
    places = {stem: meaning.key for stem, meaning in glossary().scores.items() if meaning.key is not None}
    first: dict[str, str] = {}
    for name in names:
        if base(name) in places:
            first.setdefault(base(name), name)
    return [first[stem] for stem in sorted(first, key=lambda stem: places[stem])]
