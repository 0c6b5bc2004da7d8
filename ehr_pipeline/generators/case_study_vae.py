"""The MediCore case study's own autoencoder, faults and all, so that a report can show what was mended.

What belongs here: its encoding, network, loss and way of sampling, as published. What does not: anything better
(`tabular_vae.py`). Its faults, on purpose: a KL summed over batch and dimensions against a reconstruction that is
averaged over both (the posterior collapses); means for samples; binaries cut at 0.5; batch normalisation.

# NOTE[DIFF] The case study has numbers and binaries only. Here a missing number becomes the column's mean and is
#   never missing again, and the levels of a category (of a binary too) are binaries of which the likeliest is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.checkpoint import Checkpoint
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.configs import TabularVAEConfig
from ehr_pipeline.generators.persistence import read_state, under, write_state
from ehr_pipeline.generators.training import (
    Network,
    data_tensors,
    enough_memory,
    one_thread,
    pick_device,
    seeded,
    train_network,
)
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.progress import Progress

HIDDEN = (256, 128)
LATENT = 32
DROPOUT = 0.2
BETA = 1.0
BATCH_ROWS = 16_384


class CaseStudyNetwork(Network):
    """Encoder and decoder of two hidden layers, a head for numbers and one for binaries."""

    def __init__(self, n_numbers: int, n_levels: list[int]) -> None:
        super().__init__()
        self.n_levels = n_levels
        self.encoder = nn.Sequential(*_block(n_numbers + sum(n_levels), HIDDEN[0]), *_block(*HIDDEN))
        self.posterior = nn.Linear(HIDDEN[1], 2 * LATENT)
        self.decoder = nn.Sequential(*_block(LATENT, HIDDEN[1]), *_block(HIDDEN[1], HIDDEN[0]))
        self.number_head = nn.Linear(HIDDEN[0], n_numbers)
        self.binary_head = nn.Linear(HIDDEN[0], sum(n_levels))

    def losses(self, scaled: Tensor, levels: Tensor, *, share_done: float) -> Tensor:
        """Averaged squared error and cross-entropy, plus the KL summed over the whole batch."""
        binaries = self.one_hot(levels.long())
        mean, log_variance = self.posterior(self.encoder(torch.cat([scaled, binaries], dim=1))).chunk(2, dim=1)
        hidden = self.decoder(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
        squared = F.mse_loss(self.number_head(hidden), scaled, reduction="none")
        entropy = F.binary_cross_entropy_with_logits(self.binary_head(hidden), binaries, reduction="none")
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return _row_mean(squared) + _row_mean(entropy) + BETA * len(scaled) * kl

    def one_hot(self, levels: Tensor) -> Tensor:
        """Levels (rows, d) as binaries (rows, sum of n_levels)."""
        columns = [F.one_hot(levels[:, k], n) for k, n in enumerate(self.n_levels)]
        return torch.cat(columns, dim=1).float() if columns else levels.new_zeros(len(levels), 0).float()

    @torch.no_grad()
    def means(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What is taken for a sample: scaled numbers, and the likeliest level of each category."""
        hidden = self.decoder(z)
        binaries = self.binary_head(hidden).split(self.n_levels, dim=1) if self.n_levels else []
        likeliest = [column.argmax(dim=1, keepdim=True) for column in binaries]
        return self.number_head(hidden), torch.cat(likeliest, dim=1) if likeliest else z.new_zeros(len(z), 0)


class CaseStudyVAE(Generator):
    """Variational autoencoder as the case study has it."""

    name: ClassVar[str] = "tabular_vae"
    title: ClassVar[str] = "Variational autoencoder, case study's own"
    config_type: ClassVar[type[GeneratorConfig]] = TabularVAEConfig

    def __init__(
        self,
        codec: TableCodec,
        config: TabularVAEConfig,
        network: CaseStudyNetwork,
        scaling: np.ndarray,
        history: list[dict[str, float]],
    ) -> None:
        self.codec = codec
        self.config = config
        self.schema = codec.schema
        self.network = network
        self.scaling = scaling
        self.history = history

    @classmethod
    def fit(
        cls,
        cohort: TrainingCohort,
        config: GeneratorConfig,
        budget: Budget | None = None,
        progress: Progress | None = None,
        *,
        checkpoint: Path | None = None,
    ) -> Self:
        """Train on standardised numbers and 0/1 levels.

        Raises
        ------
        DefinitionError
            There is one row, or one per step, of which batch normalisation makes nothing.
        """
        if budget is not None:
            raise OptionError(f"{cls.name} has no private tier yet; leave the budget out")
        if len(cohort.table) == 1:
            raise DefinitionError("the case study's own variant (faithful) needs two rows or more; widen the cohort")
        if config.batch_rows == 1:
            raise DefinitionError("the case study's own variant (faithful) needs batch_rows of two or more; raise it")
        device = pick_device(config.device)
        codec = TableCodec.fit(cls.writable(cohort.schema), cohort.table, cohort.subject_id)
        numbers = codec.numbers(cohort.table)
        n_present = np.isfinite(numbers).sum(axis=0)
        total = np.nansum(numbers, axis=0)
        mean = total / np.maximum(n_present, 1)
        variance = np.nansum((numbers - mean) ** 2, axis=0) / np.maximum(n_present, 1)
        scaling = np.stack([mean, np.where(variance > 0, np.sqrt(variance), 1.0)])
        scaled = np.nan_to_num((numbers - mean) / scaling[1]).astype(np.float32)
        levels = codec.levels(cohort.table)[:, ~codec.is_number].astype(np.int32)
        with (
            enough_memory(cls.title, f"lower batch_rows (now {config.batch_rows})"),
            one_thread(),
            seeded(config.seed, device),
        ):
            data = data_tensors(device, scaled, levels)
            network = cls._network(codec).to(device)
            kept = Checkpoint.of(checkpoint, config, data, cohort.subject_id) if checkpoint is not None else None
            history = train_network(
                network, data, cohort.subject_id, config, task=cls.title, progress=progress, checkpoint=kept
            )
        return cls(codec, config, network.cpu(), scaling, history)

    def sample(self, n: int, seed: int, conditions: dict[str, Any] | None = None) -> pd.DataFrame:
        """Decode `n` latents from N(0, I) to their means; conditions are refused, for the case study has none."""
        if conditions:
            raise OptionError("the case study's own variant (faithful) takes no conditions; leave faithful out")
        generator = torch.Generator().manual_seed(seed)
        parts = [
            self.network.means(torch.randn(min(BATCH_ROWS, n - start), LATENT, generator=generator))
            for start in range(0, max(n, 1), BATCH_ROWS)
        ]
        mean, scale = self.scaling
        numbers = np.concatenate([part[0].numpy() for part in parts]).astype(np.float64) * scale + mean
        levels = np.concatenate([part[1].numpy() for part in parts]).astype(np.int64)
        columns = np.where(self.codec.is_number, np.cumsum(self.codec.is_number), np.cumsum(~self.codec.is_number)) - 1
        return self.codec.frame(
            [
                codec.nearest(numbers[:, k]) if is_number else codec.draw(levels[:, k])
                for codec, k, is_number in zip(self.codec.columns, columns, self.codec.is_number, strict=True)
            ]
        )

    def save(self, folder: Path) -> None:
        """Write the codec, the config and history, the weights and the scaling."""
        self.codec.save(folder)
        plain = {"config": self.config.model_dump(mode="json"), "history": self.history}
        arrays = {f"network.{name}": weight.numpy() for name, weight in self.network.state_dict().items()}
        write_state(folder, "generator", plain, arrays | {"scaling": self.scaling})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        plain, arrays = read_state(folder, "generator")
        codec = TableCodec.load(folder)
        network = cls._network(codec).eval()
        network.load_state_dict({name: torch.from_numpy(array) for name, array in under("network.", arrays).items()})
        config = TabularVAEConfig.model_validate(plain["config"])
        return cls(codec, config, network, arrays["scaling"], plain["history"])

    @classmethod
    def _network(cls, codec: TableCodec) -> CaseStudyNetwork:
        n_levels = np.array(codec.n_levels)[~codec.is_number].tolist()
        return CaseStudyNetwork(int(codec.is_number.sum()), n_levels)


def _block(d_in: int, d_out: int) -> list[nn.Module]:
    return [nn.Linear(d_in, d_out), nn.BatchNorm1d(d_out), nn.ReLU(), nn.Dropout(DROPOUT)]


def _row_mean(values: Tensor) -> Tensor:
    """Mean over columns, 0 where there are none."""
    return values.sum(dim=1) / max(1, values.shape[1])
