"""Stays drawn event by event, all of a chunk at once, each held to its plan.

What belongs here: what may come next, and what was drawn. What does not: weights (`timeline_network.py`), values in
their own units (`timeline_values.py`).

By construction: no event before the first minute of the plan or after the window, nothing after a code that ends a
stay, no code more often than planned, codes in order inside a time stamp, no value beyond the planned extremes.

Memory: per stay of a chunk 32 bytes per code and 2 W d 8 bytes per layer for the keys and values of attention.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_levels import ECHO, ECHO_MINUTES, FIRST_LEVEL, NOTHING, NOW, SAME, EventLevels
from ehr_pipeline.generators.timeline_network import MASKED, TimelineNetwork, target_of, turns
from ehr_pipeline.generators.timeline_sequences import NEVER, Past
from ehr_pipeline.generators.timeline_state import State
from ehr_pipeline.generators.timeline_values import Drawn

PACE, STEEPEST = 0.25, 0.04
"""How far the mean gap moves towards what the plan needs (0 not at all, 1 all the way); the tilt per minute at most."""
NEAR_MINUTES = 20
"""The last time may lie so far from the planned one."""
KEPT_SHARE = 0.8
"""Stays that are over are taken out when fewer than this share go on."""


class Drawing:
    """A chunk of stays in the making.

    Parameters
    ----------
    network
        In evaluation mode.
    levels
        Its levels.
    goals
        Of the chunk's stays, on the network's device.
    begin
        float32 of shape (B,): minute of the day of each origin.
    closed
        bool of shape (B, V): codes that a stay may not have, or None.
    window
        Minutes after which nothing may be.
    rng
        Of all random numbers.
    """

    def __init__(
        self,
        network: TimelineNetwork,
        levels: EventLevels,
        goals: Goals,
        *,
        begin: Tensor,
        closed: Tensor | None,
        window: int,
        rng: np.random.Generator,
    ) -> None:
        self.network, self.levels, self.goals, self.rng = network, levels, goals, rng
        self.closed, self.window = closed, window
        self.device = goals.counts.device
        self.generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        n, n_codes = len(goals.counts), len(levels.codes)
        zeros = torch.zeros(n, device=self.device)
        self.plan = network.read_plan(goals.features)
        self.stay = torch.arange(n, device=self.device)
        self.is_over = torch.zeros(n, dtype=torch.bool, device=self.device)
        self.state = State(
            left=goals.counts.clone(),
            last_minute=torch.full_like(goals.counts, NEVER),
            last_z=torch.zeros_like(goals.counts),
            minute=zeros,
            stamps_left=goals.stamps.clone(),
            end=goals.last_minute,
            begin=begin,
            echo=zeros,
            echo_size=zeros,
            pace=goals.pace,
        )
        self.recent = torch.full((n, ECHO_MINUTES), -10.0 * ECHO_MINUTES, device=self.device)
        self.sizes = torch.zeros_like(self.recent)
        wide = torch.zeros(n, n_codes, device=self.device)
        past = {field.name: wide.clone() for field in fields(Past)}
        self.past = Past(**{**past, "minute": wide + NEVER})
        self.code = torch.full((n,), n_codes, device=self.device)
        self.step, self.slot = torch.zeros_like(self.code), torch.full_like(self.code, NOTHING)
        self.z, self.has_z = zeros.clone(), zeros.clone()
        shape = network.shape
        size = (n, shape.heads, 2 * shape.window, shape.width // shape.heads)
        self.keys = [torch.zeros(size, device=self.device) for _ in network.blocks]
        self.values = [torch.zeros(size, device=self.device) for _ in network.blocks]
        edges = levels.gaps.segment_ranks[levels.gaps.level_starts[:-1]] if levels.gaps.n_number_levels else np.zeros(0)
        shortest = np.maximum(1, levels.gaps.from_ranks(edges)) if len(edges) else edges
        self.shortest = torch.from_numpy(shortest).float().to(self.device)
        self.typical = torch.from_numpy(levels.gap_minutes).float().to(self.device)

    def events(self) -> Drawn:
        """Draw until every stay is over."""
        made: list[tuple[Tensor, ...]] = []
        position = 0
        while len(self.stay):
            made_now = self._event(position)
            if made_now is None:
                break
            made.append(made_now)
            position += 1
        if not made:
            nothing = np.zeros(0, dtype=np.int64)
            return Drawn(patient=nothing, minute=nothing, code=nothing, slot=nothing, is_told=nothing.astype(bool))
        patient, minute, code, slot, told = (torch.cat(parts).cpu().numpy() for parts in zip(*made, strict=True))
        return Drawn(patient=patient, minute=minute.astype(np.int64), code=code, slot=slot, is_told=told)

    def _event(self, position: int) -> tuple[Tensor, ...] | None:
        """One event more of every stay that goes on: stay, minute, code, slot, whether the value is told."""
        network, state = self.network, self.state
        h = self._read(position)
        step, minute, goes_on = self._next_time(h, position == 0)
        if not goes_on.all():
            which = torch.nonzero(goes_on).squeeze(1)
            if len(which) < KEPT_SHARE * len(goes_on) or not len(which):
                self._keep(which)
                if not len(which):
                    return None
                state, h, step, minute = self.state, h[which], step[which], minute[which]
                goes_on = goes_on[which]
        is_same_time = (step == 0) & (self.code < len(network.channel))
        logits = network.code_logits(h, state, step=step, before=self.code, is_same_time=is_same_time, minute=minute)
        if self.closed is not None:
            logits = logits.masked_fill(self.closed, MASKED)
        stamps_left = state.stamps_left - (~is_same_time).float()
        logits = logits.masked_fill(self._is_again(stamps_left) & is_same_time[:, None], MASKED)
        is_due = self._is_due(stamps_left) & (logits > MASKED / 2)
        # What is due is not passed over: nothing stands between it and the code before.
        logits = logits.masked_fill(is_due.cumsum(dim=1) - is_due.long() > 0, MASKED)
        code = self._drawn(logits)
        rows = torch.arange(len(code), device=self.device)
        channel = network.channel[code]
        target, slots = target_of(self.goals, rows, channel)
        past = self.past.at((rows, code))
        is_told = (target.has > 0) & (target.total - past.order <= 1) & goes_on
        slot = torch.where(is_told, slots[:, 2], NOTHING)
        valued = torch.nonzero(network.has_choice[code] & ~is_told & goes_on).squeeze(1)
        if len(valued):
            logits = network.value_logits(
                h[valued],
                code[valued],
                past.at(valued),
                target.at(valued),
                slots=slots[valued],
                minute=minute[valued],
            )
            slot[valued] = self._drawn(logits)
        self._write(goes_on, past, step=step, minute=minute, code=code, slot=slot, is_same_time=is_same_time)
        which = torch.nonzero(goes_on).squeeze(1)
        return self.stay[which], minute[which], code[which], slot[which], is_told[which]

    def _read(self, position: int) -> Tensor:
        """Each stay's last event through the network: (B, d)."""
        network, window = self.network, self.network.shape.window
        x = network.embedded(
            self.state, self.plan, code=self.code, step=self.step, slot=self.slot, z=self.z, has_z=self.has_z
        )[:, None]
        turn = turns(position, 1, network.shape.width // network.shape.heads, self.device)
        place = window + position % window
        for k, block in enumerate(network.blocks):
            q, key, value = block.keyed(x, turn)
            if position and place == window:
                for cache in (self.keys[k], self.values[k]):
                    cache[:, :, :window] = cache[:, :, window:].clone()
            self.keys[k][:, :, place], self.values[k][:, :, place] = key[:, :, 0], value[:, :, 0]
            seen = slice(0, place + 1)
            attended = F.scaled_dot_product_attention(q, self.keys[k][:, :, seen], self.values[k][:, :, seen])
            x = block.added(x, attended)
        return network.norm(x)[:, 0]

    def _next_time(self, h: Tensor, is_begin: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Step and minute of the next event, and which stays have one: (B,) each."""
        state, goals = self.state, self.goals
        has_left, ends = state.left[:, self.network.channel] > 0, self.network.is_terminal
        if self.closed is not None:
            has_left &= ~self.closed
        # Where nothing but the end is left, it comes next.
        is_last = ~(has_left & ~ends).any(dim=1)
        state.stamps_left[is_last] = state.stamps_left[is_last].clamp_max(1)
        stamps_left = state.stamps_left
        may_be_later = has_left.any(dim=1) & (stamps_left > 0) & ~self.is_over
        if is_begin:
            minute = goals.first_minute
            return self._step_of(minute), minute, may_be_later
        may_follow = self.network.may_follow(self.code, stamps_left)
        is_open = has_left & may_follow & (~ends | (stamps_left <= 0)[:, None]) & ~self._is_again(stamps_left)
        # Every time still to come needs an event.
        may_be_now = is_open.any(dim=1) & (state.left.sum(dim=1) > stamps_left) & ~self.is_over
        must_be_now = (is_open & self._is_due(stamps_left)).any(dim=1) & may_be_now
        may_be_later &= ~must_be_now
        # Every time still to come takes a minute at least.
        longest = (state.end - state.minute - (state.stamps_left - 1)).clamp_min(1)
        logits = self.network.step_logits(h).float()
        gaps = torch.cat([state.echo[:, None], self.shortest.expand(len(h), -1)], dim=1)
        is_open = may_be_later[:, None] & (gaps <= longest[:, None])
        gaps = torch.cat([state.echo[:, None], self.typical.expand(len(h), -1)], dim=1)
        level = torch.from_numpy(self.levels.gaps.levels(state.echo.clamp_min(1).cpu().numpy().astype(np.float64)))
        bias = self.network.gap_bias
        bias = torch.cat([bias[level.to(self.device), None], bias.expand(len(h), -1)], dim=1)
        later = self._paced((logits[:, 1:] + bias).masked_fill(~is_open, MASKED), gaps)
        logits = torch.cat([logits[:, :1].masked_fill(~may_be_now[:, None], MASKED), later], dim=1)
        step = self._drawn(logits)
        step = torch.where(may_be_later & ~may_be_now, step.clamp_min(ECHO), step)
        gap = self.levels.gaps.draw((step - FIRST_LEVEL).clamp_min(0).cpu().numpy(), self.rng)
        gap = torch.from_numpy(np.nan_to_num(gap, nan=1.0)).float().to(self.device)
        gap = torch.where(step == ECHO, state.echo, gap).clamp_min(1)
        later = torch.minimum(state.minute + torch.minimum(gap, longest).clamp_min(1), state.end)
        # The last time is the planned one; it keeps the minute of charting if that is near, and nothing ends the stay.
        echo = state.minute + state.echo
        is_near = ((echo - state.end).abs() <= NEAR_MINUTES) & (echo <= self.window) & ~(has_left & ends).any(dim=1)
        later = torch.where(stamps_left == 1, torch.where(is_near, echo, state.end), later)
        minute = torch.where(step == NOW, state.minute, later)
        step = self._step_of(minute - state.minute)
        self.is_over = ~(may_be_now | may_be_later)
        return step, minute, ~self.is_over

    def _paced(self, logits: Tensor, gaps: Tensor) -> Tensor:
        """Logits of later steps, (B, n), of `gaps` minutes each, tilted towards the pace that the plan still needs.

        Errors of single gaps add up, and a stay that runs ahead of its plan ends in one long gap. The mean gap that
        real stays had at this part of the stay, as a share of the minutes left per time left, is `pace`; the tilt
        exp(lambda gap) moves the mean a part of the way there, and keeps the probability of all later steps together.
        """
        state = self.state
        share = self.levels.pace_at((state.minute / state.end.clamp_min(1)).cpu().numpy())
        left = (state.end - state.minute) / state.stamps_left.clamp_min(1)
        wanted = torch.from_numpy(share).float().to(self.device) * left
        probability = logits.softmax(dim=1)
        mean = (probability * gaps).sum(dim=1)
        variance = (probability * (gaps - mean[:, None]) ** 2).sum(dim=1)
        shift = mean * ((wanted / mean.clamp_min(1)).clamp(0.2, 5.0) ** PACE - 1)
        tilt = (shift / variance.clamp_min(1)).clamp(-STEEPEST, STEEPEST)
        tilted = logits + (tilt[:, None] * (gaps - mean[:, None])).clamp(-5, 5)
        return tilted + (logits.logsumexp(dim=1) - tilted.logsumexp(dim=1))[:, None]

    def _is_again(self, stamps_left: Tensor) -> Tensor:
        """The code before, where the times that are left are enough for all that is planned of it: (B, V)."""
        channel = self.network.channel
        is_over = self._is_due(stamps_left) | (channel == self.network.n_channels - 1)
        return (torch.arange(len(channel), device=self.device) == self.code[:, None]) & ~is_over

    def _is_due(self, stamps_left: Tensor) -> Tensor:
        """Planned codes that have to come at every time that is left, this one too: bool of shape (B, V)."""
        is_due = self.state.left[:, :-1] > stamps_left[:, None]
        return F.pad(is_due, (0, 1))[:, self.network.channel]

    def _step_of(self, gap: Tensor) -> Tensor:
        steps = self.levels.steps(gap.cpu().numpy().astype(np.int64), self.state.echo.cpu().numpy().astype(np.int64))
        return torch.from_numpy(steps).to(self.device)

    def _write(
        self,
        goes_on: Tensor,
        past: Past,
        *,
        step: Tensor,
        minute: Tensor,
        code: Tensor,
        slot: Tensor,
        is_same_time: Tensor,
    ) -> None:
        """The drawn event becomes the last one."""
        network, state, rows = self.network, self.state, torch.arange(len(code), device=self.device)
        is_same = slot == SAME
        is_number = network.is_number[code, slot]
        has_z = torch.where(is_same, past.has_z, is_number.float())
        z = torch.where(is_same, past.z, network.slot_z[code, slot] * is_number)
        u = torch.where(is_same, self._u(past.z, code), network.slot_u[code, slot] * is_number)
        channel = network.channel[code]
        state.left[rows, channel] -= goes_on.float()
        state.last_minute[rows, channel] = minute
        state.last_z[rows, channel] = z
        stamps_left = torch.where(is_same_time, state.stamps_left, state.stamps_left - 1)
        self._remember(minute, is_same_time)
        since = self.recent.masked_fill(self.recent <= minute[:, None] - ECHO_MINUTES, torch.inf)
        earliest, which = since.min(dim=1)
        echo = earliest + ECHO_MINUTES - minute
        size = self.sizes.gather(1, which[:, None]).squeeze(1) * (echo < ECHO_MINUTES)
        moved = {"minute": minute, "stamps_left": stamps_left, "echo": echo, "echo_size": size}
        self.state = State(**{**vars(state), **moved})
        is_first = past.order == 0
        written = {
            "minute": minute,
            "z": z,
            "has_z": has_z,
            "is_same": is_same.float(),
            "least_z": torch.where(is_first, z, torch.minimum(past.least_z, z)),
            "most_z": torch.where(is_first, z, torch.maximum(past.most_z, z)),
            "sum_u": past.sum_u + u,
            "order": past.order + 1,
        }
        for name, values in written.items():
            getattr(self.past, name)[rows, code] = values
        self.code, self.step, self.slot, self.z, self.has_z = code, step, slot, z, has_z

    def _remember(self, minute: Tensor, is_same_time: Tensor) -> None:
        """Keep the latest times, as many as an hour may have, and how many events each had."""
        is_stamp = ~is_same_time[:, None]
        self.recent = torch.where(is_stamp, torch.cat([self.recent[:, 1:], minute[:, None]], dim=1), self.recent)
        moved = torch.cat([self.sizes[:, 1:], torch.zeros_like(minute)[:, None]], dim=1)
        self.sizes = torch.where(is_stamp, moved, self.sizes)
        self.sizes[:, -1] += 1

    def _u(self, z: Tensor, code: Tensor) -> Tensor:
        """The standardised number that goes with a standard normal one."""
        nearest = (self.network.slot_z[code] - z[:, None]).abs().masked_fill(~self.network.is_number[code], 1e9)
        return self.network.slot_u[code].gather(1, nearest.argmin(dim=1, keepdim=True)).squeeze(1)

    def _drawn(self, logits: Tensor) -> Tensor:
        """One of each row: (n, m) to int64 of shape (n,)."""
        upto = logits.double().softmax(dim=1).cumsum(dim=1)
        uniform = torch.rand(len(upto), 1, generator=self.generator, device=self.device, dtype=torch.float64)
        return torch.searchsorted(upto, uniform * upto[:, -1:], right=True).squeeze(1).clamp_max(upto.shape[1] - 1)

    def _keep(self, which: Tensor) -> None:
        """Go on with these stays alone."""
        self.stay, self.plan, self.code, self.step = (
            part[which] for part in (self.stay, self.plan, self.code, self.step)
        )
        self.slot, self.z, self.has_z = self.slot[which], self.z[which], self.has_z[which]
        self.is_over, self.recent, self.sizes = self.is_over[which], self.recent[which], self.sizes[which]
        self.state, self.past, self.goals = self.state.at(which), self.past.at(which), self.goals.at(which)
        self.closed = None if self.closed is None else self.closed[which]
        self.keys = [cache[which] for cache in self.keys]
        self.values = [cache[which] for cache in self.values]
