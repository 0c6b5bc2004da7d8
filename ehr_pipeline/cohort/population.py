"""From index events to members: the criteria, one after the other, and how many each removes.

What belongs here: the population, index event and window of a definition as SQL over the spine. Values from the
definition are bound; identifiers are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.features import DiagnosisSet, DrugSet
from ehr_pipeline.errors import CheckFailed

MICROSECONDS_PER_HOUR = 3_600_000_000

# An event is coded for the index admission, or (emergency diagnoses) for the index visit itself.
CODED_FOR_INDEX = "CASE WHEN x.is_emergency THEN x.stay_id = c.stay_id ELSE x.hadm_id = c.hadm_id END"


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One condition on a candidate, in words and as SQL over the row `c` of `candidates`."""

    title: str
    sql: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FlowStep:
    """How many index events and patients are left once a criterion, and all before it, holds."""

    criterion: str
    n_index_events: int
    n_patients: int


def create_members(connection: duckdb.DuckDBPyConnection, definition: CohortDefinition) -> list[FlowStep]:
    """Make the temporary table `members`, one row per member in the order of patient and index time.

    Columns: member (0, 1, ...), subject_id, hadm_id, stay_id, index_time, start_time, end_time, and age_years (exact),
    gender, site, death_time, index_end (end of the index stay), care_end (end of its admission, else of the stay).

    Raises
    ------
    CheckFailed
        Nobody is left; the message names the criterion that removed the last.
    """
    _create_candidates(connection, definition)
    criteria = _criteria(definition)
    connection.execute(
        "CREATE TEMP TABLE judged AS SELECT c.*, "
        + ", ".join(f"coalesce({criterion.sql}, false) AS passes_{rank}" for rank, criterion in enumerate(criteria))
        + " FROM candidates c",
        [parameter for criterion in criteria for parameter in criterion.parameters],
    )
    flow = _flow(connection, definition, criteria)
    order = "index_time DESC, id DESC" if definition.population.occurrence == "last" else "index_time, id"
    chosen = "" if definition.population.occurrence == "all" else "WHERE occurrence = 1"
    passes = " AND ".join(f"passes_{rank}" for rank in range(len(criteria)))
    connection.execute(f"""
        CREATE TEMP TABLE members AS
        SELECT row_number() OVER (ORDER BY subject_id, index_time, id) - 1 AS member, *
            EXCLUDE (occurrence, {", ".join(f"passes_{rank}" for rank in range(len(criteria)))})
        FROM (SELECT *, row_number() OVER (PARTITION BY subject_id ORDER BY {order}) AS occurrence
              FROM judged WHERE {passes})
        {chosen}""")
    return [*flow, _step(connection, _OCCURRENCES[definition.population.occurrence], "members", "true")]


def excluded(connection: duckdb.DuckDBPyConnection, definition: CohortDefinition) -> dict[str, list[int]]:
    """After `create_members`, by criterion the patients of whom an index event meets all criteria before it alone."""
    found, before = {}, "true"
    for rank, criterion in enumerate(_criteria(definition)):
        rows = connection.execute(f"SELECT DISTINCT subject_id FROM judged WHERE {before} AND NOT passes_{rank}")
        found[criterion.title] = [subject_id for (subject_id,) in rows.fetchall()]
        before = f"{before} AND passes_{rank}"
    return {title: patients for title, patients in found.items() if patients}


_OCCURRENCES = {
    "first": "Each patient's first that qualifies",
    "last": "Each patient's last that qualifies",
    "all": "Every one that qualifies",
}
_INDEX_TITLES = {"admission": "Admissions", "icu_admission": "ICU stays", "ed_arrival": "Emergency visits"}
_INDEX_EVENTS = {
    "admission": """
        SELECT subject_id, hadm_id, NULL::BIGINT AS stay_id, start_time AS index_time, end_time AS index_end,
            end_time AS admission_end, hadm_id AS id
        FROM admissions""",
    "icu_admission": """
        SELECT s.subject_id, s.hadm_id, s.stay_id, s.start_time AS index_time, s.end_time AS index_end,
            a.end_time AS admission_end, s.stay_id AS id
        FROM icu_stays s LEFT JOIN admissions a USING (hadm_id)""",
    "ed_arrival": """
        SELECT v.subject_id, v.hadm_id, v.stay_id, v.start_time AS index_time, v.end_time AS index_end,
            a.end_time AS admission_end, v.stay_id AS id
        FROM ed_visits v LEFT JOIN admissions a USING (hadm_id)""",
}


def _create_candidates(connection: duckdb.DuckDBPyConnection, definition: CohortDefinition) -> None:
    """Every index event with its patient, age and window.

    Age counts from 1 January of the birth year, the only date of birth that the records have: whole years, and the
    share of the year that has gone by on the day of the index event.
    """
    window = definition.window
    ends = [] if window.hours_after is None else ["index_time + to_microseconds(?)"]
    parameters = [round(window.hours_before * MICROSECONDS_PER_HOUR)]
    parameters += [] if window.hours_after is None else [round(window.hours_after * MICROSECONDS_PER_HOUR)]
    until = {None: None, "admission": "admission_end"}.get(window.until, "index_end")
    end = f"least({', '.join([*ends, until])})" if until and ends else until or ends[0]
    known = f"{until} IS NOT NULL" if until else "true"
    connection.execute(
        f"""
        CREATE TEMP TABLE candidates AS
        SELECT i.*, p.gender, p.site, p.death_time, p.birth_time,
            year(index_time) - year(birth_time) + (dayofyear(index_time) - 1)
                / dayofyear(make_date(year(index_time), 12, 31)) AS age_years,
            coalesce(admission_end, index_end) AS care_end,
            index_time - to_microseconds(?) AS start_time,
            CASE WHEN {known} THEN {end} END AS end_time
        FROM ({_INDEX_EVENTS[definition.index]}) i LEFT JOIN patients p USING (subject_id)""",
        parameters,
    )


def _criteria(definition: CohortDefinition) -> list[Criterion]:
    population = definition.population
    age = population.age_years
    criteria = [
        Criterion(title="Age and sex known", sql="c.age_years IS NOT NULL AND c.gender IN ('F', 'M')"),
        Criterion(
            title=f"Age {age.minimum} to {age.maximum} years",
            sql="floor(c.age_years) BETWEEN ? AND ?",
            parameters=(age.minimum, age.maximum),
        ),
    ]
    if population.sex is not None:
        title = f"Sex {', '.join(population.sex)}"
        criteria.append(Criterion(title=title, sql="list_contains(?, c.gender)", parameters=(list(population.sex),)))
    for asked, table, title in (
        (population.icu_stay, "icu_stays", "ICU stay in the admission"),
        (population.ed_visit, "ed_visits", "emergency visit that led to the admission"),
    ):
        if asked is not None:
            has = f"coalesce(c.hadm_id IN (SELECT hadm_id FROM {table} WHERE hadm_id IS NOT NULL), false)"
            criteria.append(
                Criterion(title=f"{'With' if asked else 'Without'} {title}", sql=f"{has} = ?", parameters=(asked,))
            )
    if population.minimum_stay_hours:
        criteria.append(
            Criterion(
                title=f"Stay of at least {population.minimum_stay_hours:g} hours",
                sql="epoch_us(c.index_end) - epoch_us(c.index_time) >= ?",
                parameters=(round(population.minimum_stay_hours * MICROSECONDS_PER_HOUR),),
            )
        )
    diagnoses, drugs = population.diagnoses, population.drugs
    criteria += _coded_criteria("diagnosis", "population", DiagnosisSet, diagnoses.any_of, diagnoses.none_of)
    criteria += _coded_criteria("drug", "population.drugs", DrugSet, drugs.any_of, drugs.none_of)
    criteria.append(Criterion(title="Window with an end after its start", sql="c.end_time > c.start_time"))
    return criteria


def _coded_criteria(
    what: str, place: str, set_type: type[DiagnosisSet] | type[DrugSet], any_of: tuple, none_of: tuple
) -> list[Criterion]:
    """At least one of some sets, none of others; `coded` names each by its place in the definition."""
    coded = f"EXISTS (FROM coded x WHERE list_contains(?, x.key) AND x.subject_id = c.subject_id AND {CODED_FOR_INDEX})"
    criteria = []
    for sense, entries, before in (("any_of", any_of, ""), ("none_of", none_of, "NOT ")):
        if entries:
            titles = ", ".join(_set_title(set_type, entry) for entry in entries)
            keys = [f"{place}.{sense}.{rank}" for rank in range(len(entries))]
            title = f"{'No' if before else 'A'} {what}: {titles}"
            criteria.append(Criterion(title=title, sql=f"{before}{coded}", parameters=(keys,)))
    return criteria


def _set_title(set_type: type[DiagnosisSet] | type[DrugSet], entry: Any) -> str:
    if set_type is DiagnosisSet:
        return DiagnosisSet(codes=entry).code_set.title
    return DrugSet(drugs=entry).drug_class.title


def _flow(
    connection: duckdb.DuckDBPyConnection, definition: CohortDefinition, criteria: list[Criterion]
) -> list[FlowStep]:
    flow = [_step(connection, _INDEX_TITLES[definition.index], "judged", "true")]
    passes = "true"
    for rank, criterion in enumerate(criteria):
        passes = f"{passes} AND passes_{rank}"
        flow.append(_step(connection, criterion.title, "judged", passes))
    empty = next((step for step in flow if step.n_index_events == 0), None)
    if empty is flow[0]:
        raise CheckFailed(f"cohort {definition.name}: the records hold no {empty.criterion.lower()}")
    if empty is not None:
        raise CheckFailed(f"cohort {definition.name}: no patient is left after the criterion '{empty.criterion}'")
    return flow


def _step(connection: duckdb.DuckDBPyConnection, title: str, table: str, condition: str) -> FlowStep:
    n_index_events, n_patients = connection.execute(
        f"SELECT count(*), count(DISTINCT subject_id) FROM {table} WHERE {condition}"
    ).fetchone()
    return FlowStep(criterion=title, n_index_events=n_index_events, n_patients=n_patients)
