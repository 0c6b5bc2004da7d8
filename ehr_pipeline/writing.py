"""How files get to disk whole: a temporary file beside the target, then a rename, readable by the owner alone.

What belongs here: the mechanics of writing. What does not: where anything lies (`storage.py`, which offers all of
this too, so that a stage needs one import).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ehr_pipeline.errors import ResourceShort

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
TEMPORARY_PREFIX = ".writing-"


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    """Turn a full disk into one line; what stood at `target` still stands."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceShort(f"the disk is full: {target.name} was not written, free space and repeat") from None
        raise


def private_process() -> int:
    """From here on the process makes files for its owner alone, and leaves no image of its memory if it crashes.

    Returns the mask for new files that was there before.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return os.umask(0o077)


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
        _sweep(target.parent)
        handle, name = tempfile.mkstemp(prefix=own_prefix(), suffix=target.suffix, dir=target.parent)
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
        _sweep(target.parent)
        temporary = Path(tempfile.mkdtemp(prefix=own_prefix(), dir=target.parent))
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


def own_prefix() -> str:
    """How the name of a temporary file or folder of this process begins, so that it is swept if the process dies."""
    return f"{TEMPORARY_PREFIX}{os.getpid()}-"


def _sweep(folder: Path) -> None:
    """Remove what writers that died left directly in `folder`: their process id is in the name."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*-*"):
        writer = path.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0]
        if writer.isdecimal() and not Path(f"/proc/{writer}").exists() and Path("/proc/self").exists():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> Path:
    """Write UTF-8 text in one step; returns `target`."""
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def write_json(target: Path, content: Any) -> Path:
    """Write JSON in one step, keys in the order given; NaN is refused. Returns `target`."""
    return write_text(target, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_parquet(target: Path, frame: pd.DataFrame) -> Path:
    """Write a frame as Parquet in one step, without its index; returns `target`."""
    with atomic_file(target) as temporary:
        frame.to_parquet(temporary, index=False)
    return target


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
