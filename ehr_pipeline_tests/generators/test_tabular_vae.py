"""The variational autoencoder keeps what the independent columns lose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import TabularVAEConfig
from ehr_pipeline.generators.tabular_vae import AutoencoderNetwork, TabularVAE, _beta
from ehr_pipeline.generators.training import seeded
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


def test_rows_do_not_touch_each_other_in_training(cohort):
    codec = TableCodec.fit(cohort.schema, cohort.table, cohort.subject_id)
    rows = cohort.table.head(8)
    levels, gaussian = torch.from_numpy(codec.levels(rows)), torch.from_numpy(codec.gaussian(rows))
    with seeded(0, torch.device("cpu")):
        network = AutoencoderNetwork(codec, TabularVAEConfig(dropout=0.0)).train()
        nn.init.normal_(network.heads.weight)
        together = network.logits(network.encode(levels, gaussian)[0])
        alone = network.logits(network.encode(levels[:1], gaussian[:1])[0])
    for one, among_others in zip(alone, together, strict=True):
        assert torch.allclose(one, among_others[:1], atol=1e-4)


def test_training_starts_at_independent_columns(cohort):
    codec = TableCodec.fit(cohort.schema, cohort.table, cohort.subject_id)
    network = AutoencoderNetwork(codec, TabularVAEConfig(latent=3))
    for logits, wanted in zip(network.logits(torch.randn(5, 3)), codec.level_shares, strict=True):
        assert np.allclose(logits.softmax(1).detach().numpy(), wanted, atol=1e-5)


def test_fewer_patients_weigh_the_kl_term_more():
    config = TabularVAEConfig(beta=0.3)
    weights = [_beta(config, n) for n in (70, 3000, 12_500, 50_000, 2_000_000)]
    # 0.3 * sqrt(50,000 / 12,500) = 0.6; 1 at most, 0.3 at least.
    assert weights == pytest.approx([1.0, 1.0, 0.6, 0.3, 0.3])


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


@pytest.mark.parametrize(("n", "batch_rows", "said"), [(1, 512, "two rows"), (40, 1, "batch_rows")])
def test_faithful_variant_refuses_one_row_at_a_time_in_one_line(n, batch_rows, said):
    config = TabularVAEConfig(updates=20, device="cpu", faithful=True, batch_rows=batch_rows)
    with pytest.raises(DefinitionError, match=said):
        TabularVAE.fit(mixed_cohort(n), config)
