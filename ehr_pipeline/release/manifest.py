"""The manifest: every file of a bundle with its size and SHA-256, what the bundle is, and the seal on both.

What belongs here: writing and sealing it. What does not: checking a bundle (`verify.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ehr_pipeline.release.layout import FORMAT, MANIFEST, PUBLIC_KEY, SEALS, SIGNATURE
from ehr_pipeline.release.signing import fingerprint, public_pem
from ehr_pipeline.storage import sha256, write_json


def seal(bundle: Path, facts: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """Write manifest, public key and signature over all files that lie in `bundle`; returns the manifest."""
    files = {
        path.relative_to(bundle).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and path.relative_to(bundle).as_posix() not in SEALS
    }
    manifest = {
        "format": FORMAT,
        **facts,
        "signed_by": {"algorithm": "Ed25519", "public_key_sha256": fingerprint(key.public_key())},
        "files": files,
    }
    path = write_json(bundle / MANIFEST, manifest)
    (bundle / PUBLIC_KEY).write_bytes(public_pem(key.public_key()))
    (bundle / SIGNATURE).write_bytes(key.sign(path.read_bytes()))
    return manifest
