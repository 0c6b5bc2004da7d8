"""The training loop that all networks share: batches, rate, clipping, validation by patient, best weights.

What belongs here: how a network is fitted, whatever it is. What does not: networks and losses (each in its
generator's file), how an interrupted fit goes on (`checkpoint.py`), any path.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ehr_pipeline.errors import CheckFailed, OptionError, ResourceShort
from ehr_pipeline.generators.base import Device
from ehr_pipeline.generators.checkpoint import Checkpoint, TrainingState
from ehr_pipeline.generators.configs import TrainedConfig
from ehr_pipeline.progress import Progress, Step, silent

FEWEST_PATIENTS_TO_VALIDATE = 20
MOST_PATIENTS_TO_VALIDATE = 20_000
N_EPOCHS_AT_LEAST = 40
"""On small tables an epoch is several passes, so that there are about this many, whatever the table's size."""
UPDATES_PER_EPOCH = (50, 100)
"""Where the rate waits for a plateau, an epoch is one pass, but no fewer and no more updates than these."""
WARM_UP_UPDATES = 50
PLATEAU_EPOCHS = 2
"""So many epochs without a gain are a plateau."""


class Network(nn.Module):
    """A network that says how badly it does on each row."""

    def losses(self, *batch: Tensor, share_done: float) -> Tensor:
        """The loss of each row, of shape (rows,), after `share_done` (0 to 1) of the training.

        Rows do not touch each other: the gradient of one row does not depend on the others in its batch.
        """
        raise NotImplementedError


def pick_device(wish: Device) -> torch.device:
    """The device that a config asks for; `auto` takes a GPU where there is one.

    Raises
    ------
    OptionError
        A GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if wish == "cuda" and not has_gpu:
        raise OptionError("device cuda was asked for and there is no GPU that torch can use; choose auto or cpu")
    return torch.device("cuda" if has_gpu and wish != "cpu" else "cpu")


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block (weights, dropout, noise, order); what it was before is back after it."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread of the processor inside the block; the old number is back after it.

    Steps of these small networks gain nothing from a second thread (measured: 1.1 times slower on two idle cores), and
    lose much on busy ones (10 times), where threads wait for each other.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


@contextmanager
def enough_memory(task: str, mend: str) -> Iterator[None]:
    """Turn the ways in which torch and numpy run out of memory into one line.

    Raises
    ------
    ResourceShort
        Memory ran out; the message carries `mend`.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise ResourceShort(f"{task}: memory ran out; {mend}") from None
    except RuntimeError as error:
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise ResourceShort(f"{task}: memory ran out; {mend}") from None


def data_tensors(device: torch.device, *arrays: np.ndarray) -> tuple[Tensor, ...]:
    """The arrays as tensors that stay on the device for the whole training."""
    return tuple(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)


def train_network(
    network: Network,
    data: tuple[Tensor, ...],
    subject_id: np.ndarray,
    config: TrainedConfig,
    *,
    task: str,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, float]]:
    """Fit `network` in place and leave it, in evaluation mode, with the weights of the best epoch.

    Call it inside `seeded`: every random number comes from torch's generator of the device.

    Parameters
    ----------
    data
        Tensors with one entry per row, on the network's device; a batch is the same rows of each.
    subject_id
        The patient of each row, of shape (rows,). All rows of a patient train, or all validate.
    checkpoint
        Where the state is kept between epochs, so that an interrupted fit goes on as if it had not been.

    Returns
    -------
    list of dict
        One record per epoch: epoch, loss, validation_loss (where enough patients validate), rows_per_s.

    Raises
    ------
    CheckFailed
        The loss is no longer a number.
    """
    device = data[0].device
    training, validation = (torch.from_numpy(rows).to(device) for rows in split_rows(subject_id, config))
    plan = Plan.of(len(training), config)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    state = TrainingState(network, optimizer, device)

    def train_epoch() -> dict[str, float]:
        record = {"loss": _train_epoch(state, data, training, plan, config)}
        if len(validation):
            record["validation_loss"] = _validate(network, data, validation, plan.batch_rows)
        return record

    train_epochs(
        state, plan, train_epoch, task=task, patience=config.patience, progress=progress, checkpoint=checkpoint
    )
    return state.history


def train_epochs(
    state: TrainingState,
    plan: Plan,
    train_epoch: Callable[[], dict[str, float]],
    *,
    task: str,
    patience: int,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train epoch after epoch, as `train_epoch` does one and measures it, and leave the weights of the best.

    Each epoch is told, recorded in `state.history` and kept; `train_network` says of what. Without a
    validation_loss in the records the last epoch is the best.

    Raises
    ------
    CheckFailed
        A loss is no longer a number.
    """
    if checkpoint is not None:
        checkpoint.restore(state)
    progress, started, first_epoch = progress or silent, time.monotonic(), state.epoch
    while state.epoch < plan.last_epoch(state.history) and not state.is_over(patience):
        epoch_started = time.monotonic()
        if state.epoch and state.epoch == plan.plateau(state.history):
            state.load_best()  # the rate falls from the best weights, not from those that overfit since
        record = {"epoch": state.epoch + 1, **train_epoch()}
        if not all(math.isfinite(value) for value in record.values()):
            raise CheckFailed(f"{task}: the loss is no longer a number in epoch {state.epoch + 1}; lower learning_rate")
        record["rows_per_s"] = plan.rows_per_epoch / (time.monotonic() - epoch_started)
        state.end_epoch(record, is_best=plan.plateau(state.history) is not None)
        if checkpoint is not None:
            checkpoint.keep(state)
        values = {name: value for name, value in record.items() if name != "epoch"}
        elapsed_s = (time.monotonic() - started) * state.epoch / (state.epoch - first_epoch)
        total = plan.last_epoch(state.history)
        progress(Step(task=task, done=state.epoch, total=total, unit="epoch", elapsed_s=elapsed_s, values=values))
    state.load_best()
    state.network.eval()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many steps of how many rows, and at which rate.

    An epoch is one pass over the training rows; on small tables several, so that validation and checkpoints don't
    outweigh the steps. The rate falls as a cosine over all epochs.

    With `least_gain` the rate stays up until the validation loss is on a plateau, then falls to zero in half as many
    epochs again, and the last weights are kept: hard tables train long, easy ones stop early, with nothing to tune
    (Hu et al. 2024, https://arxiv.org/abs/2404.06395, section 4: warm-up, stable, decay). The epoch of the best
    likelihood would be too early for a generator: there dependences are still shrunk.
    """

    n_rows: int
    batch_rows: int
    updates_per_epoch: int
    n_epochs: int
    """Epochs at most."""
    least_gain: float | None = None

    @classmethod
    def of(cls, n_rows: int, config: TrainedConfig) -> Plan:
        """The plan for a table of `n_rows` training rows."""
        batch_rows = min(config.batch_rows, max(16, n_rows // 16), n_rows)
        updates_per_pass = n_rows // batch_rows
        updates_per_epoch = max(updates_per_pass, config.updates // N_EPOCHS_AT_LEAST, 1)
        if config.least_gain is not None:
            fewest, most = UPDATES_PER_EPOCH
            updates_per_epoch = min(max(updates_per_pass, fewest), most)
        n_epochs = max(2, round(config.updates / updates_per_epoch))
        return cls(
            n_rows=n_rows,
            batch_rows=batch_rows,
            updates_per_epoch=updates_per_epoch,
            n_epochs=n_epochs,
            least_gain=config.least_gain,
        )

    @property
    def rows_per_epoch(self) -> int:
        """Rows that go through the network in one epoch of training."""
        return self.updates_per_epoch * self.batch_rows

    def plateau(self, history: list[dict[str, float]]) -> int | None:
        """The epoch after which the rate falls, once it is known: the last `PLATEAU_EPOCHS` gained too little."""
        if self.least_gain is None:
            return None
        losses = [record.get("validation_loss", record["loss"]) for record in history]
        for epoch in range(PLATEAU_EPOCHS + 1, len(losses) + 1):
            before, since = losses[: epoch - PLATEAU_EPOCHS], losses[epoch - PLATEAU_EPOCHS : epoch]
            if min(before) - min(since) < self.least_gain:
                return epoch
        latest = 2 * self.n_epochs // 3
        return latest if len(losses) >= latest else None

    def last_epoch(self, history: list[dict[str, float]]) -> int:
        """The epoch that ends the training, as far as it is known."""
        plateau = self.plateau(history)
        return self.n_epochs if plateau is None else min(self.n_epochs, plateau + max(2, plateau // 2))

    def rate_share(self, history: list[dict[str, float]], update: int) -> float:
        """The share of the full rate in an update of the epoch that comes after `history`."""
        done = len(history) * self.updates_per_epoch + update
        if self.least_gain is None:
            return 0.5 * (1 + math.cos(math.pi * done / (self.n_epochs * self.updates_per_epoch)))
        plateau = self.plateau(history)
        if plateau is None:
            return min(1.0, (done + 1) / WARM_UP_UPDATES)
        return 1 - (done / self.updates_per_epoch - plateau) / (self.last_epoch(history) - plateau)


def split_rows(subject_id: np.ndarray, config: TrainedConfig) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on, int64; no patient has both. Few patients all train."""
    patients, index = np.unique(subject_id, return_inverse=True)
    n_validate = min(round(len(patients) * config.validation_share), MOST_PATIENTS_TO_VALIDATE)
    if len(patients) < FEWEST_PATIENTS_TO_VALIDATE:
        n_validate = 0
    validates = np.zeros(len(patients), dtype=bool)
    validates[np.random.default_rng(config.seed).permutation(len(patients))[:n_validate]] = True
    return np.flatnonzero(~validates[index]), np.flatnonzero(validates[index])


def _train_epoch(
    state: TrainingState, data: tuple[Tensor, ...], training: Tensor, plan: Plan, config: TrainedConfig
) -> float:
    """One epoch; returns the mean loss of its rows."""
    network, optimizer = state.network.train(), state.optimizer
    total = torch.zeros((), device=training.device)
    n_updates = plan.n_epochs * plan.updates_per_epoch
    for k, rows in enumerate(_batches(training, plan)):
        share_done = (state.epoch * plan.updates_per_epoch + k) / n_updates
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * plan.rate_share(state.history, k)
        with torch.autocast(training.device.type, torch.bfloat16, enabled=training.device.type == "cuda"):
            loss = network.losses(*(tensor[rows] for tensor in data), share_done=share_done).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimizer.step()
        total += loss.detach()
    return float(total) / plan.updates_per_epoch


def _batches(training: Tensor, plan: Plan) -> Iterator[Tensor]:
    """The rows of each step of an epoch, without replacement inside a pass."""
    n_passes = math.ceil(plan.rows_per_epoch / len(training))
    order = torch.cat([torch.randperm(len(training), device=training.device) for _ in range(n_passes)])
    yield from training[order[: plan.rows_per_epoch]].split(plan.batch_rows)


@torch.no_grad()
def _validate(network: Network, data: tuple[Tensor, ...], validation: Tensor, batch_rows: int) -> float:
    """Mean loss of the validation rows, with the same noise in every epoch."""
    network.eval()
    with seeded(0, validation.device):
        losses = [
            network.losses(*(tensor[rows] for tensor in data), share_done=1.0)
            for rows in validation.split(max(batch_rows, 4096))
        ]
    return float(torch.cat(losses).mean())
