"""From the embedding and plan of a record to its time stamps: the gap, what is measured, values, rare codes.

What belongs here: the networks of one step, their likelihood, and drawing one step. What does not: the loop over steps
(`record_autoencoder.py`), the plan.

# NOTE[DIFF] The paper's decoder gives all time stamps at once from the embedding, each number as a point. Gaps, masks
#   and values that the embedding does not hold would be averages. Ours is a distribution of each step given the
#   embedding and what came before it in the record (the last value of each feature and when; the time of the day).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.category_autoencoder import ABSENT, CategoryAutoencoder
from ehr_pipeline.generators.coupled_heads import CoupledBits, CoupledNumbers, drawn_level
from ehr_pipeline.generators.record_arrays import Records
from ehr_pipeline.generators.record_layout import NUMBER, RecordLayout
from ehr_pipeline.generators.timelines import DAY_MINUTES

HOUR_WAVES, DAY_WAVES = (1, 2, 4), (1, 2)
"""Waves per hour and day by which networks know the time."""
N_TIMES = 2 * (len(HOUR_WAVES) + len(DAY_WAVES)) + 4
LATE_MINUTES = 10_080.0
"""Times since are told on a scale of logarithms that ends here."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What n steps know of what came before them.

    Attributes
    ----------
    minute, begin, until
        (n,): minute of the time stamp before; minute of the day of the origin; minute of the end.
    last_z, last_minute, mean_z, n_before, n_seen, mask
        (n, K): as in `Records`; `mask` is that of the time stamp before.
    tokens
        (n, places): as `Records.state_tokens`.
    context
        (n, context): of the embedding and the plan.
    levels, counts
        (n, K): of the plan, as in `Records`.
    has_feature
        (n, K + 1): which features and whether rare codes may come.
    """

    minute: Tensor
    begin: Tensor
    until: Tensor
    last_z: Tensor
    last_minute: Tensor
    mean_z: Tensor
    n_before: Tensor
    n_seen: Tensor
    mask: Tensor
    tokens: Tensor
    context: Tensor
    levels: Tensor
    counts: Tensor
    has_feature: Tensor


class StampDecoder(nn.Module):
    """One step.

    Parameters
    ----------
    categories
        The fitted encoder-decoder of a time stamp's tokens; it stays as it is.
    n_rare
        Rare codes at one time stamp at most.
    stamp_shares
        Share of time stamps with each feature and with any rare code: (K + 1,).
    context
        Width of what steps read of the embedding and the plan.
    """

    def __init__(
        self,
        layout: RecordLayout,
        categories: CategoryAutoencoder,
        *,
        n_rare: int,
        stamp_shares: Tensor,
        context: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.categories = categories.requires_grad_(requires_grad=False)
        k, d = len(layout.features), categories.tokens.width
        self.n_features = k
        self.n_rare = n_rare
        self.grouped = layout.grouped
        self.number_places = [forms.index(NUMBER) if NUMBER in forms else -1 for forms in layout.forms]
        # The first and last minute of each gap level: (n_levels, 2).
        starts = layout.gaps.level_starts
        edges = (
            [layout.gaps.lower[starts[:-1]], layout.gaps.upper[starts[1:] - 1]] if len(starts) > 1 else [[0.0], [0.0]]
        )
        self.register_buffer("gap_edges", torch.tensor(np.column_stack(edges), dtype=torch.float32), persistent=False)
        self.register_buffer("has_numbers", torch.from_numpy(layout.has_numbers), persistent=False)
        width = 7 * k + d + N_TIMES
        self.gap_layers = _layers(width + context, hidden // 2)
        self.gap_head = nn.Linear(hidden // 2, len(self.gap_edges) + 1)
        self.layers = _layers(width + context, hidden)
        self.sizes = [k + 1, k, k, k, d, self.n_rare + 1]
        self.head = nn.Linear(hidden, sum(self.sizes))
        self.start = nn.Parameter(stamp_shares.clamp(1e-3, 1 - 1e-3).logit())
        self.bits, self.numbers = CoupledBits(k + 1), CoupledNumbers(k)

    def gap_losses(self, state: State, gap: Tensor, level: Tensor, is_end: Tensor) -> Tensor:
        """Negative log-likelihood of the gaps; of an end, of nothing more in the minutes that were left."""
        chance = self._gap_logits(state).float().log_softmax(dim=1)
        seen = chance[:, :-1].gather(1, level[:, None])[:, 0]
        low, high = self.gap_edges.T
        left = ((high - gap[:, None]) / (high - low).clamp_min(1.0)).clamp(0.0, 1.0)
        left = torch.where(low > gap[:, None], 1.0, left)
        beyond = torch.cat([chance[:, :-1] + left.clamp_min(1e-9).log(), chance[:, -1:]], dim=1).logsumexp(dim=1)
        return -torch.where(is_end, beyond, seen)

    def losses(self, state: State, records: Records, rows: Tensor) -> Tensor:
        """Negative log-likelihood of what these time stamps (rows of `records`) hold: of shape (n,)."""
        z, is_same, n_rare = records.z[rows], records.is_same[rows], records.n_rare[rows]
        bits, centre, spread, same, category, count = self._heads(state, records.minute[rows])
        there = torch.cat([records.mask[rows], (n_rare > 0)[:, None]], dim=1).float()
        loss = (self.bits.losses(bits, there) * state.has_feature).sum(dim=1)
        is_number = records.is_number[rows].float()
        may_repeat = is_number * (state.n_before > 0)
        of_same = F.binary_cross_entropy_with_logits(same.float(), is_same.float(), reduction="none")
        loss = loss + (may_repeat * of_same).sum(dim=1)
        # A repeated value tells the others of its stamp what it is, and costs nothing more.
        of_numbers = self.numbers.losses(centre, spread, z, is_number)
        loss = loss + (of_numbers * ~(is_same & (state.n_before > 0))).sum(dim=1)
        if self.categories.tokens.n_tokens:
            loss = loss + self.categories.token_losses(self.categories.decode(category), records.tokens[rows])
        if self.n_rare:
            of_count = F.cross_entropy(count.float(), n_rare.clamp(0, self.n_rare), reduction="none")
            loss = loss + torch.where(n_rare > 0, of_count, 0.0)
        return loss

    @torch.no_grad()
    def draw_gap(self, state: State, is_first: bool) -> Tensor:
        """A level of gap for each, the number of levels where nothing more comes: int64 of shape (n,).

        The first gap may be 0, and comes where any feature or rare code does; no other is 0.
        """
        logits = self._gap_logits(state)
        if is_first:
            logits[:, -1] = torch.where(state.has_feature.any(dim=1), -torch.inf, logits[:, -1])
        else:
            zero = (self.gap_edges[:, 1] < 1).nonzero()[:, 0]
            logits[:, zero] = -torch.inf
        return drawn_level(logits)

    @torch.no_grad()
    def draw(self, state: State, minute: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the time stamps at `minute` hold: masks, z and is_number (n, K), tokens (n, places)."""
        bits, centre, spread, same, category, count = self._heads(state, minute)
        there = self.bits.draw(bits, state.has_feature)
        # No time stamp is empty: where nothing was drawn, it is what was likeliest.
        likeliest = bits.masked_fill(~state.has_feature, -torch.inf).argmax(dim=1, keepdim=True)
        is_empty = (there == 0).all(dim=1, keepdim=True) & state.has_feature.any(dim=1, keepdim=True)
        there = torch.where(is_empty, torch.zeros_like(there).scatter_(1, likeliest, 1.0), there)
        mask, is_number = there[:, :-1] > 0, (there[:, :-1] > 0) & self.has_numbers
        logits = self.categories.decode(category)
        tokens = torch.full((len(minute), len(self.grouped) + self.n_rare), ABSENT, device=minute.device)
        for j, (k, group) in enumerate(zip(self.grouped, self.categories.tokens.groups, strict=True)):
            place = drawn_level(logits[:, group])
            tokens[:, j] = torch.where(mask[:, k], group.start + place, ABSENT)
            is_number[:, k] &= place == self.number_places[k]
        if self.n_rare:
            count[:, 0] = -torch.inf
            n_rare = torch.where(there[:, -1] > 0, drawn_level(count), 0)
            members = logits[:, self.categories.tokens.set_start :]
            members = (members - torch.empty_like(members).exponential_().log()).topk(self.n_rare, dim=1).indices
            fits = torch.arange(self.n_rare, device=minute.device) < n_rare[:, None]
            tokens[:, len(self.grouped) :] = torch.where(fits, members + self.categories.tokens.set_start, ABSENT)
        repeats = (torch.rand_like(same) < same.sigmoid()) & (state.n_before > 0) & is_number
        z = self.numbers.draw(centre, spread, is_number.float(), state.last_z, repeats)
        return mask, z, is_number, tokens

    def _gap_logits(self, state: State) -> Tensor:
        return self.gap_head(self.gap_layers(self._told(state, state.minute)))

    def _heads(self, state: State, minute: Tensor) -> list[Tensor]:
        heads = list(self.head(self.layers(self._told(state, minute))).split(self.sizes, dim=1))
        is_known = state.n_before > 0
        heads[1] = heads[1] + torch.where(is_known, 0.5 * (state.last_z + state.levels), state.levels)
        heads[2] = heads[2].clamp(-4.0, 2.0)
        heads[0] = heads[0] + self.start
        return heads

    def _told(self, state: State, minute: Tensor) -> Tensor:
        """All that is known at `minute`: (n, width + context)."""
        seen = state.last_minute >= 0
        since = (minute[:, None] - state.last_minute).clamp_min(0)
        since = torch.where(seen, 1.0 - torch.log1p(since) / math.log1p(LATE_MINUTES), 0.0)
        parts = [
            state.last_z,
            seen.float(),
            since,
            state.mean_z,
            state.levels,
            state.counts - state.n_seen.float().log1p(),
            state.mask.float(),
            self.categories.encode(state.tokens),
            _times(state, minute),
            state.context,
        ]
        return torch.cat(parts, dim=1)


def _times(state: State, minute: Tensor) -> Tensor:
    """The time of the hour and day, since the origin, since the stamp before, and until the end: (n, N_TIMES)."""
    clock = (state.begin + minute)[:, None].float()
    waves = torch.tensor(
        [2 * math.pi * n / 60 for n in HOUR_WAVES] + [2 * math.pi * n / DAY_MINUTES for n in DAY_WAVES],
        device=minute.device,
    )
    left = (state.until - minute).clamp_min(0)
    logs = torch.stack([minute, minute - state.minute, left], dim=1).clamp_min(0).float().log1p() / 8.0
    share = (minute / state.until.clamp_min(1))[:, None].clamp(0, 1)
    return torch.cat([(clock * waves).sin(), (clock * waves).cos(), logs, share], dim=1)


def _layers(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
