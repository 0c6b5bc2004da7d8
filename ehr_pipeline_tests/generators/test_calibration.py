"""Heads are shifted until the shares fit."""

from __future__ import annotations

import torch

from ehr_pipeline.generators.calibration import match_shares


def test_shares_of_a_softmax_with_scattered_logits_are_met():
    scatter = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    logits, wanted = torch.zeros(4), torch.tensor([0.7, 0.2, 0.08, 0.02])

    def drawn() -> torch.Tensor:
        return (logits + scatter).softmax(dim=1).mean(dim=0)

    match_shares(logits, wanted, drawn)
    assert torch.allclose(drawn(), wanted, atol=0.01)


def test_level_that_is_never_wanted_or_drawn_stays_finite():
    logits = torch.zeros(2)
    match_shares(logits, torch.tensor([1.0, 0.0]), lambda: logits.softmax(dim=0))
    assert logits.isfinite().all()
    assert logits.softmax(dim=0)[0] > 0.99
