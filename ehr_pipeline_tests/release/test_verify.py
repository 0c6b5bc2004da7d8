"""What `verify` promises: nothing in a bundle is altered, removed, added or signed anew without being told."""

import base64
import json
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import CheckFailed, OptionError
from ehr_pipeline.release.layout import MANIFEST, PUBLIC_KEY, SIGNATURE, is_inside
from ehr_pipeline.release.manifest import seal
from ehr_pipeline.release.signing import fingerprint, public_pem, signing_key
from ehr_pipeline.release.verify import verify

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
FACTS = {"release": "2026-01-01-00000000", "tier": "private"}
FILES = {"data/patients.csv": b"a,b\n1,2\n", "index.html": b"<p>report</p>", "empty.txt": b""}


def write(folder, key=KEY):
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    seal(folder, FACTS, key)
    return folder


@pytest.fixture
def bundle(tmp_path):
    return write(tmp_path / "bundle")


@pytest.fixture
def institution(tmp_path):
    (tmp_path / "institution.pem").write_bytes(public_pem(KEY.public_key()))
    return tmp_path / "institution.pem"


def test_what_was_signed_verifies_and_says_what_that_proves(bundle, institution):
    inside, trusted = verify(bundle), verify(bundle, institution)
    assert inside.problems == trusted.problems == ()
    assert any("not who signed" in line for line in inside.lines())
    assert any("the key you gave" in line for line in trusted.lines())
    assert inside.key == trusted.key == fingerprint(KEY.public_key())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("alter", [lambda b: b + b"x", lambda b: b[:-1] + b"\0", lambda b: bytes(len(b)) + b"!"])
def test_an_altered_file_is_named(bundle, name, alter):
    (bundle / name).write_bytes(alter((bundle / name).read_bytes()))
    assert verify(bundle).problems == (f"{name} is altered",)


@pytest.mark.parametrize("name", FILES)
def test_a_removed_file_is_named(bundle, name):
    (bundle / name).unlink()
    assert verify(bundle).problems == (f"{name} is missing",)


@pytest.mark.parametrize("name", ["note.txt", "data/more.parquet", ".hidden", "data/__init__.py"])
def test_an_added_file_is_named(bundle, name):
    (bundle / name).write_text("x")
    assert verify(bundle).problems == (f"{name} was added",)


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE, PUBLIC_KEY])
def test_each_seal_that_is_missing_or_altered_is_found(bundle, name):
    content = (bundle / name).read_bytes()
    for altered in (b"", content[:-2], b"\0" * len(content), content.replace(b"0", b"1").replace(b"A", b"B") + b" "):
        (bundle / name).write_bytes(altered)
        assert verify(bundle).problems
    (bundle / name).unlink()
    assert verify(bundle).problems


def test_a_manifest_that_was_brought_into_line_with_an_altered_file_is_found(bundle):
    (bundle / "index.html").write_bytes(b"<p>better</p>")
    content = json.loads((bundle / MANIFEST).read_text())
    import hashlib

    content["files"]["index.html"] = {"bytes": 13, "sha256": hashlib.sha256(b"<p>better</p>").hexdigest()}
    (bundle / MANIFEST).write_text(json.dumps(content))
    assert verify(bundle).problems == (
        f"{MANIFEST} or its signature is altered: the key inside the bundle did not sign it",
    )


def test_a_bundle_that_somebody_else_signed_anew_is_found_with_the_institutions_key_alone(tmp_path, institution):
    forged = write(tmp_path / "forged", OTHER)
    assert verify(forged).problems == ()  # nothing was altered since it was signed: by somebody
    assert verify(forged).key != fingerprint(KEY.public_key())
    found = " ".join(verify(forged, institution).problems)
    assert "the key you gave did not sign it" in found and "not the key you gave" in found


def test_a_link_is_never_followed(bundle, tmp_path):
    (tmp_path / "elsewhere").write_bytes(FILES["index.html"])
    (bundle / "index.html").unlink()
    (bundle / "index.html").symlink_to(tmp_path / "elsewhere")
    assert verify(bundle).problems == ("index.html is no plain file",)
    (bundle / "more").symlink_to(tmp_path)
    assert "more is no plain file" in verify(bundle).problems


def test_a_pipe_does_not_make_it_wait(bundle):
    (bundle / MANIFEST).unlink()
    os.mkfifo(bundle / MANIFEST)
    assert f"{MANIFEST} is no plain file" in verify(bundle).problems


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a//b", "..", ".", "", "a\\b", MANIFEST, "a\0b"])
def test_a_manifest_cannot_name_a_file_outside(tmp_path, name):
    folder = write(tmp_path / "bundle")
    content = json.loads((folder / MANIFEST).read_text())
    content["files"][name] = {"bytes": 0, "sha256": "0"}
    (folder / MANIFEST).write_text(json.dumps(content))
    (folder / SIGNATURE).write_bytes(KEY.sign((folder / MANIFEST).read_bytes()))
    (problem,) = verify(folder).problems
    assert "cannot be a file of the bundle" in problem


def test_names_that_move_a_cursor_are_shown_as_text(bundle):
    (bundle / "a\x1b[2Jb").write_text("x")
    assert verify(bundle).problems == ("a\\x1b[2Jb was added",)


@settings(max_examples=60)
@given(st.binary(max_size=400), st.sampled_from([MANIFEST, SIGNATURE, PUBLIC_KEY]))
def test_no_bytes_in_a_seal_pass_or_break_it(tmp_path_factory, content, name):
    folder = write(tmp_path_factory.mktemp("fuzz"))
    if content == (folder / name).read_bytes():
        return
    (folder / name).write_bytes(content)
    assert verify(folder).problems
    shutil.rmtree(folder)


@given(st.text(max_size=30))
def test_a_name_that_is_inside_stays_inside(name):
    if is_inside(name):
        root = Path("/bundle")
        assert (root / name).resolve().is_relative_to(root)


def test_what_is_no_folder_or_no_key_is_wrong_input(tmp_path, bundle):
    with pytest.raises(OptionError, match="is no folder"):
        verify(tmp_path / "nothing")
    (tmp_path / "key").write_bytes(base64.b64encode(b"no key"))
    with pytest.raises(OptionError, match="no Ed25519 public key"):
        verify(bundle, tmp_path / "key")
    with pytest.raises(OptionError, match="no Ed25519 public key"):
        verify(bundle, tmp_path / "absent")


def test_the_key_is_made_once_and_never_replaced(tmp_path):
    path = tmp_path / "signing-key.pem"
    first = signing_key(path)
    assert fingerprint(signing_key(path).public_key()) == fingerprint(first.public_key())
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    before = path.read_bytes()
    with pytest.raises(CheckFailed, match="no Ed25519 private key"):
        signing_key(path)
    assert path.read_bytes() == before
    path.chmod(0o640)
    with pytest.raises(CheckFailed, match="chmod 600"):
        signing_key(path)


def test_two_first_releases_at_once_make_one_key(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: signing_key(tmp_path / "signing-key.pem"), range(8)))
    assert len({fingerprint(key.public_key()) for key in keys}) == 1
