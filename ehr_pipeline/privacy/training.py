"""DP-SGD: how every network of a private generator is trained, and the only place where it is.

Abadi et al. 2016 (https://arxiv.org/abs/1607.00133, algorithm 1): in each step each patient takes part by chance q,
the gradient of each patient's loss is clipped to a Euclidean norm of C, the sum of these gets Gaussian noise of
standard deviation sigma C. One patient moves the sum by at most C, so a step is a Gaussian mechanism of noise sigma
under Poisson sampling of rate q; the accounting (`accountant.py`) knows nothing else of the training.

What belongs here: the steps. What does not: networks and losses (`generators/`), what a step costs (`accountant.py`).

Opacus clips, adds up and adds noise (`DPOptimizer`). Its engine is not used: that takes q and the scale of a step from
the number of patients. Here q, C, sigma and the number of steps are public settings, gradients are sums, patients are
drawn anew in each step (there is no other sampler), and nothing is measured on the way: no loss, no best weights.
Gradients of single patients come from `torch.func`, which computes each patient's loss alone, whatever the layers.
Who takes part and the noise come from the operating system's entropy, never from a seed that is written down.

# NOTE[DIFF] Noise is a sum of normal numbers (Holohan and Braghin 2021, https://arxiv.org/abs/2107.10138), which
#   closes the known attack on floating point; the generator under it (a Mersenne twister, seeded with 64 bits of
#   entropy) is not a cryptographic one.
"""

from __future__ import annotations

import copy
import math
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ehr_pipeline.errors import CheckFailed, OptionError
from ehr_pipeline.privacy.budget import GaussianMechanism, PrivacyPlan
from ehr_pipeline.progress import Progress, Step, silent

STEPS_NAME = "clipped gradients of the network"
"""What the mechanism is called in plans and the ledger."""
MOST_NUMBERS = 2**24
"""Numbers that gradients of single patients take at once, so that memory does not grow with q or the table."""
AVERAGE_POWER = 8
"""The average of the weights is over about the last ninth of the steps (Shamir and Zhang 2013, section 4)."""
WARM_UP_STEPS = 10


class PatientNetwork(Protocol):
    """A network (`nn.Module`) that says how badly it does on each patient."""

    def losses(self, *batch: Tensor, share_done: float) -> Tensor:
        """The loss of each patient of a batch, of shape (n,), after `share_done` (0 to 1) of the training."""


@dataclass(frozen=True, kw_only=True)
class PrivateSteps:
    """How a network is trained: public settings, the same for any table.

    Attributes
    ----------
    mechanism
        Noise sigma, rate q and number of steps, as the plan has them.
    clip_norm
        Longest gradient of a patient, C.
    learning_rate, momentum
        Adam's rate at the start, which falls to zero evenly, and its first beta. Adam does not see the scale of
        gradients, so a sum over more patients takes no longer step.
    """

    mechanism: GaussianMechanism
    clip_norm: float
    learning_rate: float
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Refuse what the accounting does not cover.

        Raises
        ------
        OptionError
            q is not a chance, or there is no noise, no bound or no step.
        """
        one = self.mechanism
        if not 0 < one.sampling_rate < 1:
            raise OptionError("private_rate must lie between 0 and 1: patients take part by chance")
        if not (one.noise_multiplier > 0 and math.isfinite(one.noise_multiplier) and one.steps >= 1):
            raise OptionError("a private training needs noise and at least one step")
        if not (self.clip_norm > 0 and math.isfinite(self.clip_norm)):
            raise OptionError("private_clip_norm must be a number above 0: it bounds what one patient can do")


def steps_of(plan: PrivacyPlan) -> GaussianMechanism:
    """The part of a plan that trains a network."""
    return next(one for one in plan.mechanisms if one.name == STEPS_NAME)


def train_privately(
    network: nn.Module,
    data: tuple[Tensor, ...],
    steps: PrivateSteps,
    *,
    example: tuple[Tensor, ...],
    task: str,
    beside: Callable[[int], tuple[Tensor, ...]] | None = None,
    after_step: Callable[[int], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Fit `network` (a `PatientNetwork`) in place and leave it, in evaluation mode, with an average of its weights.

    Memory beside the data: `MOST_NUMBERS` float32 several times over.

    Parameters
    ----------
    data
        Tensors with exactly one entry per patient, on the network's device.
    example
        Some entries like those of `data`, made up: no patient's. On them it is checked that rows do not touch.
    beside
        What each patient of a batch is compared with: from the number of patients in it to tensors with as many
        entries, which come after those of `data`. It may know the network, but no patient.
    after_step
        Called with the number of steps done, from 1, before the next: it may use the network, but no patient.

    Raises
    ------
    CheckFailed
        Rows of a batch touch each other in the network, the steps were not those of the plan, or the weights are no
        longer numbers.
    """
    device, n_patients = data[0].device, len(data[0])
    chance = torch.Generator("cpu").manual_seed(secrets.randbits(63))
    optimizer = dp_optimizer(network, steps)
    average = copy.deepcopy(network).requires_grad_(requires_grad=False)
    progress, started, n_steps = progress or silent, time.monotonic(), 0
    network.train()
    with _unpredictable(device):
        require_rows_apart(network, example + (() if beside is None else beside(len(example[0]))))
        for step in range(steps.mechanism.steps):
            optimizer.param_groups[0]["lr"] = steps.learning_rate * _rate_share(step, steps.mechanism.steps)
            takes_part = torch.rand(n_patients, generator=chance, dtype=torch.float64) < steps.mechanism.sampling_rate
            rows = takes_part.nonzero()[:, 0].to(device)
            batch = tuple(tensor[rows] for tensor in data) + (() if beside is None else beside(len(rows)))
            private_step(network, batch, optimizer, share_done=step / steps.mechanism.steps)
            n_steps += 1
            _update_average(average, network, n_steps)
            if after_step is not None:
                after_step(n_steps)
            elapsed_s = time.monotonic() - started
            progress(Step(task=task, done=n_steps, total=steps.mechanism.steps, unit="step", elapsed_s=elapsed_s))
    if n_steps != steps.mechanism.steps:
        raise CheckFailed(f"{task}: {n_steps} private steps were taken where {steps.mechanism.steps} were planned")
    if not all(weight.isfinite().all() for weight in average.parameters()):
        raise CheckFailed(f"{task}: the weights are no longer numbers; lower private_learning_rate")
    network.load_state_dict(average.state_dict())
    network.eval()


def private_step(
    network: nn.Module, batch: tuple[Tensor, ...], optimizer: DPOptimizer, *, share_done: float = 0.0
) -> None:
    """One step: the clipped gradients of the batch's patients, their sum, its noise, new weights.

    A batch without patients is a step too: it is all noise.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    n_rows = max(1, MOST_NUMBERS // sum(weight.numel() for weight in weights))
    blocks = list(zip(*(tensor.split(n_rows) for tensor in batch), strict=True))
    for k, block in enumerate(blocks):
        optimizer.zero_grad()
        for weight, gradient in zip(weights, patient_gradients(network, block, share_done=share_done), strict=True):
            weight.grad_sample = gradient
        optimizer.signal_skip_step(do_skip=k + 1 < len(blocks))  # the last block of a step adds noise, once
        optimizer.step()


def patient_gradients(network: nn.Module, batch: tuple[Tensor, ...], *, share_done: float = 0.0) -> list[Tensor]:
    """The gradient of each patient's loss, of shape (n, *weight.shape) for each weight that learns.

    Each loss is computed as if its patient were the only one. What is not a number is 0: it would undo the clipping.
    """
    told = _Losses(network)
    weights = {name: weight.detach() for name, weight in told.named_parameters() if weight.requires_grad}
    if not len(batch[0]):
        return [weight.new_zeros(0, *weight.shape) for weight in weights.values()]

    def loss(weights: dict[str, Tensor], *patient: Tensor) -> Tensor:
        alone = tuple(entry[None] for entry in patient)
        return functional_call(told, weights, alone, {"share_done": share_done}).sum()

    in_dims = (None, *(0 for _ in batch))
    gradients = vmap(grad(loss), in_dims=in_dims, randomness="different")(weights, *batch)
    return [gradient.nan_to_num(0.0, 0.0, 0.0) for gradient in gradients.values()]


def require_rows_apart(network: nn.Module, example: tuple[Tensor, ...]) -> None:
    """Make sure that a row's loss does not depend on the other rows of its batch (no batch normalisation or the like).

    Raises
    ------
    CheckFailed
        Losses of the other rows change as one of them is replaced.
    """
    changed = tuple(torch.cat([tensor[:1], tensor[:1], tensor[2:]]) for tensor in example)
    losses = []
    seed = secrets.randbits(63)
    for rows in (example, changed):
        with torch.random.fork_rng(devices=_devices(rows[0].device)), torch.no_grad():
            torch.manual_seed(seed)
            losses.append(network.losses(*rows, share_done=1.0))
    others = torch.arange(len(example[0]), device=example[0].device) != 1
    if losses[0].shape != others.shape or not torch.allclose(
        losses[0][others], losses[1][others], rtol=1e-4, atol=1e-5
    ):
        raise CheckFailed(f"{type(network).__name__} mixes the rows of a batch: it cannot be trained in private")


class _Losses(nn.Module):
    """The network's losses as a forward pass, which `functional_call` wants."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *batch: Tensor, share_done: float) -> Tensor:
        return self.network.losses(*batch, share_done=share_done)


def dp_optimizer(network: nn.Module, steps: PrivateSteps) -> DPOptimizer:
    """Adam on clipped, summed, noisy gradients."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return DPOptimizer(
        torch.optim.Adam(weights, lr=steps.learning_rate, betas=(steps.momentum, 0.999)),
        noise_multiplier=steps.mechanism.noise_multiplier,
        max_grad_norm=steps.clip_norm,
        expected_batch_size=None,
        loss_reduction="sum",
        generator=torch.Generator(weights[0].device).manual_seed(secrets.randbits(63)),
        secure_mode=True,
    )


def _rate_share(step: int, n_steps: int) -> float:
    """The share of the full rate in a step: rises over the first, then falls evenly."""
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - step / n_steps)


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, n_steps: int) -> None:
    """Move the average towards the weights after `n_steps` (from 1) steps."""
    weight = 1 - (1 - 1 / n_steps) ** (AVERAGE_POWER + 1)
    for mean, new in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(new, weight)


@contextmanager
def _unpredictable(device: torch.device) -> Iterator[None]:
    """Seed torch by the operating system's entropy inside the block; what it was before is back after it."""
    with torch.random.fork_rng(devices=_devices(device)):
        torch.manual_seed(secrets.randbits(63))
        yield


def _devices(device: torch.device) -> list[int]:
    return [torch.cuda.current_device()] if device.type == "cuda" else []
