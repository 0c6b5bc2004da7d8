"""One release, from gate to bundle: `ehr-pipeline release` and the asset `release_bundle/<generator>`.

What belongs here: the order of things, and that a bundle is there whole or not at all. The ledger is told before the
bundle can be seen: a process that dies in between leaves patients counted as released whose bundle is not there, never
a bundle that nobody counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ehr_pipeline.errors import OptionError, ReleaseRefused
from ehr_pipeline.privacy.ledger import Ledger
from ehr_pipeline.release.bundle import write_bundle
from ehr_pipeline.release.events import EventSource
from ehr_pipeline.release.gate import Cleared, examine
from ehr_pipeline.release.layout import MANIFEST, PAGES
from ehr_pipeline.release.signing import fingerprint, signing_key
from ehr_pipeline.storage import DataFolder, atomic_file, atomic_folder, exclusive, require, sha256, write_json


@dataclass(frozen=True, kw_only=True)
class Released:
    """A bundle that was made.

    Attributes
    ----------
    release
        Its id: date, and the beginning of a hash over what it was made from.
    folder
        Where it lies.
    key
        Fingerprint of the public key that signed it, for the institution to publish.
    """

    release: str
    tier: str
    folder: Path
    key: str
    n_files: int

    @property
    def report(self) -> Path:
        """The public report."""
        return self.folder / PAGES["report"]

    @property
    def statement(self) -> Path:
        """The privacy statement."""
        return self.folder / PAGES["statement"]


def release(
    data: DataFolder,
    cohort: str,
    generator: str,
    *,
    tier: str | None = None,
    approvers: Sequence[str] = (),
    why: str = "ehr-pipeline release",
    say: Callable[[str], object] = lambda line: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Released:
    """Ask the gate, and make the bundle if it opens.

    Raises
    ------
    ReleaseRefused
        Something speaks against it, or exactly this was released today; no bundle is made, and none is changed.
    OptionError, DefinitionError
        A name, the tier or the policy is wrong.
    CheckFailed
        The signing key cannot be trusted, or a page would claim too much.
    """
    if not data.cohort(cohort).root.is_dir():
        raise OptionError(f"{data.root} has no cohort {cohort}; run it first")
    with exclusive(data.release_lock(cohort), on_wait=lambda: say("another release of this cohort runs; waiting")):
        cleared = examine(data, cohort, generator, tier=tier, approvers=approvers)
        made_at = clock()
        name = release_id(cleared, made_at)
        target = data.releases(cohort) / name
        if target.exists():
            raise ReleaseRefused([f"exactly this was released already as {name}"])
        key = signing_key(data.signing_key)
        with atomic_folder(target) as folder:
            files = data.cohort(cohort).generator(generator)
            events = _events(data, files.events) if cleared.evidence.has_events else None
            manifest = write_bundle(
                folder, cleared, files.synthetic, release=name, made_at=made_at, key=key, events=events
            )
            _keep_internally(data, cleared, name, made_at, sha256(folder / MANIFEST))
            entry = cleared.spending.entry
            assert entry is not None  # the gate refuses a model that the ledger does not know
            Ledger(data.ledger).mark_released(entry.id, what=f"{cohort}/{name}", why=why)
    return Released(
        release=name,
        tier=cleared.spending.tier,
        folder=target,
        key=fingerprint(key.public_key()),
        n_files=len(manifest["files"]),
    )


def release_id(cleared: Cleared, made_at: datetime) -> str:
    """Date and eight hex digits over the synthetic table, the events if there are any, the model and the tier."""
    evidence = cleared.evidence
    what = [evidence.generator, evidence.hashes["synthetic"], evidence.hashes["model"], cleared.spending.tier]
    if evidence.has_events:
        what.append(evidence.hashes["events"])
    digest = hashlib.sha256("\0".join(what).encode()).hexdigest()
    return f"{made_at.date().isoformat()}-{digest[:8]}"


def _events(data: DataFolder, events: Path) -> EventSource:
    return EventSource(events=events, warehouse=require(data.warehouse, "run `ehr-pipeline ingest` first"))


def _keep_internally(data: DataFolder, cleared: Cleared, name: str, made_at: datetime, manifest_sha256: str) -> None:
    """Keep beside the bundle, and never in it, what it was made from: the record, and the internal report as it was."""
    evidence = cleared.evidence
    cohort = data.cohort(evidence.cohort)
    page = cohort.report_page.read_bytes()
    if hashlib.sha256(page).hexdigest() != evidence.hashes["report_page"]:
        raise ReleaseRefused(["the internal report changed while it was released; write it again"])
    with atomic_file(data.release_report(evidence.cohort, name)) as temporary:
        temporary.write_bytes(page)
    write_json(data.release_record(evidence.cohort, name), _record(cleared, name, made_at, manifest_sha256))


def _record(cleared: Cleared, name: str, made_at: datetime, manifest_sha256: str) -> dict[str, Any]:
    evidence, spending = cleared.evidence, cleared.spending
    assert spending.entry is not None  # as above
    return {
        "release": name,
        "class": "internal",
        "made_at": made_at.isoformat(timespec="seconds"),
        "cohort": evidence.cohort,
        "generator": evidence.generator,
        "tier": spending.tier,
        "approved_by": list(cleared.approvers),
        "policy": cleared.policy.model_dump(mode="json"),
        "ledger_entry": spending.entry.id,
        "manifest_sha256": manifest_sha256,
        "hashes": evidence.hashes,
        "n_train_patients": evidence.n_train,
        "n_holdout_patients": evidence.n_holdout,
        "privacy": evidence.privacy,
    }
