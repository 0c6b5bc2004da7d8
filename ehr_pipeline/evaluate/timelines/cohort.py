"""The timelines of one cohort: its real stays and a generator's synthetic ones, from where they are stored.

What belongs here: which files are read, and the one form that real and synthetic stays are compared in. What does not:
any metric.

Prepared timelines have the frame of a stay as static facts; synthetic ones were given their times back. So the real
ones are unfolded by the same rules before they are compared. A member is one stay, one timeline; attacks are scored by
the patient whose stays they are, and so are patients counted who have a rare code.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehr_pipeline.cohort import CohortDefinition
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.evaluate.timelines.evaluate import evaluate_timelines
from ehr_pipeline.evaluate.timelines.plausibility import broken_rows
from ehr_pipeline.evaluate.timelines.rare import Carriers, carriers, rare_content, summed
from ehr_pipeline.evaluate.timelines.references import MAX_PATIENTS, TimelineReferences, prepare_timeline_references
from ehr_pipeline.evaluate.timelines.result import TimelineEvaluation
from ehr_pipeline.evaluate.timelines.rules import Found
from ehr_pipeline.prepare.fold import INDEX_WORDS
from ehr_pipeline.prepare.unfold import StayKind, unfold
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Schema
from ehr_pipeline.storage import CohortFolder, read_json, read_parquet, require, sha256

PREPARE_FIRST = "prepare the cohort first"


@dataclass(frozen=True, eq=False)
class _Real:
    """Stays of training and of holdout patients, numbered by member, and who breaks a row rule of the patient table.

    `owners` are the patients of the members; `carriers` how many training patients have each code and text.
    """

    train: pd.DataFrame
    holdout: pd.DataFrame
    table_rules: dict[str, dict[str, Found]]
    owners: dict[str, pd.Series]
    carriers: Carriers
    notes: tuple[str, ...]


def evaluate_cohort_timelines(
    folder: CohortFolder,
    definition: CohortDefinition,
    generator: str,
    schema: Schema,
    *,
    seed: int,
    thresholds: Thresholds,
    progress: Progress | None = None,
) -> TimelineEvaluation:
    """Judge the synthetic events of `generator` beside the cohort's own.

    Raises
    ------
    NotReady
        The cohort's timelines are not prepared, or the generator has not sampled.
    """
    files = folder.generator(generator)
    synthetic, note = _of_some(require(files.events, f"sample {generator} first"), "subject_id", "synthetic", seed)
    hashes = {
        "prepared_timelines_sha256": sha256(require(folder.prepared_timelines, PREPARE_FIRST)),
        "split_sha256": sha256(folder.split),
        "events_sha256": sha256(files.events),
    }
    kind = StayKind.of(definition)
    state = hashes["prepared_timelines_sha256"] + hashes["split_sha256"]
    real = _real(folder, kind, schema, state, seed)
    window = read_json(folder.timelines_summary, PREPARE_FIRST)["hours_after"]
    n_synthetic = len(synthetic["subject_id"].unique())
    index = f"{INDEX_WORDS[definition.index]}//"
    references = _references(real, n_synthetic, index, window, seed)
    table = read_parquet(files.synthetic, f"sample {generator} first")
    rare = rare_content(real.carriers, pq.read_table(files.events, columns=["code", "text_value"]).to_pandas())
    evaluation = evaluate_timelines(
        real.train,
        real.holdout,
        synthetic.to_pandas(),
        references=references,
        table_rules={"synthetic": _rows_of(table, _stays_of(table, files.events), schema)},
        thresholds=thresholds,
        seed=seed,
        progress=progress,
    )
    provenance = {"seed": seed, **hashes}
    notes = [*real.notes, *note, *evaluation.notes]
    return evaluation.model_copy(update={"provenance": provenance, "notes": notes, "rare": rare})


@functools.lru_cache(maxsize=1)
def _real(folder: CohortFolder, kind: StayKind, schema: Schema, state: str, seed: int) -> _Real:
    """The real side, kept while its files are the same (`state`), so that the generators of a cohort share it."""
    split = read_parquet(folder.split, "build the cohort first").set_index("subject_id")["split"]
    members = read_parquet(folder.members, "build the cohort first")
    side = members["subject_id"].map(split).to_numpy()
    events, notes, own = {}, [], {}
    for role in ("train", "holdout"):
        own[role] = members.loc[side == role, "subject_id"]
        stays, note = _of_some(folder.prepared_timelines, "member", role, seed, own[role].index.to_numpy())
        events[role] = _unfolded(stays, kind)
        notes += note
    table = read_parquet(folder.prepared_table, PREPARE_FIRST)
    rules = {role: _rows_of(table[side == role], np.flatnonzero(side == role), schema) for role in ("train", "holdout")}
    counted = _carriers(folder.prepared_timelines, events["train"], own["train"], kind)
    return _Real(events["train"], events["holdout"], rules, own, counted, tuple(notes))


def _unfolded(stays: pa.Table, kind: StayKind) -> pd.DataFrame:
    """Prepared timelines as stays, numbered by member."""
    return unfold(stays.drop_columns("subject_id").rename_columns({"member": "subject_id"}), kind).events.to_pandas()


def _carriers(path: Path, sample: pd.DataFrame, owner: pd.Series, kind: StayKind) -> Carriers:
    """Training patients by code and text: of the `sample`, if it has all of them, else read in parts of patients."""
    patients = owner.unique()
    if len(owner) <= MAX_PATIENTS:
        return carriers(sample, owner)
    parts = np.array_split(patients, -(-len(owner) // MAX_PATIENTS))
    found = []
    for part in parts:
        members = owner.index[owner.isin(part)].to_numpy()
        stays = pq.read_table(path, filters=pc.field("member").isin(pa.array(members)))
        found.append(carriers(_unfolded(stays, kind), owner))
    return summed(found)


@functools.lru_cache(maxsize=1)
def _references(real: _Real, n_synthetic: int, index: str, window_hours: float | None, seed: int) -> TimelineReferences:
    return prepare_timeline_references(
        real.train,
        real.holdout,
        n_synthetic=n_synthetic,
        seed=seed,
        index=index,
        window_hours=window_hours,
        table_rules=real.table_rules,
        owners=real.owners,
    )


def _rows_of(table: pd.DataFrame, subject_id: np.ndarray, schema: Schema) -> dict[str, Found]:
    """What the row rules find in a patient table, whose rows are the stays in the order of `subject_id`."""
    if len(table) != len(subject_id):
        return {}  # the rows are not the stays, so nobody can be told by them
    return broken_rows(table, subject_id, schema)


def _stays_of(table: pd.DataFrame, events: Path) -> np.ndarray:
    """Number of each row's stay; without a column that says so, the stays in the order of their numbers."""
    if "subject_id" in table.columns:
        return table["subject_id"].to_numpy(np.int64)
    return np.unique(pq.read_table(events, columns=["subject_id"])["subject_id"].to_numpy())


def _of_some(path: Path, key: str, role: str, seed: int, among: np.ndarray | None = None) -> tuple[pa.Table, list[str]]:
    """Events of at most `MAX_PATIENTS` stays (of those `among`), drawn evenly, and what a reader must know of it."""
    known = np.unique(pq.read_table(path, columns=[key])[key].to_numpy())
    known = known if among is None else np.intersect1d(known, among)
    chosen = np.sort(np.random.default_rng(seed).permutation(known)[:MAX_PATIENTS])
    is_cut = len(chosen) < len(known)
    notes = [f"{role}: {len(chosen):,} of {len(known):,} stays were drawn at random and compared"] if is_cut else []
    return pq.read_table(path, filters=pc.field(key).isin(pa.array(chosen))), notes
