"""The patient table: each column of a definition as SQL over the members, the spine and the window's events.

What belongs here: what a feature's value is. Which plausible range, unit and levels a column has is public knowledge
and follows in `prepare/`. Columns are called c0, c1, ... until the last step, so that a name never is SQL.
"""

from __future__ import annotations

import duckdb

from ehr_pipeline.clinical.items import load_items
from ehr_pipeline.clinical.measured import (
    CONVERSION_DECIMALS,
    Series,
    create_sources_table,
    measured_values_sql,
    series_of,
)
from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.facts import FACTS
from ehr_pipeline.cohort.features import (
    DiagnosisFeature,
    DrugFeature,
    FactFeature,
    FollowUpFeature,
    ItemFeature,
    SingleFeature,
)
from ehr_pipeline.cohort.population import CODED_FOR_INDEX
from ehr_pipeline.cohort.spine import NEAREST_FACTS

MEAN_DECIMALS = 1
"""A mean is given one digit more than the item's own values."""

_BODY = ("weight_kg", "height_cm")

# Value, then how near to the index: a tie is decided by the preferred source, then by the value itself.
_STATISTICS = {
    "first": "arg_min(value, (time, priority, value))",
    "last": "arg_max(value, (time, -priority, value))",
    "min": "min(value)",
    "max": "max(value)",
    # Summed as whole numbers: sums of fractions depend on the order in which threads come to them.
    "mean": f"sum((value * 1e{CONVERSION_DECIMALS})::HUGEINT) / 1e{CONVERSION_DECIMALS} / count(value)",
    "count": "count(value)",
}

_FACT_SQL = {
    "sex": "m.gender",
    "site": "m.site",
    "admission_type": "a.admission_type",
    "admission_location": "a.admission_location",
    "discharge_location": "a.discharge_location",
    "first_careunit": "s.began_as",
    "arrival_transport": "v.began_as",
    "disposition": "v.ended_as",
    "chief_complaint": "t.chief_complaint",
    "arrival_hour": "hour(m.index_time)",
    "stay_hours": "(epoch_us(m.index_end) - epoch_us(m.index_time)) / 3.6e9",
    "stay_days": "(epoch_us(m.index_end) - epoch_us(m.index_time)) / 8.64e10",
    "died_in_hospital": "coalesce(a.died, false)::TINYINT",
    **{fact: f"n.{fact}" for fact in NEAREST_FACTS},
}


def decimals_of(feature: SingleFeature) -> int | None:
    """Digits after the point that a column keeps; None for what is no number."""
    if isinstance(feature, ItemFeature):
        if feature.statistic == "count":
            return 0
        extra = MEAN_DECIMALS if feature.statistic == "mean" else 0
        return load_items()[feature.item].decimals + extra if feature.decimals is None else feature.decimals
    if isinstance(feature, FactFeature):
        own = load_items()["bmi"].decimals if feature.fact == "bmi" else FACTS[feature.fact].decimals
        return own if feature.decimals is None else feature.decimals
    return None


def create_table(connection: duckdb.DuckDBPyConnection, definition: CohortDefinition) -> str:
    """Make what the columns need, and return the query that gives the patient table.

    Reads the tables of `spine.py`, `members`, and `window_events` (the events of the window with their member). The
    query has one row per member in their order: subject_id, then the columns.
    """
    wanted = _wanted_series(definition)
    create_sources_table(connection, wanted.values())
    _create_item_values(connection, list(wanted))
    _create_concepts(connection, definition)
    _create_nearest_facts(connection)
    _create_complaints(connection)
    _create_follow_up(connection)
    expressions = [
        f'{_expression(name, feature, list(wanted))} AS "{name}"' for name, feature in definition.columns.items()
    ]
    return f"""
        SELECT m.subject_id, {", ".join(expressions)}
        FROM members m
            LEFT JOIN item_values i USING (member)
            LEFT JOIN concepts k USING (member)
            LEFT JOIN nearest_facts n USING (member)
            LEFT JOIN complaints t USING (member)
            LEFT JOIN follow_up f USING (member)
            LEFT JOIN admissions a ON a.hadm_id = m.hadm_id
            LEFT JOIN icu_stays s ON s.stay_id = m.stay_id
            LEFT JOIN ed_visits v ON v.stay_id = m.stay_id
        ORDER BY member"""


def _wanted_series(definition: CohortDefinition) -> dict[str, Series]:
    """The series that the columns are taken of, by key."""
    features = definition.columns.values()
    wanted = {one.series.key: one.series for one in features if isinstance(one, ItemFeature)}
    if any(isinstance(one, FactFeature) and one.fact == "bmi" for one in features):
        wanted |= {name: series_of(load_items()[name]) for name in _BODY if name not in wanted}
    return wanted


def _create_item_values(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> None:
    """`item_values`: one row per member with any value, columns s0_first, s0_last, ... for each series in order."""
    connection.execute(f"CREATE TEMP TABLE measured AS {measured_values_sql('window_events', ['member', 'time'])}")
    statistics = ", ".join(f"{sql} AS {name}_value" for name, sql in _STATISTICS.items())
    connection.execute(
        f"CREATE TEMP TABLE series_values AS SELECT member, series, {statistics}"
        " FROM measured WHERE value IS NOT NULL GROUP BY member, series"
    )
    pivoted = "".join(
        f", any_value({name}_value) FILTER (series = ?) AS s{rank}_{name}"
        for rank in range(len(keys))
        for name in _STATISTICS
    )
    connection.execute(
        f"CREATE TEMP TABLE item_values AS SELECT member{pivoted} FROM series_values GROUP BY member",
        [key for key in keys for _ in _STATISTICS],
    )


def _create_concepts(connection: duckdb.DuckDBPyConnection, definition: CohortDefinition) -> None:
    """`concepts`: one row per member that has any coded diagnosis or drug asked for, the list of their columns."""
    places = {
        "admission": CODED_FOR_INDEX,
        "window": "x.time BETWEEN c.start_time AND c.end_time",
        "history": f"x.time < c.index_time AND NOT coalesce({CODED_FOR_INDEX}, false)",
    }
    coded = [(name, one) for name, one in definition.columns.items() if isinstance(one, DiagnosisFeature | DrugFeature)]
    connection.execute("CREATE TEMP TABLE member_concepts (member BIGINT, key VARCHAR)")
    for place, condition in places.items():
        keys = [name for name, feature in coded if feature.within == place]
        if keys:
            connection.execute(
                "INSERT INTO member_concepts SELECT DISTINCT c.member, x.key FROM members c JOIN coded x"
                f" ON x.subject_id = c.subject_id AND {condition} WHERE list_contains(?, x.key)",
                [keys],
            )
    connection.execute(
        "CREATE TEMP TABLE concepts AS SELECT member, list(key) AS keys FROM member_concepts GROUP BY member"
    )


def _create_nearest_facts(connection: duckdb.DuckDBPyConnection) -> None:
    """`nearest_facts`: race, insurance, ... as written down nearest in time to the index event."""
    columns = ", ".join(
        f"arg_min(nullif(substr(code, {len(family) + 1}), 'UNK'), (distance, code))"
        f" FILTER (starts_with(code, '{family}')) AS {fact}"
        for fact, family in NEAREST_FACTS.items()
    )
    families = " OR ".join(f"starts_with(code, '{family}')" for family in NEAREST_FACTS.values())
    connection.execute(f"""
        CREATE TEMP TABLE nearest_facts AS
        SELECT member, {columns}
        FROM (SELECT m.member, e.code, coalesce(abs(epoch_us(e.time) - epoch_us(m.index_time)), 0) AS distance
              FROM members m JOIN spine e USING (subject_id) WHERE {families})
        GROUP BY member""")


def _create_complaints(connection: duckdb.DuckDBPyConnection) -> None:
    """`complaints`: the first chief complaint of the window, in the words of triage."""
    connection.execute("""
        CREATE TEMP TABLE complaints AS
        SELECT member, arg_min(text_value, (time, text_value)) AS chief_complaint
        FROM window_events WHERE code = 'TRIAGE//chiefcomplaint' AND text_value IS NOT NULL
        GROUP BY member""")


def _create_follow_up(connection: duckdb.DuckDBPyConnection) -> None:
    """`follow_up`: when the next admission begins after the index admission or visit has ended."""
    connection.execute("""
        CREATE TEMP TABLE follow_up AS
        SELECT m.member, min(a.start_time) AS next_admission_time
        FROM members m JOIN admissions a ON a.subject_id = m.subject_id
            AND a.start_time >= m.care_end AND a.hadm_id IS DISTINCT FROM m.hadm_id
        GROUP BY m.member""")


def _expression(name: str, feature: SingleFeature, keys: list[str]) -> str:
    """The SQL of one column. It holds numbers and our own names, never text of the definition but the checked name."""
    decimals = decimals_of(feature)
    if isinstance(feature, ItemFeature):
        value = f"i.s{keys.index(feature.series.key)}_{feature.statistic}"
        return f"coalesce({value}, 0)" if feature.statistic == "count" else f"round({value}, {decimals})"
    if isinstance(feature, DiagnosisFeature | DrugFeature):
        return f"coalesce(list_contains(k.keys, '{name}'), false)::TINYINT"
    if isinstance(feature, FollowUpFeature):
        time = {"readmission": "f.next_admission_time", "death": "m.death_time"}[feature.follow_up]
        return f"coalesce({time} <= m.care_end + to_days({feature.days}), false)::TINYINT"
    if feature.fact == "age":
        return "floor(m.age_years)::INTEGER" if not decimals else f"round(m.age_years, {decimals})"
    if feature.fact == "bmi":
        weight, height = (f"i.s{keys.index(item)}_first" for item in _BODY)
        return f"round({weight} / (({height} / 100) * ({height} / 100)), {decimals})"
    sql = _FACT_SQL[feature.fact]
    return sql if decimals is None else f"round({sql}, {decimals})"
