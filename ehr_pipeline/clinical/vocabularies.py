"""Public vocabularies of categorical columns.

What belongs here: the type and the loader of `vocabularies.yaml`, and how a raw wording finds its level.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from ehr_pipeline.clinical.catalogue import read_catalogue


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Levels of one categorical quantity, each with the patterns of wording that belong to it."""

    title: str
    patterns: tuple[tuple[str, tuple[str, ...]], ...]
    other: str | None = None
    missing: str | None = None

    @property
    def levels(self) -> tuple[str, ...]:
        """Every level, in order."""
        return tuple(level for level, _ in self.patterns)

    def level_of(self, wording: str | None) -> str | None:
        """The level of a raw wording: the first that fits, else `other`; `missing` for None."""
        return self.missing if wording is None else self._fitting(wording) or self.other

    def knows(self, wording: str) -> bool:
        """Whether a level's patterns name the wording, so that it is not `other` for want of a better one."""
        return self._fitting(wording) is not None

    def _fitting(self, wording: str) -> str | None:
        text = " ".join(wording.upper().split())
        fitting = (level for level, patterns in self.patterns if any(_fits(text, pattern) for pattern in patterns))
        return next(fitting, None)


def _fits(text: str, pattern: str) -> bool:
    expression = ".*".join(re.escape(part) for part in pattern.split("%"))
    return re.fullmatch(expression, text, flags=re.DOTALL) is not None


@cache
def load_vocabularies() -> dict[str, Vocabulary]:
    """Every vocabulary by name, in the order of the catalogue."""
    return {
        name: Vocabulary(
            title=content["title"],
            patterns=tuple((level, tuple(patterns)) for level, patterns in content["levels"].items()),
            other=content.get("other"),
            missing=content.get("missing"),
        )
        for name, content in read_catalogue("vocabularies").items()
    }
