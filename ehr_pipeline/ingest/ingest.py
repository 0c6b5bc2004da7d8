"""Ingest from beginning to end: find, build to one side, check, rename.

What belongs here: the order of things, and the promise that a reader sees either the old warehouse, whole, or
the new one. What does not: how each step is done (the modules beside this one).
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ehr_pipeline import storage
from ehr_pipeline.errors import NotReady, OptionError
from ehr_pipeline.ingest.connection import open_to_build
from ehr_pipeline.ingest.readers import read_source
from ehr_pipeline.ingest.recognise import MappedSource, MedsSource, recognise
from ehr_pipeline.ingest.source import Source
from ehr_pipeline.ingest.summary import IngestSummary
from ehr_pipeline.progress import Progress, Step, silent
from ehr_pipeline.record import EVENT_SCHEMA

SMALL_FILE_BYTES = 1 << 20
AnySource = Source | MedsSource | MappedSource


def ingest(
    sources: Sequence[Path], data: storage.DataFolder, progress: Progress | None = None, mapping: str | None = None
) -> IngestSummary:
    """Read the folders `sources` into the warehouse and the event stream of `data`.

    They hold MIMIC-IV tables; or one of them MEDS events, or files that a mapping describes (`mapping`: a file, or the
    name of one that ships; else the folder's own, or one that ships and has the same columns).

    A source that is what it was the last time is not read again. Otherwise everything is built to one side
    and renamed when all checks have passed: if this raises or is killed, what was there is as it was, and
    whoever reads it goes on reading it. A second ingest waits for the first to end.

    Raises
    ------
    SourceError
        The source can't be read; the message names the file, and the column or row.
    DefinitionError
        The mapping says something wrong; the message names the key.
    ResourceShort
        The disk or the memory is full.
    OptionError
        The data folder can't hold a DuckDB database, or there is no such mapping.
    """
    progress = progress or silent
    if "?" in str(data.root):
        raise OptionError(f"{data.root} can't be the data folder: DuckDB opens no path with a question mark")
    source = recognise(sources, mapping)
    waiting = Step(task="waiting for another ingest into this folder", done=0, total=1, unit="ingests", elapsed_s=0)
    with storage.exclusive(data.ingest_lock, on_wait=lambda: progress(waiting)):
        signature = _signature(source)
        known = _known(data, signature)
        return known or _build(source, signature, data, progress)


def known_sources(data: storage.DataFolder) -> list[Path]:
    """The folders that the warehouse was read from; none where nothing was ingested yet."""
    if not data.ingest_manifest.exists():
        return []
    return [Path(folder) for folder in storage.read_json(data.ingest_manifest).get("sources", [])]


def known_mapping(data: storage.DataFolder) -> str | None:
    """The mapping that the last ingest was asked for; None where it found its way itself."""
    return storage.read_json(data.ingest_manifest).get("mapping") if data.ingest_manifest.exists() else None


def _build(source: AnySource, signature: dict[str, Any], data: storage.DataFolder, progress: Progress) -> IngestSummary:
    with storage.scratch_folder(data.ingest_scratch) as scratch:
        database, events = scratch / data.warehouse.name, storage.private_folder(scratch / data.events.name)
        with open_to_build(database, storage.private_folder(scratch / "spill")) as con:
            summary = read_source(con, source, events, progress)
        _publish(database, events, source.truth if isinstance(source, Source) else None, data)
    content = {
        "sources": [str(folder.resolve()) for folder in source.folders],
        "mapping": source.asked if isinstance(source, MappedSource) else None,
        "signature": signature,
        "outputs": _outputs(data),
        "summary": summary.model_dump(mode="json"),
    }
    storage.write_json(data.ingest_manifest, content)
    return summary


def _publish(database: Path, events: Path, truth: Path | None, data: storage.DataFolder) -> None:
    """Rename what was built. A crash in between leaves outputs that the manifest doesn't know: they are rebuilt."""
    with storage.atomic_folder(data.events) as folder:
        for path in sorted(events.iterdir()):
            path.replace(folder / path.name)
    with storage.atomic_file(data.warehouse) as temporary:
        database.replace(temporary)
    if truth is None:
        data.truth.unlink(missing_ok=True)
    else:
        with storage.atomic_file(data.truth) as temporary:
            shutil.copyfile(truth, temporary)


def _signature(source: AnySource) -> dict[str, Any]:
    """What the outputs depend on: each file by size and hash, or size and time if large; and this code."""
    paths = source.paths
    return {"code": _code_digest(), "files": {name: _fingerprint(path) for name, path in sorted(paths.items())}}


def _fingerprint(path: Path) -> list[Any]:
    status = path.stat()
    is_small = status.st_size < SMALL_FILE_BYTES
    return [str(path.resolve()), status.st_size, storage.sha256(path) if is_small else status.st_mtime_ns]


@functools.cache
def _code_digest() -> str:
    """Digest of the declarations and the code that make the outputs: another mapping makes other events."""
    digest = hashlib.sha256(str(EVENT_SCHEMA).encode())
    for package in ("ehr_pipeline.mimic", "ehr_pipeline.ingest"):
        for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith((".py", ".yaml")):
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _known(data: storage.DataFolder, signature: dict[str, Any]) -> IngestSummary | None:
    """The summary of the last ingest, if it read this very source and its outputs still stand."""
    try:
        manifest = storage.read_json(data.ingest_manifest)
        if manifest["signature"] == signature and manifest["outputs"] == _outputs(data):
            return IngestSummary.model_validate(manifest["summary"] | {"unchanged": True})
    except (NotReady, json.JSONDecodeError, KeyError, TypeError, ValueError):
        pass  # never ingested, or a manifest of another version: read the source
    return None


def _outputs(data: storage.DataFolder) -> dict[str, list[int]]:
    paths = [data.warehouse, *sorted(data.events.glob("*.parquet"))]
    paths = [path for path in (*paths, data.truth) if path.exists()]
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}
