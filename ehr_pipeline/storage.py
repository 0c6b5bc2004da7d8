"""Where everything lies on disk, and how it gets there whole.

What belongs here: every path of the data folder, and the one way to write into it (a temporary file
beside the target, then a rename, mode 0600). What does not: what the files mean. No other module builds
a path inside the data folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ehr_pipeline.errors import NotReady, OptionError, ResourceShort

NAME_PATTERN = re.compile(r"^[a-z][a-z0-9_]*$")
RESERVED_NAMES = frozenset({"report", "prepared"})
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
TEMPORARY_PREFIX = ".writing-"


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
    def sanity(self) -> Path:
        """Rule results and rejection accounting of the synthetic table."""
        return self.root / "sanity.json"

    @property
    def scores(self) -> Path:
        """Scores of the synthetic table, each with interval, floor and null."""
        return self.root / "scores.json"


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
        """Events of the members inside their window, as they stand in the stream."""
        return self.root / "events.parquet"

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


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    """Turn a full disk into one line; what stood at `target` still stands."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceShort(f"the disk is full: {target.name} was not written, free space and repeat") from None
        raise


def private_folder(path: Path) -> Path:
    """Make `path` and its missing parents, readable by the owner alone."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        folder.chmod(PRIVATE_FOLDER)
    return path


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it to `target` if the block ends well.

    If the block raises, or the process dies, `target` is what it was before.

    Raises
    ------
    ResourceShort
        The disk filled up.
    """
    with _disk_errors(target):
        private_folder(target.parent)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(PRIVATE_FILE)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target`; put it in `target`'s place if the block ends well.

    A folder cannot replace a folder in one rename, so the old one is moved aside first; a reader in that
    instant finds none. A crash between the two renames leaves the old folder beside, named `.old-*`; the next
    writer puts it back first.
    """
    with _disk_errors(target):
        private_folder(target.parent)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=target.parent))
        aside = target.parent / f".old-{target.name}"
        if aside.exists() and not target.exists():  # an earlier writer died between its two renames
            aside.replace(target)
        try:
            yield temporary
            for path in temporary.rglob("*"):
                path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)
            shutil.rmtree(aside, ignore_errors=True)
            if target.exists():
                target.replace(aside)
            temporary.replace(target)
            shutil.rmtree(aside, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield `path` as an empty folder of the owner's alone; what lay there before, and what is left, is removed."""
    shutil.rmtree(path, ignore_errors=True)
    with _disk_errors(path):
        private_folder(path.parent)
        path.mkdir(mode=PRIVATE_FOLDER)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def exclusive(lock: Path, on_wait: Callable[[], object]) -> Iterator[None]:
    """Hold `lock` for this process; if another one holds it, call `on_wait` once and wait for it to end.

    The lock goes with the process that holds it, so a run that died locks nobody out.
    """
    private_folder(lock.parent)
    with lock.open("a") as file:
        lock.chmod(PRIVATE_FILE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sweep_temporary(folder: Path) -> int:
    """Remove what writers that died left directly in `folder`; returns how many. Call with no writer running."""
    left = list(folder.glob(f"{TEMPORARY_PREFIX}*")) if folder.exists() else []
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len(left)


def write_text(target: Path, text: str) -> Path:
    """Write UTF-8 text in one step; returns `target`."""
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def write_json(target: Path, content: Any) -> Path:
    """Write JSON in one step, keys in the order given; NaN is refused. Returns `target`."""
    return write_text(target, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, mend: str = "run the stage before this one") -> Any:
    """Read JSON; NotReady if the file is not there yet."""
    return json.loads(require(path, mend).read_text(encoding="utf-8"))


def write_parquet(target: Path, frame: pd.DataFrame) -> Path:
    """Write a frame as Parquet in one step, without its index; returns `target`."""
    with atomic_file(target) as temporary:
        frame.to_parquet(temporary, index=False)
    return target


def read_parquet(path: Path, mend: str = "run the stage before this one") -> pd.DataFrame:
    """Read a Parquet file; NotReady if it is not there yet."""
    return pd.read_parquet(require(path, mend))


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
