"""Pieces of timelines in training: batches of about one length, the state at every position, and the loss.

What belongs here: teacher forcing. What does not: weights
(`timeline_network.py`), the loop (`timeline_training.py`).

Memory: about 40 floats per position and channel, thrice with the gradients.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_levels import NOTHING
from ehr_pipeline.generators.timeline_network import MASKED, TimelineNetwork, target_of
from ehr_pipeline.generators.timeline_sequences import Sequences
from ehr_pipeline.generators.timeline_state import State

SORTED_BATCHES = 16
"""So many batches are cut from pieces that are sorted by length together."""


def batches(length: Tensor, pieces: Tensor, n_positions: int, *, shuffled: bool) -> Iterator[Tensor]:
    """The pieces in batches of at most `n_positions` with padding (or one piece), `shuffled` by torch's generator."""
    if shuffled:
        pieces = pieces[torch.randperm(len(pieces))]
    mean = max(1.0, float(length[pieces].float().mean()))
    pool = max(1, int(SORTED_BATCHES * n_positions / mean))
    made: list[Tensor] = []
    for unsorted in pieces.split(pool):
        some = unsorted[length[unsorted].argsort(stable=True)]
        sizes = length[some].numpy()
        begin = 0
        for end in range(1, len(some) + 1):
            if end == len(some) or sizes[end] * (end + 1 - begin) > n_positions:
                made.append(some[begin:end])
                begin = end
    order = torch.randperm(len(made)).tolist() if shuffled else range(len(made))
    for k in order:
        yield made[k]


def piece_losses(
    network: TimelineNetwork, sequences: Sequences, goals: Goals, pieces: Tensor, plan_noise: float = 0.0
) -> Tensor:
    """Negative log-likelihood of each piece's steps, codes and values, in nats: (B, 3).

    Pieces do not touch each other. What the plan says outright (the first and last time, the last value) costs nothing:
    it is not drawn.
    """
    at = Positions(network, sequences, goals, pieces)
    h, before = at.read(network, sequences, goals, plan_noise)
    event, state = at.event, at.state
    minute = sequences.minute[event].float()
    step, code = sequences.step[event], sequences.code[event]
    step_loss = F.cross_entropy(network.step_logits(h).float(), step, reduction="none")
    step_loss = step_loss * (~at.is_begin & (state.stamps_left > 0))
    is_same_time = sequences.is_stamp[event] == 0
    logits = network.code_logits(h, state, step=step, before=before, is_same_time=is_same_time, minute=minute)
    code_loss = possible_loss(logits, code)
    target, slots = target_of(goals, at.patient, network.channel[code])
    past = sequences.past.at(event)
    is_told = (target.has > 0) & (target.total - past.order <= 1)
    valued = torch.nonzero(network.has_choice[code] & ~is_told).squeeze(1)
    logits = network.value_logits(
        h[valued], code[valued], past.at(valued), target.at(valued), slots=slots[valued], minute=minute[valued]
    )
    value_loss = possible_loss(logits, sequences.slot[event[valued]])
    parts = ((step_loss, at.piece), (code_loss, at.piece), (value_loss, at.piece[valued]))
    nothing = torch.zeros(len(pieces), device=h.device)
    return torch.stack([nothing.index_add(0, piece, loss) for loss, piece in parts], dim=1)


def possible_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each row, 0 where the target is masked: what a few patients have, and nobody is to have."""
    loss = F.cross_entropy(logits, target, reduction="none")
    return torch.where(logits.gather(1, target[:, None]).squeeze(1) > MASKED / 2, loss, 0.0)


class Positions:
    """The positions of a batch of B pieces, without padding: N of them, and the state at each.

    Attributes
    ----------
    event, piece, patient
        int64 of shape (N,): the next event, the piece in the batch, the patient.
    is_begin
        bool of shape (N,): nothing was read yet.
    state
        After the event before, which is the one that is read.
    place, length
        Where each position stands among B rows of `length` with padding.
    """

    def __init__(self, network: TimelineNetwork, sequences: Sequences, goals: Goals, pieces: Tensor) -> None:
        first, length, patient = (part[pieces] for part in (sequences.first, sequences.length, sequences.patient))
        window = network.shape.window
        self.n_pieces, self.length = len(pieces), -(-int(length.max()) // window) * window
        index = torch.arange(self.length, device=first.device)
        is_there = index < length[:, None]
        self.place = torch.nonzero(is_there.flatten()).squeeze(1)
        event = (first[:, None] + index).clamp_max(len(sequences.code) - 1)
        self.event = event.flatten()[self.place]
        self.piece = self.place // self.length
        self.patient_of_piece, self.patient = patient, patient[self.piece]
        self.is_begin = (sequences.is_begin[pieces][:, None] & (index == 0)).flatten()[self.place]
        channel = network.channel[sequences.code[event]]
        is_here = F.one_hot(channel, network.n_channels).float()
        counts = sequences.counts[pieces][:, None] + is_here.cumsum(dim=1) - is_here
        # The place in the piece of the last event of each channel, before each position; -1 where there is none.
        last = torch.where(is_here > 0, index[None, :, None].float(), -1.0)
        last = F.pad(last, (0, 0, 1, 0), value=-1.0)[:, :-1].cummax(dim=1).values.long()
        minute = at_last(sequences.minute[event].float(), last, sequences.last_minute[pieces])
        stamp = sequences.is_stamp[event]
        stamps = sequences.stamps[pieces][:, None] + stamp.cumsum(dim=1) - stamp
        before = sequences.minute[self.event.clamp_min(1) - 1].float()
        self.state = State(
            left=self._there(goals.counts[patient][:, None] - counts),
            last_minute=self._there(minute),
            last_z=self._there(at_last(sequences.z[event], last, sequences.last_z[pieces])),
            minute=torch.where(self.is_begin, 0.0, before),
            stamps_left=self._there(goals.stamps[patient][:, None] - stamps),
            end=goals.last_minute[self.patient],
            begin=sequences.begin[self.patient],
            pace=goals.pace[self.patient],
            echo=torch.where(self.is_begin, 0.0, sequences.echo[self.event]),
            echo_size=torch.where(self.is_begin, 0.0, sequences.echo_size[self.event]),
        )

    def _there(self, padded: Tensor) -> Tensor:
        """(B, length, ...) to (N, ...)."""
        return padded.flatten(0, 1)[self.place]

    def read(
        self, network: TimelineNetwork, sequences: Sequences, goals: Goals, plan_noise: float
    ) -> tuple[Tensor, Tensor]:
        """What the network makes of the events before, (N, d), and their codes, (N,)."""
        features = goals.features[self.patient_of_piece]
        if plan_noise:
            features = features + plan_noise * torch.randn_like(features)
        plan = network.read_plan(features)[self.piece]
        known, begins = self.event.clamp_min(1) - 1, self.is_begin
        code = torch.where(begins, len(network.channel), sequences.code[known])
        has_z = torch.where(begins, 0.0, sequences.has_z[known])
        x = network.embedded(
            self.state,
            plan,
            code=code,
            step=torch.where(begins, 0, sequences.step[known]),
            slot=torch.where(begins, NOTHING, sequences.slot[known]),
            z=sequences.z[known] * has_z,
            has_z=has_z,
        )
        padded = x.new_zeros(self.n_pieces * self.length, x.shape[1]).index_copy(0, self.place, x)
        return self._there(network.trunk(padded.unflatten(0, (self.n_pieces, self.length)))), code


def at_last(values: Tensor, last: Tensor, carried: Tensor) -> Tensor:
    """Values (B, length) at the places `last` (B, length, C); where there is none, `carried` (B, C)."""
    found = values.gather(1, last.clamp_min(0).flatten(1)).view_as(last)
    return torch.where(last >= 0, found, carried[:, None])
