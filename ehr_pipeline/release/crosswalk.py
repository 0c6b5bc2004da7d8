"""Which attack answers which question of the authorities.

What belongs here: the three criteria of WP29 Opinion 05/2014 and the attacks that speak to each. What does not: the
attacks (`evaluate/attacks/`). A criterion that no attack of this evaluation answers says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehr_pipeline.release.coarse import Attacks

# criterion -> what it asks, and words in the names of attacks that speak to it
CRITERIA = {
    "Singling out": (
        "Can one person's record be picked out of the table?",
        ("copies", "singl", "memori", "isolat"),
    ),
    "Linkability": (
        "Can records of one person, here and elsewhere, be recognised as the same person's?",
        ("link", "identif"),
    ),
    "Inference": (
        "Can something about a person be worked out that was not known, because the person was in the data?",
        ("attribute", "membership", "inference"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One criterion and the attacks of this evaluation that answer it."""

    name: str
    question: str
    attacks: tuple[Attacks, ...]


def criteria(attacks: Sequence[Attacks]) -> list[Criterion]:
    """The three criteria, each with its attacks; an attack may answer more than one."""
    return [
        Criterion(
            name=name,
            question=question,
            attacks=tuple(one for one in attacks if any(word in one.name.lower() for word in words)),
        )
        for name, (question, words) in CRITERIA.items()
    ]
