"""Identifiers of synthetic stays: whose admission and whose stay each event is, by the order of events.

What belongs here: the SQL of spells (between an opening and its closing) and of identifiers. What does not: times
(`unfold.py`). A patient has few spells, so numbers up to 99 serve: admissions and ICU stays count from 1, emergency
visits from 51, each after a hundred times the patient's number.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from ehr_pipeline.mimic.mapping import mappings
from ehr_pipeline.record import EVENT_SCHEMA

_SPELLS = {
    "admission": ("ADMISSION", "DISCHARGE", 0),
    "icu": ("ICU_ADMISSION", "ICU_DISCHARGE", 0),
    "ed": ("ED_ARRIVAL", "ED_DISPOSITION", 50),
}
"""Opening and closing word, and the number before the first."""
_AFTER = "'ICU_DISCHARGE', 'ED_DISPOSITION', 'MEDS_DEATH'"
"""Words of what belongs to an admission within a day of its discharge."""
_ED = "mimiciv_ed"


def identified(con: duckdb.DuckDBPyConnection, stays: str) -> pa.Table:
    """The events of the relation `stays` in the columns of `record.EVENT_SCHEMA`, sorted, with identifiers.

    `stays` has subject_id, time, code, numeric_value, text_value, word (the code's first) and is_next (whether it opens
    the admission after the patient's own); in whatever order it is, the result is the same. Openings of one moment are
    one. What lies before the first admission of a patient belongs to it, and what lies after a discharge to none, but
    for what says that it is over.
    """
    for name, (opens, closes, before) in _SPELLS.items():
        con.execute(f"""
            CREATE TEMP TABLE {name} AS
            WITH opening AS (
                SELECT subject_id, time AS start, {before} + row_number() OVER w AS number,
                    lead(time) OVER w AS next_start, is_next
                FROM (SELECT subject_id, time, bool_and(is_next) AS is_next FROM {stays}
                    WHERE word = '{opens}' AND time IS NOT NULL GROUP BY subject_id, time)
                WINDOW w AS (PARTITION BY subject_id ORDER BY time)
            )
            SELECT o.subject_id, o.number, o.is_next,
                if('{name}' = 'admission' AND number = 1 AND NOT o.is_next, TIMESTAMP '0001-01-01', start) AS start,
                min(c.time) AS stop
            FROM opening o LEFT JOIN {stays} c ON c.subject_id = o.subject_id AND c.word = '{closes}'
                AND c.time >= o.start AND coalesce(c.time <= o.next_start, true)
            GROUP BY ALL""")
    con.execute("CREATE TEMP TABLE of_stay (word VARCHAR, is_ed BOOLEAN)")
    con.executemany("INSERT INTO of_stay VALUES (?, ?)", list(_words_of_stays()))
    return (
        con.sql(f"""
        SELECT s.subject_id, s.time, s.code, s.numeric_value, s.text_value,
            if(s.time IS NULL OR s.word = 'MEDS_BIRTH'
                OR s.time > a.stop + if(s.word IN ({_AFTER}), INTERVAL 1 DAY, INTERVAL 0 DAY),
                NULL, 100 * s.subject_id + a.number) AS hadm_id,
            CASE WHEN starts_with(s.code, 'PROCEDURE//ICD//') THEN NULL
                WHEN w.is_ed AND coalesce(s.time <= e.stop, true) THEN 100 * s.subject_id + e.number
                WHEN NOT w.is_ed AND coalesce(s.time <= i.stop, true) THEN 100 * s.subject_id + i.number END AS stay_id
        FROM {stays} s LEFT JOIN of_stay w USING (word)
            ASOF LEFT JOIN admission a ON a.subject_id = s.subject_id AND s.time >= a.start
            ASOF LEFT JOIN icu i ON i.subject_id = s.subject_id AND s.time >= i.start
            ASOF LEFT JOIN ed e ON e.subject_id = s.subject_id AND s.time >= e.start
        ORDER BY s.subject_id, s.time NULLS FIRST, s.code, s.numeric_value, s.text_value""")
        .to_arrow_table()
        .cast(EVENT_SCHEMA)
    )


def _words_of_stays() -> Iterator[tuple[str, bool]]:
    """First words of the codes whose rows name a stay, and whether it is an emergency visit."""
    for mapping in mappings().values():
        if "stay_id" in mapping.identifiers:
            for word in dict.fromkeys(kind.code.parts[0][0] for kind in mapping.kinds):
                yield word, mapping.table.name.startswith(_ED)
