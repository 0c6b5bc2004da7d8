"""What a private training promises: written down first, said first, kept to, and spent whatever becomes of it."""

import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import BudgetExceeded, CheckFailed, DefinitionError, LedgerBroken, OptionError
from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.generators.independent import Independent
from ehr_pipeline.generators.train import load_model, train
from ehr_pipeline.privacy.account import Account, asked_budget, verify_ledger
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.privacy.statement import ledger_lines
from ehr_pipeline.record import Column, Schema
from ehr_pipeline.storage import DataFolder, read_json

BUDGET = Budget(epsilon=1.0, delta=1e-5)
SCHEMA = Schema(
    columns=(
        Column(name="age", kind="integer", minimum=18, maximum=95, missing=False),
        Column(name="ill", kind="binary", missing=False),
        Column(name="site", kind="categorical"),
        Column(name="dose", kind="continuous"),
        Column(name="seen", kind="time"),
    )
)


def cohort(n=500):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": pd.array(rng.integers(18, 95, n), dtype="Int64"),
            "ill": pd.array(rng.integers(0, 2, n), dtype="Int8"),
            "site": pd.Series(rng.choice(["a", "b"], n), dtype="str"),
            "dose": rng.normal(size=n),
            "seen": pd.Series(pd.Timestamp("2020-01-01").as_unit("us") + pd.to_timedelta(np.arange(n), unit="D")),
        }
    )
    return TrainingCohort(schema=SCHEMA, table=table, subject_id=np.arange(n))


@pytest.fixture
def data(tmp_path):
    return DataFolder(tmp_path / "data")


@pytest.fixture
def account(data):
    return Account(data=data, why="a test")


def fit(account, budget=BUDGET, say=lambda line: None):
    return train(
        "independent", cohort(), None, account.data.cohort("one").generator("independent"), budget=budget,
        account=account, say=say,
    )  # fmt: skip


def test_what_will_be_spent_is_written_and_said_before_the_fit(account, monkeypatch):
    said, at_fit = [], []
    whole = Independent.fit

    def fitting(*arguments, **named):
        at_fit.append((list(said), [row.epsilon for row in account.ledger.entries()]))
        return whole(*arguments, **named)

    monkeypatch.setattr(Independent, "fit", fitting)
    summary = fit(account, say=said.append)
    assert at_fit == [(said, [1.0])]
    assert said[0].startswith("privacy: epsilon ") and "1e-05" in said[0]
    (row,) = account.ledger.verify([summary.ledger_entry])
    assert (row.source, row.generator, row.kind, row.why) == ("one", "independent", "spend", "a test")
    assert row.mechanisms == summary.privacy and row.data_fingerprint == summary.data_fingerprint
    assert PrivacyPlan.of_record(row.mechanisms).accounted.epsilon == pytest.approx(1.0, rel=1e-3)
    card = read_json(account.data.cohort("one").generator("independent").model / "model.json")
    assert card["ledger_entry"] == row.id and card["n_patients"] == card["n_rows"] == summary.n_patients


def test_columns_that_nothing_public_is_known_of_are_left_out_of_a_private_fit_alone(account):
    assert fit(account).left_out == ["site", "dose", "seen"]
    assert fit(account, budget=None).left_out == []


def test_a_fit_beyond_the_cap_does_not_begin_and_the_old_model_stands(account, monkeypatch):
    account.data.root.mkdir()
    account.data.policy.write_text("epsilon_cap: 1.5\n")
    fit(account)
    monkeypatch.setattr(Independent, "fit", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(BudgetExceeded, match="cap of 1.5"):
        fit(account)
    assert len(account.ledger.entries()) == 1
    assert load_model(account.data.cohort("one").generator("independent")).schema.names == ["age", "ill"]


def test_a_fit_that_fails_stays_spent(account, monkeypatch):
    monkeypatch.setattr(Independent, "fit", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    for _ in range(2):
        with pytest.raises(MemoryError):
            fit(account)
    assert account.ledger.totals()[0].epsilon == 2.0


KILLED_AT_THE_FIT = """
import os, signal, sys
from ehr_pipeline.generators.independent import Independent
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.privacy.test_account import Account, fit
Independent.fit = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
fit(Account(data=DataFolder.find(sys.argv[1]), why="a test"))
"""


def test_a_process_that_dies_between_ledger_and_fit_has_spent(account):
    done = subprocess.run([sys.executable, "-c", KILLED_AT_THE_FIT, str(account.data.root)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert [row.epsilon for row in account.ledger.verify()] == [1.0]
    assert not account.data.models()


def test_a_fit_that_does_not_keep_to_its_plan_leaves_no_model(account, monkeypatch):
    whole = Independent.fit

    def careless(learned, config, budget, progress=None, **named):
        return whole(learned, config, Budget(epsilon=2 * budget.epsilon, delta=budget.delta), progress, **named)

    monkeypatch.setattr(Independent, "fit", careless)
    with pytest.raises(CheckFailed, match="thrown away"):
        fit(account)
    assert not account.data.models() and account.ledger.totals()[0].epsilon == 1.0


def test_there_is_no_private_training_without_a_ledger():
    folder = DataFolder.find("/proc/nowhere").cohort("one").generator("independent")
    with pytest.raises(OptionError, match="ledger"):
        train("independent", cohort(), None, folder, budget=BUDGET)


def test_a_training_without_a_budget_is_written_down_as_internal(account):
    summary = fit(account, budget=None)
    (row,) = account.ledger.entries()
    assert row.kind == "internal" and row.id == summary.ledger_entry and np.isinf(row.epsilon)
    assert account.ledger.totals()[0].epsilon == 0.0
    assert "infinity once released" in "\n".join(ledger_lines(account.data))
    account.ledger.mark_released(row.id, what="bundle", why="a test")
    assert any("epsilon  spent  infinity" in line for line in ledger_lines(account.data))


def test_models_bear_witness_against_a_ledger_that_was_made_anew(account):
    fit(account)
    assert "1 models bear witness" in verify_ledger(account.data)
    for path in (account.ledger.path, account.ledger.head):
        path.unlink()
    with pytest.raises(LedgerBroken, match="kept elsewhere"):
        verify_ledger(account.data)


def test_an_unreadable_policy_stops_a_private_fit(account):
    account.data.root.mkdir()
    account.data.policy.write_text("epsilon_cap: plenty\n")
    with pytest.raises(DefinitionError, match="epsilon_cap"):
        fit(account)
    assert not account.ledger.exists


def test_whose_patients_they_are_is_recorded_with_who_said_so(data):
    fit(Account(data=data, why="a test", universe="hospital B"))
    (row,) = Account(data=data, why="").ledger.entries()
    assert row.universe == "hospital B" and row.is_stated
    assert any(f"was stated by {row.who}" in line for line in ledger_lines(data))


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "\x1b[2J", "x" * 65])
def test_a_universe_has_a_name_that_fits_on_a_line(data, name):
    with pytest.raises(OptionError, match="--universe"):
        Account(data=data, why="", universe=name)


def test_the_ledgers_lines_cannot_move_a_terminals_cursor(account):
    fit(Account(data=account.data, why="\x1b[2J\nnext"))
    text = "\n".join(ledger_lines(account.data))
    assert "\x1b" not in text and "\\x1b[2J\\nnext" in text


@pytest.mark.parametrize(
    ("epsilon", "delta", "names"),
    [(0, None, "--epsilon"), (-1, None, "--epsilon"), (float("nan"), None, "--epsilon"), (float("inf"), None, "--eps"),
     (1, 0, "--delta"), (1, 1, "--delta"), (1, float("nan"), "--delta"), (None, 1e-6, "--epsilon")],
)  # fmt: skip
def test_what_is_no_budget_is_refused(epsilon, delta, names):
    with pytest.raises(OptionError, match=names):
        asked_budget(epsilon, delta)


def test_delta_has_a_default_and_no_epsilon_is_no_budget():
    assert asked_budget(1.0, None) == Budget(epsilon=1.0, delta=1e-6)
    assert asked_budget(None, None) is None
