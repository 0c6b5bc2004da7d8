"""The adversarial network keeps what the independent columns lose, and gives the column that it is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn

from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import TabularGANConfig
from ehr_pipeline.generators.gan_networks import Critic, Moments, RowGenerator
from ehr_pipeline.generators.gan_rows import RowLayout
from ehr_pipeline.generators.tabular_gan import Adversaries, TabularGAN, _plan
from ehr_pipeline.generators.training import seeded
from ehr_pipeline.progress import Step
from ehr_pipeline_tests.generators.tables import medicore_cohort, mixed_cohort

CPU = torch.device("cpu")
QUICK = TabularGANConfig(updates=160, batch_rows=256, hidden=64, head=32, critic_hidden=128, device="cpu")


class Interrupted(Exception):
    """What a test throws in place of a killed process."""


@pytest.fixture(scope="module")
def cohort():
    return medicore_cohort(3000)


@pytest.fixture(scope="module")
def fitted(cohort):
    return TabularGAN.fit(cohort, QUICK)


@pytest.fixture(scope="module")
def drawn(fitted):
    return fitted.sample(4000, seed=1)


@pytest.fixture(scope="module")
def layout(cohort):
    return RowLayout.of(TableCodec.fit(cohort.schema, cohort.table, cohort.subject_id))


def real_rows(layout, table) -> torch.Tensor:
    return layout.vectors(*map(torch.from_numpy, layout.encoded(table)))


def loud(network: nn.Module) -> nn.Module:
    """The same network with no weight at its quiet start."""
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    return network


def test_marginals_are_kept(cohort, drawn):
    for name in ("age", "bmi", "hba1c", "cholesterol", "systolic_bp", "creatinine"):
        # Samples of 3,000 and 4,000 of one distribution are 0.033 apart one time in twenty.
        assert ks_2samp(cohort.table[name], drawn[name]).statistic < 0.045, name
    for name in ("diabetes", "treatment", "adverse_event"):
        assert abs(cohort.table[name].mean() - drawn[name].mean()) < 0.03, name


def test_dependence_is_kept(cohort, drawn):
    numbers = cohort.table.columns.drop("sex")
    real = np.corrcoef(cohort.table[numbers].to_numpy(dtype=float).T)
    ours = np.corrcoef(drawn[numbers].to_numpy(dtype=float).T)
    above = np.triu_indices(len(numbers), 1)
    # Independent columns are 0.11 off on average; two real samples of this size are 0.015 apart.
    assert np.abs(real - ours)[above].mean() < 0.06


def test_rows_are_not_copies_of_training_rows(cohort, drawn):
    real = set(map(tuple, cohort.table.astype(str).to_numpy()))
    assert not sum(row in real for row in map(tuple, drawn.astype(str).to_numpy()))


def test_given_column_is_set_and_the_others_follow_it(fitted):
    young, old = (fitted.sample(3000, seed=2, conditions={"age": age}) for age in (35, 75))
    assert young.attrs["acceptance_rate"] == old.attrs["acceptance_rate"] == 1.0
    assert (old["age"] == 75).all()
    # Of the simulated patients 37 % and 77 % have a heart disease at these ages.
    assert old["cvd"].mean() - young["cvd"].mean() > 0.25


def test_common_condition_is_met_by_rejection(fitted, drawn):
    ill = fitted.sample(2000, seed=2, conditions={"diabetes": 1})
    assert (ill["diabetes"] == 1).all()
    assert ill.attrs["acceptance_rate"] == pytest.approx(drawn["diabetes"].mean(), abs=0.05)
    # Of the simulated patients the diabetic have 0.21 more of HbA1c than all.
    assert ill["hba1c"].mean() > drawn["hba1c"].mean() + 0.1


def test_of_two_conditions_the_rarer_is_given(fitted):
    both = fitted.sample(500, seed=2, conditions={"age": 60, "hypertension": 0})
    assert (both[["age", "hypertension"]] == [60, 0]).all(axis=None)
    assert 0.2 < both.attrs["acceptance_rate"] < 0.9


def test_training_starts_at_independent_columns(layout):
    with seeded(0, CPU), torch.no_grad():
        rows, ranks, shares = RowGenerator(layout, TabularGANConfig())(20_000)
    wanted = np.concatenate([layout.shares(piece) for piece in layout.choices])
    assert np.allclose(shares.numpy(), wanted, atol=1e-5)
    assert ranks.mean(dim=0).abs().max() < 0.03
    assert (ranks.std(dim=0) - 1).abs().max() < 0.03
    # The largest of 66 correlations of 20,000 independent pairs is below 4 / sqrt(20,000) = 0.028.
    entries = np.corrcoef(rows[:, [piece.start for piece in layout.pieces]].T)
    assert np.abs(entries[np.triu_indices(len(entries), 1)]).max() < 0.03


def test_given_entries_come_out_as_they_were_told(layout, cohort):
    real = real_rows(layout, cohort.table.head(50))
    given = torch.zeros(50, len(layout.pieces))
    given[torch.arange(50), torch.arange(50) % len(layout.pieces)] = 1.0
    with seeded(0, CPU), torch.no_grad():
        rows, _, _ = loud(RowGenerator(layout, TabularGANConfig()))(50, given, real)
    told = given[:, layout.column_of_entry] > 0
    assert torch.equal(rows[told], real[told])
    assert not torch.equal(rows, real)


def test_what_is_not_given_is_not_seen(layout, cohort):
    real = real_rows(layout, cohort.table.head(64))
    generator = loud(RowGenerator(layout, TabularGANConfig()))
    given = torch.zeros(64, len(layout.pieces))
    given[:, 3] = 1.0
    other = torch.where(given[:, layout.column_of_entry] > 0, real, real.flip(0))
    with torch.no_grad():
        drawn = []
        for rows in (real, other):
            with seeded(3, CPU):
                drawn.append(generator(64, given, rows)[0])
    assert torch.equal(*drawn)


def test_drawn_one_hots_are_hard_and_numbers_fall_on_heavy_values(cohort):
    mixed = mixed_cohort(600)
    schema = mixed.schema.without(["note", "number"])
    layout = RowLayout.of(TableCodec.fit(schema, mixed.table, mixed.subject_id))
    with seeded(0, CPU), torch.no_grad():
        rows, _, _ = loud(RowGenerator(layout, TabularGANConfig()))(400)
    for piece in layout.choices:
        one_hot = rows[:, piece.start + piece.has_rank : piece.start + piece.width]
        assert torch.equal(one_hot.sort(dim=1).values[:, -1], torch.ones(400))
        assert torch.equal(one_hot.sum(dim=1), torch.ones(400))
    visits = layout.pieces[schema.names.index("visits")]
    real = real_rows(layout, mixed.table)[:, visits.start]
    apart = (rows[:, visits.start, None] - real.unique()[None, :]).abs().min(dim=1).values
    assert visits.n_levels == 0
    assert apart.max() < 1e-5


def test_rows_do_not_touch_each_other_in_the_critic(layout, cohort):
    real = real_rows(layout, cohort.table.head(8))
    given = torch.zeros(8, len(layout.pieces))
    critic = loud(Critic(layout, TabularGANConfig()))
    assert torch.allclose(critic(real, given)[:1], critic(real[:1], given[:1]), atol=1e-4)
    assert critic.losses(real, real.flip(0), given, 10.0).shape == (8,)


@pytest.mark.parametrize(("slope", "penalty"), [(0.5, 0.0), (3.0, 40.0)])
def test_only_slopes_above_one_are_punished(layout, slope, penalty):
    class Slope(Critic):
        def forward(self, rows, given):
            return slope * rows[:, 0]

    real, fake = torch.randn(5, layout.width), torch.randn(5, layout.width)
    losses = Slope(layout, TabularGANConfig()).losses(real, fake, torch.zeros(5, len(layout.pieces)), 10.0)
    # 10 * (3 - 1)^2 = 40
    assert torch.allclose(losses, slope * (fake - real)[:, 0] + penalty, atol=1e-3)


def told(layout, real):
    """Every second row, with its fourth column given."""
    given = torch.zeros(len(real) // 2, len(layout.pieces))
    given[:, 3] = 1.0
    return real[::2], given


def test_real_rows_are_no_distance_from_their_own_moments(layout, cohort):
    real = real_rows(layout, cohort.table)
    rows, given = told(layout, real)
    moments = Moments(layout, lambda: real.split(1000), [(rows, given)])
    given = torch.cat([torch.zeros(len(real), given.shape[1]), given])
    assert moments(torch.cat([real, rows]), given, len(rows), 1)[1] < 1e-8
    shuffled = torch.stack([column[torch.randperm(len(real))] for column in real.T], dim=1)
    assert moments(torch.cat([shuffled, rows]), given, len(rows), 1)[1] > 0.01
    # Nothing but what follows the given column is off.
    assert moments(torch.cat([real, shuffled[::2]]), given, len(rows), 1)[1] > 0.01


def test_slope_of_the_match_is_that_of_the_distance(layout, cohort):
    real = real_rows(layout, cohort.table)
    moments = Moments(layout, lambda: [real], [told(layout, real)])
    rows = torch.randn(40, layout.width, requires_grad=True)
    (slope,) = torch.autograd.grad(moments(rows, torch.zeros(40, len(layout.pieces)), 0, 1)[0], rows)
    scaled = (rows[:, moments.entries] - moments.mean) / moments.scale
    error = torch.cat([scaled.T @ scaled / 40, scaled.mean(dim=0, keepdim=True)]) - moments.wanted[0]
    (wanted,) = torch.autograd.grad(error.square().sum() / len(moments.entries), rows)
    assert torch.allclose(slope, wanted, rtol=1e-3, atol=1e-5)


def test_average_never_holds_the_start(layout, cohort):
    real = real_rows(layout, cohort.table)
    networks = Adversaries(layout, TabularGANConfig(), Moments(layout, lambda: [real], []))
    with torch.no_grad():
        networks.generator.logits.fill_(5.0)
    networks.update_average(1)
    assert torch.equal(networks.average.logits, networks.generator.logits)
    with torch.no_grad():
        networks.generator.logits.fill_(6.0)
    networks.update_average(2)
    # A weight of 1 - (1 / 2)^8 for the second.
    assert torch.allclose(networks.average.logits, torch.full_like(networks.average.logits, 6 - 2**-8))


def test_interrupted_training_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr("ehr_pipeline.generators.checkpoint.SECONDS_BETWEEN", 0.0)
    config = TabularGANConfig(updates=40, device="cpu", batch_rows=64, hidden=16, head=8, critic_hidden=16)

    def stop_in_epoch_five(step: Step) -> None:
        if step.done == 5:
            raise Interrupted

    whole = TabularGAN.fit(mixed_cohort(100), config)
    with pytest.raises(Interrupted):
        TabularGAN.fit(mixed_cohort(100), config, progress=stop_in_epoch_five, checkpoint=tmp_path / "checkpoint")
    epochs: list[int] = []
    resumed = TabularGAN.fit(
        mixed_cohort(100), config, progress=lambda step: epochs.append(step.done), checkpoint=tmp_path / "checkpoint"
    )
    assert epochs[0] == 6
    assert [record["loss"] for record in resumed.history] == [record["loss"] for record in whole.history]
    assert resumed.sample(100, seed=0).equals(whole.sample(100, seed=0))


@pytest.mark.parametrize(("n", "updates"), [(30, 200), (1000, 200), (5000, 976), (50_000, 1500), (2_000_000, 7812)])
def test_few_patients_are_passed_over_less_often_and_many_twice(n, updates):
    # 100 passes of 5,000 rows are 976 batches of 512; two passes of 2,000,000 are 7,812.
    plan = _plan(n, TabularGANConfig())
    assert plan.n_epochs * plan.updates_per_epoch == pytest.approx(updates, abs=40)


def test_history_has_a_loss_per_epoch(fitted):
    assert [record["epoch"] for record in fitted.history] == list(range(1, len(fitted.history) + 1))
    assert {"loss", "moments", "rows_per_s"} <= set(fitted.history[0])
    assert fitted.history[-1]["moments"] < 0.2 * fitted.history[0]["moments"]
