"""What the attacks made of the leaks that were planted for them, as tables.

What belongs here: which attack found which leak, and how an attack was seen to work. What does not: its scores.
"""

from __future__ import annotations

from collections.abc import Sequence

from ehr_pipeline.evaluate.result import Attack, PlantedLeak
from ehr_pipeline.report import metrics
from ehr_pipeline.report.inputs import GeneratorFacts
from ehr_pipeline.report.numbers import ABSENT, number, percent
from ehr_pipeline.report.tables import Table

HEADS = ("", "Planted leak", "Share of rows", "Seen best by", "Scored", "Alarm above", "Found")


def overview(generators: Sequence[GeneratorFacts]) -> Table | None:
    """Attacks against planted leaks, over all generators; None where nothing was planted."""
    attacks = [attack for generator in generators for attack in generator.evaluation.attacks]
    names = list(dict.fromkeys(attack.name for attack in attacks))
    plants = list(dict.fromkeys(leak.plant for attack in attacks for leak in attack.plants))
    if not plants:
        return None
    rows = []
    for name in names:
        mine = [attack for attack in attacks if attack.name == name]
        found = [[leak for attack in mine for leak in attack.plants if leak.plant == plant] for plant in plants]
        rows.append((name, *(_in_short(leaks) for leaks in found)))
    return Table(heads=("", *plants), rows=tuple(rows))


def _in_short(leaks: Sequence[PlantedLeak]) -> str:
    """What became of one leak in the tables of all generators."""
    if not leaks:
        return ABSENT
    n_found = sum(leak.is_found for leak in leaks)
    if not any(leak.must_be_found for leak in leaks):
        return "found too" if n_found == len(leaks) else "is not for it"
    if n_found == len(leaks):
        return "found"
    return "MISSED" if not n_found else f"MISSED in {len(leaks) - n_found} of {len(leaks)}"


def control(generators: Sequence[GeneratorFacts], name: str) -> Table:
    """How one attack was seen to work: per generator each leak that it is for, and what it scored there."""
    rows = [
        row
        for generator in generators
        for attack in generator.evaluation.attacks
        if attack.name == name
        for row in _rows(generator, attack)
    ]
    return Table(heads=HEADS, rows=tuple(rows))


def _rows(generator: GeneratorFacts, attack: Attack) -> list[tuple[str, ...]]:
    own = [leak for leak in attack.plants if leak.must_be_found]
    if not own:
        score = generator.evaluation.scores.get(attack.planted_score or "")
        limit = score.threshold if score else None
        seen = attack.planted_score, attack.planted_value, limit
        return [_row(generator, attack, "copies", seen, attack.found_plant)]
    return [_row(generator, attack, leak.plant, (leak.score, leak.value, leak.limit), leak.is_found) for leak in own]


def _row(
    generator: GeneratorFacts,
    attack: Attack,
    plant: str,
    seen: tuple[str | None, float | None, float | None],
    is_found: bool,
) -> tuple[str, ...]:
    score, value, limit = seen
    return (
        generator.title,
        plant,
        percent(attack.planted_share),
        metrics.title(score) if score else "",
        number(value),
        number(limit),
        "yes" if is_found else "no: its scores show nothing here",
    )
