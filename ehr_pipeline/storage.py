"""Where everything lies on disk.

What belongs here: every path of the data folder; no other module builds one. How files are written whole is in
`writing.py`, offered here too. What does not: what the files mean.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ehr_pipeline.errors import NotReady, OptionError
from ehr_pipeline.writing import (
    TEMPORARY_PREFIX,
    atomic_file,
    atomic_folder,
    exclusive,
    private_folder,
    scratch_folder,
    sha256,
    write_json,
    write_parquet,
    write_text,
)

__all__ = [
    "CohortFolder",
    "DataFolder",
    "GeneratorFolder",
    "WhatIfFiles",
    "atomic_file",
    "atomic_folder",
    "check_name",
    "exclusive",
    "private_folder",
    "read_json",
    "read_parquet",
    "require",
    "scratch_folder",
    "sha256",
    "write_json",
    "write_parquet",
    "write_text",
]

NAME_PATTERN = re.compile(r"^[a-z][a-z0-9_]*$")
RESERVED_NAMES = frozenset({"report", "prepared"})


def check_name(name: str, what: str) -> str:
    """Return `name` if it may be a cohort's or generator's name, so that it can be a folder and a partition.

    Raises
    ------
    OptionError
        It does not match `NAME_PATTERN`, or is a reserved word.
    """
    if not NAME_PATTERN.fullmatch(name) or name in RESERVED_NAMES:
        raise OptionError(f"{what} name must match {NAME_PATTERN.pattern} and be none of {sorted(RESERVED_NAMES)}")
    return name


@dataclass(frozen=True)
class WhatIfFiles:
    """What one what-if cohort leaves: `cohorts/<cohort>/<generator>/what_if/<name>.*`, or where the user says."""

    table: Path

    @property
    def record(self) -> Path:
        """Conditions, balance, acceptance rates, rules and model of the table, beside it."""
        return self.table.with_suffix(".json")


@dataclass(frozen=True)
class GeneratorFolder:
    """What one generator leaves for one cohort: `cohorts/<cohort>/<generator>/`."""

    root: Path

    @property
    def model(self) -> Path:
        """Folder of the fitted model: safetensors and JSON."""
        return self.root / "model"

    @property
    def checkpoint(self) -> Path:
        """Folder of an unfinished training, from which it resumes; gone once the model is whole."""
        return self.root / "checkpoint"

    @property
    def synthetic(self) -> Path:
        """Accepted synthetic patient table."""
        return self.root / "synthetic.parquet"

    @property
    def events(self) -> Path:
        """Accepted synthetic events of a generator of timelines, in the columns of the event stream."""
        return self.root / "events.parquet"

    @property
    def sanity(self) -> Path:
        """Rule results and rejection accounting of the synthetic table."""
        return self.root / "sanity.json"

    @property
    def scores(self) -> Path:
        """Scores of the synthetic table, each with interval, floor and null."""
        return self.root / "scores.json"

    @property
    def audit(self) -> Path:
        """What an audit with canaries found of the generator's privacy."""
        return self.root / "audit.json"

    @property
    def analyses(self) -> Path:
        """What the analyses of `mimic/analyses` find in the synthetic events, written as MIMIC-IV."""
        return self.root / "analyses.json"

    @property
    def analyses_scratch(self) -> Path:
        """Folder of the database that the analyses run on; gone afterwards."""
        return self.root / f"{TEMPORARY_PREFIX}analyses"

    @property
    def reviews(self) -> Path:
        """What reviewers said of single synthetic patients."""
        return self.root / "reviews.json"

    @property
    def reviews_lock(self) -> Path:
        """File that the one command storing a review holds locked."""
        return self.root / ".reviews.lock"

    def what_if(self, name: str) -> WhatIfFiles:
        """Files of one what-if cohort; the ordinary synthetic table stands apart from them."""
        return WhatIfFiles(self.root / "what_if" / f"{check_name(name, 'what-if cohort')}.parquet")


@dataclass(frozen=True)
class CohortFolder:
    """What one cohort leaves: `cohorts/<cohort>/`."""

    root: Path

    @property
    def members(self) -> Path:
        """One row per member: subject_id, hadm_id, stay_id, index_time, window start and end."""
        return self.root / "members.parquet"

    @property
    def events(self) -> Path:
        """Events of the members inside their window and their births, as they stand in the stream."""
        return self.root / "events.parquet"

    @property
    def stay_events(self) -> Path:
        """What frames the members' stays outside of their window: admission, discharge, death, what was coded."""
        return self.root / "stay_events.parquet"

    @property
    def table(self) -> Path:
        """Patient table: subject_id and the cohort's columns."""
        return self.root / "table.parquet"

    @property
    def split(self) -> Path:
        """One row per patient: subject_id, split (train | holdout)."""
        return self.root / "split.parquet"

    @property
    def summary(self) -> Path:
        """Counts of the cohort: members, split, exclusions by criterion."""
        return self.root / "cohort.json"

    @property
    def schema(self) -> Path:
        """Schema of the prepared table."""
        return self.root / "schema.json"

    @property
    def prepared_table(self) -> Path:
        """Patient table with impossible values set to missing and categories on public vocabularies."""
        return self.root / "prepared" / "table.parquet"

    @property
    def prepared_events(self) -> Path:
        """Events of the window with one unit per item and hours relative to the index event."""
        return self.root / "prepared" / "events.parquet"

    @property
    def prepared_timelines(self) -> Path:
        """One timeline per member, for generators of timelines: prepared events, the stay's frame as static facts."""
        return self.root / "prepared" / "timelines.parquet"

    @property
    def timelines_summary(self) -> Path:
        """Window, index event and counts of the prepared timelines."""
        return self.root / "prepared" / "timelines.json"

    @property
    def sanity(self) -> Path:
        """Rule results of the real prepared table."""
        return self.root / "prepared" / "sanity.json"

    @property
    def report_page(self) -> Path:
        """The validation report, one offline page."""
        return self.root / "report" / "index.html"

    @property
    def report_scores(self) -> Path:
        """Every number of the report."""
        return self.root / "report" / "scores.json"

    def generator(self, name: str) -> GeneratorFolder:
        """Folder of one generator."""
        return GeneratorFolder(self.root / check_name(name, "generator"))


@dataclass(frozen=True)
class DataFolder:
    """The data folder (`--data`, else EHR_PIPELINE_DATA, else `data/`)."""

    root: Path

    @classmethod
    def find(cls, option: str | Path | None = None) -> DataFolder:
        """The folder that the option, the environment or the default names, as an absolute path."""
        return cls(Path(option or os.environ.get("EHR_PIPELINE_DATA") or "data").expanduser().resolve())

    @property
    def warehouse(self) -> Path:
        """DuckDB database with MIMIC-IV's own schemas."""
        return self.root / "warehouse.duckdb"

    @property
    def ingest_manifest(self) -> Path:
        """What the warehouse was read from (files, sizes, hashes) and what was found."""
        return self.root / "ingest.json"

    @property
    def truth(self) -> Path:
        """Known truth of a simulated hospital; absent for a real source."""
        return self.root / "truth.json"

    @property
    def simulated_source(self) -> Path:
        """The simulated hospital, a MIMIC-IV folder, when no source is given."""
        return self.root / "simulated-hospital"

    @property
    def events(self) -> Path:
        """Folder of the event stream: `*.parquet`, each file sorted by subject and time."""
        return self.root / "events"

    @property
    def ingest_scratch(self) -> Path:
        """Folder in which ingest builds before it renames; what lies there unlocked is of a run that died."""
        return self.root / f"{TEMPORARY_PREFIX}ingest"

    @property
    def ingest_lock(self) -> Path:
        """File that the one running ingest holds locked."""
        return self.root / ".ingest.lock"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance: run history, schedules."""
        return self.root / "dagster"

    @property
    def cohort_definitions(self) -> Path:
        """A user's own cohort files, beside those that ship."""
        return self.root / "cohort-definitions"

    @property
    def ledger(self) -> Path:
        """Every spend of privacy on this folder's patients, chained by hashes."""
        return self.root / "ledger.duckdb"

    @property
    def policy(self) -> Path:
        """What a release must keep to, where it differs from the defaults; optional."""
        return self.root / "policy.yaml"

    @property
    def signing_key(self) -> Path:
        """Private key that signs released bundles; made on first use."""
        return self.root / "signing-key.pem"

    def releases(self, cohort: str) -> Path:
        """Folder of a cohort's released bundles, one folder each."""
        return self.root / "releases" / check_name(cohort, "cohort")

    def release_lock(self, cohort: str) -> Path:
        """File that the one running release of a cohort holds locked."""
        return self.releases(cohort) / ".release.lock"

    def release_record(self, cohort: str, release: str) -> Path:
        """The institution's own record of one release: what it was made from; beside the bundle, never in it."""
        return self.releases(cohort) / f"{release}.internal.json"

    def release_report(self, cohort: str, release: str) -> Path:
        """The internal report as it stood at the release; beside the bundle, never in it."""
        return self.releases(cohort) / f"{release}.internal.html"

    def models(self) -> list[GeneratorFolder]:
        """Folders of all generators that have a model, of all cohorts, in the order of their names."""
        cards = sorted(self.root.glob("cohorts/*/*/model/model.json"))
        return [GeneratorFolder(card.parent.parent) for card in cards]

    def cohort(self, name: str) -> CohortFolder:
        """Folder of one cohort."""
        return CohortFolder(self.root / "cohorts" / check_name(name, "cohort"))


def require(path: Path, mend: str) -> Path:
    """Return `path` if it exists.

    Raises
    ------
    NotReady
        It does not; the message carries `mend`.
    """
    if not path.exists():
        raise NotReady(f"{path} does not exist yet; {mend}")
    return path


def read_json(path: Path, mend: str = "run the stage before this one") -> Any:
    """Read JSON; NotReady if the file is not there yet."""
    return json.loads(require(path, mend).read_text(encoding="utf-8"))


def read_parquet(path: Path, mend: str = "run the stage before this one") -> pd.DataFrame:
    """Read a Parquet file; NotReady if it is not there yet."""
    return pd.read_parquet(require(path, mend))
