"""Drug classes: generic names, and the pattern by which a prescribed drug's wording is recognised.

What belongs here: the type and the loader of `drug_classes.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ehr_pipeline.clinical.catalogue import read_catalogue


@dataclass(frozen=True, kw_only=True)
class DrugClass:
    """Generic names that make a class, and words that keep a drug out of it (flushes, eye drops)."""

    title: str
    names: tuple[str, ...]
    except_words: tuple[str, ...] = ()

    @property
    def pattern(self) -> str:
        """Regular expression that finds one of the names as a whole word; for case-insensitive search."""
        return words_pattern(self.names)

    @property
    def except_pattern(self) -> str | None:
        """The same for the words that exclude; None if there are none."""
        return words_pattern(self.except_words) if self.except_words else None


def words_pattern(names: Iterable[str]) -> str:
    r"""Regular expression (RE2 and Python) for any of `names` as a whole word, spaces of any length.

    A name is text, never syntax: what has a meaning in a regular expression is escaped.

    >>> words_pattern(["insulin", "angiotensin ii"])
    '(?:^|[^A-Za-z0-9])(?:insulin|angiotensin\\s+ii)(?:$|[^A-Za-z0-9])'
    """
    alternatives = "|".join(r"\s+".join(re.escape(word) for word in name.split()) for name in names)
    return f"(?:^|[^A-Za-z0-9])(?:{alternatives})(?:$|[^A-Za-z0-9])"


@cache
def load_drug_classes() -> dict[str, DrugClass]:
    """Every drug class by name, in the order of the catalogue."""
    return {
        name: DrugClass(
            title=content["title"],
            names=tuple(content["names"]),
            except_words=tuple(content.get("except", ())),
        )
        for name, content in read_catalogue("drug_classes").items()
    }
