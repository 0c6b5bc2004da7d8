"""The variational autoencoder keeps what the independent columns lose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression
from torch import nn

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import TabularVAEConfig
from ehr_pipeline.generators.tabular_vae import AutoencoderNetwork, TabularVAE
from ehr_pipeline.generators.training import seeded
from ehr_pipeline_tests.generators.tables import medicore_cohort, mixed_cohort


@pytest.fixture(scope="module")
def cohort():
    return medicore_cohort(4000)


@pytest.fixture(scope="module")
def fitted(cohort):
    return TabularVAE.fit(cohort, TabularVAEConfig(updates=500, device="cpu"))


@pytest.fixture(scope="module")
def drawn(fitted):
    return fitted.sample(4000, seed=1)


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
        together = network.logits(network.encode(levels, gaussian)[0], levels)
        alone = network.logits(network.encode(levels[:1], gaussian[:1])[0], levels[:1])
    for one, among_others in zip(alone, together, strict=True):
        assert torch.allclose(one, among_others[:1], atol=1e-4)


def test_training_starts_at_independent_columns(cohort):
    codec = TableCodec.fit(cohort.schema, cohort.table, cohort.subject_id)
    network = AutoencoderNetwork(codec, TabularVAEConfig(latent=3))
    levels = torch.from_numpy(codec.levels(cohort.table.head(5)))
    for logits, wanted in zip(network.logits(torch.randn(5, 3), levels), codec.level_shares, strict=True):
        assert np.allclose(logits.softmax(1).detach().numpy(), wanted, atol=1e-5)


@pytest.fixture
def network(cohort):
    """An untrained network whose every weight matters, and the levels of ten rows."""
    codec = TableCodec.fit(cohort.schema, cohort.table, cohort.subject_id)
    with seeded(0, torch.device("cpu")):
        network = AutoencoderNetwork(codec, TabularVAEConfig()).eval()
        nn.init.normal_(network.heads.weight, std=0.1)
        nn.init.normal_(network.earlier.weight, std=0.5)
    return network, torch.from_numpy(codec.levels(cohort.table.head(10)))


def test_a_column_reads_those_before_it_and_no_other(network):
    network, levels = network
    z = torch.randn(10, 12)
    changed = levels.clone()
    changed[:, 7] = 1 - changed[:, 7]  # diabetes
    pairs = zip(network.logits(z, levels), network.logits(z, changed), strict=True)
    same = [torch.equal(before, after) for before, after in pairs]
    assert same == [True] * 8 + [False] * 4


def test_what_is_drawn_column_by_column_has_the_chances_of_the_whole(network):
    network, levels = network
    z = torch.randn(10, 12)
    every = dict(enumerate(levels[0].tolist()))
    drawn, chance = network.draw(z, torch.Generator().manual_seed(0), every)
    assert torch.equal(drawn, levels[:1].expand(10, -1))
    shares = [logits.softmax(1)[:, every[k]] for k, logits in enumerate(network.logits(z, drawn))]
    assert torch.allclose(chance, torch.stack(shares).prod(0), rtol=1e-4)


def test_a_rare_condition_is_met_for_less_than_its_share_and_moves_what_depends_on_it(cohort, fitted):
    rare = fitted.sample(2000, 0, {"diabetes": 1, "hypertension": 1, "cvd": 1, "sex": "F", "age": 80})
    sick = (cohort.table[["diabetes", "hypertension", "cvd"]] == 1).all(axis=1)
    assert (rare[["diabetes", "hypertension", "cvd"]] == 1).all(axis=None)
    assert rare.attrs["acceptance_rate"] > 0.05
    assert abs(rare["hba1c"].mean() - cohort.table.loc[sick, "hba1c"].mean()) < 0.3


def log_odds(table):
    """Of an adverse event under treatment, adjusted for whom it is given to."""
    names = ["treatment", "age", "diabetes", "hypertension", "cvd"]
    features = table[names].to_numpy(dtype=float) / [1, 15, 1, 1, 1]
    return LogisticRegression(C=np.inf).fit(features, table["adverse_event"].to_numpy(dtype=int)).coef_[0, 0]


@pytest.mark.slow
def test_the_effect_of_a_treatment_does_not_depend_on_the_seed():
    cohort = medicore_cohort(10_000)
    wanted = log_odds(cohort.table)
    for seed in range(3):
        fitted = TabularVAE.fit(cohort, TabularVAEConfig(seed=seed, updates=600, device="cpu"))
        # Two tables of 40,000 and 10,000 rows differ by 0.05 one time in three.
        assert abs(log_odds(fitted.sample(40_000, 0)) - wanted) < 0.15


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
