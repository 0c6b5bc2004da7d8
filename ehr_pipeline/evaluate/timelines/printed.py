"""An evaluation of timelines as plain text, for a terminal or a notebook.

What belongs here: how scores line up. What does not: the page (`report/`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr_pipeline.evaluate.timelines.result import TimelineEvaluation

HEADS = ("", "value", "floor", "null", "normalised", "verdict")


def printed(evaluation: TimelineEvaluation) -> str:
    """Patients compared, every score with its references, what the attacks made of their controls, then the notes."""
    table = [HEADS]
    for score in evaluation.scores.values():
        numbers = (score.value, score.floor, score.null, score.normalised)
        table.append((score.name, *("-" if n is None else f"{n:.4f}" for n in numbers), score.verdict))
    widths = [max(len(row[place]) for row in table) for place in range(len(HEADS))]
    lines = [", ".join(f"{name} {n:,}" for name, n in evaluation.n_patients.items()) + " patients"]
    for name, *numbers, verdict in table:
        aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=False)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned, verdict]).rstrip())
    lines += [
        f"attack {attack.name}: {'found its planted leaks' if attack.found_plant else 'missed a leak planted for it'}"
        for attack in evaluation.attacks
    ]
    return "\n".join([*lines, *evaluation.notes])
