"""A cohort that may be released: trained, sampled, checked and reported for real; its evaluation is written by hand.

Attacks need thousands of patients to find their plants, and minutes; what is tested here is the gate that reads them.
"""

import functools
import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.cohort import load_definitions
from ehr_pipeline.cohort.population import FlowStep
from ehr_pipeline.cohort.summary import CohortSummary
from ehr_pipeline.evaluate.cohort import data_hashes
from ehr_pipeline.evaluate.result import Attack, Evaluation, Score
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.generators.cohort_data import load_training_cohort
from ehr_pipeline.generators.train import train
from ehr_pipeline.privacy.account import Account
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.record import Column, Schema
from ehr_pipeline.release import spending
from ehr_pipeline.report.cohort import report_cohort
from ehr_pipeline.sanity.real import check_prepared
from ehr_pipeline.sanity.sample import sample_cohort
from ehr_pipeline.storage import DataFolder, read_json, write_json, write_parquet

HOSTILE = "=HYPERLINK(1)<script>alert(1)</script>"
FORMULA = "=1+1"
N_PATIENTS = 437
SCHEMA = Schema(
    columns=(
        Column(name="age", kind="continuous", minimum=18, maximum=95, decimals=1, missing=False),
        Column(name="sex", kind="categorical", levels=("F", "M"), missing=False, role="sensitive"),
        Column(name="change", kind="continuous", minimum=-5, maximum=5, decimals=1),
        Column(name=HOSTILE, kind="categorical", levels=(FORMULA, "@x", "<img src=x onerror=alert(1)>"), missing=False),
        Column(name="died", kind="binary", missing=False, role="outcome"),
    )
)
DEFINITION = """
title: Patients & <b>others</b>
index: admission
window: {until: admission}
features: {age: {fact: age}}
"""


@pytest.fixture(scope="session", autouse=True)
def _accounts_once():
    """The accountants take a second and give the same answer each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spending, "accounted", functools.cache(spending.accounted))
        yield


@pytest.fixture(scope="session")
def definition(tmp_path_factory):
    folder = tmp_path_factory.mktemp("definitions")
    (folder / "small.yaml").write_text(DEFINITION)
    return load_definitions([folder])["small"]


@pytest.fixture(scope="session")
def releasable(tmp_path_factory, definition):
    """A data folder whose cohort `small` has a private and a non-private model that may both be released."""
    data = DataFolder(tmp_path_factory.mktemp("releasable") / "data")
    prepare(data, definition)
    chain(data, definition, "independent", Budget(epsilon=1.0, delta=1e-6))
    return data


@pytest.fixture
def data(releasable, tmp_path):
    """A data folder of its own for one test."""
    shutil.copytree(releasable.root, tmp_path / "data")
    return DataFolder(tmp_path / "data")


def prepare(data, definition):
    """The prepared cohort, as the stages before training leave it."""
    rng = np.random.default_rng(1)
    folder, ids = data.cohort("small"), np.arange(1, N_PATIENTS + 1)
    table = pd.DataFrame(
        {
            "subject_id": ids,
            "age": rng.uniform(18, 95, N_PATIENTS).round(1),
            "sex": rng.choice(["F", "M"], N_PATIENTS),
            "change": rng.normal(0, 1.5, N_PATIENTS).clip(-5, 5).round(1),
            HOSTILE: rng.choice(SCHEMA[HOSTILE].levels, N_PATIENTS),
            "died": rng.integers(0, 2, N_PATIENTS),
        }
    )
    side = np.where(ids % 3 == 0, "holdout", "train")
    write_parquet(folder.prepared_table, table)
    write_parquet(folder.split, pd.DataFrame({"subject_id": ids, "split": side}))
    write_json(folder.schema, SCHEMA.model_dump(mode="json"))
    write_json(data.ingest_manifest, {"summary": {"tables": {}}})
    summary = CohortSummary(
        cohort="small",
        title=definition.title,
        definition_sha256=definition.fingerprint,
        n_members=N_PATIENTS,
        n_patients=N_PATIENTS,
        n_train_patients=int((side == "train").sum()),
        n_holdout_patients=int((side == "holdout").sum()),
        n_events=0,
        flow=(FlowStep(criterion="Admissions", n_index_events=N_PATIENTS, n_patients=N_PATIENTS),),
        impossible_values={},
    )
    write_json(folder.summary, summary.as_dict())
    check_prepared(folder)


def chain(data, definition, generator, budget=None):
    """Train, sample, judge (by hand), report."""
    folder = data.cohort("small")
    account = Account(data=data, why="a test")
    train(generator, load_training_cohort(folder), None, folder.generator(generator), budget=budget, account=account)
    sample_cohort(folder, generator)
    judge(data, definition, generator)


def score(name, dimension="privacy", value=0.01, threshold=0.02, verdict="passed", **more):
    return Score(name=name, dimension=dimension, value=value, threshold=threshold, verdict=verdict, **more)


def attack(name, scores, found_plant=True):
    return Attack(
        name=name, question="?", score_names=scores, planted_share=0.01, planted_value=0.9, planted_score=scores[0],
        found_plant=found_plant,
    )  # fmt: skip


SCORES = (
    score("exact_copies_train"),
    score("membership_tpr_at_1%[all]"),
    score("membership_auc[all]", value=0.51, threshold=0.53, verdict="diagnostic"),
    score("c2st_auc", "fidelity", 0.913, 0.667, "failed"),
)
ATTACKS = (
    attack("exact copies", ["exact_copies_train"]),
    attack("membership", ["membership_tpr_at_1%[all]", "membership_auc[all]"]),
)


def judge(data, definition, generator, *, scores=SCORES, attacks=ATTACKS, **provenance):
    """Write an evaluation of what stands there now, and the report of it."""
    folder = data.cohort("small")
    evaluation = Evaluation(
        scores={one.name: one for one in scores}, columns=[], correlation=None, two_sample=[], tasks=[],
        attacks=list(attacks), subgroups=[], epidemiology=[], effect=None,
        n_rows={"train": 200, "holdout": 100, "synthetic": 300},
        provenance=data_hashes(folder, generator)
        | {
            "definition_sha256": definition.fingerprint, "thresholds": asdict(Thresholds()), "seed": 0,
            "made_at": "2026-01-01T00:00:00+00:00",
        }
        | provenance,
    )  # fmt: skip
    write_json(folder.generator(generator).scores, evaluation.model_dump(mode="json"))
    report_cohort(data, definition)


def edit(path, change):
    """Change a JSON file in place, as somebody with an editor would."""
    content = read_json(path)
    change(content)
    write_json(path, content)
