"""The synthetic events of a release, as a MEDS data set inside the bundle.

What belongs here: that exactly the events that passed the gate are written, and their numbers. What does not: the
format (`export/meds_folder.py`). Patients of the events are those of the table's rows, in their order; all identifiers
are new, and times count from days that stand for none.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehr_pipeline.errors import ReleaseRefused
from ehr_pipeline.export.meds_folder import export_meds
from ehr_pipeline.release.layout import EVENTS
from ehr_pipeline.storage import scratch_folder, sha256


@dataclass(frozen=True, kw_only=True)
class EventSource:
    """Where the events of a generator of timelines lie, and the warehouse whose public dictionaries name codes."""

    events: Path
    warehouse: Path


@dataclass(frozen=True, kw_only=True)
class ReleasedEvents:
    """What was written."""

    n_events: int
    n_codes: int


def write_events(bundle: Path, source: EventSource, digest: str, *, name: str) -> ReleasedEvents:
    """Write the events into the bundle as MEDS; `digest` is the SHA-256 of those that passed the gate.

    Raises
    ------
    ReleaseRefused
        The events are no longer those.
    """
    target = bundle / EVENTS
    target.mkdir(parents=True)
    with scratch_folder(bundle / ".events") as scratch:
        copy = scratch / "copy.parquet"
        shutil.copyfile(source.events, copy)
        if sha256(copy) != digest:
            raise ReleaseRefused([f"the synthetic events of {name} changed while they were released"])
        made = export_meds([copy], source.warehouse, target, name=name)
        n_codes = pc.count_distinct(pq.read_table(copy, columns=["code"])["code"]).as_py()
    return ReleasedEvents(n_events=made.n_events, n_codes=n_codes)
