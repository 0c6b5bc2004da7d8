"""A stream without identifiers becomes a stream with them: new patients, admissions, stays, and shifted dates.

What belongs here: whom and what each event belongs to, and when it lies. What does not: how spells are found
(`spells.py`), tables (`complete.py`).

Identifiers that the stream has are not read: one that a generator repeated or crossed would break a key.
"""

from __future__ import annotations

import duckdb

from ehr_pipeline.export.roles import create_codes
from ehr_pipeline.export.spells import NEAR, create_spells

YEAR_GROUPS = ("2008 - 2010", "2011 - 2013", "2014 - 2016", "2017 - 2019", "2020 - 2022")
"""MIMIC-IV's true periods; one of them is drawn where the stream does not say."""
FIRST_SUBJECT, FIRST_ADMISSION, FIRST_ICU_STAY, FIRST_ED_STAY = 10_000_001, 20_000_001, 30_000_001, 35_000_001
OLDEST, SHOWN_AS = 89, 91
"""Patients above the one age are shown with the other, as MIMIC-IV does."""


def place(con: duckdb.DuckDBPyConnection, stream: str, seed: int) -> dict[str, int]:
    """Create the temporary table `events`, in the columns of `record.EVENT_SCHEMA`, from the relation `stream`.

    The dictionaries must stand on the connection, under their full names. Each patient's dates are shifted by
    whole weeks, so that the first event lies in a year from 2110 to 2199 with its weekday and season; the anchor
    year is that year. Nothing happens later than a day after death. Returns how many events were left out, by
    reason.
    """
    con.execute(
        "CREATE TEMP TABLE stream AS SELECT row_number() OVER () AS event, subject_id AS source_id, "
        f"CAST(time AS TIMESTAMP) AS time, code, numeric_value, text_value FROM {stream}"
    )
    create_codes(con, "stream")
    con.execute(_PEOPLE, {"seed": seed, "groups": list(YEAR_GROUPS)})
    con.execute(_MOVED)
    in_hospital = "SELECT event, subject_id, time, code, text_value, admission AS role FROM moved WHERE admission <> ''"
    create_spells(con, "admission", f"({in_hospital} AND time IS NOT NULL)", "subject_id", FIRST_ADMISSION)
    con.execute(_HOSPITAL)
    in_icu = "SELECT event, id AS hadm_id, time, code, text_value, icu AS role FROM moved JOIN admission_member"
    create_spells(con, "icu", f"({in_icu} USING (event) WHERE icu <> '' AND id IS NOT NULL)", "hadm_id", FIRST_ICU_STAY)
    in_ed = "SELECT event, subject_id, time, code, text_value, ed AS role FROM moved WHERE ed <> ''"
    create_spells(con, "ed", f"({in_ed})", "subject_id", FIRST_ED_STAY)
    con.execute(f"CREATE TEMP TABLE events AS {' UNION ALL '.join(_PARTS)}")
    return {what: n for what, sql in _LEFT_OUT.items() if (n := con.execute(sql).fetchall()[0][0])}


# A death whose hour is not known is a midnight; where the discharge says DIED, its time says more.
_PEOPLE = f"""
    CREATE TEMP TABLE person AS
    WITH fact AS (
        SELECT source_id, {FIRST_SUBJECT} - 1 + row_number() OVER (ORDER BY source_id) AS subject_id,
            min(string_split(code, '//')[2]) FILTER (starts_with(code, 'GENDER//')) AS gender,
            min(string_split(code, '//')[2]) FILTER (starts_with(code, 'ANCHOR_YEAR_GROUP//')) AS year_group,
            min(time) FILTER (code = 'MEDS_BIRTH') AS birth,
            min(time) FILTER (code <> 'MEDS_BIRTH') AS first_time,
            min(time) FILTER (code = 'MEDS_DEATH') AS dead_at,
            min(time) FILTER (code = 'DISCHARGE//DIED') AS died_at
        FROM stream GROUP BY source_id
    ), dated AS (
        SELECT *, 2110 + (hash(subject_id, $seed::BIGINT) % 90)::INTEGER AS year,
            CASE WHEN died_at IS NULL THEN dead_at
                WHEN dead_at IS NULL OR dead_at = date_trunc('day', dead_at)
                    OR dead_at NOT BETWEEN died_at - {NEAR} AND died_at + {NEAR} THEN died_at
                ELSE dead_at END AS death
        FROM fact
    ), shifted AS (
        SELECT *, coalesce(7 * round((
                (make_date(year, 1, 1) + (dayofyear(first_time) - 1)::INTEGER) - first_time::DATE) / 7.0
            )::INTEGER, 0) * INTERVAL 1 DAY AS shift
        FROM dated
    )
    SELECT source_id, subject_id, shift, death + shift AS death,
        if(gender IN ('F', 'M'), gender, 'U') AS gender,
        if(regexp_full_match(year_group, '\\d{{4}} - \\d{{4}}'), year_group,
            ($groups)[1 + (hash(subject_id, 'group', $seed::BIGINT) % len($groups))::INTEGER]) AS year_group,
        coalesce(extract(year FROM first_time + shift), year) AS anchor_year,
        CASE WHEN age > {OLDEST} THEN {SHOWN_AS} WHEN age < 0 THEN 0 ELSE age END AS anchor_age
    FROM (SELECT *, extract(year FROM first_time) - extract(year FROM birth) AS age FROM shifted)"""

# After death nothing begins; what is charted late belongs to what there was.
_MOVED = f"""
    CREATE TEMP TABLE moved AS
    SELECT event, subject_id, time + shift AS time, code,
        if(isfinite(numeric_value), numeric_value, NULL) AS numeric_value,
        if(table_name = 'mimiciv_icu.datetimeevents',
            CAST(TRY_CAST(text_value AS TIMESTAMP) + shift AS VARCHAR), text_value) AS text_value,
        if(admission IN ('needs', 'outlasts') AND time + shift > death, 'follows', admission) AS admission,
        if(icu = 'needs' AND time + shift > death, 'follows', icu) AS icu,
        if(ed = 'needs' AND time + shift > death, 'follows', ed) AS ed
    FROM stream JOIN person USING (source_id) JOIN codes USING (code)
    WHERE is_static = (time IS NULL)
        AND coalesce(time + shift <= death + {NEAR}, TRUE)
        AND NOT coalesce(time + shift > death AND 'opens' IN (admission, icu, ed), FALSE)"""

# Died here: the discharge says so, or says nothing, within a day of it; or the hour of death lies inside.
_HOSPITAL = f"""
    CREATE TEMP TABLE hospital AS
    SELECT id AS hadm_id, subject_id, start, if(died, greatest(stop, death), stop) AS stop, open_code, open_text,
        close_code, death, died
    FROM (
        SELECT a.*, death, coalesce(
            start <= death AND coalesce(lead(start) OVER (PARTITION BY subject_id ORDER BY start) > death, TRUE)
            AND CASE WHEN coalesce(close_code, '') IN ('', 'DISCHARGE//DIED', 'DISCHARGE//UNK')
                THEN death <= stop + {NEAR} ELSE death <= stop AND death <> date_trunc('day', death) END, FALSE) AS died
        FROM admission a JOIN person USING (subject_id))"""


def _event(time: str, code: str, source: str, **values: str) -> str:
    names = ("numeric_value", "text_value", "hadm_id", "stay_id")
    types = {"numeric_value": "FLOAT", "text_value": "VARCHAR", "hadm_id": "BIGINT", "stay_id": "BIGINT"}
    others = ", ".join(f"CAST({values.get(name, 'NULL')} AS {types[name]}) AS {name}" for name in names)
    return f"SELECT subject_id, CAST({time} AS TIMESTAMP) AS time, {code} AS code, {others} FROM {source}"


def _known(code: str, otherwise: str) -> str:
    """The code, or another where there is none or it says that it does not know."""
    return f"if({code} IS NULL OR ends_with({code}, '//UNK'), {otherwise}, {code})"


_ICU = "icu JOIN (SELECT hadm_id, subject_id FROM hospital) USING (hadm_id)"
# The admission that an emergency visit led to: the first that begins during it or within a day.
_ED = f"""(SELECT e.*, (SELECT min(hadm_id) FROM hospital h WHERE h.subject_id = e.subject_id
    AND h.start BETWEEN e.start AND e.stop + {NEAR}) AS hadm_id FROM ed e)"""
# What needs a spell and found none is left out; what may be outside has no identifier.
_REST = """(SELECT event, subject_id, time, code, numeric_value, text_value, coalesce(admission, '') AS admission,
        coalesce(icu, '') AS icu, coalesce(ed, '') AS ed FROM moved)
    LEFT JOIN admission_member a USING (event) LEFT JOIN icu_member i USING (event) LEFT JOIN ed_member d USING (event)
    WHERE 'opens' NOT IN (admission, icu, ed) AND 'closes' NOT IN (admission, icu, ed)
        AND (a.id IS NOT NULL OR admission IN ('', 'continues', 'near'))
        AND (i.id IS NOT NULL OR icu = '') AND (d.id IS NOT NULL OR ed = '')"""
_PARTS = (
    _event("NULL", "'GENDER//' || gender", "person"),
    _event("NULL", "'ANCHOR_YEAR_GROUP//' || year_group", "person"),
    _event("NULL", "'ANCHOR_YEAR'", "person", numeric_value="anchor_year"),
    _event(
        "make_timestamp((anchor_year - anchor_age)::BIGINT, 1, 1, 0, 0, 0)",
        "'MEDS_BIRTH'",
        "person WHERE anchor_age IS NOT NULL",
    ),
    _event(
        "p.death",
        "'MEDS_DEATH'",
        "person p LEFT JOIN (SELECT subject_id, hadm_id FROM hospital WHERE died) USING (subject_id) "
        "WHERE p.death IS NOT NULL",
        hadm_id="hadm_id",
    ),
    _event(
        "start",
        _known("open_code", "'ADMISSION//UNKNOWN'"),
        "hospital",
        text_value="open_text",
        hadm_id="hadm_id",
    ),
    _event(
        "stop",
        "CASE WHEN died THEN 'DISCHARGE//DIED' WHEN close_code = 'DISCHARGE//DIED' THEN 'DISCHARGE//UNK' "
        "ELSE coalesce(close_code, 'DISCHARGE//UNK') END",
        "hospital",
        hadm_id="hadm_id",
    ),
    _event("start", "coalesce(open_code, 'ICU_ADMISSION//UNK')", _ICU, hadm_id="hadm_id", stay_id="id"),
    _event(
        "stop",
        _known("close_code", "coalesce('ICU_DISCHARGE//' || string_split(open_code, '//')[2], 'ICU_DISCHARGE//UNK')"),
        _ICU,
        hadm_id="hadm_id",
        stay_id="id",
    ),
    _event("start", _known("open_code", "'ED_ARRIVAL//UNKNOWN'"), _ED, hadm_id="hadm_id", stay_id="id"),
    _event("stop", "coalesce(close_code, 'ED_DISPOSITION//UNK')", _ED, hadm_id="hadm_id", stay_id="id"),
    _event(
        "time",
        "code",
        _REST,
        numeric_value="numeric_value",
        text_value="text_value",
        hadm_id="a.id",
        stay_id="coalesce(i.id, d.id)",
    ),
)
_LEFT_OUT = {
    "of a code that no table or dictionary of MIMIC-IV has": (
        "SELECT count(*) FROM stream ANTI JOIN codes USING (code) WHERE code NOT IN ('MEDS_BIRTH', 'MEDS_DEATH', "
        "'ANCHOR_YEAR') AND NOT starts_with(code, 'GENDER//') AND NOT starts_with(code, 'ANCHOR_YEAR_GROUP//')"
    ),
    "without a time where one is needed, or with one where none may be": (
        "SELECT count(*) FROM stream JOIN codes USING (code) WHERE is_static <> (time IS NULL)"
    ),
    "after the patient's death": (
        "SELECT (SELECT count(*) FROM stream JOIN codes USING (code) WHERE is_static = (time IS NULL))"
        " - (SELECT count(*) FROM moved)"
    ),
}
