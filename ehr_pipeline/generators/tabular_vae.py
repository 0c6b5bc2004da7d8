"""A variational autoencoder for tables of mixed columns: the MediCore case study's, mended.

Kingma and Welling 2014 (https://arxiv.org/abs/1312.6114), with the latent's distribution estimated after
training as in Ghosh et al. 2020 (https://arxiv.org/abs/1903.12436, section 3.2).

What is kept of the case study: an encoder and a decoder of two hidden layers with normalisation, ReLU and
dropout; heads by type; a KL term with weight beta. Where we leave it, and why:

# NOTE[DIFF] Every column is a softmax over its levels (`codec.py`), and values are *sampled* from it and inside
#   the level. The case study takes means for numbers and thresholds binaries at 0.5, which loses all variance.
# NOTE[DIFF] Reconstruction and KL are both sums. It averages the first and sums the second: the posterior collapses.
# NOTE[DIFF] A head reads, beside z, the columns before its own, linearly (Chen et al. 2017,
#   https://arxiv.org/abs/1611.02731: z keeps what the decoder cannot say by itself). With z alone each column wants a
#   dimension of its own; trainings that gave two binary columns one dimension doubled a treatment's effect.
# NOTE[DIFF] Latents are drawn from a mixture of Gaussians fitted to the encoded patients, not from N(0, I), from which
#   they differ where beta is below 1.
# NOTE[DIFF] Layer normalisation instead of batch normalisation: rows of a batch must not touch each other.

Within a budget, the network is that of `private_autoencoder.py`, and latents are drawn from N(0, I).

`faithful: true` gives the case study's own variant (`case_study_vae.py`), for comparison.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.case_study_vae import CaseStudyVAE
from ehr_pipeline.generators.checkpoint import Checkpoint
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.conditions import conditions_row, draw_guided, fixed, wanted_levels
from ehr_pipeline.generators.configs import TabularVAEConfig
from ehr_pipeline.generators.earlier_columns import N_TOLD, EarlierColumns
from ehr_pipeline.generators.gaussian_mixture import GaussianMixture
from ehr_pipeline.generators.persistence import read_state, under, write_state
from ehr_pipeline.generators.private_autoencoder import PrivateAutoencoder
from ehr_pipeline.generators.private_tier import fit_private_network, private_plan
from ehr_pipeline.generators.row_scores import row_scores
from ehr_pipeline.generators.training import (
    Network,
    data_tensors,
    enough_memory,
    one_thread,
    pick_device,
    seeded,
    train_network,
)
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Schema

BLOCK_ROWS = 16_384
"""Rows drawn at a time."""
MOST_POINTS = 32_768
"""Encoded rows that the mixture is fitted to, at most."""
PATIENTS_PER_COMPONENT = 300
"""Patients that each component of the mixture stands for, at least on average."""
WARM_UP_SHARE = 0.2
"""Share of the training in which the KL term grows to its full weight."""


class AutoencoderNetwork(Network):
    """Encoder, decoder and a softmax head per column.

    Parameters
    ----------
    codec
        The columns: their levels' shares are where the heads start.
    """

    def __init__(self, codec: TableCodec, config: TabularVAEConfig) -> None:
        super().__init__()
        self.n_levels = codec.n_levels
        self.beta = config.beta
        d_hidden, n_numbers = config.hidden, int(codec.is_number.sum())
        starts = np.cumsum([0, *self.n_levels[:-1]])
        self.register_buffer("first_level", torch.from_numpy(starts), persistent=False)
        # A sum of embeddings is a linear layer on one-hot columns that never makes them.
        self.read_levels = nn.EmbeddingBag(sum(self.n_levels), d_hidden, mode="sum")
        nn.init.normal_(self.read_levels.weight, std=len(self.n_levels) ** -0.5)
        self.read_numbers = nn.Linear(n_numbers, d_hidden) if n_numbers else None
        self.encoder = nn.Sequential(*_normalised(d_hidden, config), *_hidden_layer(d_hidden, d_hidden, config))
        self.posterior = nn.Linear(d_hidden, 2 * config.latent)
        self.decoder = nn.Sequential(
            *_hidden_layer(config.latent, d_hidden, config), *_hidden_layer(d_hidden, d_hidden, config)
        )
        self.heads = nn.Linear(d_hidden, sum(self.n_levels))
        nn.init.zeros_(self.heads.weight)  # with the bias below: training starts at independent columns
        with torch.no_grad():
            self.heads.bias.copy_(torch.from_numpy(np.concatenate(codec.level_shares)).clamp_min(1e-6).log())
        # A number's levels are ordered: two weights shift and widen its whole distribution, which a few patients
        # can teach; the free weights of its levels are for what that cannot say.
        positions = torch.from_numpy(np.concatenate([column.level_positions for column in codec.columns])).float()
        self.register_buffer("position", positions, persistent=False)
        self.register_buffer("width", (positions**2 - 1) * (positions != 0), persistent=False)
        column_of_level = np.repeat(np.arange(len(self.n_levels)), self.n_levels)
        self.register_buffer("column_of_level", torch.from_numpy(column_of_level), persistent=False)
        self.tilt = nn.Linear(d_hidden, 2 * len(self.n_levels), bias=False)
        nn.init.zeros_(self.tilt.weight)
        self.earlier = EarlierColumns(codec)

    def encode(self, levels: Tensor, gaussian: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x): levels (rows, d), gaussian (rows, n_numbers) to (rows, latent) each."""
        hidden = self.read_levels(levels + self.first_level)
        if self.read_numbers is not None:
            hidden = hidden + self.read_numbers(gaussian)
        mean, log_variance = self.posterior(self.encoder(hidden)).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 6.0)

    def logits(self, z: Tensor, levels: Tensor) -> list[Tensor]:
        """Per column, unnormalised log-probabilities of its levels given z and the columns before it.

        z (rows, latent) and levels (rows, d) to (rows, n_levels) each.
        """
        own, said = self._own_logits(z), self.earlier(levels)
        return [self.earlier.joined(k, own[k], said[k]) for k in range(len(own))]

    def _own_logits(self, z: Tensor) -> tuple[Tensor, ...]:
        """What z alone says of each column."""
        hidden = self.decoder(z)
        shift, spread = self.tilt(hidden).chunk(2, dim=1)
        tilted = shift[:, self.column_of_level] * self.position + spread[:, self.column_of_level] * self.width
        return (self.heads(hidden) + tilted).split(self.n_levels, dim=1)

    def losses(self, levels: Tensor, gaussian: Tensor, *, share_done: float) -> Tensor:
        """The negative evidence lower bound of each row, its KL term weighed by beta."""
        levels = levels.long()
        mean, log_variance = self.encode(levels, gaussian)
        z = _reparametrised(mean, log_variance)
        logits = self.logits(z, levels)
        reconstruction = sum(F.cross_entropy(column, levels[:, k], reduction="none") for k, column in enumerate(logits))
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return reconstruction + self.beta * min(1.0, share_done / WARM_UP_SHARE) * kl

    @torch.no_grad()
    def draw(
        self, z: Tensor, generator: torch.Generator, wanted: Mapping[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Levels sampled from the heads, column by column, but for the wanted ones, which are set.

        Returns int64 of shape (rows, d), and the chance of what was set, float32 of shape (rows,): 1 without any.
        """
        uniform = torch.rand(len(z), len(self.n_levels), 1, generator=generator, device=z.device)
        levels = torch.zeros(len(z), len(self.n_levels), dtype=torch.int64, device=z.device)
        told = z.new_zeros(len(z), len(self.n_levels) * N_TOLD)
        chance = z.new_ones(len(z))
        for k, own in enumerate(self._own_logits(z)):
            shares = self.earlier.joined(k, own, self.earlier.say(k, told)).softmax(dim=1)
            if wanted and k in wanted:
                levels[:, k] = wanted[k]
                chance *= shares[:, wanted[k]]
            else:
                levels[:, k] = (shares.cumsum(dim=1)[:, :-1] < uniform[:, k]).sum(dim=1)
            told[:, k * N_TOLD : (k + 1) * N_TOLD] = self.earlier.tell(k, levels[:, k])
        return levels, chance


class TabularVAE(Generator):
    """Variational autoencoder."""

    name: ClassVar[str] = "tabular_vae"
    title: ClassVar[str] = "Variational autoencoder"
    config_type: ClassVar[type[GeneratorConfig]] = TabularVAEConfig

    def __init__(
        self,
        codec: TableCodec,
        config: TabularVAEConfig,
        network: AutoencoderNetwork | PrivateAutoencoder,
        mixture: GaussianMixture,
        history: list[dict[str, float]],
    ) -> None:
        self.codec = codec
        self.config = config
        self.schema = codec.schema
        self.network = network
        self.mixture = mixture
        self.history = history
        self.device = mixture.means.device.type

    @classmethod
    def fit(
        cls,
        cohort: TrainingCohort,
        config: GeneratorConfig,
        budget: Budget | None = None,
        progress: Progress | None = None,
        *,
        checkpoint: Path | None = None,
    ) -> Generator:
        """Train the autoencoder, then fit the mixture to its latents and the heads to the columns' shares."""
        config = TabularVAEConfig.model_validate(config.model_dump())
        if config.faithful:
            return CaseStudyVAE.fit(cohort, config, budget, progress, checkpoint=checkpoint)
        if budget is not None:
            return cls._fit_private(cohort, config, budget, progress)
        device = pick_device(config.device)
        codec = TableCodec.fit(cls.writable(cohort.schema), cohort.table, cohort.subject_id, n_levels=config.levels)
        with (
            enough_memory(cls.title, f"lower batch_rows (now {config.batch_rows})"),
            one_thread(),
            seeded(config.seed, device),
        ):
            data = data_tensors(device, codec.levels(cohort.table).astype(np.int32), codec.gaussian(cohort.table))
            network = AutoencoderNetwork(codec, config).to(device)
            kept = Checkpoint.of(checkpoint, config, data, cohort.subject_id) if checkpoint is not None else None
            history = train_network(
                network, data, cohort.subject_id, config, task=cls.title, progress=progress, checkpoint=kept
            )
            patients = torch.from_numpy(np.unique(cohort.subject_id, return_inverse=True)[1]).to(device)
            mixture = _latent_mixture(network, data, patients, config)
            _match_shares(network, mixture, codec.level_shares)
        return cls(codec, config, network, mixture, history)

    @classmethod
    def privacy_plan(cls, schema: Schema, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """Histograms of the columns, then the training of the autoencoder."""
        config = TabularVAEConfig.model_validate(config.model_dump())
        if config.faithful:
            return CaseStudyVAE.privacy_plan(schema, config, budget)
        return private_plan(cls.writable(schema), config, budget)

    @classmethod
    def _fit_private(
        cls, cohort: TrainingCohort, config: TabularVAEConfig, budget: Budget, progress: Progress | None
    ) -> Generator:
        """Learn the columns' levels and the autoencoder within the budget; one row stands for each patient."""
        plan = cls.privacy_plan(cohort.schema, config, budget)
        network_of = functools.partial(PrivateAutoencoder, config=config)
        schema = cls.writable(cohort.schema)
        fit = fit_private_network(network_of, schema, cohort, plan, config, task=cls.title, progress=progress)
        prior = GaussianMixture.standard(config.private_latent, fit.network.shift.device)
        generator = cls(fit.codec, config, fit.network, prior, history=[])
        generator.privacy, generator.n_patients = plan, fit.n_patients
        return generator

    def sample(self, n: int, seed: int, conditions: dict[str, Any] | None = None) -> pd.DataFrame:
        """Draw `n` rows; conditions are met by guided rejection, whose rate is in `attrs["acceptance_rate"]`."""
        rng = np.random.default_rng(seed)
        row = conditions_row(self.codec, conditions)
        wanted = wanted_levels(self.codec, row)
        draw = functools.partial(self._draw, wanted)
        levels, rate = draw_guided(draw, n, rng) if wanted else (draw(n, rng)[0], 1.0)
        frame = fixed(self.codec.draw(levels, rng), row)
        frame.attrs["acceptance_rate"] = rate
        return frame

    def _draw(self, wanted: Mapping[int, int], n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Levels (n, d) with the wanted ones set, and the chance of these, in blocks so that memory is bounded."""
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        blocks = [
            self.network.draw(self.mixture.sample(min(BLOCK_ROWS, n - start), generator).float(), generator, wanted)
            for start in range(0, max(n, 1), BLOCK_ROWS)
        ]
        levels, chance = (torch.cat(parts).cpu().numpy() for parts in zip(*blocks, strict=True))
        return levels, chance

    def scores(self, table: pd.DataFrame) -> np.ndarray:
        """The evidence bound of each row's levels, its KL term weighed by beta."""
        data = [torch.from_numpy(self.codec.levels(table)).to(self.device)]
        if isinstance(self.network, AutoencoderNetwork):
            data.append(torch.from_numpy(self.codec.gaussian(table)).to(self.device))
        return row_scores(self.network, tuple(data))

    def save(self, folder: Path) -> None:
        """Write the codec, the config and history, the weights and the mixture."""
        self.codec.save(folder)
        plain = {
            "config": self.config.model_dump(mode="json"),
            "history": self.history,
            "network": type(self.network).__name__,
        }
        tensors = {f"network.{name}": weight for name, weight in self.network.state_dict().items()}
        tensors |= {f"mixture.{name}": tensor for name, tensor in vars(self.mixture).items()}
        write_state(folder, "generator", plain, {name: tensor.cpu().numpy() for name, tensor in tensors.items()})

    @classmethod
    def load(cls, folder: Path) -> Generator:
        """Read what `save` wrote, onto a GPU where there is one."""
        plain, arrays = read_state(folder, "generator")
        config = TabularVAEConfig.model_validate(plain["config"])
        if config.faithful:
            return CaseStudyVAE.load(folder)
        device = pick_device("cpu" if config.device == "cpu" else "auto")
        codec = TableCodec.load(folder)
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        private = plain.get("network") == PrivateAutoencoder.__name__
        network = (PrivateAutoencoder if private else AutoencoderNetwork)(codec, config).to(device).eval()
        network.load_state_dict(under("network.", tensors))
        mixture = GaussianMixture(**under("mixture.", tensors))
        return cls(codec, config, network, mixture, plain["history"])


def _normalised(d: int, config: TabularVAEConfig) -> list[nn.Module]:
    return [nn.LayerNorm(d), nn.ReLU(), nn.Dropout(config.dropout)]


def _hidden_layer(d_in: int, d_out: int, config: TabularVAEConfig) -> list[nn.Module]:
    return [nn.Linear(d_in, d_out), *_normalised(d_out, config)]


def _reparametrised(mean: Tensor, log_variance: Tensor) -> Tensor:
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


@torch.no_grad()
def _latent_mixture(
    network: AutoencoderNetwork, data: tuple[Tensor, ...], patients: Tensor, config: TabularVAEConfig
) -> GaussianMixture:
    """The aggregate posterior of the training rows, as a mixture."""
    device = data[0].device
    n = min(len(data[0]), MOST_POINTS)
    rows = torch.randperm(len(data[0]), device=device)[:n]
    points = torch.cat(
        [_reparametrised(*network.encode(data[0][block].long(), data[1][block])) for block in rows.split(4096)]
    )
    n_patients = len(patients[rows].unique())
    n_components = max(1, min(config.components, n_patients // PATIENTS_PER_COMPONENT))
    generator = torch.Generator(device).manual_seed(config.seed)
    return GaussianMixture.fit(points, patients[rows], n_components, generator)


@torch.no_grad()
def _match_shares(network: AutoencoderNetwork, mixture: GaussianMixture, level_shares: list[np.ndarray]) -> None:
    """Shift the heads' biases until latents from the mixture give each column its own shares on average."""
    device = mixture.means.device
    wanted = torch.from_numpy(np.concatenate(level_shares)).float().to(device).clamp_min(1e-6)
    generator = torch.Generator(device).manual_seed(0)
    blocks = mixture.sample(32_768, generator).float().split(4096)
    for _ in range(3):
        drawn = [(z, network.draw(z, generator)[0]) for z in blocks]
        shares = sum(torch.cat([one.softmax(1).mean(0) for one in network.logits(*rows)]) for rows in drawn)
        network.heads.bias += (wanted / (shares / len(blocks)).clamp_min(1e-6)).log().clamp(-1.0, 1.0)
