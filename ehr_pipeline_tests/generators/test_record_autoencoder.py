"""The record autoencoder trains by itself, and gives held-out patients back better than anybody's embedding would."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ehr_pipeline.generators.category_autoencoder import CategoryAutoencoder
from ehr_pipeline.generators.configs import EHRSafeConfig, TrainedConfig
from ehr_pipeline.generators.plan_decoder import Plans
from ehr_pipeline.generators.record_arrays import Learned, learn_records
from ehr_pipeline.generators.record_autoencoder import RecordAutoencoder
from ehr_pipeline.generators.training import seeded, train_network
from ehr_pipeline_tests.generators.cohorts import timeline_cohort
from ehr_pipeline_tests.timelines.events import stays

CPU = torch.device("cpu")
N_TRAIN = 180
CONFIG = EHRSafeConfig(hidden=48, latent=12, stamps_weight=2.0, latent_noise=0.2, device="cpu")


def network_of(parts: Learned) -> RecordAutoencoder:
    records = parts.records
    network = RecordAutoencoder(
        parts.layout,
        parts.statics,
        CategoryAutoencoder(parts.layout.tokens),
        CategoryAutoencoder(parts.statics.tokens),
        CONFIG,
        n_rare=0,
        bit_shares=records.bits.mean(dim=0),
        stamp_shares=records.stamp_shares(),
        window_minutes=1440,
    )
    network.records = records
    return network


@pytest.fixture(scope="module")
def trained() -> tuple[RecordAutoencoder, list[dict[str, float]]]:
    """Trained on most stays; the rest are held out. Each bed has its weight, and each sex its age."""
    cohort = timeline_cohort(stays(N_TRAIN + 60))
    parts = learn_records(cohort, events_per_patient=10_000, exact=False, gap_levels=16, rng=np.random.default_rng(0))
    settings = TrainedConfig(updates=160, batch_rows=24, learning_rate=4e-3)
    with seeded(0, CPU):
        network = network_of(parts)
        patients = torch.arange(N_TRAIN)
        return network, train_network(network, (patients,), patients.numpy(), settings, task="records")


def test_losses_are_told_and_fall(trained):
    _, history = trained
    assert {"loss", "validation_loss"} <= history[0].keys()
    assert history[-1]["validation_loss"] < 0.7 * history[0]["validation_loss"]


@torch.no_grad()
def test_held_out_patients_are_given_back_from_their_own_embedding(trained):
    network, _ = trained
    held_out = torch.arange(N_TRAIN, N_TRAIN + 60)
    own = network.encode(held_out)
    of_own, _, _ = network.reconstruction(own, held_out)
    of_other, _, _ = network.reconstruction(own.roll(1, dims=0), held_out)
    assert float(of_own.mean()) < float(of_other.mean()) - 3.0  # nats
    with seeded(0, CPU):
        drawn = network.plan.draw(own)
    wanted = Plans.of(network.records, held_out)
    weight = network.layout.features.index("WEIGHT")
    assert float((drawn.levels - wanted.levels)[:, weight].abs().mean()) < 0.5  # of a standard deviation
    assert float((drawn.static_z - wanted.static_z).abs().mean()) < 0.7
    assert float((drawn.bits == wanted.bits).float().mean()) > 0.95


@torch.no_grad()
def test_gaps_and_time_stamps_of_held_out_patients_cost_less_than_before_training(trained):
    network, _ = trained
    held_out = torch.arange(N_TRAIN, N_TRAIN + 60)
    with seeded(1, CPU):
        fresh = network_of(
            Learned(
                layout=network.layout,
                statics=_statics(network),
                others=None,
                most_stamps=0,
                notes=(),
                records=network.records,
            )
        )
    costs = [one.reconstruction(one.encode(held_out), held_out)[1:] for one in (network, fresh)]
    for after, before in zip(*costs, strict=True):
        assert float(after.mean()) < 0.6 * float(before.mean())


@torch.no_grad()
def test_drawn_stays_keep_the_hours_the_weight_and_the_end(trained):
    network, _ = trained
    rng = np.random.default_rng(0)
    with seeded(0, CPU):
        embedding = network.encode(torch.arange(N_TRAIN))
        drawn = network.draw(embedding, network.plan.draw(embedding), 40, rng)
    per_stay = np.bincount(drawn.patient, minlength=N_TRAIN)
    assert 22 <= np.median(per_stay) <= 30
    assert np.isin(drawn.minute % 60, [0, 30]).mean() > 0.9
    assert (drawn.minute <= 1440).all()
    assert (np.diff(drawn.minute)[np.diff(drawn.patient) == 0] > 0).all()
    weight = network.layout.features.index("WEIGHT")
    has = drawn.mask[:, weight]
    spread = [np.ptp(drawn.z[has & (drawn.patient == one), weight]) for one in np.unique(drawn.patient[has])]
    assert np.median(spread) < 0.2


@torch.no_grad()
def test_after_the_match_plans_of_other_embeddings_have_each_bit_as_often_as_patients(trained):
    network, _ = trained
    start = network.plan.start.clone()
    with seeded(0, CPU):
        embedding = 1.5 * torch.randn(4096, CONFIG.latent) + 0.5
        network.plan.match(embedding)
        drawn = network.plan.draw(embedding).bits.mean(dim=0)
    network.plan.start.copy_(start)
    torch.testing.assert_close(drawn, network.plan.bit_shares, atol=0.03, rtol=0)


@torch.no_grad()
def test_embeddings_differ_between_patients_as_much_in_each_number(trained):
    network, _ = trained
    embedding = network.encode(torch.arange(N_TRAIN))
    assert float(embedding.mean(dim=0).abs().max()) < 0.3
    assert 0.7 < float(embedding.std(dim=0).min()) <= float(embedding.std(dim=0).max()) < 1.4


@torch.no_grad()
def test_one_patient_s_loss_does_not_depend_on_the_others(trained):
    network, _ = trained
    few = torch.tensor([3, 50, 7])
    embedding = network.encode(few)
    together = torch.stack(network.reconstruction(embedding, few))
    for k in range(3):
        alone = torch.stack(network.reconstruction(embedding[k : k + 1], few[k : k + 1]))
        torch.testing.assert_close(alone[:, 0], together[:, k], atol=1e-2, rtol=1e-4)


@torch.no_grad()
def test_likelihoods_of_gaps_sum_to_1_with_the_chance_that_nothing_more_comes(trained):
    network, _ = trained
    stamp, records = network.stamp, network.records
    rows = torch.nonzero(records.is_end)[:1, 0]
    patients = torch.zeros(1, dtype=torch.int64)
    plans = Plans.of(records, patients)
    embedding = network.encode(patients)
    state = network._state(rows, patients, network._context(embedding, plans), plans, patients)
    levels = torch.arange(len(stamp.gap_edges))
    chances = [-stamp.gap_losses(state, torch.zeros(1), level[None], torch.tensor([False])) for level in levels]
    never = -stamp.gap_losses(state, torch.full((1,), 1e9), levels[:1], torch.tensor([True]))
    assert float(torch.cat([*chances, never]).exp().sum()) == pytest.approx(1.0, abs=1e-3)


def _statics(network: RecordAutoencoder):
    class Like:
        numbers = dict.fromkeys(range(network.plan.n_static))
        tokens = network.plan.categories.tokens
        never_misses = network.plan.never_misses.numpy()

    return Like
