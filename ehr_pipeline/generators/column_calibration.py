"""What the heads of `column_network.py` are given once they are trained: their strength, then their shares.

What belongs here: a few numbers per head, found on the training rows. What does not: training.

Weights that are held small, and that read few columns, are too small: what a column says of another is found, but
weaker than it is. One factor for all weights of a head's end puts that right.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ehr_pipeline.generators.column_network import ColumnNetwork

BLOCK_ROWS = 4096
STRONGEST = 1.3
"""A head's weights grow by this at most; what wants more is not a matter of strength."""
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
LEAST_VARIANCE = 0.01
"""Variance of the log-odds, per row, below which a head has too little to say to be made stronger."""


@torch.no_grad()
def match_strengths(network: ColumnNetwork, levels: Tensor, held_back: Tensor) -> None:
    """Strengthen what heads make of other columns, as far as held-back patients lose nothing by it.

    Parameters
    ----------
    levels, held_back
        Rows that trained the network, and rows that did not: (B, d) each. Of the way to where the first are most likely
        the largest of `SHARES` is gone at which the second are as likely as before: what heads know by heart asks for
        more strength than there is. Without held-back rows nothing is changed.
    """
    if not len(held_back):
        return
    factors = _strengths(network, levels)
    ends, tilt = [weights.clone() for weights in network.ends], network.tilt.clone()
    before = _loss(network, held_back)
    for share in SHARES:
        for b, bucket in enumerate(network.buckets):
            columns = list(bucket.columns)
            factor = 1 + share * (factors[b] - 1)
            network.ends[b].copy_(ends[b] * factor)
            network.tilt[columns] = tilt[columns] * factor
        if not share or _loss(network, held_back) <= before:
            return


def _strengths(network: ColumnNetwork, levels: Tensor, n_steps: int = 2) -> list[Tensor]:
    """The factor of each head, 1 to `STRONGEST`, at which these rows are most likely: (n, 1, 1) for each bucket.

    The log-likelihood of head k is concave in the factor a of its logits, log-shares + a z: Newton's steps, with
    z - E z as the gradient and the variance of z as the curvature.
    """
    factors = [torch.ones(len(bucket.columns), 1, 1, device=levels.device) for bucket in network.buckets]
    for _ in range(n_steps):
        slopes, curvatures = ([torch.zeros_like(factor) for factor in factors] for _ in range(2))
        for block, hidden in _blocks(network, levels):
            for b, bucket in enumerate(network.buckets):
                columns = list(bucket.columns)
                is_level = getattr(network, f"is_level_{b}")
                base = network.base(b).masked_fill(~is_level, -torch.inf)
                z = (network.logits(b, hidden[columns]) - network.base(b)).masked_fill(~is_level, 0.0)
                p = torch.add(base, factors[b] * z).softmax(dim=2)
                mean = (p * z).sum(2, keepdim=True)
                slopes[b] += (z.gather(2, block[:, columns].T[:, :, None]) - mean).sum(1, keepdim=True)
                curvatures[b] += (p * z.square()).sum((1, 2), keepdim=True) - mean.square().sum(1, keepdim=True)
        for b, factor in enumerate(factors):
            step = slopes[b] / curvatures[b].clamp_min(LEAST_VARIANCE * len(levels))
            factors[b] = (factor + step).clamp(1.0, STRONGEST)
    return factors


def _loss(network: ColumnNetwork, levels: Tensor) -> float:
    """The mean negative log-likelihood of rows, nats."""
    return float(torch.cat([network.losses(rows, share_done=1.0) for rows in levels.split(BLOCK_ROWS)]).mean())


@torch.no_grad()
def match_shares(network: ColumnNetwork, levels: Tensor, n_steps: int = 2) -> None:
    """Move the heads' biases until, over these rows (B, d), each level is as probable on average as it is frequent.

    Where the likelihood is highest this holds; the last gradient steps leave some noise, which marginals show.
    """
    for _ in range(n_steps):
        expected = [torch.zeros_like(shifts) for shifts in network.shifts]
        seen = [torch.zeros_like(shifts) for shifts in network.shifts]
        for block, hidden in _blocks(network, levels):
            for b, bucket in enumerate(network.buckets):
                columns = list(bucket.columns)
                expected[b] += network.logits(b, hidden[columns]).softmax(dim=2).sum(1, keepdim=True)
                seen[b] += F.one_hot(block[:, columns].T, bucket.n_levels).sum(1, keepdim=True)
        for shift, wanted, found in zip(network.shifts, seen, expected, strict=True):
            # Half a row more in each: a level that these rows lack keeps its bias.
            shift.add_(((wanted + 0.5) / (found + 0.5)).log().clamp(-1.0, 1.0))


def _blocks(network: ColumnNetwork, levels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Some rows at a time, and the last hidden layer of all heads over them: (B, d) and (d, B, h)."""
    for rows in levels.split(BLOCK_ROWS):
        block = rows.long()
        yield block, network.hidden(block)
