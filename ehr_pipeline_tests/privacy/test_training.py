"""DP-SGD: patients take part by chance, are clipped one by one, and nothing else of them reaches the weights.

The two-world audit runs the trainer itself on the worst data: a patient whose gradient is always clipped and stands
at a right angle to all others. Losses are linear, so that every step is a run of the same mechanism.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from ehr_pipeline.errors import CheckFailed, OptionError
from ehr_pipeline.privacy import training
from ehr_pipeline.privacy.accountant import accounted
from ehr_pipeline.privacy.budget import GaussianMechanism
from ehr_pipeline.privacy.lower_bounds import epsilon_lower_bound
from ehr_pipeline.privacy.training import (
    STEPS_NAME,
    PrivateSteps,
    dp_optimizer,
    patient_gradients,
    private_step,
    require_rows_apart,
    train_privately,
)

SURE = 1 - 1e-7
FEW = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.5, 0.0]])
DELTA = 1e-5


class Linear(nn.Module):
    """The loss of a row x is -w.x, so that its gradient is -x whatever the weights are."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def losses(self, x: Tensor, *, share_done: float) -> Tensor:
        return -x @ self.weight


class Deep(nn.Module):
    """Two layers, and noise of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1))

    def losses(self, x: Tensor, *, share_done: float) -> Tensor:
        return (self.layers(x)[:, 0] - x.sum(dim=1)).square()


class Mixing(Deep):
    """Looks harmless: no batch normalisation, but a mean over the batch."""

    def losses(self, x: Tensor, *, share_done: float) -> Tensor:
        return super().losses(x - x.mean(dim=0), share_done=share_done)


class Normalised(Deep):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))


def steps_of(*, noise: float = 1.0, rate: float = 0.5, steps: int = 20, clip_norm: float = 1.0) -> PrivateSteps:
    mechanism = GaussianMechanism(name=STEPS_NAME, noise_multiplier=noise, sampling_rate=rate, steps=steps)
    return PrivateSteps(mechanism=mechanism, clip_norm=clip_norm, learning_rate=0.1)


def noisy_sums(data: Tensor, steps: PrivateSteps) -> np.ndarray:
    """What each step of a training leaves behind: the noisy sum of clipped gradients, float of shape (steps, width)."""
    network, sums = Linear(data.shape[1]), []
    example = (torch.arange(8.0)[:, None].expand(8, data.shape[1]),)
    train_privately(
        network,
        (data,),
        steps,
        example=example,
        task="test",
        after_step=lambda step: sums.append(network.weight.grad.clone()),
    )
    return torch.stack(sums).numpy()


# The audit -----------------------------------------------------------------------------------------------------------

N_CANARIES = 100
AUDITED = steps_of(noise=1.0, rate=0.9, steps=60)


def proved(threshold: float) -> float:
    """Epsilon that one step proves: a canary's own coordinate passes a threshold, or does not.

    Each canary has a coordinate of its own and is drawn by its own chance, so each is a run of the mechanism of its
    own in each step: 6,000 in each world.
    """
    others = torch.zeros(3, N_CANARIES + 1)
    others[:, 0] = torch.tensor([1.0, -1.0, 0.5])
    canaries = 100.0 * torch.eye(N_CANARIES + 1)[1:]
    with_canaries, without = (
        -noisy_sums(data, AUDITED)[:, 1:].ravel() for data in (torch.cat([others, canaries]), others)
    )
    hits, false_hits = (int((world > threshold).sum()) for world in (with_canaries, without))
    return epsilon_lower_bound(hits, len(with_canaries), false_hits, len(without), delta=DELTA, confidence=SURE)


@pytest.fixture(scope="module")
def claimed() -> float:
    """What one step is said to spend."""
    one = GaussianMechanism(name=STEPS_NAME, noise_multiplier=1.0, sampling_rate=0.9)
    return accounted((one,), DELTA).epsilon


def test_worst_patient_proves_no_more_than_is_claimed(claimed):
    bound = proved(1.5)
    assert bound <= claimed
    assert bound > 0.7  # the audit sees something of a trainer that keeps its word, too


def test_a_trainer_with_a_tenth_of_the_noise_is_caught(claimed, monkeypatch):
    plain = training.dp_optimizer

    def quiet(network: nn.Module, steps: PrivateSteps) -> DPOptimizer:
        optimizer = plain(network, steps)
        optimizer.noise_multiplier *= 0.1
        return optimizer

    monkeypatch.setattr(training, "dp_optimizer", quiet)
    assert proved(0.5) > claimed


def test_a_trainer_without_clipping_is_caught(claimed, monkeypatch):
    def unclipped(optimizer: DPOptimizer) -> None:
        for weight in optimizer.params:
            weight.summed_grad = weight.grad_sample.sum(dim=0)

    monkeypatch.setattr(DPOptimizer, "clip_and_accumulate", unclipped)
    assert proved(50.0) > claimed


# Each patient alone --------------------------------------------------------------------------------------------------


def test_batch_of_patients_has_a_gradient_row_for_each():
    network = Deep()
    for n in (0, 1, 5):
        gradients = patient_gradients(network, (torch.randn(n, 3),))
        assert [tuple(g.shape) for g in gradients] == [(n, *w.shape) for w in network.parameters()]


def test_gradient_of_a_patient_does_not_change_with_another():
    network, x = Deep(), torch.randn(6, 3)
    changed = x.clone()
    changed[2] = 50.0
    others = torch.arange(6) != 2
    pairs = zip(patient_gradients(network, (x,)), patient_gradients(network, (changed,)), strict=True)
    assert all(torch.equal(one[others], other[others]) for one, other in pairs)


def test_gradients_are_those_of_each_loss_alone():
    network, x = Deep(), torch.randn(4, 3)
    together = patient_gradients(network, (x,))
    for i in range(4):
        alone = torch.autograd.grad(network.losses(x[i : i + 1], share_done=0.0).sum(), list(network.parameters()))
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[i], other)


@pytest.mark.parametrize("network", [Mixing(), Normalised()])
def test_a_network_that_mixes_rows_is_refused_before_a_patient_is_seen(network):
    seen = []
    with pytest.raises(CheckFailed, match="mixes the rows"):
        train_privately(
            network,
            (torch.randn(20, 3),),
            steps_of(),
            example=(torch.randn(8, 3),),
            task="test",
            after_step=seen.append,
        )
    assert not seen


def test_a_network_that_keeps_rows_apart_passes():
    require_rows_apart(Deep(), (torch.randn(8, 3),))


def test_one_patient_moves_a_sum_by_the_clip_norm_at_most():
    steps = steps_of(noise=1e-9, clip_norm=2.0)
    for row, norm in (([3e8, 4e8], 2.0), ([0.3, 0.4], 0.5), ([float("nan"), 5.0], 2.0), ([float("inf"), 0.0], 0.0)):
        network = Linear()
        private_step(network, (torch.tensor([row]),), dp_optimizer(network, steps))
        assert float(network.weight.grad.norm()) == pytest.approx(norm, abs=1e-5)


def test_without_noise_and_with_room_a_step_is_the_plain_one():
    network, x = Deep(), torch.randn(10, 3)
    plain = torch.autograd.grad(network.losses(x, share_done=0.0).sum(), list(network.parameters()))
    private_step(network, (x,), dp_optimizer(network, steps_of(noise=1e-12, clip_norm=1e4)))
    for weight, gradient in zip(network.parameters(), plain, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-4)


def test_blocks_of_a_batch_come_to_the_same_sum_and_one_noise(monkeypatch):
    x, steps = torch.randn(50, 3), steps_of(noise=1e-9, clip_norm=0.5)
    network = Deep()
    start = {name: weight.clone() for name, weight in network.state_dict().items()}
    private_step(network, (x,), dp_optimizer(network, steps))
    whole = [weight.grad.clone() for weight in network.parameters()]
    network.load_state_dict(start)
    n_weights = sum(weight.numel() for weight in network.parameters())
    monkeypatch.setattr(training, "MOST_NUMBERS", 7 * n_weights)
    private_step(network, (x,), dp_optimizer(network, steps))
    for weight, gradient in zip(network.parameters(), whole, strict=True):
        torch.testing.assert_close(weight.grad, gradient)
    monkeypatch.setattr(training, "MOST_NUMBERS", 7 * 200)
    # With noise: its spread is that of one draw, however many blocks there are.
    noisy = steps_of(noise=3.0, rate=0.999, steps=10)
    sums = noisy_sums(torch.zeros(50, 200), noisy)
    assert 2.5 < sums.std() < 3.5


# Rate, scale, steps --------------------------------------------------------------------------------------------------


def test_patients_take_part_by_chance_at_the_public_rate_and_nobody_may_be_there():
    n, rate, n_steps = 6, 0.2, 500
    sizes = []

    def beside(size: int) -> tuple[Tensor]:
        sizes.append(size)
        return (torch.zeros(size, 2),)

    class Paired(Linear):
        def losses(self, x: Tensor, drawn: Tensor, *, share_done: float) -> Tensor:
            return -(x - drawn) @ self.weight

    example = (torch.randn(8, 2),)
    steps = steps_of(rate=rate, steps=n_steps)
    train_privately(Paired(), (torch.randn(n, 2),), steps, example=example, task="test", beside=beside)
    sizes = np.array(sizes[1:])  # the first is of the check before the training
    assert len(sizes) == n_steps
    assert abs(sizes.mean() - n * rate) < 6 * np.sqrt(n * rate * (1 - rate) / n_steps)
    assert abs(sizes.var() - n * rate * (1 - rate)) < 0.45
    assert (sizes == 0).any()


@pytest.mark.parametrize("n", [1, 100, 101])
def test_one_more_patient_changes_neither_noise_nor_the_scale_of_a_step(n):
    """Sums, not means: whatever n is, the noise of a step is sigma C, and a patient adds C."""
    sums = noisy_sums(torch.zeros(n, 300), steps_of(noise=2.0, steps=20, clip_norm=3.0))
    assert abs(sums.std() - 6.0) < 6 * 6.0 / np.sqrt(2 * sums.size)
    row = torch.tensor([[0.0, 0.0, 10.0]]).expand(n, 3)
    sums = noisy_sums(row, steps_of(noise=1e-6, steps=100, clip_norm=3.0))[:, 2]
    share = -sums.mean() / (3.0 * n)
    assert abs(share - 0.5) < 6 * 0.5 / np.sqrt(100 * n)


def test_rates_of_learning_are_the_same_for_any_table(monkeypatch):
    rates: list[float] = []
    monkeypatch.setattr(
        training,
        "private_step",
        lambda network, batch, optimizer, *, share_done: rates.append(optimizer.param_groups[0]["lr"]),
    )
    for n in (50, 51):
        train_privately(Linear(), (torch.zeros(n, 2),), steps_of(), example=(torch.randn(8, 2),), task="test")
    assert rates[:20] == rates[20:]


def test_two_trainings_with_one_seed_differ():
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        network = Linear()
        train_privately(network, (FEW,), steps_of(), example=(torch.randn(8, 2),), task="test")
        weights.append(network.weight.detach())
    assert not torch.equal(*weights)


def test_random_state_outside_is_left_as_it_was_and_nothing_is_measured_on_the_way():
    before, told = torch.get_rng_state(), []
    train_privately(Linear(), (FEW,), steps_of(steps=7), example=(FEW,), task="test", progress=told.append)
    assert torch.equal(before, torch.get_rng_state())
    assert [step.done for step in told] == list(range(1, 8))
    assert all(step.total == 7 and step.values is None for step in told)


def test_trained_network_is_in_evaluation_mode_with_numbers_for_weights_and_learned_what_it_should():
    network = Linear()
    data = torch.tensor([[1.0, -1.0]]).expand(2000, 2)
    train_privately(network, (data,), steps_of(steps=100), example=(torch.randn(8, 2),), task="test")
    assert not network.training
    assert network.weight[0] > 1 > -1 > network.weight[1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rate": 1.0}, "private_rate"),
        ({"rate": 0.0}, "private_rate"),
        ({"noise": 0.0}, "noise"),
        ({"noise": float("inf")}, "noise"),
        ({"steps": 0}, "step"),
        ({"clip_norm": 0.0}, "private_clip_norm"),
        ({"clip_norm": float("inf")}, "private_clip_norm"),
    ],
)
def test_settings_that_the_accounting_does_not_cover_are_refused(change, named):
    with pytest.raises(OptionError, match=named):
        steps_of(**change)


def test_there_is_no_way_to_bring_another_sampler_or_seed():
    parameters = set(inspect.signature(train_privately).parameters)
    assert parameters == {"network", "data", "steps", "example", "task", "beside", "after_step", "progress"}


def test_weights_that_are_no_numbers_are_said(monkeypatch):
    monkeypatch.setattr(training, "_rate_share", lambda step, n_steps: float("nan"))
    with pytest.raises(CheckFailed, match="no longer numbers"):
        train_privately(Linear(), (FEW,), steps_of(), example=(FEW,), task="test")
