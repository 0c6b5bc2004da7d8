"""A masked diffusion model for tables of mixed columns.

The line of TabDDPM (https://arxiv.org/abs/2209.15421), TabSyn (https://arxiv.org/abs/2310.09656) and TabDiff
(https://arxiv.org/abs/2410.20626), with the diffusion that TabDiff has for categories in all columns: the absorbing
process of Austin et al. 2021 (https://arxiv.org/abs/2107.03006, section 3.1) in continuous time (MDLM, Sahoo et al.
2024, https://arxiv.org/abs/2406.07524, section 3). A row x has d levels x_k; z_t is what stands of it at time t.

- Forward: q(z_t,k = x_k) = alpha_t = 1 - t, else z_t,k is masked, each level at a moment of its own. At t = 1 the
  whole row is masked.
- Reverse, from t to s < t: what stands stays; what is masked appears with probability (alpha_s - alpha_t) /
  (1 - alpha_t), drawn from the network's p(x_k | z_t).
- Loss: the negative evidence bound, E_t [1/t sum of -log p(x_k | z_t) over masked k]. Given how many levels n are
  masked, uniform in 1..d, this is E_n [d/n sum of -log p(x_k | z)], with less variance (Hoogeboom et al. 2022,
  https://arxiv.org/abs/2110.02037, section 3), and neither it nor p depends on t any more.

Where we leave the papers, and why:

# NOTE[DIFF] Numbers are levels too (`codec.py`), and a value is drawn inside its level. TabDiff diffuses numbers by
#   Gaussian noise, which meets a point mass or a gap only in the limit of many steps.
# NOTE[DIFF] We sample only the moments at which a level appears, one column at a time: what the reverse process comes
#   to in infinitely many steps, in d of them (Zheng et al. 2025, https://arxiv.org/abs/2409.02908, the first-hitting
#   sampler). The rows of a block share their order.
# NOTE[DIFF] One schedule for all columns. TabDiff learns one for each, which makes some orders rare; here any set of
#   columns may be the condition, so all of them must be learned.
# NOTE[DIFF] The network is a residual perceptron over a sum of one vector per column, as TabDDPM's, not TabDiff's
#   transformer: a step costs as much as one token of it.

A condition is a level that stands from the beginning: no row is rejected. Within a budget, the network is that of
`private_denoiser.py`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.checkpoint import Checkpoint
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.conditions import conditions_row, fixed, wanted_levels
from ehr_pipeline.generators.configs import TabularDiffusionConfig
from ehr_pipeline.generators.level_layers import CategoryHeads, LevelVectors, NumberHeads
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.persistence import read_state, write_state
from ehr_pipeline.generators.private_denoiser import PrivateDenoiser
from ehr_pipeline.generators.private_tier import fit_private_network, private_plan
from ehr_pipeline.generators.row_scores import row_scores
from ehr_pipeline.generators.training import (
    Network,
    Plan,
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

VALIDATION_MOMENTS = 4
"""Moments of the diffusion at which each row is validated."""
BLOCK_ROWS = {"cpu": 1024, "cuda": 16_384}
"""Rows that are drawn together, in one order of columns: what fits a processor's cache."""
BLOCK_NUMBERS = 16_000_000
"""Probabilities that a block holds at most: fewer rows where a column has very many levels."""


class ResidualBlock(nn.Module):
    """x + f(x), f of one hidden layer."""

    def __init__(self, d_hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(d_hidden),
            nn.Linear(d_hidden, d_hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(d_hidden, d_hidden),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(rows, d_hidden) to the same."""
        return x + self.layers(x)


class DenoisingNetwork(Network):
    """From the levels that stand to the distribution of each that is masked: p(x_k | z_t) of all columns k."""

    def __init__(self, codec: TableCodec, config: TabularDiffusionConfig) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor(codec.n_levels), persistent=False)
        self.vectors = LevelVectors(codec.columns, config.hidden)
        blocks = [ResidualBlock(config.hidden, config.dropout) for _ in range(config.blocks)]
        self.body = nn.Sequential(*blocks, nn.LayerNorm(config.hidden), nn.SiLU())
        # Heads of one kind with as many binary digits in their number of levels are computed together: no more than
        # half of each is padding.
        groups: dict[tuple[bool, int], list[int]] = {}
        for k, column in enumerate(codec.columns):
            groups.setdefault((isinstance(column, NumberCodec), column.n_levels.bit_length()), []).append(k)
        self.heads = nn.ModuleList(
            (NumberHeads if is_number else CategoryHeads)([codec.columns[k] for k in group], config.hidden)
            for (is_number, _), group in groups.items()
        )
        self.place = {k: (head, j) for head, group in enumerate(groups.values()) for j, k in enumerate(group)}
        self.register_buffer("grouped", torch.tensor(list(self.place)), persistent=False)
        self.register_buffer("ungrouped", self.grouped.argsort(), persistent=False)

    def losses(self, levels: Tensor, *, share_done: float) -> Tensor:
        """The negative evidence bound of each row, (rows, d) to (rows,), at one moment; in validation at a few."""
        n_moments = 1 if self.training else VALIDATION_MOMENTS
        return torch.stack([self._bound(levels.long()) for _ in range(n_moments)]).mean(dim=0)

    def _bound(self, levels: Tensor) -> Tensor:
        is_masked, n_masked = self.forward_process(levels)
        z = torch.where(is_masked, self.mask, levels)
        cross_entropy = self.cross_entropy(z, levels)
        return (cross_entropy * is_masked).sum(dim=1) * levels.shape[1] / n_masked

    def forward_process(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Which levels are masked, (rows, d), and how many, (rows,): n is uniform in 1..d, even over the batch."""
        (n, d), device = levels.shape, levels.device
        time = (torch.arange(n, device=device) + torch.rand((), device=device)) / n
        n_masked = 1 + (time * d).long().clamp_max(d - 1)
        moments = torch.rand(n, d, device=device)
        last = moments.sort(dim=1).values.gather(1, n_masked[:, None] - 1)
        return moments <= last, n_masked

    def cross_entropy(self, z: Tensor, levels: Tensor) -> Tensor:
        """-log p(level | z) of each column: what stands or is masked, and the levels, (rows, d), to (rows, d)."""
        hidden = self.body(F.embedding_bag(z + self.vectors.first, self.vectors(), mode="sum"))
        wanted = levels[:, self.grouped].T.split([len(heads.n_levels) for heads in self.heads])
        grouped = [
            F.cross_entropy(heads(hidden).flatten(0, 1), target.flatten(), reduction="none").unflatten(0, target.shape)
            for heads, target in zip(self.heads, wanted, strict=True)
        ]
        return torch.cat(grouped)[self.ungrouped].T

    @torch.no_grad()
    def reverse_process(self, standing: Tensor, order: list[int], generator: torch.Generator) -> Tensor:
        """Draw the columns of `order` one after the other: what stands or is masked, (rows, d), to levels."""
        levels, vectors = standing.clone(), self.vectors()
        # What is read is a sum over columns, so that one column's change is all there is to add.
        read = F.embedding_bag(levels + self.vectors.first, vectors, mode="sum")
        for k in order:
            head, j = self.place[k]
            shares = self.heads[head].of_column(self.body(read), j).softmax(dim=1).cumsum(dim=1)
            uniform = torch.rand(len(levels), 1, generator=generator, device=levels.device)
            drawn = (shares[:, :-1] < uniform).sum(dim=1)
            first = self.vectors.first[k]
            read += vectors[first + drawn] - vectors[first + self.mask[k]]
            levels[:, k] = drawn
        return levels


class TabularDiffusion(Generator):
    """Masked diffusion."""

    name: ClassVar[str] = "tabular_diffusion"
    title: ClassVar[str] = "Diffusion"
    config_type: ClassVar[type[GeneratorConfig]] = TabularDiffusionConfig

    def __init__(
        self,
        codec: TableCodec,
        config: TabularDiffusionConfig,
        network: DenoisingNetwork | PrivateDenoiser,
        history: list[dict[str, float]],
    ) -> None:
        self.codec = codec
        self.config = config
        self.schema = codec.schema
        self.network = network
        self.history = history
        self.device = network.mask.device.type

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
        """Train the network on the levels of the table; memory holds four bytes per cell."""
        config = TabularDiffusionConfig.model_validate(config.model_dump())
        if budget is not None:
            return cls._fit_private(cohort, config, budget, progress)
        device = pick_device(config.device)
        codec = TableCodec.fit(cls.writable(cohort.schema), cohort.table, cohort.subject_id, n_levels=config.levels)
        with (
            enough_memory(cls.title, f"lower batch_rows (now {config.batch_rows})"),
            one_thread(),
            seeded(config.seed, device),
        ):
            columns = enumerate(codec.schema.names)
            levels = [codec.column_levels(k, cohort.table[name]).astype(np.int32) for k, name in columns]
            data = data_tensors(device, np.column_stack(levels))
            network = DenoisingNetwork(codec, config).to(device)
            kept = Checkpoint.of(checkpoint, config, data, cohort.subject_id) if checkpoint is not None else None
            history = train_network(
                network,
                data,
                cohort.subject_id,
                _for_rows(config, len(cohort.table)),
                task=cls.title,
                progress=progress,
                checkpoint=kept,
            )
        return cls(codec, config, network, history)

    @classmethod
    def privacy_plan(cls, schema: Schema, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """Histograms of the columns, then the training of the network."""
        return private_plan(cls.writable(schema), TabularDiffusionConfig.model_validate(config.model_dump()), budget)

    @classmethod
    def _fit_private(
        cls, cohort: TrainingCohort, config: TabularDiffusionConfig, budget: Budget, progress: Progress | None
    ) -> Generator:
        """Learn the columns' levels and the network within the budget; one row stands for each patient."""
        plan = cls.privacy_plan(cohort.schema, config, budget)
        network_of = functools.partial(PrivateDenoiser, config=config)
        schema = cls.writable(cohort.schema)
        fit = fit_private_network(network_of, schema, cohort, plan, config, task=cls.title, progress=progress)
        generator = cls(fit.codec, config, fit.network, history=[])
        generator.privacy, generator.n_patients = plan, fit.n_patients
        return generator

    def sample(self, n: int, seed: int, conditions: dict[str, Any] | None = None) -> pd.DataFrame:
        """Draw `n` rows; conditions stand from the beginning, so that `attrs["acceptance_rate"]` is 1."""
        rng = np.random.default_rng(seed)
        row = conditions_row(self.codec, conditions)
        wanted = wanted_levels(self.codec, row)
        levels = np.empty((n, len(self.codec.columns)), dtype=np.int64)
        block_rows = max(1, min(BLOCK_ROWS[self.device], BLOCK_NUMBERS // max(self.codec.n_levels)))
        with one_thread():
            for start in range(0, n, block_rows):
                block = levels[start : start + block_rows]
                block[:] = self._draw(len(block), wanted, rng)
        frame = fixed(self.codec.draw(levels, rng), row)
        frame.attrs["acceptance_rate"] = 1.0
        return frame

    def _draw(self, n: int, wanted: dict[int, int], rng: np.random.Generator) -> np.ndarray:
        """Levels of `n` rows, int64 of shape (n, d), the wanted columns as they are wanted, the others in one order."""
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        standing = self.network.mask.repeat(n, 1)
        for k, level in wanted.items():
            standing[:, k] = level
        masked = [k for k in range(len(self.codec.columns)) if k not in wanted]
        order = rng.permutation(masked).tolist()
        return self.network.reverse_process(standing, order, generator).cpu().numpy()

    def scores(self, table: pd.DataFrame) -> np.ndarray:
        """The evidence bound of each row's levels: its denoising loss over moments from little noise to much."""
        return row_scores(self.network, (torch.from_numpy(self.codec.levels(table)).to(self.device),))

    def save(self, folder: Path) -> None:
        """Write the codec, the config and history, and the weights."""
        self.codec.save(folder)
        plain = {
            "config": self.config.model_dump(mode="json"),
            "history": self.history,
            "network": type(self.network).__name__,
        }
        weights = {name: weight.cpu().numpy() for name, weight in self.network.state_dict().items()}
        write_state(folder, "generator", plain, weights)

    @classmethod
    def load(cls, folder: Path) -> Generator:
        """Read what `save` wrote, onto a GPU where there is one."""
        plain, arrays = read_state(folder, "generator")
        config = TabularDiffusionConfig.model_validate(plain["config"])
        device = pick_device("cpu" if config.device == "cpu" else "auto")
        codec = TableCodec.load(folder)
        private = plain.get("network") == PrivateDenoiser.__name__
        network = (PrivateDenoiser if private else DenoisingNetwork)(codec, config).to(device).eval()
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return cls(codec, config, network, plain["history"])


def _for_rows(config: TabularDiffusionConfig, n_rows: int) -> TabularDiffusionConfig:
    """The config for a table of `n_rows`: no more passes than asked for, and a rate that suits its batches.

    Small batches have noisy gradients, which take smaller steps.
    """
    batch_rows = Plan.of(n_rows, config).batch_rows
    updates = min(config.updates, config.passes * max(1, n_rows // batch_rows))
    learning_rate = config.learning_rate * (batch_rows / config.batch_rows) ** 0.5
    return config.model_copy(update={"updates": updates, "learning_rate": learning_rate})
