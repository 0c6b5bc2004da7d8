"""How sick a patient is, hour by hour, from admission to discharge.

What belongs here: the one latent severity that vital signs, laboratory values and the zeal of measuring share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.simulate.draw import HOUR_S, Ragged, autoregressive
from ehr_pipeline.simulate.encounters import Encounters

PERSISTENCE = 0.96  # of the hourly AR(1): half gone after 17 hours


@dataclass(frozen=True, kw_only=True)
class Course:
    """Latent severity of each admission, one value per hour; `rows.parent` is the row of the admission."""

    rows: Ragged
    severity: np.ndarray
    start: np.ndarray

    def at(self, admission: np.ndarray, times_s: np.ndarray) -> np.ndarray:
        """Severity of the admissions given at the times given (seconds), the hour's value."""
        hour = ((times_s - self.start[admission]) // HOUR_S).clip(0, self.rows.counts[admission] - 1)
        return self.severity[self.rows.start[admission] + hour]


def draw_course(admissions: Encounters, rng: np.random.Generator) -> Course:
    """Severity starts at the encounter's own, wanders, and falls with treatment; before a death it rises."""
    hours = (admissions.discharge - admissions.admit) // HOUR_S + 1
    rows = Ragged.of(hours)
    at_start = admissions.severity[rows.parent]
    dies = admissions.dies[rows.parent]
    decay = np.where(dies, 1.0, 0.35 + 0.65 * np.exp(-rows.position / 60))
    to_end = hours[rows.parent] - rows.position
    rise = np.where(dies, 2.0 * np.exp(-to_end / 20), 0.0)
    severity = at_start * decay + rise + 0.45 * autoregressive(rows, PERSISTENCE, rng)
    return Course(rows=rows, severity=severity, start=admissions.admit)
