"""The bundle: one folder with the synthetic table three ways, the events if there are any, the pages, and the seal.

What belongs here: what is written into it, in order. What does not: whether it may be (`gate.py`), and putting it in
place (`release.py`). Memory: a batch of rows for the tables, one column for the pictures.
"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ehr_pipeline.errors import CheckFailed, ReleaseRefused
from ehr_pipeline.release.csv_safe import write_csv
from ehr_pipeline.release.database import write_database
from ehr_pipeline.release.documents import documents
from ehr_pipeline.release.events import EventSource, write_events
from ehr_pipeline.release.facts import manifest_facts, public_facts
from ehr_pipeline.release.gate import Cleared
from ehr_pipeline.release.layout import CSV, DUCKDB, PARQUET
from ehr_pipeline.release.manifest import seal
from ehr_pipeline.release.signing import fingerprint
from ehr_pipeline.release.verify import verify
from ehr_pipeline.storage import sha256


def write_bundle(
    folder: Path,
    cleared: Cleared,
    synthetic: Path,
    *,
    release: str,
    made_at: datetime,
    key: Ed25519PrivateKey,
    events: EventSource | None = None,
) -> dict[str, Any]:
    """Fill an empty folder with a signed bundle; returns its manifest.

    `events` are those of a generator of timelines.

    Raises
    ------
    ReleaseRefused
        `synthetic` or `events` are no longer what passed the gate.
    CheckFailed
        A page would claim too much, or what was written does not verify.
    """
    table = folder / PARQUET
    table.parent.mkdir()
    shutil.copyfile(synthetic, table)
    if sha256(table) != cleared.evidence.hashes["synthetic"]:
        raise ReleaseRefused([f"the synthetic table of {cleared.evidence.generator} changed while it was released"])
    n_neutralised = write_csv(table, folder / CSV)
    write_database(table, folder / DUCKDB)
    evidence = cleared.evidence
    name = f"synthetic {evidence.cohort}, {evidence.generator}"
    written = write_events(folder, events, evidence.hashes["events"], name=name) if events else None
    facts = public_facts(cleared, release, made_at, table, fingerprint(key.public_key()), events=written)
    for file, text in documents(facts, n_neutralised).items():
        (folder / file).write_text(text, encoding="utf-8")
    manifest = seal(folder, manifest_facts(facts), key)
    if problems := verify(folder).problems:
        raise CheckFailed(f"the bundle does not verify just after it was written: {problems[0]}")
    return manifest
