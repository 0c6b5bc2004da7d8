"""A generative adversarial network for tables of mixed columns: medGAN, TableGAN, CTGAN, with a Wasserstein critic.

- The critic and its penalty: WGAN-GP, Gulrajani et al. 2017 (https://arxiv.org/abs/1704.00028, equation 3).
- Conditional vectors and training by sampling: CTGAN, Xu et al. 2019 (https://arxiv.org/abs/1907.00503, section 4.3).
- The generator also matches means and products of the real table, its "information loss": TableGAN, Park et al.
  2018 (https://arxiv.org/abs/1806.03384, section 4.2.3).
- Columns are drawn one after another, each from those before it: DECAF, van Breugel et al. 2021
  (https://arxiv.org/abs/2110.12884, section 4).

Where we leave them, and why:

# NOTE[DIFF] No batch normalisation and no packs of rows (CTGAN has both): the critic scores one row at a time, so that
#   a patient's gradient can be told from the others'.
# NOTE[DIFF] Numbers are their Gaussianised rank, shifted and widened by the network and snapped to heavy values;
#   CTGAN describes each by a mode of a mixture. With the heads at zero, training starts at independent columns.
# NOTE[DIFF] One-hots are hard in the forward pass, with the gradient of the soft ones (straight-through Gumbel): a
#   critic that sees soft ones tells them by their softness. A given column is set, not only hinted at.
# NOTE[DIFF] The critic reads products of columns beside the columns: pairs are what it has to judge first.
# NOTE[DIFF] The penalty is one-sided, as the Wasserstein distance asks for slopes of at most 1.
# NOTE[DIFF] Rows are drawn from an average of the generator over its last steps, with weights that never hold its
#   start (Karras et al. 2023, https://arxiv.org/abs/2312.02696, equation 2); then each column is matched to its shares.

Within a budget, only the critic sees patients, and noisy moments do: `private_adversaries.py`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ehr_pipeline.generators import private_adversaries
from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.checkpoint import Checkpoint, TrainingState
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.conditions import conditions_row, sample_table, wanted_levels
from ehr_pipeline.generators.configs import TabularGANConfig
from ehr_pipeline.generators.gan_calibration import RANK_GRID, calibrated
from ehr_pipeline.generators.gan_networks import Critic, Moments, RowGenerator
from ehr_pipeline.generators.gan_rows import ConditionSource, RowLayout
from ehr_pipeline.generators.persistence import read_state, under, write_state
from ehr_pipeline.generators.training import (
    N_EPOCHS_AT_LEAST,
    Plan,
    data_tensors,
    enough_memory,
    one_thread,
    pick_device,
    seeded,
    train_epochs,
)
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Schema

AVERAGE_POWER = 7
"""The average of the generator is over about the last ninth of the steps."""
COMMON_SHARE = 0.1
"""Conditions that so many rows meet cost little to wait for, and what is drawn without them is nearer to the truth."""
MOST_PASSES, FEWEST_UPDATES = 100, 200
"""A critic that meets the same few patients more often learns them by heart, and the generator from it."""
FEWEST_BATCH_ROWS = 64


class Adversaries(nn.Module):
    """The two networks, the moments, and the average of the generator: what a training holds."""

    def __init__(self, layout: RowLayout, config: TabularGANConfig, moments: Moments) -> None:
        super().__init__()
        self.moments = moments
        self.generator = RowGenerator(layout, config)
        self.critic = Critic(layout, config)
        self.average = copy.deepcopy(self.generator).requires_grad_(requires_grad=False)

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Move the average towards the generator after `step` (from 1) steps."""
        weight = 1 - (1 - 1 / step) ** (AVERAGE_POWER + 1)
        for mean, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(new, weight)


class TabularGAN(Generator):
    """Generative adversarial network."""

    name: ClassVar[str] = "tabular_gan"
    title: ClassVar[str] = "Generative adversarial network"
    config_type: ClassVar[type[GeneratorConfig]] = TabularGANConfig

    def __init__(
        self,
        codec: TableCodec,
        config: TabularGANConfig,
        generator: RowGenerator,
        rank_quantiles: np.ndarray,
        history: list[dict[str, float]],
        *,
        critic: Critic | None = None,
    ) -> None:
        self.codec = codec
        self.layout = RowLayout.of(codec)
        self.config = config
        self.schema = codec.schema
        self.generator = generator
        self.rank_quantiles = rank_quantiles
        self.history = history
        self.critic = critic
        self.device = generator.logits.device.type

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
        """Train generator and critic against each other, then match each column to its shares."""
        config = TabularGANConfig.model_validate(config.model_dump())
        if budget is not None:
            return cls._fit_private(cohort, config, budget, progress)
        device = pick_device(config.device)
        codec = TableCodec.fit(cls.writable(cohort.schema), cohort.table, cohort.subject_id, n_levels=config.levels)
        layout = RowLayout.of(codec)
        with (
            enough_memory(cls.title, f"lower batch_rows (now {config.batch_rows})"),
            one_thread(),
            seeded(config.seed, device),
        ):
            choices, ranks = layout.encoded(cohort.table)
            source = ConditionSource(layout, choices, device)
            data = data_tensors(device, choices, ranks)
            moments = _moments(layout, data, source, len(choices))
            networks = Adversaries(layout, config, moments).to(device)
            kept = Checkpoint.of(checkpoint, config, data, cohort.subject_id) if checkpoint is not None else None
            history = train_adversaries(
                networks, layout, data, source, config, task=cls.title, progress=progress, checkpoint=kept
            )
            rank_quantiles = calibrated(networks.average, layout, len(choices))
        return cls(codec, config, networks.average, rank_quantiles, history, critic=networks.critic)

    @classmethod
    def privacy_plan(cls, schema: Schema, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """Histograms of the columns, their means and products, then the training of the critic."""
        return private_adversaries.plan(
            cls.writable(schema), TabularGANConfig.model_validate(config.model_dump()), budget
        )

    @classmethod
    def _fit_private(
        cls, cohort: TrainingCohort, config: TabularGANConfig, budget: Budget, progress: Progress | None
    ) -> Self:
        """Learn columns, moments and critic within the budget; one row stands for each patient."""
        plan = cls.privacy_plan(cohort.schema, config, budget)
        codec, row_generator, n_patients = private_adversaries.fit(
            cls.writable(cohort.schema), cohort, plan, config, task=cls.title, progress=progress
        )
        rank_quantiles = calibrated(row_generator, RowLayout.of(codec), n_patients)
        generator = cls(codec, config, row_generator, rank_quantiles, history=[])
        generator.privacy, generator.n_patients = plan, n_patients
        return generator

    def sample(self, n: int, seed: int, conditions: dict[str, Any] | None = None) -> pd.DataFrame:
        """Draw `n` rows; common conditions are met by rejection, else the rarest is given and the others rejected.

        The rate of rows that were accepted is in `attrs["acceptance_rate"]`.
        """
        row = conditions_row(self.codec, conditions)
        wanted = wanted_levels(self.codec, row)
        shares = {k: float(self.codec.columns[k].level_shares[level]) for k, level in wanted.items()}
        guide = min(shares, key=shares.__getitem__) if math.prod(shares.values()) < COMMON_SHARE else None

        def draw(n_rows: int, rng: np.random.Generator) -> np.ndarray:
            levels = self._draw(n_rows, rng, guide, row)
            if guide is not None:
                levels[:, guide] = wanted[guide]
            return levels

        return sample_table(self.codec, draw, n, seed, conditions)

    @torch.no_grad()
    def _draw(self, n: int, rng: np.random.Generator, guide: int | None, row: pd.DataFrame) -> np.ndarray:
        """Levels of `n` rows, int64 of shape (n, d); with a guide, given the value that `row` has in that column."""
        device = self.generator.logits.device
        given = example = None
        if guide is not None:
            given, example = (tensor.to(device) for tensor in self.layout.example(guide, row))
        levels = [np.empty((0, len(self.schema.columns)), dtype=np.int64)]
        with seeded(int(rng.integers(2**63)), device):
            for n_block in self.layout.block_sizes(n):
                told = () if given is None else (given.expand(n_block, -1), example.expand(n_block, -1))
                rows, ranks, _ = self.generator(n_block, *told)
                ranks = ranks.double().cpu().numpy()
                below = [np.interp(ranks[:, k], line, RANK_GRID) for k, line in enumerate(self.rank_quantiles)]
                levels.append(self.layout.levels(rows.cpu().numpy(), below))
        return np.concatenate(levels)

    @torch.no_grad()
    def scores(self, table: pd.DataFrame) -> np.ndarray | None:
        """What the critic says of each row; None within a budget, where it is not kept."""
        if self.critic is None:
            return None
        choices, ranks = (torch.from_numpy(part).to(self.device) for part in self.layout.encoded(table))
        with one_thread():
            blocks = zip(choices.split(self.layout.block_rows), ranks.split(self.layout.block_rows), strict=True)
            found = [
                self.critic(self.layout.vectors(*block), block[1].new_zeros(len(block[1]), len(self.layout.pieces)))
                for block in blocks
            ]
        return torch.cat(found).double().cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write the codec, the config and history, the weights of generator and critic, and the ranks' quantiles."""
        self.codec.save(folder)
        plain = {"config": self.config.model_dump(mode="json"), "history": self.history}
        networks = {"generator": self.generator} | ({"critic": self.critic} if self.critic is not None else {})
        arrays = {
            f"{part}.{name}": weight.cpu().numpy()
            for part, network in networks.items()
            for name, weight in network.state_dict().items()
        }
        write_state(folder, "generator", plain, arrays | {"rank_quantiles": self.rank_quantiles})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote, onto a GPU where there is one."""
        plain, arrays = read_state(folder, "generator")
        config = TabularGANConfig.model_validate(plain["config"])
        device = pick_device("cpu" if config.device == "cpu" else "auto")
        codec = TableCodec.load(folder)
        layout, tensors = RowLayout.of(codec), {name: torch.from_numpy(array) for name, array in arrays.items()}
        generator = RowGenerator(layout, config)
        generator.load_state_dict(under("generator.", tensors))
        critic = None
        if weights := under("critic.", tensors):
            critic = Critic(layout, config).to(device)
            critic.load_state_dict(weights)
        return cls(codec, config, generator.to(device), arrays["rank_quantiles"], plain["history"], critic=critic)


def train_adversaries(
    networks: Adversaries,
    layout: RowLayout,
    data: tuple[Tensor, Tensor],
    source: ConditionSource,
    config: TabularGANConfig,
    *,
    task: str,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, float]]:
    """Fit the networks in place: one step of the critic, one of the generator, by turns. Call it inside `seeded`.

    Returns one record per epoch: epoch, loss (the critic's), moments (their distance), rows_per_s.
    """
    n_rows = len(data[0])
    plan = _plan(n_rows, config)
    rates = [config.learning_rate, config.critic_rate]
    optimizer = torch.optim.AdamW(
        [
            {"params": list(network.parameters()), "lr": rate}
            for network, rate in zip((networks.generator, networks.critic), rates, strict=True)
        ],
        betas=(0.0, 0.99),
        weight_decay=0.0,
        fused=True,
    )
    state = TrainingState(networks, optimizer, data[0].device)
    n_conditioned = round(config.conditioned_share * plan.batch_rows)

    def train_epoch() -> dict[str, float]:
        totals = torch.zeros(2, device=data[0].device)
        for k in range(plan.updates_per_epoch):
            step = state.epoch * plan.updates_per_epoch + k
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * plan.rate_share(state.history, k)
            rows, given = source.draw(plan.batch_rows, n_conditioned)
            real = layout.vectors(*(tensor[rows] for tensor in data))
            fake, _, _ = networks.generator(plan.batch_rows, given, real)
            loss = networks.critic.losses(real, fake.detach(), given, config.penalty).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward(inputs=list(networks.critic.parameters()))
            optimizer.step()

            match, distance = networks.moments(fake, given, n_conditioned, step + 1)
            optimizer.zero_grad(set_to_none=True)
            wish = -networks.critic(fake, given).mean() + config.moments * match
            wish.backward(inputs=list(networks.generator.parameters()))
            nn.utils.clip_grad_norm_(networks.generator.parameters(), config.clip_norm)
            optimizer.step()
            networks.update_average(step + 1)
            totals += torch.stack([loss, distance]).detach()
        loss, distance = (totals / plan.updates_per_epoch).tolist()
        return {"loss": loss, "moments": distance}

    train_epochs(state, plan, train_epoch, task=task, patience=plan.n_epochs, progress=progress, checkpoint=checkpoint)
    return state.history


def _moments(layout: RowLayout, data: tuple[Tensor, Tensor], source: ConditionSource, n_rows: int) -> Moments:
    """What the drawn rows' means and products shall be."""

    def told() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(-(-n_rows // layout.block_rows)):
            rows, given = source.draw(layout.block_rows, layout.block_rows)
            yield layout.vectors(*(tensor[rows] for tensor in data)), given

    return Moments(layout, lambda: map(layout.vectors, *(part.split(layout.block_rows) for part in data)), told())


def _plan(n_rows: int, config: TabularGANConfig) -> Plan:
    """The config's steps: on large tables two passes at least, on small ones no more than `MOST_PASSES`.

    Rows are drawn with replacement, so a batch may be larger than a table.
    """
    of_few_patients = max(FEWEST_UPDATES, MOST_PASSES * n_rows // config.batch_rows)
    updates = max(min(config.updates, of_few_patients), 2 * n_rows // config.batch_rows)
    n_epochs = min(N_EPOCHS_AT_LEAST, updates)
    return Plan(
        n_rows=n_rows,
        batch_rows=min(config.batch_rows, max(FEWEST_BATCH_ROWS, n_rows)),
        updates_per_epoch=updates // n_epochs,
        n_epochs=n_epochs,
    )
