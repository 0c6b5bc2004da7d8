"""Unfolding: drawn timelines become stays again, with admission, discharge, death and codes at their times.

What belongs here: the inverse of `fold.py`, and the order that drawn facts need: a generator draws them beside the
events, so that they can contradict each other or the events. What does not: judging the stays (`sanity/`).

1. The first index event counts, if it stands where it begins the window; else it is put there, with a code that is not
   known if nothing tells it. Nothing of the bedside comes after the end that the window waits for, after discharge, or
   after death; a discharge or a death a little after one of these still is its own. An ICU stay has an admission in any
   case, and who is discharged as dead has died then, even if nothing else tells a death.
2. A fact of which the timeline has the event itself is left out. Others get their time back, not before the last
   event of the timeline; discharge, death and the end of the stay are `NEAR` each other where one implies the other.
3. Diagnoses come at discharge, procedures on the day of the index event, personal facts at admission, as the source's
   mapping has them. Codes that the patient's sex or age cannot have are left out.
4. A birth becomes 1 January, with the age in whole years kept: the only date of birth that the records have.
5. Identifiers are new: a patient's number, and a hundred times it for admissions and stays, counted within the patient.

For stays in which nothing contradicts, unfolding what was folded gives back the events, to the minute.
Memory: about 200 bytes per event.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import duckdb
import pyarrow as pa

from ehr_pipeline.clinical.sexed_codes import PREGNANT_YEARS, codes_of_sex, pregnancy_codes
from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.features import FollowUpFeature
from ehr_pipeline.cohort.frame import PERSONAL
from ehr_pipeline.mimic.codes import UNKNOWN
from ehr_pipeline.prepare.fold import END_WORDS, HOURS, INDEX, INDEX_WORDS, LOCATION, READMISSION, TIMED
from ehr_pipeline.prepare.identify import identified

NEAR = "INTERVAL 1 DAY"
"""So far apart hospitals write down what is one moment; further apart is a contradiction."""
_END = {"admission": "DISCHARGE", "stay": "ICU_DISCHARGE", "visit": "ED_DISPOSITION"}
_LATE = ("DISCHARGE", "ICU_DISCHARGE", "ED_DISPOSITION", "DIAGNOSIS", "DRG", "ED_DIAGNOSIS", "MEDS_DEATH")
"""Words of what is written down after a discharge or a death."""
_DIED = "regexp_matches(upper({}), '^DISCHARGE//(DIED|EXPIRED)')"


@dataclass(frozen=True, kw_only=True)
class StayKind:
    """What of a cohort's definition unfolding must know.

    Attributes
    ----------
    index, end
        First words of the codes of the index event, and of the event that ends the window; None where time alone does.
    own_end
        First word of the code that ends the index stay.
    before
        How long before the index event the window begins.
    follows_death
        Whether deaths after discharge are followed.
    """

    index: str
    end: str | None
    own_end: str
    before: timedelta
    follows_death: bool

    @classmethod
    def of(cls, definition: CohortDefinition) -> Self:
        """The kind of a cohort's stays."""
        columns = definition.columns.values()
        return cls(
            index=INDEX_WORDS[definition.index],
            end=_END.get(definition.window.until),
            own_end=END_WORDS[INDEX_WORDS[definition.index]],
            before=timedelta(hours=definition.window.hours_before),
            follows_death=any(isinstance(one, FollowUpFeature) and one.follow_up == "death" for one in columns),
        )


@dataclass(frozen=True, eq=False)
class Unfolded:
    """Stays in the columns of `record.EVENT_SCHEMA`, sorted by patient and time, and how often what was mended."""

    events: pa.Table
    mended: dict[str, int]


def unfold(drawn: pa.Table, kind: StayKind) -> Unfolded:
    """Bring drawn events into stays.

    Parameters
    ----------
    drawn
        subject_id int64, time (microseconds, NULL for facts), code, numeric_value, text_value: in the form that
        `timelines_sql` makes, whoever drew them.
    """
    with duckdb.connect() as con:
        con.execute("SET enable_external_access = false; SET lock_configuration = true")
        con.register("given", drawn)
        con.execute(_DRAWN)
        con.execute("CREATE TEMP TABLE banned (code VARCHAR, sex VARCHAR, is_pregnancy BOOLEAN)")
        _ban(con)
        parameters = {"index": kind.index, "end": kind.end, "own_end": kind.own_end, "before": kind.before}
        parameters["follows"] = kind.follows_death
        for name, query in _STEPS.items():
            used = {key: value for key, value in parameters.items() if f"${key}" in query}
            con.execute(f"CREATE TEMP TABLE {name} AS {query}", used)
        events = identified(con, "stay")
        mended = {what: con.execute(query).fetchone()[0] for what, query in _MENDED.items()}
    return Unfolded(events, mended)


def _ban(con: duckdb.DuckDBPyConnection) -> None:
    """Codes of the drawn events that one sex, or one age, cannot have."""
    coded = "SELECT DISTINCT code FROM drawn WHERE word IN ('DIAGNOSIS', 'ED_DIAGNOSIS', 'PROCEDURE')"
    starts = "list_bool_or(list_transform(?::VARCHAR[], lambda prefix: starts_with(code, prefix)))"
    for sex, prefixes in codes_of_sex().items():
        con.execute(
            f"INSERT INTO banned SELECT code, ?, {starts} FROM ({coded}) WHERE {starts}",
            [sex, list(pregnancy_codes()), list(prefixes)],
        )


_DRAWN = """
    CREATE TEMP TABLE drawn AS
    SELECT row_number() OVER () AS event, subject_id, time::TIMESTAMP AS time, code::VARCHAR AS code,
        numeric_value::FLOAT AS numeric_value, nullif(text_value::VARCHAR, '') AS text_value,
        split_part(code::VARCHAR, '//', 1) AS word
    FROM given"""

_PERSONAL = ", ".join(f"'{family.removesuffix('//')}'" for family in PERSONAL)
_LATE_WORDS = ", ".join(f"'{word}'" for word in _LATE)


def _hours(part: str) -> str:
    hours = f"max(numeric_value) FILTER (code = '{HOURS}//{part}' AND time IS NULL)"
    return f"to_minutes(round({hours} * 60)::BIGINT)"


def _fact(word: str) -> str:
    return f"min(code) FILTER (word = '{word}' AND time IS NULL)"


_FOLDED_WORDS = ", ".join(
    f"'{word}'" for word in (HOURS, INDEX, LOCATION, READMISSION, *TIMED, "MEDS_DEATH", "MEDS_BIRTH")
)
_PLACED_EVENTS = "".join(
    f"""
            UNION ALL
            SELECT subject_id, {time}, {code}, NULL, {text}, {is_next} FROM placed
            WHERE {time} IS NOT NULL AND {code} IS NOT NULL"""
    for time, code, text, is_next in (
        ("new_admission", "admission", "location", False),
        ("new_discharge", "discharge_code", "NULL", False),
        ("new_death", "'MEDS_DEATH'", "NULL", False),
        ("new_end", "own_end", "NULL", False),
        ("new_readmission", "readmission", "NULL", True),
    )
)

_STEPS = {
    "first_event": f"""
        WITH found AS (
            SELECT subject_id, min(time) FILTER (word <> 'MEDS_BIRTH') + $before AS latest,
                min(time) FILTER (word = $index) AS index_at,
                coalesce(min(substr(code, {len(INDEX) + 3})) FILTER (time IS NULL
                    AND starts_with(code, '{INDEX}//' || $index || '//')), min(code) FILTER (word = $index),
                    $index || '//{UNKNOWN}') AS code
            FROM drawn GROUP BY subject_id
        )
        SELECT subject_id, if(index_at <= latest, index_at, latest) AS index_time,
            if(index_at <= latest, NULL, code) AS forgotten
        FROM found WHERE latest IS NOT NULL""",
    # What is over when: the event that the window waits for, and death.
    "over": """
        SELECT subject_id, index_time,
            min(time) FILTER (word = $end AND time > index_time) AS ended,
            min(time) FILTER (word = 'DISCHARGE' AND time > index_time) AS discharged,
            min(time) FILTER (word = 'MEDS_DEATH' AND time >= index_time) AS died
        FROM drawn JOIN (SELECT subject_id, index_time FROM first_event) USING (subject_id)
        WHERE time IS NOT NULL GROUP BY ALL""",
    "timed": f"""
        SELECT d.*, row_number() OVER (
            PARTITION BY d.subject_id, if(d.word IN ($index, $end, 'MEDS_DEATH')
                OR (d.word = 'DISCHARGE' AND d.time > index_time), d.word, d.event::VARCHAR),
                d.word = 'MEDS_DEATH' AND d.time < index_time
            ORDER BY d.time, d.code, d.event) = 1 AND (d.word IS DISTINCT FROM $end OR d.time > index_time)
                AND (d.word <> $index OR d.time = index_time)
                AND (d.word <> 'DISCHARGE' OR d.time IS DISTINCT FROM index_time)
                AND (d.word <> 'MEDS_DEATH' OR d.time >= index_time) AS is_first,
            d.time <= coalesce(least(
                ended + if(d.word IN ('DISCHARGE', 'MEDS_DEATH'), {NEAR}, INTERVAL 0 DAY),
                least(discharged, died) + if(d.word IN ({_LATE_WORDS}), {NEAR}, INTERVAL 0 DAY)), d.time)
                AS is_before_end
        FROM drawn d LEFT JOIN over USING (subject_id)
        WHERE d.time IS NOT NULL AND d.word <> 'MEDS_BIRTH'""",
    "kept": "SELECT * EXCLUDE (is_first, is_before_end) FROM timed WHERE is_first AND is_before_end",
    "seen": """
        SELECT subject_id, index_time, max(time) AS last_time,
            min(time) FILTER (word = 'ADMISSION') AS admitted,
            min(time) FILTER (word = 'DISCHARGE' AND time > index_time) AS discharged,
            min(code) FILTER (word = 'DISCHARGE' AND time > index_time) AS discharge,
            min(time) FILTER (word = 'MEDS_DEATH') AS died,
            min(time) FILTER (word = $own_end AND time >= index_time) AS ended
        FROM kept JOIN (SELECT subject_id, index_time FROM first_event) USING (subject_id) GROUP BY ALL""",
    "fact": f"""
        SELECT subject_id, {_fact("ADMISSION")} AS admission,
            substr({_fact(LOCATION)}, {len(LOCATION) + 3}) AS location,
            {_fact("DISCHARGE")} AS discharge, {_fact("ICU_DISCHARGE")} AS icu_end, {_fact("ED_DISPOSITION")} AS ed_end,
            'ADMISSION' || substr({_fact(READMISSION)}, {len(READMISSION) + 1}) AS readmission,
            {_hours("ADMISSION")} AS admission_after,
            {_hours("DISCHARGE")} AS discharge_after, {_hours("DEATH")} AS death_after,
            {_hours("ICU_DISCHARGE")} AS icu_after, {_hours("ED_DISPOSITION")} AS ed_after,
            {_hours(READMISSION)} AS readmission_after, min(substr(code, 9)) FILTER (word = 'GENDER') AS sex,
            min(time) FILTER (word = 'MEDS_BIRTH') AS birth
        FROM drawn WHERE time IS NULL OR word = 'MEDS_BIRTH' GROUP BY subject_id""",
    # Each fact at its own time: what the timeline has itself, and what cannot be placed, is NULL.
    "told": f"""
        SELECT subject_id, index_time, last_time, sex, birth, s.admitted, s.discharged, s.died, s.ended, f.location,
            f.readmission, greatest(last_time, index_time + INTERVAL 1 MINUTE) AS earliest,
            coalesce(f.admission, if($index = 'ICU_ADMISSION', 'ADMISSION//{UNKNOWN}', NULL)) AS admission, f.discharge,
            CASE $own_end WHEN 'ICU_DISCHARGE' THEN icu_end WHEN 'ED_DISPOSITION' THEN ed_end END AS own_end,
            CASE WHEN s.admitted IS NULL AND (f.admission IS NOT NULL OR $index = 'ICU_ADMISSION')
                AND $index <> 'ADMISSION'
                THEN index_time + coalesce(admission_after, INTERVAL 0 DAY) END AS admission_time,
            CASE WHEN s.discharged IS NULL AND f.discharge IS NOT NULL THEN index_time + discharge_after END
                AS discharge_time,
            CASE WHEN s.died IS NULL THEN index_time + death_after END AS death_time,
            CASE WHEN s.ended IS NULL THEN
                index_time + if($own_end = 'ICU_DISCHARGE', icu_after, ed_after) END AS end_time,
            CASE WHEN f.readmission IS NOT NULL THEN index_time + readmission_after END AS readmission_time,
            coalesce({_DIED.format("s.discharge")}, {_DIED.format("f.discharge")}, false) AS has_died_here
        FROM seen s LEFT JOIN fact f USING (subject_id)""",
    "placed": f"""
        WITH death AS (
            SELECT *, CASE WHEN died IS NOT NULL THEN NULL
                WHEN has_died_here AND discharged IS NOT NULL THEN if(death_time BETWEEN discharged - {NEAR}
                    AND discharged + {NEAR}, greatest(death_time, earliest), discharged)
                WHEN has_died_here AND coalesce(death_time, discharge_time) IS NOT NULL
                THEN greatest(coalesce(death_time, discharge_time), earliest)
                WHEN death_time IS NOT NULL AND (coalesce(discharged, discharge_time) IS NULL
                    OR ($follows AND death_time > coalesce(discharged, discharge_time)))
                THEN greatest(death_time, earliest) END AS new_death
            FROM told
        ), discharge AS (
            SELECT *, CASE
                WHEN died IS NOT NULL AND NOT has_died_here AND discharge_time IS NOT NULL THEN died
                WHEN has_died_here AND discharged IS NULL AND (discharge_time BETWEEN coalesce(died, new_death) - {NEAR}
                    AND coalesce(died, new_death) + {NEAR}) IS NOT TRUE THEN coalesce(died, new_death)
                ELSE discharge_time END AS own_discharge,
                if(own_discharge IS NULL, NULL, greatest(own_discharge, earliest)) AS new_discharge
            FROM death
        )
        SELECT *, if($index = 'ICU_ADMISSION' AND admission_time >= least(index_time + {NEAR},
                coalesce(discharged, new_discharge), coalesce(died, new_death)), index_time, admission_time)
                AS new_admission,
            if(died IS NOT NULL AND NOT has_died_here, 'DISCHARGE//DIED', discharge) AS discharge_code,
            CASE WHEN own_end IS NULL OR end_time IS NULL THEN NULL
                WHEN end_time > least(coalesce(discharged, new_discharge), coalesce(died, new_death)) + {NEAR}
                THEN greatest(least(coalesce(discharged, new_discharge), coalesce(died, new_death)), earliest)
                ELSE greatest(end_time, earliest) END AS new_end,
            CASE WHEN readmission_time >= greatest(coalesce(discharged, new_discharge), last_time)
                AND coalesce(died, new_death) IS NULL THEN readmission_time END AS new_readmission
        FROM discharge""",
    "coded": f"""
        SELECT d.event, d.subject_id, CASE
            WHEN d.word IN ('DIAGNOSIS', 'DRG') THEN coalesce(discharged, new_discharge, last_time)
            WHEN d.word = 'ED_DIAGNOSIS' THEN coalesce(ended, new_end, last_time)
            WHEN starts_with(d.code, 'PROCEDURE//ICD//') THEN date_trunc('day', index_time)
            WHEN d.word IN ({_PERSONAL}) THEN coalesce(admitted, new_admission, index_time) END AS time
        FROM drawn d JOIN placed USING (subject_id) WHERE d.time IS NULL""",
    "stay": f"""
        WITH parts AS (
            SELECT subject_id, time, code, numeric_value, text_value, false AS is_next FROM kept
            UNION ALL
            SELECT d.subject_id, c.time, d.code, d.numeric_value, d.text_value, false
            FROM drawn d LEFT JOIN coded c USING (event)
            WHERE d.time IS NULL AND d.word NOT IN ({_FOLDED_WORDS})
            UNION ALL
            SELECT subject_id, coalesce(make_date(year(index_time) - (year(index_time) - year(birth)
                - (strftime(index_time, '%m%d') < strftime(birth, '%m%d'))::INTEGER), 1, 1), birth),
                'MEDS_BIRTH', NULL, NULL, false
            FROM fact LEFT JOIN first_event USING (subject_id) WHERE birth IS NOT NULL
            UNION ALL
            SELECT subject_id, index_time, forgotten, NULL, NULL, false FROM first_event WHERE forgotten IS NOT NULL
            {_PLACED_EVENTS}
        )
        SELECT p.*, split_part(p.code, '//', 1) AS word
        FROM parts p LEFT JOIN fact f USING (subject_id) LEFT JOIN first_event i USING (subject_id)
            LEFT JOIN banned b ON b.code = p.code
                AND (b.sex <> f.sex OR (b.is_pregnancy AND year(i.index_time) - year(f.birth)
                    NOT BETWEEN {PREGNANT_YEARS[0]} AND {PREGNANT_YEARS[1]}))
        WHERE b.code IS NULL""",
}
_MENDED = {
    "index events that the timeline had forgotten or misplaced": "SELECT count(forgotten) FROM first_event",
    "events after death or after the end of the stay": "SELECT count(*) FROM timed WHERE NOT is_before_end",
    "second index events, ends or deaths": "SELECT count(*) FROM timed WHERE is_first IS NOT TRUE AND is_before_end",
    "facts of the stay that were moved, since they contradict others or the events": """
        SELECT count(*) FILTER (new_admission <> admission_time) + count(*) FILTER (new_discharge <> discharge_time)
            + count(*) FILTER (new_death <> death_time) + count(*) FILTER (new_end <> end_time) FROM placed""",
    "facts of the stay that were left out, since they contradict others": """
        SELECT count(*) FILTER (death_time IS NOT NULL AND new_death IS NULL)
            + count(*) FILTER (readmission_time IS NOT NULL AND new_readmission IS NULL) FROM placed""",
    "codes that the patient's sex or age cannot have": """
        SELECT (SELECT count(*) FROM drawn WHERE code IN (FROM (SELECT code FROM banned)))
            - (SELECT count(*) FROM stay WHERE code IN (FROM (SELECT code FROM banned)))""",
}
