"""After the training of `tabular_gan.py`: each column matched to its own shares.

What belongs here: what is measured of drawn rows, and the shift of the generator by it. What does not: training.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from ehr_pipeline.generators.calibration import match_shares
from ehr_pipeline.generators.gan_networks import RowGenerator
from ehr_pipeline.generators.gan_rows import RowLayout
from ehr_pipeline.generators.training import seeded

FEWEST_MATCHED, MOST_MATCHED = 4096, 131_072
"""Rows that each column is matched on: four for each of the table, in these bounds."""
MOST_RANKS = 2**24
"""Ranks that are held at once, so that wide tables are matched on fewer rows."""
RANK_GRID = np.linspace(0.0, 1.0, 2049)
"""Shares at which the quantiles of a number's drawn ranks are kept."""


@torch.no_grad()
def calibrated(generator: RowGenerator, layout: RowLayout, n_rows: int) -> np.ndarray:
    """Match the levels' shares; then quantiles of each number's ranks, float64 of shape (n_ranked, len(RANK_GRID))."""
    device = generator.logits.device
    n_matched = min(max(4 * n_rows, FEWEST_MATCHED), MOST_MATCHED)
    n_rounds = max(n_matched // 4, FEWEST_MATCHED)

    def shares() -> Tensor:
        with seeded(0, device):
            return sum(generator(n_block)[2].sum(dim=0) for n_block in layout.block_sizes(n_rounds)) / n_rounds

    match_shares(generator.logits, generator.shares, shares)
    quantiles = np.empty((len(layout.ranked), len(RANK_GRID)))
    n_matched = min(n_matched, MOST_RANKS // max(1, len(layout.ranked)))
    with seeded(1, device):
        ranks = torch.cat([_present_ranks(generator, layout, n_block) for n_block in layout.block_sizes(n_matched)])
    for k in range(len(layout.ranked)):
        present = ranks[:, k][~ranks[:, k].isnan()].double().cpu().numpy()
        quantiles[k] = np.quantile(present, RANK_GRID) if len(present) else ndtri(RANK_GRID.clip(1e-6, 1 - 1e-6))
    return quantiles


def _present_ranks(generator: RowGenerator, layout: RowLayout, n: int) -> Tensor:
    """Drawn ranks of shape (n, n_ranked), NaN where the number is missing."""
    rows, ranks, _ = generator(n)
    for k, piece in enumerate(layout.ranked):
        if piece.n_levels:
            ranks[:, k].masked_fill_(rows[:, piece.start + 1] == 0, torch.nan)
    return ranks
