"""How badly a network of timelines does on each stay, in tensors of one shape whatever the stay: for private steps.

What belongs here: stays with padding, and their losses by row. What does not: the same without padding
(`timeline_batches.py`), the steps (`privacy/training.py`), weights (`timeline_network.py`).

A private step takes the gradient of each patient alone (`torch.func`), so nothing may depend on how many events there
are: what is not there is computed and weighed with 0.

Shapes: n stays, L events (public, a multiple of the network's window), N = n L, C channels.
Memory: 80 bytes per event of L and 28 per channel of each stay.
"""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ehr_pipeline.generators.timeline_batches import at_last, possible_loss
from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_levels import NOTHING
from ehr_pipeline.generators.timeline_network import TimelineNetwork, target_of
from ehr_pipeline.generators.timeline_sequences import NEVER, Past, Sequences
from ehr_pipeline.generators.timeline_state import State

EVENT_PARTS = ("code", "minute", "step", "echo", "echo_size", "slot", "z", "has_z", "is_stamp")
"""Of `Sequences`, those with an entry per event."""
PAST_PARTS = tuple(field.name for field in fields(Past))
GOAL_PARTS = ("counts", "stamps", "last_minute", "has", "z", "mean_u", "slots", "features")
"""Of `Goals`, what a network reads."""
LEARNED = ("step_head.2", "code_hidden", "code_out", "code_bias", "value_out", "value_own", "norm")
"""Weights that private steps move: heads, so that noise falls on few numbers."""


def padded_stays(sequences: Sequences, goals: Goals, length: int) -> tuple[Tensor, ...]:
    """The beginning of each stay with events, `length` of them at most, one entry per stay, as `StayLosses` reads it.

    `sequences` are cut into pieces of at most `length`; `goals` are those of all stays.
    """
    first = torch.nonzero(sequences.is_begin).squeeze(1)
    index = sequences.first[first][:, None] + torch.arange(length, device=first.device)
    is_there = torch.arange(length, device=first.device) < sequences.length[first][:, None]
    index = index.clamp_max(max(0, len(sequences.code) - 1))
    patient = sequences.patient[first]
    # What is padding has to be nobody's: 0, and not the next patient's events.
    events = [getattr(sequences, name)[index] * is_there for name in EVENT_PARTS]
    past = [getattr(sequences.past, name)[index] * is_there for name in PAST_PARTS]
    planned = [getattr(goals, name)[patient] for name in GOAL_PARTS]
    return (is_there, sequences.begin[patient], *events, *past, *planned)


class StayLosses(nn.Module):
    """A network of timelines as the private trainer wants it (`PatientNetwork`)."""

    def __init__(self, network: TimelineNetwork) -> None:
        super().__init__()
        self.network = network
        for name, weight in network.named_parameters():
            weight.requires_grad_(name.startswith(LEARNED))

    def losses(self, is_there: Tensor, begin: Tensor, *parts: Tensor, share_done: float) -> Tensor:
        """Negative log-likelihood of each stay's steps, codes and values, over `L`: (n,)."""
        network, (n, length) = self.network, is_there.shape
        event = dict(zip(EVENT_PARTS, parts, strict=False))
        parts = parts[len(EVENT_PARTS) :]
        past = Past(**{name: part.flatten() for name, part in zip(PAST_PARTS, parts, strict=False)})
        planned = dict(zip(GOAL_PARTS, parts[len(PAST_PARTS) :], strict=True))
        goals = Goals(**planned, first_minute=planned["last_minute"], values=planned["z"])
        is_begin = torch.arange(length, device=is_there.device) == 0
        state = self._state(event, goals, begin, is_there)
        h, before = self._read(event, goals, state, n)
        code, step, slot = (event[name].flatten() for name in ("code", "step", "slot"))
        minute, is_begin = event["minute"].flatten().float(), is_begin.repeat(n)
        step_loss = F.cross_entropy(network.step_logits(h), step, reduction="none")
        step_loss = step_loss * (~is_begin & (state.stamps_left > 0))
        is_same_time = event["is_stamp"].flatten() == 0
        logits = network.code_logits(h, state, step=step, before=before, is_same_time=is_same_time, minute=minute)
        code_loss = possible_loss(logits, code)
        stay = torch.arange(n, device=h.device).repeat_interleave(length)
        target, slots = target_of(goals, stay, network.channel[code])
        is_told = (target.has > 0) & (target.total - past.order <= 1)
        logits = network.value_logits(h, code, past, target, slots=slots, minute=minute)
        value_loss = possible_loss(logits, slot) * (network.has_choice[code] & ~is_told)
        return ((step_loss + code_loss + value_loss).view(n, length) * is_there).sum(dim=1) / length

    def _state(self, event: dict[str, Tensor], goals: Goals, begin: Tensor, is_there: Tensor) -> State:
        """After the event before each: (N, ...)."""
        network, length = self.network, is_there.shape[1]
        minute, stamp = event["minute"].float(), event["is_stamp"]
        channels = torch.arange(network.n_channels, device=begin.device)
        is_here = (network.channel[event["code"]][..., None] == channels).float() * is_there[..., None]
        index = torch.arange(length, device=begin.device)
        is_begin = index == 0
        last = torch.where(is_here > 0, index[None, :, None].float(), -1.0)
        last = F.pad(last, (0, 0, 1, 0), value=-1.0)[:, :-1].cummax(dim=1).values.long()
        nothing = torch.zeros_like(goals.counts)
        state = {
            "left": goals.counts[:, None] - (is_here.cumsum(dim=1) - is_here),
            "last_minute": at_last(minute, last, nothing + NEVER),
            "last_z": at_last(event["z"], last, nothing),
            "minute": torch.where(is_begin, 0.0, F.pad(minute, (1, 0))[:, :-1]),
            "stamps_left": goals.stamps[:, None] - (stamp.cumsum(dim=1) - stamp),
            "end": goals.last_minute[:, None].expand(-1, length),
            "begin": begin[:, None].expand(-1, length),
            "pace": goals.pace[:, None].expand(-1, length),
            "echo": torch.where(is_begin, 0.0, event["echo"]),
            "echo_size": torch.where(is_begin, 0.0, event["echo_size"]),
        }
        return State(**{name: part.flatten(0, 1) for name, part in state.items()})

    def _read(self, event: dict[str, Tensor], goals: Goals, state: State, n: int) -> tuple[Tensor, Tensor]:
        """What has been read when each padded event is to be told, (N, d), and the code before it, (N,)."""
        network, length = self.network, event["code"].shape[1]
        is_begin = torch.arange(length, device=state.minute.device) == 0

        def before(name: str, nothing: float) -> Tensor:
            shifted = F.pad(event[name], (1, 0))[:, :-1]
            return torch.where(is_begin, nothing, shifted).flatten()

        code, has_z = before("code", len(network.channel)).long(), before("has_z", 0.0)
        x = network.embedded(
            state,
            network.read_plan(goals.features).repeat_interleave(length, dim=0),
            code=code,
            step=before("step", 0).long(),
            slot=before("slot", NOTHING).long(),
            z=before("z", 0.0) * has_z,
            has_z=has_z,
        )
        with sdpa_kernel(SDPBackend.MATH):  # the others have no rule for one patient at a time
            return network.trunk(x.view(n, length, -1)).flatten(0, 1), code
