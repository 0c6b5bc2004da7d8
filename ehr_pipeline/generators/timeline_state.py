"""Where a patient stands after each event, held against the plan of the stay: what a network reads, without learning.

What belongs here: formulas from times, counts and values to features, the same in training and in drawing. What does
not: weights (`timeline_network.py`), the counts of a whole file (`timeline_sequences.py`).

Shapes: N positions, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ehr_pipeline.generators.timeline_sequences import Past

N_CHANNEL_FEATURES, N_TIME_FEATURES, N_VALUE_FEATURES, N_ANCHORS = 7, 21, 21, 6
SINCE = (3.0, 8.0, 13.0, 18.0, 25.0, 35.0, 50.0, 57.0, 59.5, 60.5, 64.0, 80.0, 110.0, 130.0, 170.0, 190.0, 230.0, 250.0)
SINCE += (340.0, 380.0, 460.0, 500.0, 700.0, 740.0, 1000.0, 1500.0)
"""Minutes between which a code is more or less likely to come again: narrow around hours."""
NEED = (0.0, 0.04, 0.1, 0.2, 0.35, 0.6, 0.9, 0.99)
"""Events still to come per time still to come."""
N_DUE = (len(SINCE) + 2) * (len(NEED) + 1)
N_BUMPS = 12
"""Fixed functions of a standard normal number."""
BUMP_EDGE, BUMP_WIDTH = 2.5, 0.45
HOUR, DAY = 60.0, 1440.0
NARROWEST = 0.15
"""Extremes closer than this count as so far apart: about the width of a level."""
CLOSE = 1e-3
"""Standard normal numbers of one slot differ by less."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What was and what is left, after an event. float32.

    Attributes
    ----------
    left, last_minute, last_z
        Shape (N, C): events still to come, minute of the last one (negative if never), number of the last one.
    minute, stamps_left, end
        Shape (N,): minute of the event, distinct times still to come, the planned last minute.
    begin
        Shape (N,): minute of the day of the origin.
    echo, echo_size
        Shape (N,): minutes to where an echo would be, and events of its time (`timeline_levels.py`).
    pace
        Shape (N,): minutes per time of the whole plan.
    """

    left: Tensor
    last_minute: Tensor
    last_z: Tensor
    minute: Tensor
    stamps_left: Tensor
    end: Tensor
    begin: Tensor
    echo: Tensor
    echo_size: Tensor
    pace: Tensor

    def at(self, which: Tensor) -> State:
        """The chosen positions."""
        return State(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


def channel_features(state: State, minute: Tensor, stamps_left: Tensor) -> Tensor:
    """What each channel looks like at `minute`, of shape (N,): (N, C, N_CHANNEL_FEATURES)."""
    never = (state.last_minute < 0).float()
    since = (minute[:, None] - state.last_minute.clamp_min(0)).clamp_min(0)
    left = state.left.clamp_min(0)
    return torch.stack(
        [
            left.log1p() / 3,
            (left > 0).float(),
            (left / (stamps_left[:, None] + 1)).clamp_max(2),
            since.log1p() / 5,
            (since / -45).exp() * (1 - never),
            state.last_z,
            never,
        ],
        dim=-1,
    )


def due(state: State, minute: Tensor, stamps_left: Tensor) -> Tensor:
    """How long ago each channel was and how often it still must come, as one of `N_DUE` cells: int64 (N, C)."""
    since = (minute[:, None] - state.last_minute).to(torch.float32)
    since = torch.bucketize(since, torch.tensor(SINCE, device=since.device), right=True)
    since = torch.where(state.last_minute < 0, len(SINCE) + 1, since)
    need = state.left / (stamps_left[:, None] + 1)
    return since * (len(NEED) + 1) + torch.bucketize(need, torch.tensor(NEED, device=need.device))


def time_features(state: State) -> Tensor:
    """What the clock and the plan's times say: (N, N_TIME_FEATURES)."""
    remaining = (state.end - state.minute).clamp_min(0)
    total, stamps = state.left.clamp_min(0).sum(dim=-1), state.stamps_left.clamp_min(0)
    hour = (state.minute % HOUR) * (2 * math.pi / HOUR)
    day = ((state.minute + state.begin) % DAY) * (2 * math.pi / DAY)
    return torch.stack(
        [
            state.minute.log1p() / 6,
            state.minute / (2 * DAY),
            remaining.log1p() / 6,
            stamps.log1p() / 4,
            (stamps == 0).float(),
            (stamps == 1).float(),
            (remaining / (stamps + 1)).log1p() / 4,
            total.log1p() / 5,
            (total / (stamps + 1)).log1p() / 2,
            hour.sin(),
            hour.cos(),
            (2 * hour).cos(),
            day.sin(),
            day.cos(),
            state.echo / HOUR,
            state.echo.log1p() / 4,
            (state.echo == HOUR).float(),
            state.echo_size.log1p() / 2,
            (state.echo_size > 2).float(),
            (state.echo_size > 4).float(),
            2 * ((remaining + 1) / (stamps + 1) / state.pace.clamp_min(1)).log().clamp(-3, 3),
        ],
        dim=-1,
    )


def bumps(z: Tensor, has: Tensor) -> Tensor:
    """A number as smooth bumps, its value and whether it is there: (...) to (..., N_BUMPS + 2)."""
    centres = torch.linspace(-BUMP_EDGE, BUMP_EDGE, N_BUMPS, device=z.device)
    bump = (-(((z[..., None] - centres) / BUMP_WIDTH) ** 2) / 2).exp()
    return torch.cat([bump, z[..., None], torch.ones_like(z[..., None])], dim=-1) * has[..., None]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is planned for the code of the next event: float32 of shape (N,), zeros where nothing is."""

    total: Tensor
    has: Tensor
    mean_z: Tensor
    least_z: Tensor
    most_z: Tensor
    last_z: Tensor
    mean_u: Tensor

    def at(self, which: Tensor) -> Target:
        """The chosen ones."""
        return Target(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


def value_features(past: Past, target: Target, minute: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What says the value of the next event.

    Returns
    -------
    tuple
        Features (N, N_VALUE_FEATURES); anchors (N, N_ANCHORS): numbers that the value may be near to, the last of them
        standardised, the others standard normal; which anchors there are, (N, N_ANCHORS); and how far the planned
        extremes lie apart, (N, 1), 1 where there are none: values of one patient differ far less than patients do.
    """
    never = (past.minute < 0).float()
    since = (minute - past.minute.clamp_min(0)).clamp_min(0) * (1 - never)
    left = (target.total - past.order).clamp_min(1)
    has, has_any = target.has, past.has_z
    need = ((target.mean_u * target.total - past.sum_u) / left).clamp(-4, 4) * has
    lacks_least, lacks_most = lacks(past, target)
    span = torch.where(has > 0, (target.most_z - target.least_z).clamp_min(NARROWEST), 1.0)
    features = torch.stack(
        [
            never,
            has_any,
            past.z,
            past.is_same,
            since.log1p() / 5,
            past.order.log1p() / 4,
            left.log1p() / 4 * has,
            has / left,
            has,
            target.mean_z,
            target.most_z - target.least_z,
            lacks_least,
            lacks_most,
            need,
            lacks_least / left,
            lacks_most / left,
            (target.last_z - past.z) * has * has_any,
            (target.last_z - target.least_z) / span * has,
            (target.mean_z - target.least_z) / span * has,
            (past.z - target.least_z) / span * has * has_any,
            past.order / target.total.clamp_min(1) * has,
        ],
        dim=-1,
    )
    anchors = torch.stack([past.z, target.mean_z, target.least_z, target.most_z, target.last_z, need], dim=-1)
    there = torch.stack([has_any, has, lacks_least, lacks_most, has, has], dim=-1)
    return features, anchors, there, span[:, None]


def lacks(past: Past, target: Target) -> tuple[Tensor, Tensor]:
    """Whether the planned least and largest value did not come yet: float32 of shape (N,), 0 where none is planned."""
    is_new = past.has_z == 0
    least = is_new | (past.least_z > target.least_z + CLOSE)
    most = is_new | (past.most_z < target.most_z - CLOSE)
    return least * target.has, most * target.has


def owed(past: Past, target: Target) -> tuple[Tensor, Tensor]:
    """Whether the next value has to be the least, or the largest: bool of shape (N,); both where it may be either.

    The last value is told by the plan, so what it is not has to come before it.
    """
    least, most = lacks(past, target)
    least, most = least * (target.last_z > target.least_z + CLOSE), most * (target.last_z < target.most_z - CLOSE)
    is_time = (least + most > 0) & (target.total - past.order - 1 <= least + most)
    return is_time & (least > 0), is_time & (most > 0)
