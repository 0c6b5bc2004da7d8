"""How at home a network that draws noise in its loss finds rows: `Generator.scores` of several generators.

What belongs here: the average over that noise. What does not: any loss, any attack.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ehr_pipeline.generators.training import Network, one_thread, seeded

N_DRAWS = 8
"""Draws of the noise (latents, or moments of a diffusion) that a row's loss is averaged over."""
BLOCK_ROWS = 8192


@torch.no_grad()
def row_scores(network: Network, data: tuple[Tensor, ...]) -> np.ndarray:
    """Minus the mean loss of each row, float64 of shape (n,); the same rows have the same scores.

    Rows are shuffled for each draw, since a loss may give the rows of a batch different moments by their place.
    """
    n, device = len(data[0]), data[0].device
    total = torch.zeros(n, dtype=torch.float64, device=device)
    network.eval()
    with one_thread(), seeded(0, device):
        for _ in range(N_DRAWS):
            for rows in torch.randperm(n, device=device).split(BLOCK_ROWS):
                total[rows] -= network.losses(*(tensor[rows] for tensor in data), share_done=1.0).double()
    return (total / N_DRAWS).cpu().numpy()
