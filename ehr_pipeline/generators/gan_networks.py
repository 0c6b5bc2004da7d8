"""The networks of `tabular_gan.py`: the generator of rows, the critic, and the moments that the generator matches.

What belongs here: what each computes of a row; papers and where we leave them stand in `tabular_gan.py`. What does
not: training, and how a row lies as a vector (`gan_rows.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.configs import TabularGANConfig
from ehr_pipeline.generators.gan_rows import FARTHEST_Z, Piece, RowLayout

BLOCKS = 16
"""Blocks of columns that are drawn one after another, at most; the columns of a block share what they see."""
TEMPERATURE = 0.5
"""Of the soft one-hots that lend their gradient."""
MOST_PRODUCTS = 512
"""Entries of a row whose products are matched, at most: those that vary most."""
LEAST_SPREAD = 0.1
"""Entries that vary less are not blown up to unit variance: a few patients' level would drown the rest."""
MOMENTS_STEP = 0.1
"""Weight of the newest batch in the moments of what is drawn."""


class Block(nn.Module):
    """Draws some columns from what is known of the row so far.

    Parameters
    ----------
    layout, pieces
        The columns; each takes (centre, log spread) for its rank and a logit per level from the head.
    """

    def __init__(self, layout: RowLayout, pieces: list[Piece], config: TabularGANConfig) -> None:
        super().__init__()
        self.pieces = pieces
        self.n_ranks = sum(piece.has_rank for piece in pieces)
        d_out = sum(2 * piece.has_rank + piece.n_levels for piece in pieces)
        self.norm = nn.LayerNorm(config.hidden)
        self.layers = nn.Sequential(
            nn.Linear(config.hidden + self.n_ranks, config.head),
            nn.LeakyReLU(0.2),
            nn.Linear(config.head, config.head),
            nn.LeakyReLU(0.2),
        )
        self.head = nn.Linear(config.head, d_out, bias=False)
        nn.init.zeros_(self.head.weight)  # with the start at the shares: training starts at independent columns
        self.read = nn.Linear(sum(piece.width for piece in pieces), config.hidden, bias=False)
        for piece in pieces:
            if piece.has_rank:
                for name, array in zip(("starts", "middles"), layout.steps(piece), strict=True):
                    self.register_buffer(f"{name}{piece.column}", torch.from_numpy(array).float(), persistent=False)

    def forward(self, state: Tensor, logits: Tensor, given: Tensor | None, rows: Tensor | None) -> tuple[Tensor, ...]:
        """The columns' entries of the row, their ranks before snapping, and the shares of their levels.

        state (rows, hidden); logits (levels of these columns,), added to the head's; given and rows as in
        `RowGenerator.forward`.
        """
        noise = torch.randn(len(state), self.n_ranks, device=state.device)
        out = self.head(self.layers(torch.cat([self.norm(state), noise], dim=1)))
        entries, ranks, shares = [], [], []
        n_out = n_levels = 0
        for piece in self.pieces:
            drawn = []
            if piece.has_rank:
                centre, log_spread = out[:, n_out], out[:, n_out + 1].clamp(-5.0, 2.0)
                ranks.append(centre + log_spread.exp() * noise[:, len(ranks)])
                drawn.append(self._snapped(piece.column, ranks[-1])[:, None])
                n_out += 2
            if piece.n_levels:
                choice = out[:, n_out : n_out + piece.n_levels] + logits[n_levels : n_levels + piece.n_levels]
                shares.append(choice.softmax(dim=1))
                drawn.append(_one_hot(choice))
                n_out, n_levels = n_out + piece.n_levels, n_levels + piece.n_levels
            if len(drawn) == 2:
                drawn[0] = drawn[0] * drawn[1][:, :1]  # 0 where missing
            entry = torch.cat(drawn, dim=1)
            if given is not None:
                known = rows[:, piece.start : piece.start + piece.width]
                entry = torch.where(given[:, piece.column, None] > 0, known, entry)
            entries.append(entry)
        return torch.cat(entries, dim=1), ranks, shares

    def _snapped(self, column: int, rank: Tensor) -> Tensor:
        """The rank, or the middle of the heavy value that it falls on, with the rank's gradient."""
        starts, middles = getattr(self, f"starts{column}"), getattr(self, f"middles{column}")
        middle = middles[(torch.bucketize(rank.detach(), starts, right=True) - 1).clamp_min(0)]
        # Inside an interval it ends where the real ones do.
        wanted = torch.where(middle.isnan(), rank.detach().clamp(-FARTHEST_Z, FARTHEST_Z), middle)
        return rank + (wanted - rank.detach())


class RowGenerator(nn.Module):
    """Noise, and what is given of a row, to a row: block after block of columns."""

    def __init__(self, layout: RowLayout, config: TabularGANConfig) -> None:
        super().__init__()
        self.latent = config.latent
        self.read_noise = nn.Linear(config.latent, config.hidden)
        self.read_given = nn.Linear(layout.width + len(layout.pieces), config.hidden, bias=False)
        blocks = np.array_split(np.array(layout.pieces, dtype=object), min(BLOCKS, len(layout.pieces)))
        self.blocks = nn.ModuleList(Block(layout, list(pieces), config) for pieces in blocks)
        shares = np.concatenate([np.empty(0), *(layout.shares(piece) for piece in layout.choices)])
        self.register_buffer("shares", torch.from_numpy(shares).float(), persistent=False)
        self.logits = nn.Parameter(self.shares.clamp_min(1e-6).log())
        self.n_logits = [sum(piece.n_levels for piece in block.pieces) for block in self.blocks]
        columns = torch.from_numpy(layout.column_of_entry)
        self.register_buffer("column_of_entry", columns, persistent=False)

    def forward(self, n: int, given: Tensor | None = None, rows: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """`n` rows.

        Parameters
        ----------
        given
            1 where a column is given, else 0, of shape (n, d); nothing is given without it.
        rows
            Rows that have what is given, of shape (n, width).

        Returns
        -------
        rows, ranks, shares
            Of shape (n, width); ranks before snapping (n, n_ranked); probabilities of levels (n, all levels).
        """
        device = self.logits.device
        state = self.read_noise(torch.randn(n, self.latent, device=device))
        if given is not None:
            state = state + self.read_given(torch.cat([rows * given[:, self.column_of_entry], given], dim=1))
        drawn, ranks, shares = [], [], []
        for block, logits in zip(self.blocks, self.logits.split(self.n_logits), strict=True):
            entries, *more = block(state, logits, given, rows)
            state = state + block.read(entries)
            drawn.append(entries)
            ranks += more[0]
            shares += more[1]
        empty = torch.empty(n, 0, device=device)
        return torch.cat(drawn, dim=1), torch.stack(ranks, dim=1) if ranks else empty, torch.cat([empty, *shares], 1)


class Critic(nn.Module):
    """How real a row looks, given what is given of it."""

    def __init__(self, layout: RowLayout, config: TabularGANConfig) -> None:
        super().__init__()
        d = config.critic_hidden
        self.read_row = nn.Linear(layout.width, d)
        self.read_given = nn.Linear(len(layout.pieces), d, bias=False)
        self.factors = nn.Linear(layout.width, 2 * config.products)
        self.read_products = nn.Linear(config.products, d, bias=False)
        self.layers = nn.Sequential(nn.LeakyReLU(0.2), nn.Linear(d, d), nn.LeakyReLU(0.2), nn.Linear(d, 1))

    def forward(self, rows: Tensor, given: Tensor) -> Tensor:
        """Scores of shape (n,): rows (n, width), given (n, d)."""
        first, second = self.factors(rows).chunk(2, dim=1)
        return self.layers(self.read_row(rows) + self.read_given(given) + self.read_products(first * second))[:, 0]

    def losses(self, real: Tensor, fake: Tensor, given: Tensor, penalty: float) -> Tensor:
        """Of each pair of rows: D(fake) - D(real) + penalty * max(0, |grad D| - 1)^2 between them (equation 3)."""
        share = torch.rand(len(real), 1, device=real.device)
        between = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self(between, given).sum(), between, create_graph=True)
        excess = F.relu((slope.square().sum(dim=1) + 1e-12).sqrt() - 1.0)
        of_real, of_fake = self(torch.cat([real, fake]), given.repeat(2, 1)).chunk(2)
        return of_fake - of_real + penalty * excess.square()


class Moments(nn.Module):
    """Means and products of a table's entries, and how far drawn rows are from them (TableGAN, section 4.2.3).

    Of rows of which nothing is given, all products; of rows with a given column, products of what is given with the
    whole row: so the other columns follow the one that is given.

    # NOTE[DIFF] What is drawn is averaged over the last batches: products of one batch are mostly noise, and the square
    #   of their difference would punish that noise, and with it the variance of what is drawn.

    Parameters
    ----------
    blocks
        Gives all training rows as vectors of shape (some, width), block by block.
    told
        Training rows that lend a condition, and what is given of each: (n, width) and (n, d), block by block.
    """

    def __init__(
        self, layout: RowLayout, blocks: Callable[[], Iterable[Tensor]], told: Iterable[tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__()
        n_rows = sum(len(rows) for rows in blocks())
        mean = sum(rows.sum(dim=0) for rows in blocks()) / n_rows
        variance = sum((rows - mean).square().sum(dim=0) for rows in blocks()) / n_rows
        entries = variance.argsort(descending=True, stable=True)[:MOST_PRODUCTS]
        self.register_buffer("entries", entries, persistent=False)
        columns = torch.from_numpy(layout.column_of_entry).to(entries.device)[entries]
        self.register_buffer("column_of_entry", columns, persistent=False)
        self.register_buffer("mean", mean[entries], persistent=False)
        self.register_buffer("scale", variance[entries].sqrt().clamp_min(LEAST_SPREAD), persistent=False)
        wanted = sum(self._products(rows) * len(rows) for rows in blocks()) / n_rows
        of_told = [self._products(*block) for block in told]
        wanted_of_told = sum(of_told) / len(of_told) if of_told else torch.zeros_like(wanted)
        self.register_buffer("wanted", torch.stack([wanted, wanted_of_told]), persistent=False)
        self.register_buffer("drawn", torch.zeros_like(self.wanted))

    def forward(self, rows: Tensor, given: Tensor, n_told: int, step: int) -> tuple[Tensor, Tensor]:
        """A loss whose gradient is that of the squared distance per entry, and the distance.

        rows (n, width), the last `n_told` of them with something given (n, d).
        """
        n_free = len(rows) - n_told
        products = self._products(rows[:n_free])
        of_told = self._products(rows[n_free:], given[n_free:]) if n_told else self.wanted[1]
        products = torch.stack([products, of_told])
        self.drawn.lerp_(products.detach(), max(1 / step, MOMENTS_STEP))
        error = self.drawn - self.wanted
        return 2 * (error * products).sum() / len(self.entries), error.square().sum() / len(self.entries)

    def _products(self, rows: Tensor, given: Tensor | None = None) -> Tensor:
        """Mean products, of shape (entries + 1, entries); the last row holds the means."""
        scaled = (rows[:, self.entries] - self.mean) / self.scale
        left = scaled
        if given is not None:
            # Each column is given in one of d rows: this weighs it between that and as if it were in all.
            left = scaled * given[:, self.column_of_entry] * given.shape[1] ** 0.5
        return F.pad(left, (0, 1), value=1.0).T @ scaled / len(rows)


def _one_hot(logits: Tensor) -> Tensor:
    """A level of each row drawn from the softmax: hard one-hots with the gradient of soft ones (straight-through)."""
    noisy = logits - torch.empty_like(logits).exponential_().log()
    soft = (noisy / TEMPERATURE).softmax(dim=1)
    hard = torch.zeros_like(soft).scatter_(1, noisy.argmax(dim=1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())
