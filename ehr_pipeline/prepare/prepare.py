"""Preparing a cohort: what is read, what is left.

What belongs here: the files and the counts. How a column is prepared is in `table.py`, what is publicly known about it
in `schema.py`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from ehr_pipeline.clinical.items import load_items
from ehr_pipeline.clinical.measured import create_sources_table, measured_values_sql, series_of
from ehr_pipeline.clinical.vocabularies import Vocabulary, load_vocabularies
from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.facts import FACTS
from ehr_pipeline.cohort.features import FactFeature
from ehr_pipeline.cohort.stream import copy_to, locked_connection, quoted
from ehr_pipeline.errors import NotReady
from ehr_pipeline.prepare.schema import build_schema
from ehr_pipeline.prepare.table import prepare_category, prepare_number, prepare_text
from ehr_pipeline.record import Schema, conform
from ehr_pipeline.storage import CohortFolder, DataFolder, atomic_file, read_json, read_parquet, require


@dataclass(frozen=True, kw_only=True)
class PreparedSummary:
    """Counts of a prepared cohort, never a value.

    Attributes
    ----------
    impossible_values, unknown_levels, missing_values
        By column, those above 0: values set to missing as impossible, wordings that the vocabulary does not know,
        values missing in the end.
    impossible_event_values
        The same for the values of events, by item.
    """

    cohort: str
    n_rows: int
    n_columns: int
    n_events: int
    impossible_values: dict[str, int]
    unknown_levels: dict[str, int]
    missing_values: dict[str, int]
    impossible_event_values: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain JSON."""
        return asdict(self)


def prepare_cohort(definition: CohortDefinition, data: DataFolder) -> PreparedSummary:
    """Prepare the table and events that `build_cohort` left.

    Leaves `schema.json`, `prepared/table.parquet` (subject_id and the schema's columns) and
    `prepared/events.parquet` (the columns of the event stream, `member`, and):

    - hours: since the member's index event, NULL for static facts;
    - code: with one unit per code (`LAB//50912//mg/dL` for `LAB//50912//UNK`), numeric_value in that unit;
    - item, value: the clinical item and its value in the item's one unit, where the event measures one.

    A value outside its item's plausible range is missing in both.

    Raises
    ------
    NotReady
        The cohort has not been built, or its definition has changed since.
    ResourceShort
        Memory or disk ran out; what was there before is whole.
    """
    folder = data.cohort(definition.name)
    _check_cohort(definition, folder)
    schema = build_schema(definition)
    with ExitStack() as writing:
        targets = (folder.prepared_table, folder.prepared_events, folder.schema)
        table_file, events_file, schema_file = (writing.enter_context(atomic_file(target)) for target in targets)
        table, impossible, unknown = prepared_table(definition, schema, read_parquet(folder.table))
        table.to_parquet(table_file, index=False)
        n_events, impossible_events = _prepare_events(folder, events_file)
        schema_file.write_text(schema.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")
    missing = table[schema.names].isna().sum()
    return PreparedSummary(
        cohort=definition.name,
        n_rows=len(table),
        n_columns=len(schema.columns),
        n_events=n_events,
        impossible_values=impossible,
        unknown_levels=unknown,
        missing_values={name: int(n) for name, n in missing.items() if n},
        impossible_event_values=impossible_events,
    )


def load_schema(data: DataFolder, cohort: str) -> Schema:
    """The schema that `prepare_cohort` left.

    Raises
    ------
    NotReady
        The cohort has not been prepared.
    """
    return Schema.model_validate(read_json(data.cohort(cohort).schema, f"prepare the cohort {cohort} first"))


def _check_cohort(definition: CohortDefinition, folder: CohortFolder) -> None:
    mend = f"build the cohort {definition.name} first"
    for path in (folder.table, folder.events, folder.members):
        require(path, mend)
    if read_json(folder.summary, mend)["definition_sha256"] != definition.fingerprint:
        raise NotReady(f"the definition of {definition.name} has changed since the cohort was built; build it again")


def prepared_table(
    definition: CohortDefinition, schema: Schema, table: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, int], dict[str, int]]:
    """The table on its schema with its `subject_id`, impossible values by column, unknown wordings by column."""
    prepared, impossible, unknown = {}, {}, {}
    for column in schema.columns:
        values, name = table[column.name], column.name
        if column.is_number:
            prepared[name], impossible[name] = prepare_number(values, column)
        elif column.levels is not None:
            prepared[name], unknown[name] = prepare_category(values, _vocabulary(definition, name))
        else:
            prepared[name] = prepare_text(values) if column.kind == "text" else values
    conformed = conform(pd.DataFrame(prepared, index=table.index), schema)
    conformed.insert(0, "subject_id", table["subject_id"].astype("int64"))
    return conformed, _above_zero(impossible), _above_zero(unknown)


def _vocabulary(definition: CohortDefinition, column: str) -> Vocabulary:
    feature = definition.columns[column]
    assert isinstance(feature, FactFeature)
    return load_vocabularies()[FACTS[feature.fact].vocabulary]


def _above_zero(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _prepare_events(folder: CohortFolder, target: Path) -> tuple[int, dict[str, int]]:
    """Write the prepared events; how many there are, and how many impossible values by item."""
    with locked_connection(folder.root, [folder.events], [folder.members, target]) as connection:
        create_sources_table(connection, (series_of(item) for item in load_items().values()))
        kept = ("subject_id", "time", "text_value", "hadm_id", "stay_id", "member")
        connection.execute(f"""
            CREATE TEMP VIEW judged AS
            SELECT v.*, (epoch_us(v.time) - epoch_us(m.index_time)) / 3.6e9 AS hours
            FROM ({measured_values_sql("events", kept, keep_others=True)}) v
                JOIN (SELECT file_row_number AS member, index_time
                      FROM read_parquet({quoted(str(folder.members))}, file_row_number = true)) m USING (member)""")
        copy_to(
            connection,
            "SELECT subject_id, time, unified_code AS code,"
            " CASE WHEN NOT is_impossible THEN stated_value END::FLOAT AS numeric_value,"
            " text_value, hadm_id, stay_id, member, hours, item, value"
            " FROM judged ORDER BY member, time NULLS FIRST, code, numeric_value",
            target,
        )
        return _event_counts(connection)


def _event_counts(connection: duckdb.DuckDBPyConnection) -> tuple[int, dict[str, int]]:
    n_events = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    impossible = connection.execute(
        "SELECT item, count(*) FROM judged WHERE is_impossible GROUP BY item ORDER BY item"
    ).fetchall()
    return n_events, dict(impossible)
