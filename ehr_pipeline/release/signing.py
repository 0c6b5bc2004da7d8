"""The institution's signature: an Ed25519 key made on first use, and what it signs.

What belongs here: keys and signatures (RFC 8032, by `cryptography`). What does not: what is signed (`manifest.py`). The
private key never leaves the data folder; whoever holds it can sign in the institution's name.
"""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ehr_pipeline.errors import CheckFailed, OptionError
from ehr_pipeline.storage import exclusive, write_text


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file; made there, readable by the owner alone, if there is none.

    Raises
    ------
    CheckFailed
        Others can read the file, or it is no Ed25519 key; it is never replaced.
    """
    with exclusive(path.with_suffix(".lock"), on_wait=lambda: None):  # two first releases at once make one key
        if not path.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_text(path, pem.decode("ascii"))
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CheckFailed(f"{path} can be used by others than its owner; chmod 600 it, or make a new key")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise CheckFailed(f"{path} is no Ed25519 private key in PEM; put it back, or move it away for a new one")
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file.

    Raises
    ------
    OptionError
        There is none.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise OptionError(f"{path} is no Ed25519 public key in PEM")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the public key's 32 bytes, in hex: what an institution publishes to prove that a key is its own."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def is_signed(content: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether `signature` is the key's signature of exactly these bytes."""
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True
