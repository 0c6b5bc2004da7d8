"""What a release promises: made from exactly what was judged, whole or not at all, counted before it is seen."""

import csv
import os
import re
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import duckdb
import pandas as pd
import pytest

from ehr_pipeline.errors import CheckFailed, OptionError, ReleaseRefused
from ehr_pipeline.privacy.ledger import Ledger
from ehr_pipeline.release import release as room
from ehr_pipeline.release.layout import CSV, DUCKDB, PAGES, PARQUET, README
from ehr_pipeline.release.release import release
from ehr_pipeline.release.verify import verify
from ehr_pipeline.report.lint import claims, lint
from ehr_pipeline.storage import read_json, sha256

from .conftest import FORMULA, HOSTILE, N_PATIENTS, chain


def day():
    return datetime(2026, 3, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(releasable, tmp_path_factory):
    """One release, for tests that only look at it."""
    import shutil

    from ehr_pipeline.storage import DataFolder

    folder = tmp_path_factory.mktemp("made") / "data"
    shutil.copytree(releasable.root, folder)
    data = DataFolder(folder)
    return data, release(data, "small", "independent", clock=day, approvers=("A. Person",))


def pages(made):
    return {file: (made[1].folder / file).read_text(encoding="utf-8") for file in PAGES.values()}


def test_the_bundle_verifies_and_its_table_is_the_one_that_was_judged(made):
    data, bundle = made
    assert re.fullmatch(r"2026-03-04-[0-9a-f]{8}", bundle.release)
    assert verify(bundle.folder).problems == ()
    assert sha256(bundle.folder / PARQUET) == sha256(data.cohort("small").generator("independent").synthetic)


def test_everything_is_readable_by_its_owner_alone(made):
    data, bundle = made
    for path in [data.signing_key, *data.releases("small").rglob("*"), bundle.folder]:
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


def test_the_ledger_knows_the_release_and_the_internal_record_knows_what_it_was_made_from(made):
    data, bundle = made
    (row,) = [row for row in Ledger(data.ledger).entries() if row.kind == "released"]
    assert row.source == f"small/{bundle.release}"
    record = read_json(data.release_record("small", bundle.release))
    assert record["hashes"]["synthetic"] == sha256(bundle.folder / PARQUET)
    assert record["approved_by"] == ["A. Person"]
    report = data.release_report("small", bundle.release)
    assert sha256(report) == record["hashes"]["report_page"] == sha256(data.cohort("small").report_page)
    assert record["manifest_sha256"] == sha256(bundle.folder / "manifest.json")


def test_the_pages_say_the_promise_and_claim_nothing_that_is_banned(made):
    for file, page in pages(made).items():
        assert not lint(page), file
        assert "tier private" in page
    statement = pages(made)["privacy-statement.html"]
    for heading in ("Unit of privacy", "Privacy parameters", "Algorithm", "Side channels", "Access control"):
        assert f"<h2>{heading}</h2>" in statement
    assert "patient, add or remove one" in statement and "histogram of each column" in statement
    readme = (made[1].folder / README).read_text()
    assert not claims(readme) and made[1].key in readme


def test_nothing_exact_of_real_patients_is_in_the_bundle(made):
    """Exact counts, the exact score 0.913, hashes of real tables, seeds, and names of approvers stay inside."""
    data, bundle = made
    folder = data.cohort("small")
    inside = [sha256(path) for path in (folder.prepared_table, folder.split, folder.schema)]
    split = pd.read_parquet(folder.split)["split"].value_counts()
    noisy = read_json(folder.generator("independent").model / "model.json")["n_patients"]
    counts = {N_PATIENTS, int(split["train"]), int(split["holdout"])} - {noisy}  # noise may be 0: then it is told
    for path in bundle.folder.rglob("*"):
        if path.suffix not in (".html", ".txt", ".json"):
            continue
        text = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for secret in (*map(str, counts), "0.913", "A. Person", *inside):
            assert not re.search(rf"(?<![\w.]){re.escape(secret)}(?![\w.])", text), (path.name, secret)
        assert '"seed"' not in text
    assert "about 0.90" in pages(made)["index.html"]


def test_a_private_model_decides_how_many_rows_there_are_by_its_own_noisy_count(made):
    """The exact number of patients is not inside the budget, nor are rules that real patients loosened."""
    files = made[0].cohort("small").generator("independent")
    sanity, model = read_json(files.sanity), read_json(files.model / "model.json")
    assert sanity["is_private"] is True
    assert sanity["drawn_with"]["n_rows"] == model["n_patients"] != N_PATIENTS
    assert len(pd.read_parquet(made[1].folder / PARQUET)) == model["n_patients"]


def test_hostile_names_and_cells_are_text_everywhere(made):
    _, bundle = made
    for page in pages(made).values():
        assert "<script" not in page and "<img" not in page and "<b>others" not in page
    with (bundle.folder / CSV).open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file))
    assert head == ["age", "sex", "change", "'" + HOSTILE, "died"]
    assert {row[3] for row in rows} <= {"'" + FORMULA, "'@x", "<img src=x onerror=alert(1)>"}
    assert any(row[2].startswith("-") for row in rows)  # a number stays a number
    with duckdb.connect(str(bundle.folder / DUCKDB), read_only=True) as connection:
        table = connection.sql("SELECT * FROM patients").df()
    exact = pd.read_parquet(bundle.folder / PARQUET)
    assert list(table.columns) == list(exact.columns)
    assert (table[HOSTILE] == exact[HOSTILE].astype(object)).all()


def test_the_same_thing_is_not_released_twice(data):
    first = release(data, "small", "independent", clock=day)
    before = sha256(first.folder / "manifest.json")
    with pytest.raises(ReleaseRefused, match="released already"):
        release(data, "small", "independent", clock=day)
    assert sha256(first.folder / "manifest.json") == before
    assert sum(row.kind == "released" for row in Ledger(data.ledger).entries()) == 1


def test_of_two_releases_at_once_one_is_made(data):
    def attempt(_):
        try:
            return release(data, "small", "independent", clock=day)
        except ReleaseRefused:
            return None

    with ThreadPoolExecutor(2) as pool:
        made = [one for one in pool.map(attempt, range(2)) if one]
    assert len(made) == 1 and not verify(made[0].folder).problems
    assert sum(row.kind == "released" for row in Ledger(data.ledger).entries()) == 1


def test_a_release_without_a_budget_is_labelled_on_every_page_and_counts_as_infinity(data, definition):
    chain(data, definition, "independent")
    with pytest.raises(ReleaseRefused, match="out loud"):
        release(data, "small", "independent")
    bundle = release(data, "small", "independent", tier="non-private")
    for file in PAGES.values():
        page = (bundle.folder / file).read_text(encoding="utf-8")
        assert "tier non-private" in page and "Tier non-private." in page
    assert "tier non-private" in (bundle.folder / README).read_text()
    manifest = read_json(bundle.folder / "manifest.json")
    assert manifest["tier"] == "non-private" and manifest["privacy"] is None
    assert Ledger(data.ledger).totals()[0].epsilon == float("inf")


KILLED = """
import os, signal, sys
from pathlib import Path
from ehr_pipeline.release import release as room
from ehr_pipeline.storage import DataFolder
real = room.{step}
room.{step} = lambda *a, **k: (real(*a, **k), os.kill(os.getpid(), signal.SIGKILL))
room.release(DataFolder(Path(sys.argv[1])), "small", "independent")
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["write_bundle", "_keep_internally"])
def test_a_killed_release_leaves_no_bundle_and_the_next_one_works(data, step):
    done = subprocess.run([sys.executable, "-c", KILLED.format(step=step), str(data.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not [path for path in data.releases("small").iterdir() if path.is_dir() and path.name[0] != "."]
    bundle = release(data, "small", "independent")
    assert not verify(bundle.folder).problems
    assert [path for path in data.releases("small").iterdir() if path.is_dir()] == [bundle.folder]


def test_a_bundle_that_cannot_be_counted_is_not_made(data, monkeypatch):
    def broken(*args, **more):
        raise CheckFailed("the ledger cannot be written")

    monkeypatch.setattr(room.Ledger, "mark_released", broken)
    with pytest.raises(CheckFailed):
        release(data, "small", "independent")
    assert not [path for path in data.releases("small").iterdir() if path.is_dir()]


def test_a_table_that_changes_while_it_is_released_is_refused(data, monkeypatch):
    examine = room.examine

    def then_change(*args, **more):
        cleared = examine(*args, **more)
        synthetic = data.cohort("small").generator("independent").synthetic
        synthetic.write_bytes(synthetic.read_bytes() + b"\0")
        return cleared

    monkeypatch.setattr(room, "examine", then_change)
    with pytest.raises(ReleaseRefused, match="changed while"):
        release(data, "small", "independent")
    assert not [path for path in data.releases("small").iterdir() if path.is_dir()]


def test_a_title_that_claims_too_much_stops_the_release(data):
    from .conftest import edit

    folder = data.cohort("small")
    edit(folder.report_scores, lambda content: content["cohort"].update(title="Anonymous patients"))
    with pytest.raises(CheckFailed, match="would say anonymous"):
        release(data, "small", "independent")


def test_an_unknown_cohort_or_tier_is_wrong_input_and_makes_no_folder(data):
    with pytest.raises(OptionError, match="has no cohort"):
        release(data, "nobody", "independent")
    with pytest.raises(OptionError, match="must match"):
        release(data, "../small", "independent")
    with pytest.raises(OptionError, match="--tier"):
        release(data, "small", "independent", tier="secret")
    assert not data.releases("nobody").exists()


def test_a_key_that_others_can_read_signs_nothing(data):
    release(data, "small", "independent", clock=day)
    os.chmod(data.signing_key, 0o644)
    with pytest.raises(CheckFailed, match="chmod 600"):
        release(data, "small", "independent")
