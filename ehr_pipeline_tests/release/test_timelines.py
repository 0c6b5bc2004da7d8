"""What a release of timelines promises: the events that were judged lie in it, sealed; no others open the gate."""

import shutil
from dataclasses import asdict, replace

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.errors import ReleaseRefused
from ehr_pipeline.evaluate.attacks.stretches import CopiedStretches, StretchMembership
from ehr_pipeline.evaluate.cohort import data_hashes
from ehr_pipeline.evaluate.result import Evaluation
from ehr_pipeline.evaluate.timelines.result import MissingnessMap, Plausibility, RareContent, TimelineEvaluation
from ehr_pipeline.generators import timeline_markov
from ehr_pipeline.generators.private_markov import fit_private
from ehr_pipeline.generators.timeline_data import load_timeline_cohort, timelines_fingerprint
from ehr_pipeline.generators.train import train
from ehr_pipeline.ingest import ingest
from ehr_pipeline.prepare import prepare_cohort
from ehr_pipeline.prepare.timelines import prepare_timelines
from ehr_pipeline.privacy.account import Account
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.release import events as released_events
from ehr_pipeline.release.layout import EVENTS, PARQUET
from ehr_pipeline.release.policy import load_policy
from ehr_pipeline.release.release import release
from ehr_pipeline.release.verify import verify
from ehr_pipeline.report.cohort import report_cohort
from ehr_pipeline.report.lint import lint
from ehr_pipeline.sanity.real import check_prepared
from ehr_pipeline.sanity.timelines import sample_timelines
from ehr_pipeline.simulate import simulate_hospital
from ehr_pipeline.storage import DataFolder, read_json, sha256, write_json

from .conftest import attack, edit, score

pytestmark = pytest.mark.slow

COHORT, MARKOV = "icu_48h", "timeline_markov"
TABLE = (attack("copies", ["exact_copies_train"]), attack("membership", ["membership_tpr_at_1%[all]"]))
OF_EVENTS = (
    attack(CopiedStretches.name, ["copied_stretches_train"]),
    attack(StretchMembership.name, ["stretch_membership_tpr_at_1%[isolated]"]),
)
QUALITY = (
    score("mean_normalised", "fidelity", 0.7, 0.5, "failed"),
    score("implausible_share", "fidelity", 0.4, 0.1, "failed"),
)


@pytest.fixture(scope="module")
def definition():
    return load_definitions()[COHORT]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, definition):
    """A data folder whose cohort has 150 simulated patients, under a policy for that few."""
    folder = tmp_path_factory.mktemp("prepared")
    simulate_hospital(150, folder / "hospital", seed=3)
    data = DataFolder(folder / "data")
    ingest([folder / "hospital"], data)
    build_cohort(definition, data)
    prepare_cohort(definition, data)
    prepare_timelines(definition, data)
    check_prepared(data.cohort(COHORT))
    data.policy.write_text("minimum_patients: 20\n")
    return data


def chain(prepared, root, definition, budget=None, rows=60):
    """Train, sample, judge (by hand), report, in a copy."""
    shutil.copytree(prepared.root, root / "data")
    data = DataFolder(root / "data")
    own = data.cohort(COHORT)
    account = Account(data=data, why="a test")
    train(
        MARKOV, load_timeline_cohort(own, is_private=budget is not None), None,
        own.generator(MARKOV), fingerprint=timelines_fingerprint(own), budget=budget, account=account,
    )  # fmt: skip
    sample_timelines(own, definition, MARKOV, rows=rows)
    judge(data, definition)
    return data


def judge(data, definition, *, attacks=(*TABLE, *OF_EVENTS), failed=(), quality=QUALITY, **changes):
    """Write an evaluation of what stands there now, and the report of it."""
    own = data.cohort(COHORT)
    files = own.generator(MARKOV)
    names = [name for one in attacks for name in one.score_names]
    scores = {name: score(name, value=0.3, verdict="failed") if name in failed else score(name) for name in names}
    timelines = TimelineEvaluation(
        scores={one.name: one for one in quality}, trajectories=[],
        missingness=MissingnessMap(codes=[], titles=[], hours=[], real=[], synthetic=[]), rates=[], survival=[],
        prevalence=[], values=[], tasks=[], window_hours=48, n_patients={}, n_events={},
        plausibility=Plausibility(real_share=None, synthetic_share=None, n_rules=0, by_rule=[]),
        rare=RareContent(minimum=5, n_codes=0, n_texts=0),
        provenance={
            "events_sha256": sha256(files.events), "prepared_timelines_sha256": sha256(own.prepared_timelines),
        },
    ).model_copy(update=changes)  # fmt: skip
    evaluation = Evaluation(
        scores=scores, columns=[], correlation=None, two_sample=[], tasks=[], attacks=list(attacks), subgroups=[],
        epidemiology=[], effect=None, n_rows={"train": 90, "holdout": 45, "synthetic": 60}, timelines=timelines,
        provenance=data_hashes(own, MARKOV)
        | {
            "definition_sha256": definition.fingerprint, "thresholds": asdict(load_policy(data).thresholds()),
            "seed": 0, "made_at": "2026-01-01T00:00:00+00:00",
        },
    )  # fmt: skip
    write_json(files.scores, evaluation.model_dump(mode="json"))
    report_cohort(data, definition)


@pytest.fixture(scope="module")
def releasable(prepared, definition, tmp_path_factory):
    return chain(prepared, tmp_path_factory.mktemp("releasable"), definition)


@pytest.fixture
def data(releasable, tmp_path):
    shutil.copytree(releasable.root, tmp_path / "data")
    return DataFolder(tmp_path / "data")


@pytest.fixture(scope="module")
def made(releasable, tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "data"
    shutil.copytree(releasable.root, root)
    return DataFolder(root), release(DataFolder(root), COHORT, MARKOV, tier="non-private")


def refused(data, **options):
    with pytest.raises(ReleaseRefused) as found:
        release(data, COHORT, MARKOV, tier=options.get("tier", "non-private"))
    return found.value.reasons


def test_the_bundle_holds_the_events_that_were_judged_in_the_order_of_the_tables_rows(made):
    data, bundle = made
    assert verify(bundle.folder).problems == ()
    own = data.cohort(COHORT).generator(MARKOV)
    events = pq.read_table(bundle.folder / EVENTS / "data/0.parquet").to_pandas()
    drawn = pd.read_parquet(own.events)
    assert len(events) == len(drawn)
    columns = ["subject_id", "time", "code", "numeric_value"]
    as_sets = [frame[columns].astype(str).sort_values(columns).to_numpy().tolist() for frame in (events, drawn)]
    assert as_sets[0] == as_sets[1]
    assert len(np.unique(events["subject_id"])) == len(pd.read_parquet(bundle.folder / PARQUET))
    members = pd.read_parquet(data.cohort(COHORT).members)
    assert not set(events["subject_id"]) & set(members["subject_id"])
    record = read_json(data.release_record(COHORT, bundle.release))
    assert record["hashes"]["events"] == sha256(own.events)


def test_everything_is_readable_by_its_owner_alone_and_nothing_is_left_over(made):
    bundle = made[1]
    paths = sorted(bundle.folder.rglob("*"))
    assert not [path for path in paths if path.stat().st_mode & 0o077]
    assert not [path for path in paths if path.name.startswith(".")]
    root = bundle.folder / EVENTS
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == {
        "data/0.parquet",
        "metadata/codes.parquet",
        "metadata/dataset.json",
        "metadata/subject_splits.parquet",
    }


def test_the_pages_say_what_the_events_are_and_what_the_attacks_on_them_found(made):
    _, bundle = made
    page = bundle.report.read_text(encoding="utf-8")
    assert "copies (events)" in page and "membership (events)" in page and not lint(page)
    sheet = (bundle.folder / "data-sheet.html").read_text(encoding="utf-8")
    assert "data/events/data/0.parquet" in sheet and "fewer than five training patients" in sheet
    assert "data/events/" in (bundle.folder / "README.txt").read_text(encoding="utf-8")
    assert "Mean normalised error of timelines (events)" in page  # gates of the events have names of their own


@pytest.mark.parametrize("file", ["data/0.parquet", "metadata/codes.parquet"])
def test_tampered_events_do_not_verify(made, tmp_path, file):
    copy = tmp_path / "bundle"
    shutil.copytree(made[1].folder, copy)
    with (copy / EVENTS / file).open("r+b") as opened:
        opened.seek(100)
        byte = opened.read(1)
        opened.seek(100)
        opened.write(bytes([byte[0] ^ 1]))
    assert verify(copy).problems == (f"{EVENTS}/{file} is altered",)


def test_events_that_changed_after_sanity_are_refused(data):
    path = data.cohort(COHORT).generator(MARKOV).events
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE e AS FROM read_parquet('{path}')")
        con.execute("UPDATE e SET numeric_value = numeric_value + 1")
        con.execute(f"COPY e TO '{path}' (FORMAT parquet)")
    reasons = refused(data)
    assert any("not those that its sanity checks saw" in reason for reason in reasons)
    assert any("not those that were evaluated" in reason for reason in reasons)


def test_events_that_change_during_the_release_leave_no_bundle(data, monkeypatch):
    copyfile = shutil.copyfile

    def other(source, target):
        copyfile(source, target)
        target.write_bytes(target.read_bytes() + b"x")

    monkeypatch.setattr(released_events.shutil, "copyfile", other)
    assert refused(data)
    assert not [path for path in data.releases(COHORT).glob("*") if path.is_dir() and (path / "manifest.json").exists()]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attacks": TABLE}, "no attack by the name of copies was run on the events"),
        ({"failed": ("copied_stretches_train",)}, "copied_stretches_train failed"),
        (
            {"attacks": (*TABLE, OF_EVENTS[0], OF_EVENTS[1].model_copy(update={"found_plant": False}))},
            "membership (events) missed the leak planted for it",
        ),
        ({"rare": RareContent(minimum=5, n_codes=3, n_texts=0)}, "3 codes in the events"),
        ({"rare": RareContent(minimum=5, n_codes=0, n_texts=2)}, "2 texts in the events"),
        ({"rare": None}, "nobody counted the rare codes"),
        ({"provenance": {}}, "not those that were evaluated"),
    ],
)  # fmt: skip
def test_what_speaks_against_the_events_refuses_them(data, definition, changes, says):
    judge(data, definition, **changes)
    assert any(says in reason for reason in refused(data))


def test_events_that_were_not_evaluated_are_refused(data):
    edit(data.cohort(COHORT).generator(MARKOV).scores, lambda content: content.update(timelines=None))
    assert any("were not evaluated" in reason for reason in refused(data))


@pytest.mark.parametrize(("quality", "name"), [("fidelity", "mean_normalised"), ("plausibility", "implausible_share")])
def test_gates_of_the_events_refuse_where_the_policy_names_their_quality(data, quality, name):
    data.policy.write_text(f"minimum_patients: 20\nquality_gates: [{quality}]\n")
    (reason,) = [reason for reason in refused(data) if reason.startswith(quality)]
    assert name in reason and ("implausible_share" in reason) == (quality == "plausibility")


@pytest.fixture
def without_noise(monkeypatch):
    """Fits within a budget whose noise is all but left out: a hundred patients give no events that rules accept under
    any budget worth the name. What is planned, charged and recorded is the real plan."""

    def fit(cohort, config, plan):
        quiet = tuple(replace(one, noise_multiplier=0.01) for one in plan.mechanisms)
        return fit_private(cohort, config, replace(plan, mechanisms=quiet))

    monkeypatch.setattr(timeline_markov, "fit_private", fit)


def test_a_private_model_goes_through_the_gate_and_its_statement_says_what_was_spent(
    prepared, definition, tmp_path, without_noise
):
    data = chain(prepared, tmp_path, definition, Budget(epsilon=3.0, delta=1e-6), rows=20)
    judge(data, definition, rare=RareContent(minimum=5, n_codes=3, n_texts=0))  # bounded by the budget, so no reason
    bundle = release(data, COHORT, MARKOV)
    assert verify(bundle.folder).problems == () and bundle.tier == "private"
    spent = read_json(data.cohort(COHORT).generator(MARKOV).model / "model.json")["privacy"]["accounted"]
    assert 2.9 < spent["epsilon"] <= 3
    statement = bundle.statement.read_text(encoding="utf-8")
    assert f"{spent['epsilon']:.4g}" in statement and "rows and events" in statement
