"""Many bits or numbers at once that depend on each other: each is drawn given those before it.

What belongs here: the two heads that decoders end in. What does not: what the bits and numbers are.

Bits: logit_k = a_k + sum_{j<k} W_kj b_j, where a comes from the network (a sigmoid belief net that sees all its
nodes: Frey 1998).
Numbers: z_k = a_k + sum_{j<k} T_kj (z_j - a_j) + s_k noise: Gaussian, with a correlation that all rows share.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SPEED = 10.0
"""Weights of bits are this times their parameters: panels need weights that steps of Adam's length reach late."""


class CoupledBits(nn.Module):
    """`n` bits in order."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n, n))

    def losses(self, logits: Tensor, bits: Tensor) -> Tensor:
        """Negative log-likelihood of each bit (float, of shape (rows, n))."""
        coupled = logits + bits @ (SPEED * self.weight.tril(-1).T)
        return F.binary_cross_entropy_with_logits(coupled.float(), bits.float(), reduction="none")

    @torch.no_grad()
    def draw(self, logits: Tensor, allowed: Tensor) -> Tensor:
        """Bits (float), 0 where not `allowed` (bool)."""
        weight, bits = (SPEED * self.weight.tril(-1).T).contiguous(), torch.zeros_like(logits)
        chance = torch.rand_like(logits).logit()
        for k in range(logits.shape[1]):
            bits[:, k] = (allowed[:, k] & (chance[:, k] < logits[:, k] + bits[:, :k] @ weight[:k, k])).float()
        return bits


class CoupledNumbers(nn.Module):
    """`n` Gaussian numbers in order, some of them absent."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n, n))

    def losses(self, centre: Tensor, log_spread: Tensor, numbers: Tensor, present: Tensor) -> Tensor:
        """Negative log-likelihood of each number, 0 where not `present` (float); all of shape (rows, n)."""
        off = (numbers - centre) * present
        scaled = (off - off @ self.weight.tril(-1).T) * (-log_spread).exp()
        return present * (0.5 * scaled.square() + log_spread + 0.5 * math.log(2 * math.pi))

    @torch.no_grad()
    def draw(self, centre: Tensor, log_spread: Tensor, present: Tensor, given: Tensor, is_given: Tensor) -> Tensor:
        """Numbers, 0 where not `present` (float); those that `is_given` (bool) are taken from `given`."""
        weight, off = self.weight.tril(-1).T.contiguous(), torch.zeros_like(centre)
        noise = torch.randn_like(centre) * log_spread.exp()
        for k in range(centre.shape[1]):
            drawn = off[:, :k] @ weight[:k, k] + noise[:, k]
            off[:, k] = torch.where(is_given[:, k], given[:, k] - centre[:, k], drawn) * present[:, k]
        return (centre + off) * present


def drawn_level(logits: Tensor) -> Tensor:
    """A level of each row drawn from the softmax of its logits: int64 of shape (rows,)."""
    return (logits - torch.empty_like(logits).exponential_().log()).argmax(dim=1)
