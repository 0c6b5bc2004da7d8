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
from ehr_pipeline.ingest.checks import refuse_references
from ehr_pipeline.ingest.connection import open_to_build
from ehr_pipeline.ingest.source import Source, find_source
from ehr_pipeline.ingest.stream import write_stream
from ehr_pipeline.ingest.summary import EventsSummary, IngestSummary, TableSummary
from ehr_pipeline.ingest.warehouse import fill
from ehr_pipeline.progress import Progress, Step, silent
from ehr_pipeline.record import EVENT_SCHEMA

SMALL_FILE_BYTES = 1 << 20


def ingest(sources: Sequence[Path], data: storage.DataFolder, progress: Progress | None = None) -> IngestSummary:
    """Read MIMIC-IV tables from the folders `sources` into the warehouse and the event stream of `data`.

    A source that is what it was the last time is not read again. Otherwise everything is built to one side
    and renamed when all checks have passed: if this raises or is killed, what was there is as it was, and
    whoever reads it goes on reading it. A second ingest waits for the first to end.

    Raises
    ------
    SourceError
        The source can't be read as MIMIC-IV tables; the message names the file, and the column or row.
    ResourceShort
        The disk or the memory is full.
    OptionError
        The data folder can't hold a DuckDB database.
    """
    progress = progress or silent
    if "?" in str(data.root):
        raise OptionError(f"{data.root} can't be the data folder: DuckDB opens no path with a question mark")
    source = find_source(sources)
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


def _build(source: Source, signature: dict[str, Any], data: storage.DataFolder, progress: Progress) -> IngestSummary:
    with storage.scratch_folder(data.ingest_scratch) as scratch:
        database, events = scratch / data.warehouse.name, storage.private_folder(scratch / data.events.name)
        with open_to_build(database, storage.private_folder(scratch / "spill")) as con:
            tables = fill(con, source.files, progress)
            warnings = refuse_references(con, [file.table for file in source.files])
            stream = write_stream(con, events, progress)
        summary = IngestSummary(tables=tables, events=stream, notes=_notes(source, tables, stream, warnings))
        _publish(database, events, source.truth, data)
    content = {
        "sources": [str(folder.resolve()) for folder in source.folders],
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


def _signature(source: Source) -> dict[str, Any]:
    """What the outputs depend on: each file by size and hash, or size and time if large; and this code."""
    paths = {file.table.name: file.path for file in source.files}
    if source.truth:
        paths["truth"] = source.truth
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


def _notes(
    source: Source, tables: dict[str, TableSummary], stream: EventsSummary, warnings: list[str]
) -> tuple[str, ...]:
    """What a reader should know, one line for each kind of thing."""
    short = {name: name.split(".")[1] for name in tables}
    listed = {
        "tables not in the source, created empty": [short[name] for name, table in tables.items() if not table.file],
        "tables with a header and no rows": [
            short[name] for name, table in tables.items() if table.file and not table.n_rows
        ],
        "columns that MIMIC-IV doesn't have, left out": [
            f"{file.table.short_name}.{name}" for file in source.files for name in file.unknown_columns
        ],
        "files not read": [path.name for path in source.unread if path.suffix.lower() in (".csv", ".gz", ".parquet")],
        "rows without a time, not in the event stream": [
            f"{short[name]} {n_rows:,}" for name, n_rows in stream.undated.items()
        ],
        "references that lead nowhere, of those that MIMIC-IV leaves open": warnings,
    }
    return tuple(f"{what}: {', '.join(names)}" for what, names in listed.items() if names)
