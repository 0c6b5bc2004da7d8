"""Sparse categories as a short embedding, and back: the categorical encoder-decoder of EHR-Safe.

What belongs here: one network over *tokens*. What does not: what a token stands for (`record_layout.py`).

A row is a list of tokens. Some tokens stand in *groups* of which a row has at most one each (a code's texts, the levels
of a static fact); the others make up a *set* of which a row has any number (codes that come too seldom for a column of
their own). The embedding is tanh of the sum of the tokens' vectors; the decoder gives a logit per token, read as a
softmax over each group and over the set. Trained by cross-entropy on rows, by itself, then kept as it is.

Parameters are 2 * d * n_tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.training import Network

ABSENT = -1
"""Fills a row of tokens."""
WIDEST = 24
"""Numbers in an embedding at most."""


@dataclass(frozen=True)
class Tokens:
    """How many tokens there are: those of each group, one group after the other, then those of the set.

    A row of tokens is int64 of shape (n_groups + n_places,): the token of each group, then some of the set; each counts
    from the beginning of all tokens, or is `ABSENT`.
    """

    group_sizes: tuple[int, ...]
    n_set: int = 0

    @property
    def groups(self) -> list[slice]:
        """Where the tokens of each group lie."""
        ends = np.cumsum(self.group_sizes).tolist()
        return [slice(end - size, end) for end, size in zip(ends, self.group_sizes, strict=True)]

    @property
    def set_start(self) -> int:
        """First token of the set."""
        return sum(self.group_sizes)

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all fields together."""
        return self.set_start + self.n_set

    @property
    def width(self) -> int:
        """Numbers in the embedding: 0 where there are no tokens."""
        return min(self.n_tokens, WIDEST)


class CategoryAutoencoder(Network):
    """Tokens to an embedding (rows, width) and an embedding to logits (rows, n_tokens)."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.tokens = tokens
        self.vectors = nn.Embedding(tokens.n_tokens + 1, tokens.width, padding_idx=tokens.n_tokens)
        self.decode = nn.Linear(tokens.width, tokens.n_tokens)

    def encode(self, rows: Tensor) -> Tensor:
        """Embeddings of rows of tokens."""
        return self.vectors(torch.where(rows < 0, self.tokens.n_tokens, rows).long()).sum(dim=-2).tanh()

    def losses(self, rows: Tensor, share_done: float = 1.0) -> Tensor:
        """Cross-entropy of each row's own tokens given its embedding, in nats."""
        return self.token_losses(self.decode(self.encode(rows)), rows)

    def token_losses(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Cross-entropy of the tokens of `rows` under `logits` (rows, n_tokens): of shape (rows,)."""
        loss, rows = logits.new_zeros(len(rows)), rows.long()
        for k, group in enumerate(self.tokens.groups):
            here = torch.nonzero(rows[:, k] >= 0)[:, 0]
            if len(here):
                of_group = F.cross_entropy(logits[here, group].float(), rows[here, k] - group.start, reduction="none")
                loss = loss.index_add(0, here, of_group)
        members = rows[:, len(self.tokens.group_sizes) :]
        here = torch.nonzero((members >= 0).any(dim=1))[:, 0] if self.tokens.n_set else members.new_empty(0)
        if len(here):
            members = members[here] - self.tokens.set_start
            chance = logits[here, self.tokens.set_start :].float().log_softmax(dim=1)
            of_set = chance.gather(1, members.clamp_min(0)).masked_fill(members < 0, 0.0).sum(dim=1)
            loss = loss.index_add(0, here, -of_set)
        return loss
