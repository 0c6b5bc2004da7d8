"""Reads what a generator of timelines may learn from: the prepared timelines of a cohort, training patients only.

What belongs here: the one place where the split meets the timelines. What does not: any learning, events of files that
are no part of a cohort (`timelines/`).

Memory: about 80 bytes per event while they are read, 30 afterwards.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.timelines import EVENT_COLUMNS, NEW_ORIGIN, Clock, TimelineCohort, events_frame
from ehr_pipeline.storage import CohortFolder, read_json, read_parquet, require, sha256

PREPARE_FIRST = "prepare the cohort's timelines first"
_HOUR, _MINUTE = np.timedelta64(1, "h"), np.timedelta64(1, "m")


def load_timeline_cohort(cohort_folder: CohortFolder, *, is_private: bool = False) -> TimelineCohort:
    """The timelines of training patients: time 0 is the begin of the window, its length the definition's own.

    Where only the end of the stay limits the window, its length is the time that `MINIMUM_PATIENTS` patients were
    watched. A patient with several members has a timeline for each, numbered apart; then codes and texts of fewer than
    `MINIMUM_PATIENTS` patients are left out here, since a generator counts timelines. For a private fit only the first
    of each patient is read, so that a timeline is a patient. A patient that the split does not name never trains.

    Raises
    ------
    NotReady
        The cohort's timelines are not prepared, or it is not split.
    DefinitionError
        No timeline belongs to a training patient.
    OptionError
        The fit is private, and the cohort's window has no length of its own.
    """
    about = read_json(cohort_folder.timelines_summary, PREPARE_FIRST)
    members = read_parquet(cohort_folder.members, "build the cohort first")
    split = read_parquet(cohort_folder.split, "build the cohort first")
    is_training = members["subject_id"].isin(split.loc[split["split"] == "train", "subject_id"]).to_numpy()
    if is_private:
        is_training = is_training & ~members["subject_id"].duplicated().to_numpy()
    if not is_training.any():
        name = cohort_folder.root.name
        raise DefinitionError(f"the split leaves no training patient in {name}: the cohort has too few patients")
    table = pq.read_table(
        require(cohort_folder.prepared_timelines, PREPARE_FIRST),
        columns=[*EVENT_COLUMNS, "member"],
        read_dictionary=["code", "text_value"],
    )
    table = table.filter(pa.array(is_training[table["member"].to_numpy()]))
    if members.loc[is_training, "subject_id"].duplicated().any():
        table = _common(table)
    member = table["member"].to_numpy()
    value = table["numeric_value"].to_numpy()
    events = events_frame(
        member + 1,
        table["time"].to_numpy(),
        _category(table["code"]),
        np.where(np.isfinite(value), value, np.float32("nan")),
        _category(table["text_value"]),
    )
    own = np.unique(member)
    hours_before, hours_after = about["hours_before"], about["hours_after"]
    origin = members["index_time"].to_numpy().astype("datetime64[us]")[own] - _span(hours_before)
    if hours_after is None:
        if is_private:
            raise OptionError("a private fit needs a window whose length is public; give the cohort's hours_after")
        ends = members["end_time"].to_numpy().astype("datetime64[us]")[own]
        window = np.sort(ends - origin)[-min(MINIMUM_PATIENTS, len(own))]
    else:
        window = _span(hours_before + hours_after)
    clock = Clock(start=NEW_ORIGIN, is_shared=False, window_minutes=int(-(-window // _MINUTE)))
    return TimelineCohort(events=events, origin=origin, clock=clock)


def timelines_fingerprint(cohort_folder: CohortFolder) -> str:
    """SHA-256 over the prepared timelines, their summary and the split, as they stand."""
    digest = hashlib.sha256()
    for path in (cohort_folder.prepared_timelines, cohort_folder.timelines_summary, cohort_folder.split):
        digest.update(sha256(require(path, PREPARE_FIRST)).encode())
    return digest.hexdigest()


def _span(hours: float) -> np.timedelta64:
    return np.timedelta64(round(hours * 3_600_000_000), "us")


def _category(column: pa.ChunkedArray) -> pd.Categorical:
    """The column as text categories, those that are left alone."""
    values = column.unify_dictionaries().combine_chunks()
    values = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
    codes = values.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    words = values.dictionary.to_numpy(zero_copy_only=False).astype(object)
    order = np.argsort(words.astype(str), kind="stable")  # categories in one order, however the file was written
    place = np.empty(len(words) + 1, dtype=np.int32)
    place[order], place[-1] = np.arange(len(words), dtype=np.int32), -1
    used = np.zeros(len(words) + 1, dtype=bool)
    used[place[codes]] = True
    kept = np.append(np.cumsum(used[:-1]) - 1, -1).astype(np.int32)
    return pd.Categorical.from_codes(kept[place[codes]], pd.Index(words[order][used[:-1]], dtype=object))


def _common(table: pa.Table) -> pa.Table:
    """Without events of codes, and without texts, that fewer than `MINIMUM_PATIENTS` patients have."""
    for name in ("code", "text_value"):
        plain = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.large_string()))
        carriers = plain.group_by(name).aggregate([("subject_id", "count_distinct")])
        is_common = pc.greater_equal(carriers["subject_id_count_distinct"], MINIMUM_PATIENTS)
        kept = pc.is_in(plain[name], value_set=carriers.filter(is_common)[name].drop_null().combine_chunks())
        if name == "code":
            table = table.filter(kept)
        else:
            missing = pa.scalar(None, pa.large_string())
            texts = pc.if_else(kept, plain[name], missing).dictionary_encode()
            table = table.set_column(table.schema.get_field_index(name), name, texts)
    return table
