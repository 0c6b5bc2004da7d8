"""Heads whose bits and numbers depend on each other: what they learn, they draw."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ehr_pipeline.generators.coupled_heads import CoupledBits, CoupledNumbers, drawn_level


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def fit(head: nn.Module, parameters: list[nn.Parameter], loss, steps: int = 200) -> None:
    optimizer = torch.optim.Adam([*head.parameters(), *parameters], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def test_bits_of_a_panel_are_drawn_together():
    panel = (torch.rand(1000, 1) < 0.3).float()
    bits = torch.cat([panel, panel, (torch.rand(1000, 1) < 0.5).float(), 1 - panel], dim=1)
    head, logits = CoupledBits(4), nn.Parameter(torch.zeros(4))
    fit(head, [logits], lambda: head.losses(logits.expand(len(bits), -1), bits).sum(dim=1).mean())
    drawn = head.draw(logits.detach().expand(20_000, -1), torch.ones(20_000, 4, dtype=torch.bool))
    assert abs(float(drawn[:, 0].mean()) - 0.3) < 0.05
    assert float((drawn[:, 0] == drawn[:, 1]).float().mean()) > 0.96
    assert float((drawn[:, 0] != drawn[:, 3]).float().mean()) > 0.96
    assert abs(float(torch.corrcoef(drawn[:, :3].T)[0, 2])) < 0.1


def test_what_is_not_allowed_is_never_drawn():
    allowed = torch.tensor([True, False, True]).expand(500, -1)
    drawn = CoupledBits(3).draw(torch.full((500, 3), 50.0), allowed)
    assert drawn.mean(dim=0).tolist() == [1.0, 0.0, 1.0]


@torch.no_grad()
def test_losses_of_bits_are_the_likelihood():
    head = CoupledBits(3)
    head.weight.copy_(torch.randn(3, 3))
    every = torch.tensor([[a, b, c] for a in (0.0, 1.0) for b in (0.0, 1.0) for c in (0.0, 1.0)])
    total = (-head.losses(torch.randn(1, 3).expand(8, -1), every).sum(dim=1)).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-5)


def test_numbers_keep_their_correlation():
    first = torch.randn(4000, 1)
    numbers = torch.cat([first, 0.8 * first + 0.6 * torch.randn(4000, 1)], dim=1)
    head, out = CoupledNumbers(2), nn.Parameter(torch.zeros(4))
    present = torch.ones(4000, 2)

    def loss() -> torch.Tensor:
        centre, spread = out.expand(4000, -1).chunk(2, dim=1)
        return head.losses(centre, spread, numbers, present).sum(dim=1).mean()

    fit(head, [out], loss)
    centre, spread = out.detach().expand(20_000, -1).chunk(2, dim=1)
    none = torch.zeros(20_000, 2, dtype=torch.bool)
    drawn = head.draw(centre, spread, torch.ones(20_000, 2), centre, none)
    assert float(torch.corrcoef(drawn.T)[0, 1]) == pytest.approx(0.8, abs=0.05)
    assert float(loss().detach()) == pytest.approx(math.log(2 * math.pi) + 1 + math.log(0.6), abs=0.1)


def test_given_numbers_stay_and_absent_ones_are_0():
    head = CoupledNumbers(2)
    given, is_given = torch.tensor([[2.5, 0.0]]), torch.tensor([[True, False]])
    drawn = head.draw(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), given, is_given)
    assert drawn.tolist() == [[2.5, 0.0]]


def test_levels_are_drawn_by_their_shares():
    drawn = drawn_level(torch.tensor([0.2, 0.5, 0.3]).log().expand(20_000, -1))
    shares = torch.bincount(drawn, minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.5, 0.3]), atol=0.03, rtol=0)
