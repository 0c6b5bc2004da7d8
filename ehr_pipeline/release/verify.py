"""Checking a released bundle, wherever it lies: whether it is what was signed, to the byte and to the file.

What belongs here: the check and what it can prove. The key inside a bundle proves that nothing was altered since
somebody signed it; who that was only the institution's own fingerprint tells. Nothing in a bundle is trusted, links
least of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_pipeline.errors import OptionError
from ehr_pipeline.release.layout import FORMAT, MANIFEST, PUBLIC_KEY, SEALS, SIGNATURE, is_inside
from ehr_pipeline.release.signing import fingerprint, is_signed, read_public_key
from ehr_pipeline.storage import sha256

MOST_BYTES = 1 << 24
"""A manifest larger than this is not read."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What became of the check.

    Attributes
    ----------
    problems
        One line per altered, missing or added file; empty if the bundle is what was signed.
    release
        What the manifest says of itself (`release`, `tier`, ...); to be believed only without problems.
    key
        Fingerprint of the public key that was used; None where there is no key.
    is_trusted_key
        Whether the key came from outside the bundle.
    """

    problems: tuple[str, ...]
    release: dict[str, Any]
    key: str | None
    is_trusted_key: bool

    def lines(self) -> list[str]:
        """What a person must know of a bundle without problems, the limits of this check included."""
        said = [
            f"{_shown(self.release['release'])}: every file is what was signed, tier {_shown(self.release['tier'])}"
        ]
        if self.is_trusted_key:
            return [*said, f"signed by the key you gave, fingerprint {self.key}"]
        return [
            *said,
            f"signed by the key inside the bundle, fingerprint {self.key}",
            "that proves that nothing was altered since, not who signed: compare the fingerprint with the one that the "
            "institution gives you, or check with --public-key FILE",
        ]


def verify(bundle: Path, public_key: Path | None = None) -> Verified:
    """Check a bundle.

    Parameters
    ----------
    public_key
        The institution's public key from a place you trust; the one inside the bundle where not given.

    Raises
    ------
    OptionError
        There is no folder of that name, or `public_key` is no key.
    """
    if not bundle.is_dir():
        raise OptionError(f"{bundle} is no folder; a bundle is the folder that holds {MANIFEST}")
    outside = read_public_key(public_key) if public_key else None
    found = {path.relative_to(bundle).as_posix(): path for path in sorted(bundle.rglob("*"))}
    problems = [f"{_shown(name)} is no plain file" for name, path in found.items() if _is_odd(path)]
    seals = {name: _bytes(found.get(name)) for name in SEALS}
    problems += [f"{name} is missing or cannot be read" for name, content in sorted(seals.items()) if content is None]
    key = outside
    if key is None and seals[PUBLIC_KEY] is not None:
        try:
            key = read_public_key(found[PUBLIC_KEY])
        except OptionError:
            problems.append(f"{PUBLIC_KEY} is altered: it is no public key")
    content, signature = seals[MANIFEST], seals[SIGNATURE]
    if key is not None and content is not None and signature is not None and not is_signed(content, signature, key):
        whose = "the key you gave" if outside else "the key inside the bundle"
        problems.append(f"{MANIFEST} or its signature is altered: {whose} did not sign it")
    if outside and seals[PUBLIC_KEY] is not None and not _is_same_key(found[PUBLIC_KEY], fingerprint(outside)):
        problems.append(f"{PUBLIC_KEY} is altered: it is not the key you gave")
    release = _manifest(content)
    if release is None:
        problems.append(f"{MANIFEST} cannot be read as the manifest of a release")
    else:
        problems += _differences(found, release["files"])
    return Verified(
        problems=tuple(problems),
        release=release or {},
        key=fingerprint(key) if key else None,
        is_trusted_key=outside is not None,
    )


def _differences(found: dict[str, Path], listed: dict[str, Any]) -> Iterator[str]:
    """One line per file that is missing, altered, or was not there when the bundle was signed."""
    for name, entry in listed.items():
        if not is_inside(name) or name in SEALS:
            yield f"{MANIFEST} names {_shown(name)}, which cannot be a file of the bundle"
        elif name not in found:
            yield f"{_shown(name)} is missing"
        elif not _is_odd(found[name]) and not _is_as_listed(found[name], entry):
            yield f"{_shown(name)} is altered"
    for name, path in found.items():
        if name not in listed and name not in SEALS and not path.is_dir() and not _is_odd(path):
            yield f"{_shown(name)} was added"


def _is_as_listed(path: Path, entry: Any) -> bool:
    if not isinstance(entry, dict) or not path.is_file():
        return False
    try:
        return path.stat().st_size == entry.get("bytes") and sha256(path) == entry.get("sha256")
    except OSError:
        return False


def _manifest(content: bytes | None) -> dict[str, Any] | None:
    """The manifest, if it has the shape of one."""
    try:
        read = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(read, dict) and read.get("format") == FORMAT and isinstance(read.get("files"), dict)
    return read if is_one and all(isinstance(read.get(name), str) for name in ("release", "tier")) else None


def _is_odd(path: Path) -> bool:
    """Whether it is neither a plain file nor a folder; a link may lead anywhere."""
    return path.is_symlink() or not (path.is_file() or path.is_dir())


def _bytes(path: Path | None) -> bytes | None:
    try:
        is_readable = path is not None and not _is_odd(path) and path.stat().st_size <= MOST_BYTES
        return path.read_bytes() if is_readable and path is not None else None
    except OSError:
        return None


def _is_same_key(path: Path, wanted: str) -> bool:
    try:
        return fingerprint(read_public_key(path)) == wanted
    except OptionError:
        return False


def _shown(name: str) -> str:
    """A file's name with what could move a terminal's cursor made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogateescape").decode() for c in name)
