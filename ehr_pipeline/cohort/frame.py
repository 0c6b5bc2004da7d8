"""What frames a stay but lies outside of its window: admission, discharge, end of the stay, death, what was coded.

What belongs here: which events these are, by their codes' first words, and the query that finds them. What does not:
how they become facts that a generator can learn (`prepare/fold.py`).
"""

from __future__ import annotations

from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.features import FollowUpFeature
from ehr_pipeline.cohort.spine import NEAREST_FACTS
from ehr_pipeline.record import EVENT_SCHEMA

OF_ADMISSION = ("ADMISSION//", "DISCHARGE//", "DIAGNOSIS//", "DRG//", "PROCEDURE//ICD//")
OF_STAY = ("ICU_DISCHARGE//", "ED_DISPOSITION//", "ED_DIAGNOSIS//")
PERSONAL = tuple(NEAREST_FACTS.values())
"""Written down at each admission; the one nearest to the index event counts, as in the patient table."""


def stay_events_sql(definition: CohortDefinition) -> str:
    """Rows: the columns of the event stream, and `member`. Reads `events`, and `members` and `admissions` of the spine.

    - Of the member's own admission (`hadm_id`) and stay (`stay_id`): the codes of `OF_ADMISSION` and `OF_STAY`.
    - The patient's death, if it comes after the window and in hospital, or as late as the definition follows patients.
    - The next admission, if the definition asks for readmissions, as late as it asks.
    - Race, insurance, language and marital status, unless the nearest to the index event stand in the window.
    """
    columns = ", ".join(f"e.{name}" for name in EVENT_SCHEMA.names)
    outside = "e.time NOT BETWEEN m.start_time AND m.end_time"
    follow_up = [one for one in definition.columns.values() if isinstance(one, FollowUpFeature)]
    days = {what: max((one.days for one in follow_up if one.follow_up == what), default=None) for what in _FOLLOWED}
    parts = [
        f"e.hadm_id = m.hadm_id AND {_starts(OF_ADMISSION)}",
        f"e.stay_id = m.stay_id AND {_starts(OF_STAY)}",
        "e.code = 'MEDS_DEATH' AND e.time > m.end_time AND (e.hadm_id = m.hadm_id"
        f" OR e.time <= m.care_end + to_days({days['death'] or 0}))",
    ]
    if days["readmission"] is not None:
        parts.append(
            "starts_with(e.code, 'ADMISSION//') AND e.hadm_id IS DISTINCT FROM m.hadm_id AND e.time >= m.care_end"
            f" AND e.time <= m.care_end + to_days({days['readmission']})"
        )
    distance = "coalesce(abs(epoch_us(e.time) - epoch_us(m.index_time)), 0)"
    return f"""
        SELECT {columns}, m.member
        FROM events e JOIN members m USING (subject_id)
        WHERE {outside} AND ({" OR ".join(f"({part})" for part in parts)})
        UNION ALL
        SELECT * EXCLUDE (outside) FROM (
            SELECT {columns}, m.member, {outside} AS outside
            FROM events e JOIN members m USING (subject_id) WHERE {_starts(PERSONAL)}
            QUALIFY row_number() OVER (
                PARTITION BY m.member, split_part(e.code, '//', 1) ORDER BY {distance}, e.code) = 1)
        WHERE outside
        ORDER BY member, time, code, numeric_value"""


_FOLLOWED = ("readmission", "death")


def _starts(families: tuple[str, ...]) -> str:
    tests = (f"starts_with(e.code, '{family}')" for family in families)
    return f"({' OR '.join(tests)})"
