"""Encoder and decoder over whole records: a record to one embedding, an embedding to a record.

What belongs here: the encoder, the loss, the loop that draws step after step. What does not: the decoder's two parts
(`plan_decoder.py`, `stamp_decoder.py`), the noise that embeddings come from (`latent_gan.py`).

# NOTE[DIFF] The encoder reads each time stamp by itself and averages over parts of the record, where re-implementations
#   have a recurrent network: all stamps are read at once, so that it trains in minutes on one core.
# NOTE[DIFF] Embeddings are standardised and get noise before they are decoded: near ones then mean nearly the same, and
#   no embedding tells all of one patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.category_autoencoder import ABSENT, CategoryAutoencoder
from ehr_pipeline.generators.configs import EHRSafeConfig
from ehr_pipeline.generators.plan_decoder import PlanDecoder, Plans
from ehr_pipeline.generators.record_arrays import Records
from ehr_pipeline.generators.record_layout import RecordLayout
from ehr_pipeline.generators.stamp_decoder import StampDecoder, State
from ehr_pipeline.generators.static_columns import StaticColumns
from ehr_pipeline.generators.training import Network

PARTS = 6
"""Parts of the window over which the encoder averages, each by itself."""
CONTEXT = 64
"""Numbers that a step reads of embedding and plan."""
RUNNING = 0.05
"""Weight of the newest batch in the means and variances that embeddings are standardised by after training."""
BLOCK = 256
"""Patients that go through the networks at a time, at most."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Drawn records: `plans`, and one row per time stamp: arrays of the same first length, in order of patient."""

    plans: Plans
    begin: np.ndarray
    end_minute: np.ndarray
    patient: np.ndarray
    minute: np.ndarray
    mask: np.ndarray
    z: np.ndarray
    is_number: np.ndarray
    tokens: np.ndarray


class Standardised(nn.Module):
    """Each number less its mean over patients, divided by their standard deviation: of the batch in training.

    Without it an encoder can hide what it tells below the noise: nothing else asks embeddings to differ.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (n, width); those of a batch touch each other in training, not after it."""
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = rows.mean(dim=0), rows.var(dim=0, correction=0)
            self.mean.lerp_(mean.detach().float(), RUNNING)
            self.variance.lerp_(variance.detach().float(), RUNNING)
        return (rows - mean) / (variance + 1e-5).sqrt()


class RecordAutoencoder(Network):
    """Records to embeddings (n, latent), and back.

    Parameters
    ----------
    categories, static_categories
        The fitted encoder-decoders of tokens; they stay as they are.
    n_rare
        Rare codes at one time stamp at most.
    bit_shares
        Share of patients with each bit of `Records.bits`.
    stamp_shares
        Share of time stamps with each feature, and with any rare code.
    """

    records: Records
    """What is learned from; not there after loading."""

    def __init__(
        self,
        layout: RecordLayout,
        statics: StaticColumns,
        categories: CategoryAutoencoder,
        static_categories: CategoryAutoencoder,
        config: EHRSafeConfig,
        *,
        n_rare: int,
        bit_shares: Tensor,
        stamp_shares: Tensor,
        window_minutes: int,
    ) -> None:
        super().__init__()
        self.layout, self.config, self.window_minutes = layout, config, window_minutes
        hidden = config.hidden
        self.plan = PlanDecoder(
            layout, statics, static_categories, bit_shares=bit_shares, latent=config.latent, hidden=hidden
        )
        self.stamp = StampDecoder(
            layout, categories, n_rare=n_rare, stamp_shares=stamp_shares, context=CONTEXT, hidden=hidden
        )
        self.context = nn.Linear(config.latent + self.plan.width, CONTEXT)
        n_features, width = len(layout.features), hidden // 2
        self.read = nn.Sequential(
            nn.Linear(3 * n_features + categories.tokens.width + 1, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
        )
        self.encoder = nn.Sequential(
            nn.Linear(PARTS * (width + 1) + self.plan.width + 3, 2 * hidden),
            nn.SiLU(),
            nn.Linear(2 * hidden, config.latent),
            Standardised(config.latent),
        )

    def encode(self, patients: Tensor) -> Tensor:
        """Embeddings of these patients of `records`: (n, latent); each number has mean 0, variance 1 over patients."""
        records = self.records
        rows, place = records.rows_of(patients)
        is_stamp = ~records.is_end[rows]
        rows, place = rows[is_stamp], place[is_stamp]
        share = records.minute[rows] / max(1, self.window_minutes)
        z = records.z[rows]
        told = [records.mask[rows].float(), z, z.abs(), self.stamp.categories.encode(records.tokens[rows])]
        read = self.read(torch.cat([*told, share[:, None]], dim=1))
        cell = place * PARTS + (share * PARTS).long().clamp(0, PARTS - 1)
        total = read.new_zeros(len(patients) * PARTS, read.shape[1]).index_add(0, cell, read)
        count = read.new_zeros(len(patients) * PARTS).index_add(0, cell, torch.ones_like(share))
        mean = torch.cat([total / count.clamp_min(1)[:, None], count[:, None].log1p()], dim=1)
        plans = Plans.of(records, patients)
        begin = records.begin[patients] * (2 * np.pi / 1440)
        more = [records.until[patients] / max(1, self.window_minutes), begin.sin(), begin.cos()]
        return self.encoder(
            torch.cat([mean.view(len(patients), -1), self.plan.told(plans), torch.stack(more, dim=1)], dim=1)
        )

    def losses(self, patients: Tensor, share_done: float = 1.0) -> Tensor:
        """Loss of each patient: of the plan, and of `stamps_weight` mean time stamps."""
        return torch.cat([self._losses(block) for block in patients.split(BLOCK)])

    def _losses(self, patients: Tensor) -> Tensor:
        embedding = self.encode(patients)
        embedding = embedding + self.config.latent_noise * torch.randn_like(embedding)
        of_plan, of_gaps, of_stamps = self.reconstruction(embedding, patients)
        weight = self.config.stamps_weight * self.records.n_patients / len(self.records.minute)
        return of_plan + weight * (of_gaps + of_stamps)

    def reconstruction(self, embedding: Tensor, patients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Negative log-likelihood of these patients' plans, gaps and time stamps under embeddings: each (n,), nats."""
        records = self.records
        plans = Plans.of(records, patients)
        rows, place = records.rows_of(patients)
        rows, place = (part[~records.is_end[rows] | records.is_known[rows]] for part in (rows, place))
        context = self._context(embedding, plans)
        state = self._state(rows, place, context, plans, patients)
        gap = (records.minute[rows] - records.before[rows]).float()
        is_end = records.is_end[rows]
        of_gap = self.stamp.gap_losses(state, gap, records.gap_level[rows], is_end)
        here = torch.nonzero(~is_end)[:, 0]
        rows, at = rows[here], place[here]
        state = State(**{name: getattr(state, name)[here] for name in State.__dataclass_fields__})
        of_stamp = self.stamp.losses(state, records, rows)
        nothing = of_gap.new_zeros(len(patients))
        losses = self.plan.losses(embedding, plans)
        return losses, nothing.index_add(0, place, of_gap), nothing.index_add(0, at, of_stamp)

    def _context(self, embedding: Tensor, plans: Plans) -> Tensor:
        return F.silu(self.context(torch.cat([embedding, self.plan.told(plans)], dim=1)))

    def _may(self, bits: Tensor) -> Tensor:
        return bits[:, : len(self.layout.features) + 1] > 0

    def _state(self, rows: Tensor, place: Tensor, context: Tensor, plans: Plans, patients: Tensor) -> State:
        records = self.records
        is_first = (rows == records.first[patients][place])[:, None]
        return State(
            minute=records.before[rows],
            begin=records.begin[patients][place],
            until=records.until[patients][place],
            last_z=records.last_z[rows],
            last_minute=records.last_minute[rows],
            mean_z=records.mean_z[rows],
            n_before=records.n_before[rows],
            n_seen=records.n_seen[rows],
            mask=records.mask[(rows - 1).clamp_min(0)] & ~is_first,
            tokens=records.state_tokens[rows],
            context=context[place],
            levels=plans.levels[place],
            counts=plans.counts[place],
            has_feature=self._may(plans.bits)[place],
        )

    @torch.no_grad()
    def draw(self, embedding: Tensor, plans: Plans, most_stamps: int, rng: np.random.Generator) -> Drawn:
        """A record for each embedding and plan, all of them step by step at once; torch's seed is the caller's."""
        layout, device, n = self.layout, embedding.device, len(embedding)
        begin = layout.begins.draw(plans.begin_level.cpu().numpy(), rng)
        end = layout.end_times.draw(plans.end_level.clamp_min(0).cpu().numpy(), rng)
        has_end = (plans.end_level >= 0).cpu().numpy() & np.isfinite(end)
        end = np.where(has_end, np.nan_to_num(end), self.window_minutes).clip(0, self.window_minutes)
        k = len(layout.features)
        whole = {"device": device, "dtype": torch.int64}
        state = State(
            minute=torch.zeros(n, **whole),
            begin=torch.from_numpy(np.nan_to_num(begin).astype(np.int64)).to(device),
            until=torch.from_numpy(end.astype(np.int64)).to(device),
            last_z=torch.zeros(n, k, device=device),
            last_minute=torch.full((n, k), -1, **whole),
            mean_z=torch.zeros(n, k, device=device),
            n_before=torch.zeros(n, k, **whole),
            n_seen=torch.zeros(n, k, **whole),
            mask=torch.zeros(n, k, device=device, dtype=torch.bool),
            tokens=torch.full((n, len(layout.grouped) + self.stamp.n_rare), ABSENT, **whole),
            context=self._context(embedding, plans),
            levels=plans.levels,
            counts=plans.counts,
            has_feature=self._may(plans.bits),
        )
        patient = torch.arange(n, device=device)
        found = [tuple(one[:0] for one in (patient, patient, state.mask, state.last_z, state.mask, state.tokens))]
        for step in range(most_stamps):
            level = self.stamp.draw_gap(state, is_first=step == 0).cpu().numpy()
            gap = layout.gaps.draw(np.minimum(level, layout.gaps.n_levels - 1), rng)
            is_more = (level < layout.gaps.n_levels) & np.isfinite(gap)
            gap = torch.from_numpy(np.nan_to_num(gap).astype(np.int64)).to(device)
            minute = state.minute + gap if step else gap.minimum(state.until)
            goes_on = torch.nonzero(torch.from_numpy(is_more).to(device) & (minute <= state.until))[:, 0]
            if not len(goes_on):
                break
            state = State(**{name: getattr(state, name)[goes_on] for name in State.__dataclass_fields__})
            patient, minute = patient[goes_on], minute[goes_on]
            drawn = self.stamp.draw(state, minute)
            found.append((patient, minute, *drawn))
            state = _after(state, minute, drawn, len(layout.grouped))
        parts = [torch.cat(part).cpu().numpy() for part in zip(*found, strict=True)]
        order = np.argsort(parts[0], kind="stable")
        names = ("patient", "minute", "mask", "z", "is_number", "tokens")
        return Drawn(
            plans=plans,
            begin=np.nan_to_num(begin).astype(np.int64),
            end_minute=np.where(has_end, end, -1).astype(np.int64),
            **{name: part[order] for name, part in zip(names, parts, strict=True)},
        )


def _after(state: State, minute: Tensor, drawn: tuple[Tensor, ...], n_groups: int) -> State:
    """What the step after `drawn` at `minute` knows."""
    mask, z, is_number, tokens = drawn
    n_before = state.n_before + is_number
    mean = state.mean_z + torch.where(is_number, (z - state.mean_z) / n_before.clamp_min(1), 0.0)
    is_new = tokens >= 0
    is_new[:, n_groups:] = is_new[:, n_groups:].any(dim=1, keepdim=True)
    return State(
        minute=minute,
        begin=state.begin,
        until=state.until,
        last_z=torch.where(is_number, z, state.last_z),
        last_minute=torch.where(mask, minute[:, None], state.last_minute),
        mean_z=mean,
        n_before=n_before,
        n_seen=state.n_seen + mask,
        mask=mask,
        tokens=torch.where(is_new, tokens, state.tokens),
        context=state.context,
        levels=state.levels,
        counts=state.counts,
        has_feature=state.has_feature,
    )
