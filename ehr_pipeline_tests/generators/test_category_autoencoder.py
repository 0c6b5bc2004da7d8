"""The categorical encoder-decoder trains by itself and gives held-out categories back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ehr_pipeline.generators.category_autoencoder import ABSENT, CategoryAutoencoder, Tokens
from ehr_pipeline.generators.configs import TrainedConfig
from ehr_pipeline.generators.training import seeded, train_network

TOKENS = Tokens(group_sizes=(2, 5), n_set=40)
CONFIG = TrainedConfig(updates=300, batch_rows=128, learning_rate=1e-2, weight_decay=1e-3)


def rows(n: int, seed: int) -> torch.Tensor:
    """Two groups, the first often absent, and up to three members of the set, which come in blocks of four codes."""
    rng = np.random.default_rng(seed)
    first = np.where(rng.random(n) < 0.5, ABSENT, rng.integers(2, size=n))
    block = rng.integers(10, size=(n, 1))
    members = 7 + 4 * block + np.argsort(rng.random((n, 4)), axis=1)[:, :3]
    members[rng.random(n) < 0.3, 1:] = ABSENT
    return torch.from_numpy(np.column_stack([first, 2 + rng.integers(5, size=n), members]))


@pytest.fixture(scope="module")
def trained() -> tuple[CategoryAutoencoder, list[dict[str, float]]]:
    with seeded(0, torch.device("cpu")):
        network, data = CategoryAutoencoder(TOKENS), rows(1500, 0)
        return network, train_network(network, (data,), np.arange(len(data)), CONFIG, task="categories")


def test_tokens_lie_one_group_after_the_other_and_then_the_set():
    assert [(group.start, group.stop) for group in TOKENS.groups] == [(0, 2), (2, 7)]
    assert (TOKENS.set_start, TOKENS.n_tokens, TOKENS.width) == (7, 47, 24)
    assert Tokens(()).width == 0


def test_losses_are_told_and_fall(trained):
    _, history = trained
    assert history[-1]["validation_loss"] < 0.5 * history[0]["validation_loss"]


@torch.no_grad()
def test_held_out_rows_come_back(trained):
    network, _ = trained
    held_out = rows(500, 1)
    logits = network.decode(network.encode(held_out))
    has_first = held_out[:, 0] >= 0
    assert (logits[has_first, :2].argmax(dim=1) == held_out[has_first, 0]).float().mean() > 0.95
    assert (logits[:, 2:7].argmax(dim=1) + 2 == held_out[:, 1]).float().mean() > 0.95
    three = held_out[:, 4] >= 0
    found = logits[three, 7:].topk(3, dim=1).indices.sort(dim=1).values + 7
    assert (found == held_out[three, 2:].sort(dim=1).values).float().mean() > 0.8
    # Knowing nothing, a member of the set alone costs log 40.
    assert float(network.losses(held_out).mean()) < math.log(40)


@torch.no_grad()
def test_losses_are_the_cross_entropy_of_what_is_there():
    network = CategoryAutoencoder(Tokens((2,), n_set=3))
    logits = torch.tensor([[1.0, 0.0, 0.5, 0.0, -0.5]]).expand(3, -1)
    rows_of = torch.tensor([[ABSENT, ABSENT], [0, ABSENT], [1, 4]])
    of_group, of_set = logits[0, :2].log_softmax(0), logits[0, 2:].log_softmax(0)
    wanted = torch.stack([torch.zeros(()), -of_group[0], -of_group[1] - of_set[2]])
    torch.testing.assert_close(network.token_losses(logits, rows_of), wanted)


@torch.no_grad()
def test_the_order_of_the_set_says_nothing(trained):
    network, _ = trained
    some = rows(10, 2)
    torch.testing.assert_close(network.encode(some), network.encode(some[:, [0, 1, 4, 2, 3]]))


@torch.no_grad()
def test_without_tokens_an_embedding_has_no_width():
    network = CategoryAutoencoder(Tokens(()))
    assert network.encode(torch.empty(5, 0, dtype=torch.int64)).shape == (5, 0)
    assert network.token_losses(torch.empty(5, 0), torch.empty(5, 0, dtype=torch.int64)).tolist() == [0.0] * 5
