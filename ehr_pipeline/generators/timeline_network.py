"""The network of `timeline_transformer`: a small causal transformer over events, and heads for gap, code and value.

What belongs here: weights, masks, losses. What does not: features (`timeline_state.py`), training, drawing.

One position per event. Position i has read event i, and says of event i + 1: the step (gap), the code given the step,
the value given both. Attention is local: blocks of W positions see themselves and the block before (the past beyond
that stands in the state). Positions are rotary (Su et al. 2021, https://arxiv.org/abs/2104.09864); blocks are pre-norm.

Shapes: B pieces, L positions (a multiple of W), N = B L, d width, V codes, K slots, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_levels import SAME, EventLevels, name_parts
from ehr_pipeline.generators.timeline_sequences import Past
from ehr_pipeline.generators.timeline_state import (
    CLOSE,
    N_ANCHORS,
    N_BUMPS,
    N_CHANNEL_FEATURES,
    N_DUE,
    N_TIME_FEATURES,
    N_VALUE_FEATURES,
    State,
    Target,
    bumps,
    channel_features,
    due,
    owed,
    time_features,
    value_features,
)

N_NUMBER = N_BUMPS + 2
NEAR, N_NEAR = [0], 1
"""Anchors that values may also lie near to with a sharp peak: the last value."""
START = 0.02
"""Spread of the weights that embeddings start from."""
MASKED = -1e9
"""Logit of what may not be."""


class Block(nn.Module):
    """Attention and a layer of width 4 d, each after a norm and beside a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = dropout
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def keyed(self, x: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, L, d / heads); `turn` is (L, 2, d / heads / 2)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norms[0](x)).chunk(3, dim=-1)
        )
        return _turned(q, turn), _turned(k, turn), v

    def added(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of the block: attended is (B, heads, L, d / heads)."""
        x = x + F.dropout(self.out(attended.transpose(1, 2).flatten(2)), self.dropout, self.training)
        return x + F.dropout(
            self.down(F.gelu(self.up(self.norms[1](x)), approximate="tanh")), self.dropout, self.training
        )

    def forward(self, x: Tensor, turn: Tensor, window: int) -> Tensor:
        """One block: (B, L, d) to the same."""
        q, k, v = self.keyed(x, turn)
        b, heads, length, size = q.shape
        n_blocks = length // window
        q = q.reshape(b, heads, n_blocks, window, size)
        k, v = (_with_block_before(part.reshape(b, heads, n_blocks, window, size)) for part in (k, v))
        # Before the first block stand keys and values of 0: what the first events look at when there is nothing to see.
        mask = torch.ones(window, 2 * window, dtype=torch.bool, device=x.device).tril(window)
        q, k, v = (part.transpose(1, 2).flatten(0, 1) for part in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        attended = attended.unflatten(0, (b, n_blocks)).transpose(1, 2).flatten(2, 3)
        return self.added(x, attended)


def _with_block_before(part: Tensor) -> Tensor:
    """(B, heads, blocks, W, size) to (B, heads, blocks, 2 W, size); zeros before the first."""
    before = F.pad(part, (0, 0, 0, 0, 1, 0))[:, :, :-1]
    return torch.cat([before, part], dim=3)


def turns(first: int, length: int, size: int, device: torch.device) -> Tensor:
    """Cosines and sines of positions `first` to `first + length`: (L, 2, size / 2)."""
    pace = 1000.0 ** (-torch.arange(0, size, 2, device=device) / size)
    angle = torch.arange(first, first + length, device=device)[:, None] * pace
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    cos, sin = turn[:, 0].to(x.dtype), turn[:, 1].to(x.dtype)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a network."""

    width: int
    layers: int
    heads: int
    window: int
    hidden: int
    n_features: int


class TimelineNetwork(nn.Module):
    """Gap, code and value of the next event, given all before and the plan of the stay."""

    def __init__(self, levels: EventLevels, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape, self.n_channels = shape, levels.n_channels
        d, n_codes, n_slots = shape.width, len(levels.codes), levels.z.shape[1]
        parts, n_parts = name_parts(levels.codes)
        # Codes, then the beginning.
        parts = np.concatenate([parts, np.zeros_like(parts[:1])]) if n_codes else np.zeros((1, 1), dtype=np.int64)
        self._table("parts", parts)
        self._table("channel", levels.channel)
        self._table("is_slot", np.arange(n_slots) < levels.n_slots[:, None])
        self._table("slot_z", np.nan_to_num(levels.z))
        self._table("slot_u", np.nan_to_num(levels.u))
        self._table("is_number", np.isfinite(levels.z))
        self._table("slot_shape", bumps(self.slot_z, self.is_number.float()).flatten(1).numpy())
        self._table("is_terminal", np.arange(n_codes) >= n_codes - levels.n_terminal)
        self._table("is_heavy", levels.is_heavy)
        self._table("has_choice", levels.n_slots > 2)
        self._table("may_repeat", levels.may_repeat)
        self.codes = nn.Embedding(n_codes + 1, d)
        self.names = nn.Embedding(n_parts, d, padding_idx=0)
        self.steps = nn.Embedding(levels.n_steps, d)
        self.read_number = nn.Linear(N_NUMBER, d, bias=False)
        self.read_slot = nn.Embedding(2, d)
        self.read_time = nn.Linear(N_TIME_FEATURES, d)
        self.read_channels = nn.Linear(self.n_channels * N_CHANNEL_FEATURES, d, bias=False)
        self.read_plan = nn.Sequential(
            nn.Linear(shape.n_features, d), nn.GELU(approximate="tanh"), nn.Linear(d, d, bias=False)
        )
        self.blocks = nn.ModuleList(Block(d, shape.heads, dropout) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(d)
        self.step_head = nn.Sequential(
            nn.Linear(d, shape.hidden), nn.GELU(approximate="tanh"), nn.Linear(shape.hidden, levels.n_steps)
        )
        self.code_hidden = nn.Linear(d + self.n_channels * N_CHANNEL_FEATURES, d)
        self.code_step = nn.Embedding(levels.n_steps, d)
        self.code_out = nn.Linear(d, d, bias=False)
        self.code_bias = nn.Parameter(torch.zeros(n_codes))
        self.due = nn.Embedding(self.n_channels * N_DUE, 1)
        self.value_code = nn.Embedding(n_codes, shape.hidden)
        self.value_gate = nn.Embedding(n_codes, shape.hidden)
        self.value_in = nn.Linear(d + N_VALUE_FEATURES + N_ANCHORS + N_NUMBER, shape.hidden)
        self.value_middle = nn.Linear(shape.hidden, shape.hidden)
        n_out = N_ANCHORS + N_NEAR + N_NUMBER + 2
        self.value_out = nn.Linear(shape.hidden, n_out)
        self.value_own = nn.Embedding(n_codes, n_out)
        self.value_bias = nn.Embedding(n_codes, n_slots)
        self.register_buffer("gap_bias", torch.zeros(levels.gaps.n_number_levels))
        for table in (self.codes, self.names, self.steps, self.read_slot, self.code_step, self.value_code):
            nn.init.normal_(table.weight, std=START)
        for table in (self.value_gate, self.value_own, self.value_bias, self.due):
            nn.init.zeros_(table.weight)
        for layer in (self.step_head[-1], self.value_out):
            nn.init.zeros_(layer.weight)

    def _table(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def start_at(self, slot_shares: np.ndarray, step_shares: np.ndarray, code_shares: np.ndarray) -> None:
        """Begin at what is common: shares (V, K), (steps,) and (V,)."""
        with torch.no_grad():
            for parameter, shares in (
                (self.value_bias.weight, slot_shares),
                (self.step_head[-1].bias, step_shares),
                (self.code_bias, code_shares),
            ):
                parameter.copy_(torch.from_numpy(np.log(shares + 1e-6)).float())

    @property
    def embedded_codes(self) -> Tensor:
        """Each code and its name's parts: (V + 1, d)."""
        return self.codes.weight + self.names(self.parts).sum(dim=1)

    def embedded(
        self, state: State, plan: Tensor, *, code: Tensor, step: Tensor, slot: Tensor, z: Tensor, has_z: Tensor
    ) -> Tensor:
        """Events and the state after them as positions: all (N, ...), `plan` (N, d) from `read_plan`; to (N, d)."""
        channels = channel_features(state, state.minute, state.stamps_left)
        return (
            F.embedding(code, self.embedded_codes)
            + self.steps(step)
            + self.read_number(bumps(z, has_z))
            + self.read_slot((slot == SAME).long())
            + self.read_time(time_features(state))
            + self.read_channels(channels.flatten(1))
            + plan
        )

    def trunk(self, x: Tensor) -> Tensor:
        """All blocks, then a norm: (B, L, d) to the same."""
        turn = turns(0, x.shape[1], x.shape[2] // self.shape.heads, x.device)
        for block in self.blocks:
            x = block(x, turn, self.shape.window)
        return self.norm(x)

    def may_follow(self, code: Tensor, stamps_left: Tensor) -> Tensor:
        """Which codes may come after `code`, (N,), at the same time: bool of shape (N, V); at the last, none again."""
        later = torch.arange(len(self.channel), device=code.device)
        is_again = (later == code[:, None]) & self.may_repeat & (stamps_left > 0)[:, None]
        return (later > code[:, None]) | is_again

    def step_logits(self, h: Tensor) -> Tensor:
        """(N, d) to (N, steps)."""
        return self.step_head(h)

    def code_logits(
        self, h: Tensor, state: State, *, step: Tensor, before: Tensor, is_same_time: Tensor, minute: Tensor
    ) -> Tensor:
        """Codes at `minute`: (N, V), `MASKED` where they may not be.

        `before` is the code before, `is_same_time` whether the next has its time; `state` is that after `before`.
        """
        stamps_left = state.stamps_left - (~is_same_time).float()
        channels = channel_features(state, minute, stamps_left)
        hidden = self.code_hidden(torch.cat([h, channels.flatten(1)], dim=1)) + self.code_step(step)
        logits = self.code_out(F.gelu(hidden, approximate="tanh")) @ self.embedded_codes[:-1].T + self.code_bias
        cell = due(state, minute, stamps_left) + N_DUE * torch.arange(self.n_channels, device=h.device)
        logits = logits + self.due(cell).squeeze(-1)[:, self.channel]
        is_open = (state.left > 0)[:, self.channel] & (self.may_follow(before, stamps_left) | ~is_same_time[:, None])
        is_open &= ~self.is_terminal | (stamps_left <= 0)[:, None]
        return logits.float().masked_fill(~is_open, MASKED)

    def value_logits(
        self, h: Tensor, code: Tensor, past: Past, target: Target, *, slots: Tensor, minute: Tensor
    ) -> Tensor:
        """Slots of `code` (N,): (N, K); `slots` (N, 3) begin with the least and largest level of numbers."""
        features, anchors, there, span = value_features(past, target, minute)
        x = torch.cat([h, features, anchors * there, bumps(past.z, past.has_z)], dim=1)
        x = F.gelu(self.value_in(x) + self.value_code(code), approximate="tanh") * (1 + self.value_gate(code))
        x = F.gelu(self.value_middle(x), approximate="tanh")
        out = (self.value_out(x) + self.value_own(code)).float()
        square, plain, bend, same = out.split([N_ANCHORS, N_NEAR, N_NUMBER, 2], dim=1)
        z, u, is_number = self.slot_z[code], self.slot_u[code], self.is_number[code]
        # - sum_j p_j (z - a_j)^2 as a z^2 and b z; the last anchor is standardised.
        pull = F.softplus(square - 4) * there / span**2
        towards = 2 * pull * anchors
        number = z * towards[:, :-1].sum(dim=1, keepdim=True) - z**2 * pull[:, :-1].sum(dim=1, keepdim=True)
        number = number + u * towards[:, -1:] - u**2 * pull[:, -1:]
        sharp = F.softplus(plain - 2) * there[:, NEAR] / span
        number = number - (sharp[:, None] * (z[..., None] - anchors[:, None, NEAR]).abs()).sum(dim=-1)
        shape = self.slot_shape[code].unflatten(1, (-1, N_NUMBER))
        number = number + (shape @ bend[..., None]).squeeze(-1)
        logits = self.value_bias(code) + number.masked_fill(~is_number, 0)
        logits = torch.cat([logits[:, :2] + same, logits[:, 2:]], dim=1)
        # Nothing to repeat where there was nothing.
        logits[:, 0] = logits[:, 0].masked_fill(past.order == 0, MASKED)
        return logits.masked_fill(~self._open_slots(code, past, target, slots), MASKED)

    def _open_slots(self, code: Tensor, past: Past, target: Target, slots: Tensor) -> Tensor:
        """Which slots the plan and the last value leave: bool of shape (N, K)."""
        place = torch.arange(self.slot_z.shape[1], device=code.device)
        is_number = self.is_number[code]
        is_open = self.is_slot[code] & ~(is_number & ((place < slots[:, :1]) | (place > slots[:, 1:2])))
        # One value alone has this slot: the last one, which is repeated by `SAME`.
        is_again = (self.slot_z[code] - past.z[:, None]).abs() < CLOSE
        is_open &= ~(self.is_heavy[code] & is_again & (past.has_z > 0)[:, None])
        least, most = owed(past, target)
        is_owed = (least[:, None] & (place == slots[:, :1])) | (most[:, None] & (place == slots[:, 1:2]))
        return torch.where((least | most)[:, None], is_owed, is_open)


def target_of(goals: Goals, patient: Tensor, channel: Tensor) -> tuple[Target, Tensor]:
    """What is planned for one channel of each stay, and its slots: (N,) and (N, 3)."""
    z = goals.z[patient, channel]
    target = Target(
        total=goals.counts[patient, channel],
        has=goals.has[patient, channel],
        mean_z=z[:, 0],
        least_z=z[:, 1],
        most_z=z[:, 2],
        last_z=z[:, 3],
        mean_u=goals.mean_u[patient, channel],
    )
    return target, goals.slots[patient, channel]
