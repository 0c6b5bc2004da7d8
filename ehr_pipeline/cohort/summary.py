"""What a built cohort says about itself: counts, the flow of exclusions, warnings. Counts only, never a value.

What belongs here: the type, its JSON, and the judgement that a cohort is too small for an honest result.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ehr_pipeline.cohort.population import FlowStep
from ehr_pipeline.record import shown_count
from ehr_pipeline.storage import DataFolder, read_json

MINIMUM_TRAIN_PATIENTS = 500
MINIMUM_HOLDOUT_PATIENTS = 200


@dataclass(frozen=True, kw_only=True)
class CohortSummary:
    """Counts of one cohort (`cohort.json`).

    Attributes
    ----------
    definition_sha256
        Fingerprint of the definition that was built.
    n_members, n_patients, n_train_patients, n_holdout_patients, n_events
        Rows of the table, patients behind them, patients on each side, events in the windows.
    flow
        What each criterion left, in order, like a flow diagram.
    impossible_values
        Values set aside as impossible, by item, where there are any.
    warnings
        One line each for a person.
    """

    cohort: str
    title: str
    definition_sha256: str
    n_members: int
    n_patients: int
    n_train_patients: int
    n_holdout_patients: int
    n_events: int
    flow: tuple[FlowStep, ...]
    impossible_values: dict[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def small_reason(self) -> str | None:
        """Why the cohort is too small for an honest result, in plain words; None if it is not."""
        if self.n_train_patients < MINIMUM_TRAIN_PATIENTS or self.n_holdout_patients < MINIMUM_HOLDOUT_PATIENTS:
            train, holdout = shown_count(self.n_train_patients), shown_count(self.n_holdout_patients)
            return (
                f"{train} training and {holdout} holdout patients; an honest result"
                f" needs at least {MINIMUM_TRAIN_PATIENTS} and {MINIMUM_HOLDOUT_PATIENTS}"
            )
        return None

    @property
    def is_small(self) -> bool:
        """Whether the cohort is too small for an honest result."""
        return self.small_reason is not None

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain JSON, with `small_reason`."""
        return asdict(self) | {"small_reason": self.small_reason}


def load_summary(data: DataFolder, cohort: str) -> CohortSummary:
    """What `build_cohort` left.

    Raises
    ------
    NotReady
        The cohort has not been built.
    """
    content = read_json(data.cohort(cohort).summary, f"build the cohort {cohort} first")
    del content["small_reason"]
    content["flow"] = tuple(FlowStep(**step) for step in content["flow"])
    content["warnings"] = tuple(content["warnings"])
    return CohortSummary(**content)
