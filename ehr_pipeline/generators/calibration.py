"""After a fit: heads shifted until a generator gives each column its own shares.

What belongs here: the one step that generators with softmax heads share. What does not: how rows are drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROUNDS = 4
LEAST_SHARE = 1e-6
LONGEST_STEP = 1.0
"""A round shifts a logit by no more than this, so that a level hardly ever drawn comes back slowly."""


@torch.no_grad()
def match_shares(logits: Tensor, wanted: Tensor, drawn: Callable[[], Tensor]) -> None:
    """Shift `logits` in place until `drawn` gives the shares `wanted` on average.

    Parameters
    ----------
    logits
        The heads' constant term, of shape (levels of all columns,).
    wanted
        Share of rows in each level, of the same shape; sums to 1 in each column.
    drawn
        The shares that the generator gives with `logits` as they are now, with the same noise in each call.
    """
    for _ in range(ROUNDS):
        ratio = wanted.clamp_min(LEAST_SHARE) / drawn().clamp_min(LEAST_SHARE)
        logits += ratio.log().clamp(-LONGEST_STEP, LONGEST_STEP)
