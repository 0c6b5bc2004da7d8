"""How an interrupted training goes on: its state in safetensors and JSON, put in place in one step.

What belongs here: what a training must remember between epochs, and writing and reading that. What does not:
the steps themselves (`training.py`). No pickle: neither `torch.save` nor `torch.load`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ehr_pipeline.generators.persistence import under
from ehr_pipeline.storage import atomic_folder

SECONDS_BETWEEN = 20.0
"""Seconds between two writings of a checkpoint, at least."""


class TrainingState:
    """A network in training: its weights, its optimiser, the best weights so far, the history."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.network = network
        self.optimizer = optimizer
        self.device = device
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    def end_epoch(self, record: dict[str, float], *, is_best: bool = False) -> None:
        """Add the record of an epoch, and keep the weights if they are said to be best, or none were better.

        Where nothing validates, the last are the best.
        """
        self.history.append(record)
        best = (
            self.history[self.best_epoch - 1].get("validation_loss", float("inf")) if self.best_epoch else float("inf")
        )
        if is_best or record.get("validation_loss", -float("inf")) < best:
            self.best_epoch = self.epoch
            self.best_weights = {name: weight.clone() for name, weight in self.network.state_dict().items()}

    def is_over(self, patience: int) -> bool:
        """Whether `patience` epochs went by without a better one."""
        return self.epoch - self.best_epoch >= patience

    def load_best(self) -> None:
        """Put the best weights back into the network."""
        self.network.load_state_dict(self.best_weights)

    def tensors(self) -> dict[str, Tensor]:
        """All of it that is a tensor, random number generators included."""
        tensors = {f"network.{name}": weight for name, weight in self.network.state_dict().items()}
        tensors |= {f"best.{name}": weight for name, weight in self.best_weights.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        return tensors

    def load(self, tensors: dict[str, Tensor], history: list[dict[str, float]], best_epoch: int) -> None:
        """Become the state that `tensors`, `history` and `best_epoch` were taken from."""
        self.network.load_state_dict(under("network.", tensors))
        self.best_weights = {name: weight.to(self.device) for name, weight in under("best.", tensors).items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in under("optimizer.", tensors).items():
            index, _, moment = name.partition(".")
            state.setdefault(int(index), {})[moment] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"])
        self.history, self.best_epoch = history, best_epoch


@dataclass(kw_only=True)
class Checkpoint:
    """A folder that keeps the state of one training.

    Parameters
    ----------
    folder
        Where it lies; replaced as a whole.
    fingerprint
        What identifies data, patients and config; a state of another training is not taken up.
    every_s
        Seconds between two writings.
    """

    folder: Path
    fingerprint: str
    every_s: float
    _last_kept: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls,
        folder: Path,
        config: BaseModel,
        data: tuple[Tensor, ...],
        subject_id: np.ndarray,
        every_s: float | None = None,
    ) -> Self:
        """The checkpoint of a training of this config on these tensors, whose rows belong to `subject_id`."""
        digest = hashlib.sha256(config.model_dump_json().encode())
        for tensor in data:
            digest.update(tensor.cpu().numpy().tobytes())
        # Which rows are of one patient decides who validates; what the patient is called does not.
        digest.update(np.unique(subject_id, return_inverse=True)[1].astype(np.int64).tobytes())
        return cls(
            folder=folder, fingerprint=digest.hexdigest(), every_s=SECONDS_BETWEEN if every_s is None else every_s
        )

    def keep(self, state: TrainingState) -> None:
        """Write the state, if the last writing is long enough ago."""
        if time.monotonic() - self._last_kept < self.every_s:
            return
        plain = {"fingerprint": self.fingerprint, "history": state.history, "best_epoch": state.best_epoch}
        with atomic_folder(self.folder) as temporary:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors().items()}
            save_file(tensors, temporary / "state.safetensors")
            (temporary / "state.json").write_text(json.dumps(plain), encoding="utf-8")
        self._last_kept = time.monotonic()

    def restore(self, state: TrainingState) -> None:
        """Put `state` back to what was kept; if it was kept by another training, remove that."""
        if not (self.folder / "state.json").is_file():
            return
        plain = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        if plain["fingerprint"] != self.fingerprint:
            shutil.rmtree(self.folder)
            return
        state.load(load_file(self.folder / "state.safetensors"), plain["history"], plain["best_epoch"])
