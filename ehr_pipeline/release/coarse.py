"""What findings on real patients may say outside: verdicts, counted, and numbers too coarse to tell of anyone.

What belongs here: making findings coarse. What does not: the findings (`evaluate/`), and whether they pass. No name of
a level or group stands in what comes out, because a group that was found is one that the hospital has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ehr_pipeline.evaluate.attacks.timelines import STAYS
from ehr_pipeline.evaluate.result import Attack, Evaluation, Score
from ehr_pipeline.report import metrics

STEP = 0.05
PATIENTS_STEP = 100


@dataclass(frozen=True, kw_only=True)
class Gates:
    """All gates of one kind: how many passed and failed, and roughly the worst value."""

    dimension: str
    title: str
    n_passed: int
    n_failed: int
    worst: str


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """All attacks of one kind: what is asked, and how many found the leak planted for them."""

    name: str
    n_attacks: int
    n_found_plant: int
    n_passed: int
    n_failed: int


def coarse(value: float | None) -> str:
    """A number to the nearest 0.05; nothing finer than that is said.

    >>> coarse(0.013), coarse(0.6613), coarse(-0.79), coarse(None)
    ('under 0.05', 'about 0.65', 'about −0.80', '–')
    """
    if value is None:
        return "–"
    if abs(value) < STEP:
        return f"under {STEP}"
    return f"about {round(value / STEP) * STEP:.2f}".replace("-", "−")


def about(n: int) -> str:
    """A number of patients to the nearest hundred.

    >>> about(35449), about(140)
    ('about 35,400', 'about 100')
    """
    return f"about {round(n / PATIENTS_STEP) * PATIENTS_STEP:,}"


def gates(evaluation: Evaluation) -> list[Gates]:
    """Every gate, by kind; diagnostics say nothing and are left out."""
    by_kind: dict[tuple[str, str], list[Score]] = {}
    of_events = evaluation.timelines.scores if evaluation.timelines else {}
    named = [(name, score, f" ({STAYS})" if f"[{STAYS}" in name else "") for name, score in evaluation.scores.items()]
    named += [(name, score, " (events)") for name, score in of_events.items()]  # some have the names of a table's
    for name, score, of_what in named:
        if score.verdict != "diagnostic":
            by_kind.setdefault((score.dimension, metrics.title(metrics.base(name)) + of_what), []).append(score)
    return [
        Gates(
            dimension=dimension,
            title=title,
            n_passed=_count(scores, "passed"),
            n_failed=_count(scores, "failed"),
            worst=coarse(_worst(scores)),
        )
        for (dimension, title), scores in by_kind.items()
    ]


def attacks(evaluation: Evaluation) -> list[Attacks]:
    """Every attack, by kind: what stands before the colon of its name."""
    by_kind: dict[str, list[Attack]] = {}
    for attack in evaluation.attacks:
        by_kind.setdefault(attack.name.partition(":")[0], []).append(attack)
    return [_of_kind(name, found, evaluation.scores) for name, found in by_kind.items()]


def _of_kind(name: str, found: Sequence[Attack], scores: dict[str, Score]) -> Attacks:
    mine = [scores[one] for one in dict.fromkeys(n for a in found for n in a.score_names) if one in scores]
    return Attacks(
        name=name,
        n_attacks=len(found),
        n_found_plant=sum(attack.found_plant for attack in found),
        n_passed=_count(mine, "passed"),
        n_failed=_count(mine, "failed"),
    )


def _count(scores: Iterable[Score], verdict: str) -> int:
    return sum(score.verdict == verdict for score in scores)


def _worst(scores: Sequence[Score]) -> float | None:
    values = [score.value for score in scores if score.value is not None]
    if not values:
        return None
    return min(values) if scores[0].better == "higher" else max(values)
