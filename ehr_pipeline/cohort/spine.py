"""The spine: the few events that say who a patient is, when stays begin and end, and what is coded.

What belongs here: the first of the two passes over the event stream, and the small tables that follow from it
(patients, admissions, ICU stays, emergency visits, coded conditions and drugs). The second pass, over the window's
events, is in `build.py`.
"""

from __future__ import annotations

import duckdb

from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.features import DiagnosisFeature, DiagnosisSet, DrugFeature, DrugSet, FactFeature

# Facts of a person that are written down at each admission: the event family of each.
NEAREST_FACTS = {
    "race": "RACE//",
    "insurance": "INSURANCE//",
    "language": "LANGUAGE//",
    "marital_status": "MARITAL_STATUS//",
}
_ALWAYS = ("GENDER//", "SITE//", "ADMISSION//", "DISCHARGE//", "ICU_ADMISSION//", "ICU_DISCHARGE//")
_EMERGENCY = ("ED_ARRIVAL//", "ED_DISPOSITION//")
_DIAGNOSES = ("DIAGNOSIS//ICD//", "ED_DIAGNOSIS//ICD//")
_DRUGS = "MEDICATION//"


def wanted_diagnoses(definition: CohortDefinition) -> dict[str, DiagnosisSet]:
    """Every condition that the definition asks for, by key: a column's name, or a place in the population."""
    criteria = definition.population.diagnoses
    wanted = {name: one for name, one in definition.columns.items() if isinstance(one, DiagnosisFeature)}
    for sense, entries in (("any_of", criteria.any_of), ("none_of", criteria.none_of)):
        wanted |= {f"population.{sense}.{rank}": DiagnosisSet(codes=entry) for rank, entry in enumerate(entries)}
    return wanted


def wanted_drugs(definition: CohortDefinition) -> dict[str, DrugSet]:
    """Every drug class that the definition asks for, by key like `wanted_diagnoses`."""
    criteria = definition.population.drugs
    wanted = {name: one for name, one in definition.columns.items() if isinstance(one, DrugFeature)}
    for sense, entries in (("any_of", criteria.any_of), ("none_of", criteria.none_of)):
        wanted |= {f"population.drugs.{sense}.{rank}": DrugSet(drugs=entry) for rank, entry in enumerate(entries)}
    return wanted


def create_spine(connection: duckdb.DuckDBPyConnection, definition: CohortDefinition) -> None:
    """Read the event stream once into the temporary table `spine`, then make the tables that follow from it."""
    families = [*_ALWAYS, *_EMERGENCY]
    facts = {feature.fact for feature in definition.columns.values() if isinstance(feature, FactFeature)}
    families += [family for fact, family in NEAREST_FACTS.items() if fact in facts]
    if wanted_diagnoses(definition):
        families += _DIAGNOSES
    conditions = ["code IN ('MEDS_BIRTH', 'MEDS_DEATH')", *["starts_with(code, ?)"] * len(families)]
    parameters = list(families)
    for drug_set in wanted_drugs(definition).values():
        conditions.append("(starts_with(code, ?) AND regexp_matches(code, ?, 'i'))")
        parameters += [_DRUGS, drug_set.drug_class.pattern]
    connection.execute(
        "CREATE TEMP TABLE spine AS SELECT subject_id, time, code, text_value, hadm_id, stay_id FROM events"
        f" WHERE {' OR '.join(conditions)}",
        parameters,
    )
    connection.execute(_PATIENTS)
    connection.execute(_ADMISSIONS)
    connection.execute(_stays("icu_stays", "ICU_ADMISSION//", "ICU_DISCHARGE//"))
    connection.execute(_stays("ed_visits", "ED_ARRIVAL//", "ED_DISPOSITION//"))
    _create_coded(connection, definition)


_PATIENTS = """
    CREATE TEMP TABLE patients AS
    SELECT subject_id,
        min(time) FILTER (code = 'MEDS_BIRTH') AS birth_time,
        min(time) FILTER (code = 'MEDS_DEATH') AS death_time,
        min(substr(code, 9)) FILTER (starts_with(code, 'GENDER//')) AS gender,
        min(substr(code, 7)) FILTER (starts_with(code, 'SITE//')) AS site
    FROM spine GROUP BY subject_id"""

# Death in hospital: the discharge says so, or a death is recorded for the admission.
_ADMISSIONS = """
    CREATE TEMP TABLE admissions AS
    SELECT hadm_id, min(subject_id) AS subject_id,
        min(time) FILTER (starts_with(code, 'ADMISSION//')) AS start_time,
        max(time) FILTER (starts_with(code, 'DISCHARGE//')) AS end_time,
        min(substr(code, 12)) FILTER (starts_with(code, 'ADMISSION//')) AS admission_type,
        min(text_value) FILTER (starts_with(code, 'ADMISSION//')) AS admission_location,
        min(nullif(substr(code, 12), 'UNK')) FILTER (starts_with(code, 'DISCHARGE//')) AS discharge_location,
        bool_or(code = 'MEDS_DEATH' OR regexp_matches(upper(code), '^DISCHARGE//(DIED|EXPIRED)')) AS died
    FROM spine
    WHERE hadm_id IS NOT NULL
        AND (code = 'MEDS_DEATH' OR starts_with(code, 'ADMISSION//') OR starts_with(code, 'DISCHARGE//'))
    GROUP BY hadm_id
    HAVING start_time IS NOT NULL"""


def _stays(table: str, begins: str, ends: str) -> str:
    """A table with one row per stay: what its first and last event say."""
    return f"""
        CREATE TEMP TABLE {table} AS
        SELECT stay_id, min(subject_id) AS subject_id, min(hadm_id) AS hadm_id,
            min(time) FILTER (starts_with(code, '{begins}')) AS start_time,
            max(time) FILTER (starts_with(code, '{ends}')) AS end_time,
            min(substr(code, {len(begins) + 1})) FILTER (starts_with(code, '{begins}')) AS began_as,
            min(substr(code, {len(ends) + 1})) FILTER (starts_with(code, '{ends}')) AS ended_as
        FROM spine
        WHERE stay_id IS NOT NULL AND (starts_with(code, '{begins}') OR starts_with(code, '{ends}'))
        GROUP BY stay_id
        HAVING start_time IS NOT NULL"""


def _create_coded(connection: duckdb.DuckDBPyConnection, definition: CohortDefinition) -> None:
    """The temporary table `coded`: one row per key and event that carries one of its diagnoses or drugs.

    Codes are compared once per distinct code, not once per event.
    """
    connection.execute("CREATE TEMP TABLE code_keys (key VARCHAR, code VARCHAR)")
    connection.execute(
        "CREATE TEMP TABLE spine_codes AS SELECT DISTINCT code FROM spine"
        " WHERE starts_with(code, ?) OR starts_with(code, ?) OR starts_with(code, ?)",
        [*_DIAGNOSES, _DRUGS],
    )
    for key, diagnosis_set in wanted_diagnoses(definition).items():
        connection.execute(
            "INSERT INTO code_keys SELECT ?, code FROM spine_codes"
            " WHERE list_bool_or(list_transform(?::VARCHAR[], lambda prefix: starts_with(code, prefix)))",
            [key, list(diagnosis_set.code_set.event_prefixes)],
        )
    for key, drug_set in wanted_drugs(definition).items():
        drug_class = drug_set.drug_class
        connection.execute(
            "INSERT INTO code_keys SELECT ?, code FROM spine_codes WHERE starts_with(code, ?)"
            " AND regexp_matches(code, ?, 'i') AND NOT coalesce(regexp_matches(code, ?, 'i'), false)",
            [key, _DRUGS, drug_class.pattern, drug_class.except_pattern],
        )
    connection.execute(
        "CREATE TEMP TABLE coded AS SELECT key, subject_id, time, hadm_id, stay_id,"
        " starts_with(code, 'ED_') AS is_emergency FROM spine JOIN code_keys USING (code)"
    )
