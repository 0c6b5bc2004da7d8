"""From the embedding of a record to what holds for all of it: the static row, which codes occur at all, how it ends.

What belongs here: the network, its likelihood, and drawing from it. What does not: what comes when
(`stamp_decoder.py`), the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.category_autoencoder import CategoryAutoencoder
from ehr_pipeline.generators.coupled_heads import CoupledBits, CoupledNumbers, drawn_level
from ehr_pipeline.generators.record_arrays import Records
from ehr_pipeline.generators.record_layout import RecordLayout
from ehr_pipeline.generators.static_columns import StaticColumns

MATCH_ROUNDS, MATCH_STEP = 8, 0.7
"""Rounds of the match of bits, and the part of each bit's error in log odds that a round takes back."""


@dataclass(frozen=True, kw_only=True)
class Plans:
    """What holds for whole records, of n patients: fields as in `Records`."""

    static_tokens: Tensor
    static_z: Tensor
    static_present: Tensor
    bits: Tensor
    levels: Tensor
    counts: Tensor
    end_level: Tensor
    begin_level: Tensor

    @classmethod
    def of(cls, records: Records, patients: Tensor) -> Plans:
        """The plans of some of the records."""
        return cls(**{name: getattr(records, name)[patients] for name in cls.__dataclass_fields__})


class PlanDecoder(nn.Module):
    """Embedding (n, latent) to plans.

    Parameters
    ----------
    categories
        The fitted encoder-decoder of static categories; it stays as it is.
    bit_shares
        Share of patients with each bit: those that all or none have are not drawn.
    """

    def __init__(
        self,
        layout: RecordLayout,
        statics: StaticColumns,
        categories: CategoryAutoencoder,
        *,
        bit_shares: Tensor,
        latent: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.categories = categories.requires_grad_(requires_grad=False)
        self.n_ends, self.n_static, self.n_features = len(layout.ends), len(statics.numbers), len(layout.features)
        self.register_buffer("bit_shares", bit_shares)
        self.register_buffer("never_misses", torch.from_numpy(statics.never_misses), persistent=False)
        self.register_buffer("has_numbers", torch.from_numpy(layout.has_numbers), persistent=False)
        n_bits, n_numbers = len(bit_shares), self.n_static + 2 * self.n_features
        self.sizes = [
            categories.tokens.width,
            self.n_static,
            n_bits,
            max(1, layout.end_times.n_levels),
            max(1, layout.begins.n_levels),
        ]
        self.layers = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.head = nn.Linear(hidden, sum(self.sizes))
        self.number_layers = nn.Sequential(
            nn.Linear(latent + n_bits, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.number_head = nn.Linear(hidden, 2 * n_numbers)
        self.bits, self.present = CoupledBits(n_bits), CoupledBits(self.n_static)
        self.numbers = CoupledNumbers(n_numbers)
        self.start = nn.Parameter(bit_shares.clamp(1e-3, 1 - 1e-3).logit())
        self.width = categories.tokens.width + self.n_static + n_numbers + n_bits

    def told(self, plans: Plans) -> Tensor:
        """Plans as what other networks read of them: (n, width)."""
        numbers, present = self._numbers(plans)
        categories = self.categories.encode(plans.static_tokens)
        return torch.cat([categories, numbers * present, plans.static_present, plans.bits], dim=1)

    def losses(self, embedding: Tensor, plans: Plans) -> Tensor:
        """Negative log-likelihood of each plan, in nats: of shape (n,)."""
        category, present, bits, end, begin = self._heads(embedding)
        loss = self.categories.token_losses(self.categories.decode(category), plans.static_tokens)
        loss = loss + self.present.losses(present, plans.static_present).sum(dim=1)
        loss = loss + self.bits.losses(bits, plans.bits).sum(dim=1)
        centre, spread = self._number_heads(embedding, plans.bits)
        loss = loss + self.numbers.losses(centre, spread, *self._numbers(plans)).sum(dim=1)
        loss = loss + F.cross_entropy(begin, plans.begin_level, reduction="none")
        of_end = F.cross_entropy(end, plans.end_level.clamp_min(0), reduction="none")
        return loss + torch.where(plans.end_level >= 0, of_end, 0.0)

    @torch.no_grad()
    def draw(self, embedding: Tensor) -> Plans:
        """A plan for each embedding."""
        category, present, bits, end, begin = self._heads(embedding)
        logits, n = self.categories.decode(category), len(embedding)
        tokens = [drawn_level(logits[:, group]) + group.start for group in self.categories.tokens.groups]
        drawn = self.bits.draw(bits, (self.bit_shares > 0).expand(n, -1))
        drawn = torch.where(self.bit_shares == 1, 1.0, drawn)
        static_present = self.present.draw(present, torch.ones_like(present, dtype=torch.bool))
        static_present = torch.maximum(static_present, self.never_misses.float())
        centre, spread = self._number_heads(embedding, drawn)
        there = self._present(static_present, drawn)
        numbers = self.numbers.draw(centre, spread, there, centre, torch.zeros_like(centre, dtype=torch.bool))
        z, levels, counts = numbers.split([self.n_static, self.n_features, self.n_features], dim=1)
        ends = drawn[:, drawn.shape[1] - self.n_ends :].any(dim=1)
        return Plans(
            static_tokens=torch.stack(tokens, dim=1) if tokens else embedding.new_empty(n, 0, dtype=torch.int64),
            static_z=z,
            static_present=static_present,
            bits=drawn,
            levels=levels,
            counts=2 * (counts + 1) * there[:, self.n_static + self.n_features :],
            end_level=torch.where(ends, drawn_level(end), -1),
            begin_level=drawn_level(begin),
        )

    @torch.no_grad()
    def match(self, embedding: Tensor) -> None:
        """Shift the logits of bits until plans drawn from these embeddings have each bit as often as patients do.

        Bits that all or no patients have are not drawn, and stay.
        """
        wanted = _logit(self.bit_shares, len(embedding))
        for _ in range(MATCH_ROUNDS):
            drawn = _logit(self.draw(embedding).bits.mean(dim=0), len(embedding))
            self.start += MATCH_STEP * (wanted - drawn)

    @torch.no_grad()
    def condition_chances(self, embedding: Tensor, token: dict[int, int], z: dict[int, float]) -> Tensor:
        """Log-likelihood of given static tokens (by group) and numbers (by place): of shape (n,)."""
        category, _, bits, *_ = self._heads(embedding)
        logits = self.categories.decode(category)
        chance = embedding.new_zeros(len(embedding))
        for k, one in token.items():
            group = self.categories.tokens.groups[k]
            chance = chance + logits[:, group].log_softmax(dim=1)[:, one - group.start]
        centre, spread = self._number_heads(embedding, bits.sigmoid())
        for k, one in z.items():
            chance = chance - 0.5 * ((one - centre[:, k]) * (-spread[:, k]).exp()).square() - spread[:, k]
        return chance

    def _numbers(self, plans: Plans) -> tuple[Tensor, Tensor]:
        """All numbers of plans on like scales, and which are there: each (n, n_numbers)."""
        numbers = torch.cat([plans.static_z, plans.levels, plans.counts / 2 - 1], dim=1)
        return numbers, self._present(plans.static_present, plans.bits)

    def _present(self, static_present: Tensor, bits: Tensor) -> Tensor:
        has_feature = bits[:, : self.n_features]
        return torch.cat([static_present, has_feature * self.has_numbers, has_feature], dim=1)

    def _heads(self, embedding: Tensor) -> list[Tensor]:
        heads = list(self.head(self.layers(embedding)).split(self.sizes, dim=1))
        heads[2] = heads[2] + self.start
        return heads

    def _number_heads(self, embedding: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
        """Centre and log spread of all numbers given which codes there are and how the record ends."""
        centre, spread = self.number_head(self.number_layers(torch.cat([embedding, bits], dim=1))).chunk(2, dim=1)
        return centre, spread.clamp(-4.0, 2.0)


def _logit(shares: Tensor, n: int) -> Tensor:
    """Log odds of shares among n rows, as if half a row more had each bit and half a row had not."""
    return ((shares * n + 0.5) / (n + 1)).logit()
