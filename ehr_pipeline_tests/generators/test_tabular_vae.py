"""The variational autoencoder keeps what the independent columns lose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.configs import TabularVAEConfig
from ehr_pipeline.generators.tabular_vae import AutoencoderNetwork, TabularVAE
from ehr_pipeline_tests.generators.tables import medicore_cohort, mixed_cohort


@pytest.fixture(scope="module")
def cohort():
    return medicore_cohort(4000)


@pytest.fixture(scope="module")
def drawn(cohort):
    return TabularVAE.fit(cohort, TabularVAEConfig(updates=800, device="cpu")).sample(4000, seed=1)


def test_marginals_are_kept(cohort, drawn):
    for name in ("age", "bmi", "hba1c", "cholesterol", "systolic_bp", "creatinine"):
        # Two samples of 4,000 of one distribution are 0.030 apart one time in twenty.
        assert ks_2samp(cohort.table[name], drawn[name]).statistic < 0.045, name
    for name in ("diabetes", "treatment", "adverse_event"):
        assert abs(cohort.table[name].mean() - drawn[name].mean()) < 0.03, name


def test_dependence_is_kept(cohort, drawn):
    numbers = cohort.table.columns.drop("sex")
    real = np.corrcoef(cohort.table[numbers].to_numpy(dtype=float).T)
    ours = np.corrcoef(drawn[numbers].to_numpy(dtype=float).T)
    above = np.triu_indices(len(numbers), 1)
    # Independent columns are 0.11 off on average; two real samples of 4,000 are 0.013 apart.
    assert np.abs(real - ours)[above].mean() < 0.05


def test_rows_are_not_copies_of_training_rows(cohort, drawn):
    real = set(map(tuple, cohort.table.astype(str).to_numpy()))
    assert not sum(row in real for row in map(tuple, drawn.astype(str).to_numpy()))


def test_rows_do_not_touch_each_other_in_training():
    torch.manual_seed(0)
    shares = [np.full(3, 1 / 3), np.full(2, 0.5)]
    network = AutoencoderNetwork(shares, 1, TabularVAEConfig(beta=1e-9))
    network.eval()
    levels, gaussian = torch.tensor([[0, 1], [2, 0], [1, 1]]), torch.randn(3, 1)
    alone = network.encode(levels[:1], gaussian[:1])[0]
    assert torch.allclose(alone, network.encode(levels, gaussian)[0][:1], atol=1e-6)


def test_training_starts_at_independent_columns():
    shares = [np.array([0.2, 0.8]), np.array([0.1, 0.3, 0.6])]
    network = AutoencoderNetwork(shares, 0, TabularVAEConfig())
    for logits, wanted in zip(network.logits(torch.randn(5, 12)), shares, strict=True):
        assert np.allclose(logits.softmax(1).detach().numpy(), wanted, atol=1e-6)


def test_history_has_a_loss_per_epoch(cohort):
    history = TabularVAE.fit(mixed_cohort(200), TabularVAEConfig(updates=40, device="cpu")).history
    assert [record["epoch"] for record in history] == list(range(1, len(history) + 1))
    assert {"loss", "validation_loss"} <= set(history[0])


def test_faithful_variant_collapses_as_the_case_study_does(cohort, tmp_path):
    faithful = TabularVAE.fit(cohort, TabularVAEConfig(updates=150, device="cpu", faithful=True))
    drawn = faithful.sample(3000, seed=0)
    assert list(drawn.columns) == list(cohort.table.columns)
    assert drawn["age"].std() < 0.2 * cohort.table["age"].std()
    faithful.save(tmp_path)
    assert TabularVAE.load(tmp_path).sample(3000, seed=0).equals(drawn)
    with pytest.raises(OptionError, match="takes no conditions"):
        faithful.sample(10, 0, {"diabetes": 1})


def test_faithful_variant_runs_on_every_kind_of_column():
    faithful = TabularVAE.fit(mixed_cohort(100), TabularVAEConfig(updates=20, device="cpu", faithful=True))
    assert len(faithful.sample(30, seed=0)) == 30
