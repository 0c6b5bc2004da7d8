"""The cohort's own definition on synthetic stays: who would be a member, and the patient table of those who are.

What belongs here: the same steps as `build.py` over events in memory, for one chunk of patients at a time. What does
not: where the stays come from, and whether they are sane (`sanity/`).
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from ehr_pipeline.cohort.build import WINDOW_EVENTS
from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.population import create_members, excluded
from ehr_pipeline.cohort.spine import create_spine
from ehr_pipeline.cohort.table import create_table
from ehr_pipeline.errors import CheckFailed

NO_INDEX_EVENT = "An index event"
NOT_FIRST = "The first index event qualifies"


@dataclass(frozen=True, eq=False)
class Admitted:
    """Who of a chunk is admitted.

    Attributes
    ----------
    table
        One row per member in the order of patients: subject_id and the definition's columns, as `build_cohort` has it.
    excluded
        By criterion the patients that it keeps out, int64; each patient of the chunk is in the table or here, once.
    """

    table: pd.DataFrame
    excluded: dict[str, np.ndarray]


def admit(definition: CohortDefinition, stays: pa.Table) -> Admitted:
    """Apply the definition to synthetic stays, in the columns of `record.EVENT_SCHEMA`, of patients with one stay each.

    Memory: about 300 bytes per event.
    """
    first = definition.model_copy(
        update={"population": definition.population.model_copy(update={"occurrence": "first"})}
    )
    with duckdb.connect() as connection:
        connection.register("events", stays)
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        create_spine(connection, first)
        try:
            create_members(connection, first)
        except CheckFailed:  # nobody of this chunk
            connection.execute(
                "CREATE TEMP TABLE IF NOT EXISTS members AS SELECT 0 AS member, * EXCLUDE (id)"
                " FROM (SELECT *, 0 AS id FROM candidates) WHERE false"
            )
        # The admission that follows the stay is no index event of its own.
        connection.execute(
            "DELETE FROM members WHERE (subject_id, index_time) NOT IN"
            " (SELECT (subject_id, min(index_time)) FROM candidates GROUP BY subject_id)"
        )
        connection.execute(f"CREATE TEMP TABLE window_events AS {WINDOW_EVENTS}")
        table = connection.execute(create_table(connection, first)).df()
        out = excluded(connection, first)
        everyone = connection.execute("SELECT DISTINCT subject_id FROM events").fetchnumpy()["subject_id"]
        indexed = connection.execute("SELECT DISTINCT subject_id FROM candidates").fetchnumpy()["subject_id"]
    out = {NO_INDEX_EVENT: np.setdiff1d(everyone, indexed), **out, NOT_FIRST: everyone}
    return Admitted(table, _once(out, table["subject_id"].to_numpy(dtype=np.int64)))


def _once(excluded: dict[str, np.ndarray], members: np.ndarray) -> dict[str, np.ndarray]:
    """Each patient that is no member, under the first criterion that names it."""
    found, named = {}, members
    for title, patients in excluded.items():
        own = np.setdiff1d(np.asarray(patients, dtype=np.int64), named)
        if len(own):
            found[title], named = own, np.union1d(named, own)
    return found
