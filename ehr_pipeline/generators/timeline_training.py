"""How the network of timelines is trained: batches of pieces, rate, clipping, bf16, several processes.

What belongs here: one training. What does not: the loss (`timeline_batches.py`), epochs and checkpoints
(`training.py`).

Under `torchrun` each process takes its share of every batch, and gradients are averaged over all patients' events; the
weights stay equal, since all begin at the same ones.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ehr_pipeline.generators.base import Device
from ehr_pipeline.generators.checkpoint import Checkpoint, TrainingState
from ehr_pipeline.generators.configs import TimelineTransformerConfig
from ehr_pipeline.generators.timeline_batches import batches, piece_losses
from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_network import N_NUMBER, TimelineNetwork
from ehr_pipeline.generators.timeline_sequences import Sequences
from ehr_pipeline.generators.training import Plan, pick_device, split_rows, train_epochs
from ehr_pipeline.progress import Progress

WARM_UP = 60
"""Steps in which the rate rises."""
LOWEST_RATE = 0.02
"""Share of the full rate at the end."""
FEWEST_UPDATES = 400
"""Steps that a small file gets at least."""
BETAS = (0.9, 0.98)
MOST_LOGITS = 1 << 24
"""Logits, or numbers that they are made of, that a step keeps at a time."""


def train_timelines(
    network: TimelineNetwork,
    sequences: Sequences,
    goals: Goals,
    config: TimelineTransformerConfig,
    *,
    task: str,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> list[dict[str, float]]:
    """Fit `network` in place, and leave it in evaluation mode with the weights of the best epoch.

    Call it inside `training.seeded`. All tensors are on the network's device.

    Returns
    -------
    list of dict
        One record per epoch: epoch, loss and its parts per event in nats, validation_loss, events_per_s.

    Raises
    ------
    CheckFailed
        The loss is no longer a number.
    """
    device = sequences.code.device
    length, patient = sequences.length.cpu(), sequences.patient.cpu().numpy()
    training, validation = (torch.from_numpy(pieces) for pieces in split_rows(patient, config))
    rank, world = _processes(device)
    if device.type == "cuda":
        for block in network.blocks:
            block.compile(dynamic=True)
    n_positions = _positions(network, config)
    n_batches = sum(1 for _ in batches(length, training, n_positions, shuffled=False))
    wanted = max(config.passes * n_batches, FEWEST_UPDATES)
    n_epochs = max(1, min(math.ceil(wanted / n_batches), round(config.updates / n_batches)))
    plan = Plan(n_rows=len(training), batch_rows=len(training), updates_per_epoch=1, n_epochs=n_epochs)
    optimizer = torch.optim.AdamW(
        [
            {"params": [weight for weight in network.parameters() if weight.ndim > 1]},
            {"params": [weight for weight in network.parameters() if weight.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=BETAS,
        fused=True,
    )
    state = TrainingState(network, optimizer, device)

    def train_epoch() -> dict[str, float]:
        started, total, n_events = time.monotonic(), torch.zeros(3, device=device), 0
        network.train()
        order = list(batches(length, training, n_positions, shuffled=True))
        for k, pieces in enumerate(order):
            done = state.epoch * len(order) + k
            rate = _rate(done, done / (n_epochs * len(order)))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * rate
            total += _step(state, sequences, goals, pieces, config, rank=rank, world=world)
            n_events += int(length[pieces].sum())
        parts = (total / n_events).tolist()
        record = {"loss": sum(parts), "gap_loss": parts[0], "code_loss": parts[1], "value_loss": parts[2]}
        if len(validation):
            record["validation_loss"] = _validate(network, sequences, goals, validation, config)
        return record | {"events_per_s": n_events / (time.monotonic() - started)}

    kept = None
    if checkpoint is not None:
        kept = Checkpoint.of(checkpoint, config, (sequences.code, sequences.minute, sequences.slot), patient)
    train_epochs(state, plan, train_epoch, task=task, patience=config.patience, progress=progress, checkpoint=kept)
    if world > 1:
        torch.distributed.destroy_process_group()
    return state.history


def _positions(network: TimelineNetwork, config: TimelineTransformerConfig) -> int:
    """Events of a step: fewer where there are many codes or many values of a code."""
    n_codes, n_slots = network.slot_z.shape
    return max(1, min(config.batch_events, MOST_LOGITS // n_codes, MOST_LOGITS // (N_NUMBER * n_slots)))


def _step(
    state: TrainingState,
    sequences: Sequences,
    goals: Goals,
    pieces: Tensor,
    config: TimelineTransformerConfig,
    *,
    rank: int,
    world: int,
) -> Tensor:
    """One update; the summed losses of gaps, codes and values, (3,)."""
    network, optimizer, device = state.network, state.optimizer, state.device
    n_events = int(sequences.length[pieces.to(device)].sum())
    total = torch.zeros(3, device=device)
    optimizer.zero_grad(set_to_none=True)
    for part in pieces[rank::world].chunk(config.accumulate):
        if not len(part):  # a process may have nothing to do in a small batch
            continue
        with mixed_precision(device):
            losses = piece_losses(network, sequences, goals, part.to(device), config.plan_noise).sum(dim=0)
        (losses.sum() / n_events).backward()
        total += losses.detach()
    if world > 1:
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            torch.distributed.all_reduce(weight.grad)
        torch.distributed.all_reduce(total)
    nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    optimizer.step()
    return total


@torch.no_grad()
def _validate(
    network: TimelineNetwork,
    sequences: Sequences,
    goals: Goals,
    validation: Tensor,
    config: TimelineTransformerConfig,
) -> float:
    """Loss per event of the validation pieces."""
    network.eval()
    length = sequences.length.cpu()
    losses = [
        piece_losses(network, sequences, goals, pieces.to(sequences.code.device)).sum()
        for pieces in batches(length, validation, _positions(network, config), shuffled=False)
    ]
    return float(torch.stack(losses).sum() / length[validation].sum())


def mixed_precision(device: torch.device) -> AbstractContextManager:
    """bf16 on a GPU; on a processor casting costs what it saves (measured: 7 % slower, with AMX)."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _rate(done: int, share: float) -> float:
    """The share of the full rate: up, then down as a cosine."""
    fall = LOWEST_RATE + (1 - LOWEST_RATE) * 0.5 * (1 + math.cos(math.pi * share))
    return min(1.0, (done + 1) / WARM_UP) * fall


def own_device(wish: Device) -> torch.device:
    """The device of this process: under `torchrun` each has a GPU of its own.

    Raises
    ------
    OptionError
        A GPU is asked for and there is none.
    """
    device = pick_device(wish)
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


def _processes(device: torch.device) -> tuple[int, int]:
    """The number of this process and how many there are: more than one under `torchrun` alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return int(os.environ.get("RANK", "0")), world


def shares(sequences: Sequences, n_slots: np.ndarray, n_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How common slots of each code, steps, and codes are: (V, K), (steps,) and (V,)."""
    code, slot, step = (part.cpu().numpy() for part in (sequences.code, sequences.slot, sequences.step))
    n_codes, widest = len(n_slots), int(n_slots.max())
    counts = np.bincount(code * widest + slot, minlength=n_codes * widest).reshape(n_codes, widest).astype(np.float64)
    counts += 0.5 * (np.arange(widest) < n_slots[:, None])
    by_code = np.bincount(code, minlength=n_codes) / len(code)
    return counts / counts.sum(axis=1, keepdims=True), np.bincount(step, minlength=n_steps) / len(step), by_code
