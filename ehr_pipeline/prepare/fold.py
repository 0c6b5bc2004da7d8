"""Folding: what frames a stay becomes static facts, so that a generator can learn it beside the timeline.

What belongs here: the names of the facts, and the query from events to timelines with facts. What does not: which
events frame a stay (`cohort/frame.py`), and the way back (`unfold.py`).

An event with a time of its own becomes two facts: its code, and `HOURS//...`, hours from the index event (negative
before it). Where the event says whence a patient came, that is a fact too. So each fact has one meaning, and codes that
exclude each other have no values: any generator of tables can draw them.

    ADMISSION//URGENT, text CLINIC          ADMISSION//URGENT, ADMISSION_LOCATION//CLINIC, HOURS//ADMISSION = -12.5
    DISCHARGE//HOME                         DISCHARGE//HOME, HOURS//DISCHARGE = 96
    ICU_DISCHARGE//MICU                     ICU_DISCHARGE//MICU, HOURS//ICU_DISCHARGE = 52.25
    MEDS_DEATH                              HOURS//DEATH = 80
    the next admission, as urgent           READMISSION//URGENT, HOURS//READMISSION = 400
    DIAGNOSIS//ICD//10//I10, 2 (rank)       the same without a time

Folded is what lies outside of the window, and inside of it what has no time of its own there: the admission that is not
the index event, the facts written down at it, and the codes that are given at discharge. A discharge and a death in
the window stay in the timeline.

Two events that no stay lacks are facts in any case, for timelines whose generator forgets them: the index event's code
(`INDEX//ICU_ADMISSION//MICU`), and what ends the index stay. In the window they stand in the timeline as well, where
the index event marks the time that all hours count from.
"""

from __future__ import annotations

from collections.abc import Iterable

from ehr_pipeline.cohort.frame import PERSONAL
from ehr_pipeline.record import EVENT_SCHEMA

COLUMNS = (*EVENT_SCHEMA.names, "member")
HOURS, LOCATION, READMISSION, INDEX = "HOURS", "ADMISSION_LOCATION", "READMISSION", "INDEX"
INDEX_WORDS = {"admission": "ADMISSION", "icu_admission": "ICU_ADMISSION", "ed_arrival": "ED_ARRIVAL"}
"""First word of the code of each index event."""
END_WORDS = {"ADMISSION": "DISCHARGE", "ICU_ADMISSION": "ICU_DISCHARGE", "ED_ARRIVAL": "ED_DISPOSITION"}
"""First word of the code that ends the stay which the index event begins."""
HOURS_DECIMALS = 2
"""Steps of .6 minutes: coarse enough to be learned, fine enough that every minute comes back."""
TIMED = ("ADMISSION", "DISCHARGE", "ICU_DISCHARGE", "ED_DISPOSITION")
"""First words of the codes that keep their time; `MEDS_DEATH` does too, as `DEATH`."""
_AT_ADMISSION = tuple(family.removesuffix("//") for family in PERSONAL)
_AT_DISCHARGE = ("DIAGNOSIS", "DRG")


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def timelines_sql(window: str, stay_events: str, members: str, index: str) -> str:
    """Query of whole timelines: `COLUMNS`, n (how often the event stood there) and is_folded.

    Parameters
    ----------
    window, stay_events
        Relations with `COLUMNS`: the events of the members' windows, and what frames the stays outside of them.
    members
        A relation with member, hadm_id, stay_id and index_time.
    index
        First word of the index event's code.
    """
    columns = ", ".join(COLUMNS)
    own = ", ".join(f"e.{name}" for name in COLUMNS)
    framing = f"""(SELECT {columns} FROM {stay_events}
        UNION ALL SELECT {columns} FROM marked WHERE is_frame OR is_end)"""
    return f"""
        WITH marked AS (
            SELECT {own}, {_is_frame_sql(index)} AS is_frame, {_is_end_sql(index)} AS is_end
            FROM {window} e JOIN {members} m USING (member)
        )
        SELECT *, count(*) AS n FROM (
            SELECT {columns}, false AS is_folded FROM marked WHERE NOT is_frame
            UNION ALL SELECT {columns}, true FROM ({_facts_sql(framing, members)})
            UNION ALL SELECT {columns}, true FROM ({_index_sql(window, members, index)})
        ) GROUP BY ALL"""


def _is_frame_sql(index: str) -> str:
    """Whether an event `e` of the window of a member `m` is folded."""
    words = [word for word in ("ADMISSION", *_AT_ADMISSION, *_AT_DISCHARGE) if word != index]
    of_visit = "OR (e.stay_id = m.stay_id AND starts_with(e.code, 'ED_DIAGNOSIS//'))" if index == "ED_ARRIVAL" else ""
    return f"coalesce((e.hadm_id = m.hadm_id AND split_part(e.code, '//', 1) IN ({_quoted(words)})) {of_visit}, false)"


def _is_end_sql(index: str) -> str:
    """Whether an event `e` of the window ends the index stay of a member `m`."""
    key = "hadm_id" if index == "ADMISSION" else "stay_id"
    return f"coalesce(e.{key} = m.{key} AND starts_with(e.code, '{END_WORDS[index]}//'), false)"


def _facts_sql(stay_events: str, members: str) -> str:
    """Static facts of the events that are to be folded."""
    return f"""
        WITH named AS (
            SELECT e.subject_id, e.time, e.code, e.numeric_value, e.text_value, e.member,
                round((epoch_us(e.time) - epoch_us(m.index_time)) / 3.6e9, {HOURS_DECIMALS})::FLOAT AS hours,
                split_part(e.code, '//', 1) AS word,
                CASE WHEN e.code = 'MEDS_DEATH' THEN 'DEATH'
                    WHEN word = 'ADMISSION' AND e.hadm_id IS DISTINCT FROM m.hadm_id THEN '{READMISSION}'
                    WHEN word IN ({_quoted(TIMED)}) THEN word
                    WHEN word IN ({_quoted(_AT_ADMISSION)}) THEN word END AS part
            FROM {stay_events} e JOIN {members} m USING (member)
        ), once AS (
            SELECT * FROM named
            QUALIFY part IS NULL OR row_number() OVER (PARTITION BY member, part ORDER BY
                CASE WHEN part IN ('ADMISSION', '{READMISSION}', 'DEATH') THEN hours
                WHEN part IN ({_quoted(_AT_ADMISSION)}) THEN abs(hours) ELSE -hours END, code, text_value) = 1
        ), facts AS (
            SELECT subject_id, member, code, numeric_value, text_value FROM once WHERE part IS NULL
            UNION ALL
            SELECT subject_id, member, part || substr(code, length(word) + 1), NULL, NULL
            FROM once WHERE part <> 'DEATH'
            UNION ALL
            SELECT subject_id, member, '{HOURS}//' || part, hours, NULL FROM once
            WHERE part NOT IN ({_quoted(_AT_ADMISSION)})
            UNION ALL
            SELECT subject_id, member, '{LOCATION}//' || text_value, NULL, NULL
            FROM once WHERE part = 'ADMISSION' AND text_value <> ''
        )
        SELECT subject_id, NULL::TIMESTAMP AS time, code, numeric_value::FLOAT AS numeric_value, text_value,
            NULL::BIGINT AS hadm_id, NULL::BIGINT AS stay_id, member
        FROM facts"""


def _index_sql(events: str, members: str, word: str) -> str:
    """The code of each member's index event as a static fact."""
    return f"""
        SELECT any_value(e.subject_id) AS subject_id, NULL::TIMESTAMP AS time, '{INDEX}//' || min(e.code) AS code,
            NULL::FLOAT AS numeric_value, NULL::VARCHAR AS text_value, NULL::BIGINT AS hadm_id,
            NULL::BIGINT AS stay_id, member
        FROM {events} e JOIN {members} m USING (member)
        WHERE e.time = m.index_time AND starts_with(e.code, '{word}//') GROUP BY member"""
