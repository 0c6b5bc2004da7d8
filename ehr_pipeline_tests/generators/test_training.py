"""The training loop: who trains, what it leaves, how it goes on after an interruption."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ehr_pipeline.errors import CheckFailed, OptionError, ResourceShort
from ehr_pipeline.generators.checkpoint import Checkpoint
from ehr_pipeline.generators.configs import TrainedConfig
from ehr_pipeline.generators.training import (
    Network,
    Plan,
    data_tensors,
    enough_memory,
    pick_device,
    seeded,
    split_rows,
    train_network,
)
from ehr_pipeline.progress import Step

CPU = torch.device("cpu")
CONFIG = TrainedConfig(updates=160, batch_rows=32, learning_rate=0.02, device="cpu")


class Line(Network):
    """Predicts y from x, through dropout, so that the order of random numbers matters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))

    def losses(self, x: Tensor, y: Tensor, *, share_done: float) -> Tensor:
        return (self.layers(x)[:, 0] - y) ** 2


class Interrupted(Exception):
    """What a test throws in place of a killed process."""


def line_data(n: int = 300) -> tuple[Tensor, ...]:
    x = np.random.default_rng(0).normal(size=(n, 1)).astype(np.float32)
    return data_tensors(CPU, x, 2 * x[:, 0] + 1)


def train_line(progress=None, checkpoint=None, config=CONFIG, data=None, subject_id=None):
    data = data or line_data()
    with seeded(config.seed, CPU):
        network = Line()
        subject_id = np.arange(len(data[0])) if subject_id is None else subject_id
        history = train_network(
            network, data, subject_id, config, task="line", progress=progress, checkpoint=checkpoint
        )
    return network, history


def weights(network: nn.Module) -> Tensor:
    return torch.cat([weight.flatten() for weight in network.parameters()])


def test_loss_falls_and_the_best_epoch_stays():
    network, history = train_line()
    validation = [record["validation_loss"] for record in history]
    assert min(validation) < 0.3 * validation[0]
    rows = split_rows(np.arange(300), CONFIG)[1]
    with torch.no_grad():
        kept = network.losses(*(tensor[rows] for tensor in line_data()), share_done=1.0).mean()
    assert float(kept) == pytest.approx(min(validation), rel=1e-5)


def test_no_patient_both_trains_and_validates():
    subject_id = np.random.default_rng(0).integers(0, 60, 1000)
    training, validation = split_rows(subject_id, CONFIG)
    assert not set(subject_id[training]) & set(subject_id[validation])
    assert len(training) + len(validation) == 1000
    assert len(set(subject_id[validation])) == 6


def test_few_patients_all_train():
    training, validation = split_rows(np.arange(12), CONFIG)
    assert (len(training), len(validation)) == (12, 0)
    _, history = train_line(data=line_data(12))
    assert "validation_loss" not in history[0]


def test_training_stops_when_validation_no_longer_improves():
    noise = data_tensors(
        CPU, np.random.default_rng(0).normal(size=(60, 1)).astype(np.float32), np.zeros(60, np.float32)
    )
    config = CONFIG.model_copy(update={"updates": 4000, "patience": 2})
    _, history = train_line(data=(noise[0], torch.randn(60, generator=torch.Generator().manual_seed(0))), config=config)
    assert len(history) < Plan.of(54, config).n_epochs


def test_same_seed_same_weights_and_another_seed_others():
    first = weights(train_line()[0])
    assert torch.equal(first, weights(train_line()[0]))
    assert not torch.equal(first, weights(train_line(config=CONFIG.model_copy(update={"seed": 1}))[0]))


def test_interrupted_training_ends_as_if_it_had_not_been(tmp_path):
    def stop_in_epoch_five(step: Step) -> None:
        if step.done == 5:
            raise Interrupted

    def kept() -> Checkpoint:
        return Checkpoint.of(tmp_path / "checkpoint", CONFIG, line_data(), np.arange(300), every_s=0.0)

    whole, whole_history = train_line()
    with pytest.raises(Interrupted):
        train_line(progress=stop_in_epoch_five, checkpoint=kept())
    epochs: list[int] = []
    resumed, history = train_line(progress=lambda step: epochs.append(step.done), checkpoint=kept())
    assert epochs[0] == 6
    assert torch.equal(weights(whole), weights(resumed))
    assert [record["loss"] for record in history] == [record["loss"] for record in whole_history]


def test_checkpoint_of_other_data_or_settings_is_not_taken_up(tmp_path):
    folder = tmp_path / "checkpoint"
    train_line(checkpoint=Checkpoint.of(folder, CONFIG, line_data(), np.arange(300), every_s=0.0))
    epochs: list[int] = []
    other = Checkpoint.of(folder, CONFIG, line_data(200), np.arange(200), every_s=1e9)
    train_line(progress=lambda step: epochs.append(step.done), checkpoint=other, data=line_data(200))
    assert epochs[0] == 1
    assert not folder.exists()


def test_checkpoint_knows_which_rows_are_of_one_patient(tmp_path):
    prints = [
        Checkpoint.of(tmp_path, CONFIG, line_data(), subject_id).fingerprint
        for subject_id in (np.arange(300), np.arange(300) // 2, np.arange(300) + 7)
    ]
    assert prints[0] != prints[1]
    assert prints[0] == prints[2]


def test_checkpoint_holds_tensors_and_json_and_no_pickle(tmp_path):
    folder = tmp_path / "checkpoint"
    train_line(checkpoint=Checkpoint.of(folder, CONFIG, line_data(), np.arange(300), every_s=0.0))
    assert sorted(path.name for path in folder.iterdir()) == ["state.json", "state.safetensors"]
    assert set(json.loads((folder / "state.json").read_text())) == {"fingerprint", "history", "best_epoch"}


def test_each_epoch_is_told_with_loss_rate_and_time_left():
    steps: list[Step] = []
    train_line(progress=steps.append)
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    assert {"loss", "validation_loss", "rows_per_s"} == set(steps[0].values)
    assert steps[0].remaining_s > 0


def test_loss_that_is_no_number_fails_in_one_line():
    broken = (line_data()[0], torch.full((300,), float("nan")))
    with pytest.raises(CheckFailed, match="no longer a number in epoch 1; lower learning_rate"):
        train_line(data=broken)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_short_memory_is_one_line_with_the_mend(error):
    with (
        pytest.raises(ResourceShort, match="line: memory ran out; lower batch_rows"),
        enough_memory("line", "lower batch_rows"),
    ):
        raise error


def test_allocation_that_cannot_be_is_short_memory():
    with pytest.raises(ResourceShort), enough_memory("line", "lower batch_rows"):
        torch.empty(2**55)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shape"), enough_memory("line", "lower batch_rows"):
        raise RuntimeError("shape mismatch")


def test_missing_gpu_is_an_option_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(OptionError, match="device cuda"):
        pick_device("cuda")


@pytest.mark.parametrize("n_rows", [1, 15, 70, 3000, 50_000, 2_000_000])
def test_plan_has_whole_batches_and_enough_epochs(n_rows):
    plan = Plan.of(n_rows, TrainedConfig())
    assert 1 <= plan.batch_rows <= min(512, n_rows)
    assert plan.n_epochs >= 2
    assert plan.rows_per_epoch >= min(n_rows - plan.batch_rows + 1, 1)
    assert plan.n_epochs * plan.updates_per_epoch <= max(3100, 2 * n_rows // plan.batch_rows)


def history_of(*losses: float) -> list[dict[str, float]]:
    return [{"epoch": k + 1, "loss": loss, "validation_loss": loss} for k, loss in enumerate(losses)]


def test_the_rate_stays_up_until_a_plateau_and_ends_at_nothing():
    plan = Plan.of(50_000, TrainedConfig(least_gain=0.01, updates=4000))
    still_falling = history_of(5.0, 4.0, 3.5, 3.2)
    assert plan.plateau(still_falling) is None
    assert plan.rate_share(still_falling, 0) == 1.0
    on_plateau = history_of(5.0, 4.0, 3.5, 3.2, 3.199, 3.198)  # two epochs gain .002 together
    assert plan.plateau(on_plateau) == 6
    assert plan.last_epoch(on_plateau) == 9
    assert plan.rate_share(on_plateau, 0) == 1.0
    assert plan.rate_share([*on_plateau, *history_of(3.1, 3.0)], plan.updates_per_epoch - 1) < 0.01


def test_a_plateau_once_found_stays_where_it_was():
    plan = Plan.of(50_000, TrainedConfig(least_gain=0.01, updates=4000))
    on_plateau = history_of(5.0, 4.0, 4.0, 4.0)
    assert plan.plateau([*on_plateau, *history_of(3.0, 2.0)]) == plan.plateau(on_plateau) == 4


def test_a_loss_that_never_settles_ends_within_the_updates():
    plan = Plan.of(50_000, TrainedConfig(least_gain=0.01, updates=1000))
    falling = history_of(*(10.0 - k for k in range(2 * plan.n_epochs)))
    assert plan.plateau(falling[: plan.n_epochs - 1]) is not None
    assert plan.last_epoch(falling) <= plan.n_epochs
