"""Each column's distribution given the columns before it, with any subset of columns as the condition.

The chain rule, p(x) = prod_k p(x_k | x_1 .. x_k-1), with a neural head for each factor: NADE (Larochelle and Murray
2011, http://proceedings.mlr.press/v15/larochelle11a), its order-agnostic training (Uria et al. 2014,
https://arxiv.org/abs/1310.1757, section 3) and TabularARGN (Tiwald et al. 2025, https://arxiv.org/abs/2501.12012).

# NOTE[DIFF] Order-agnostic models train all d! orders. Here the order is the table's own, and columns after k join the
#   condition of head k only as a set C that is given: p(x_rest | x_C) = prod_k p(x_k | x_before k, x_C) is exact by the
#   chain rule, and the heads spend their capacity on what is asked for.
# NOTE[DIFF] A column of numbers is a softmax over some 64 levels of equal mass, heavy values apart (`codec.py`); inside
#   a level a value is drawn from the column's own distribution, so that no value is copied.
# NOTE[DIFF] Heads are small, read numbers as a few fixed functions of their rank, and pay for each column that they
#   read: what a head can know by heart is what a membership attack finds.

The network is in `column_network.py`, how long it trains in `training.py`. What small heads miss of several levels
that go together is put right afterwards, by keeping drawn rows with a chance each (`row_correction.py`), on tables
where that gains anything. Within a budget, the heads are those of `log_bilinear.py`, which take far fewer weights, no
row is looked at again, and conditions are met by the weights of proposals alone.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.checkpoint import Checkpoint
from ehr_pipeline.generators.codec import TableCodec
from ehr_pipeline.generators.column_calibration import match_shares, match_strengths
from ehr_pipeline.generators.column_network import ColumnNetwork
from ehr_pipeline.generators.conditions import conditions_row, fixed, wanted_levels
from ehr_pipeline.generators.configs import ColumnAutoregressiveConfig
from ehr_pipeline.generators.log_bilinear import LogBilinearNetwork
from ehr_pipeline.generators.persistence import read_state, under, write_state
from ehr_pipeline.generators.private_tier import fit_private_network, private_plan
from ehr_pipeline.generators.row_correction import RowCorrection, learn_correction
from ehr_pipeline.generators.training import (
    Plan,
    data_tensors,
    enough_memory,
    one_thread,
    pick_device,
    seeded,
    split_rows,
    train_network,
)
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Schema

BLOCK_ROWS = 8192
"""Rows drawn at a time: their features and probabilities stay in the processor's cache."""


MOST_ROWS_TO_MATCH = 50_000
"""Training rows, at most, that the heads' strengths and shares are matched to."""


HIGHEST_QUANTILE = 0.99
"""Proposals of a higher weight than this share of them are kept as if they had no more."""
LEAST_ACCEPTANCE = 0.05
"""Where fewer proposals than this would be kept, the highest weights are cut further."""


class ColumnAutoregressive(Generator):
    """Column by column."""

    name: ClassVar[str] = "column_autoregressive"
    title: ClassVar[str] = "Column by column"
    config_type: ClassVar[type[GeneratorConfig]] = ColumnAutoregressiveConfig

    def __init__(
        self,
        codec: TableCodec,
        config: ColumnAutoregressiveConfig,
        network: ColumnNetwork | LogBilinearNetwork,
        history: list[dict[str, float]],
        correction: RowCorrection | None = None,
    ) -> None:
        self.codec = codec
        self.config = config
        self.schema = codec.schema
        self.network = network
        self.history = history
        self.correction = correction
        self.device = next(network.parameters()).device.type

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
        """Learn the columns' levels, then all heads at once, then what drawn rows still lack."""
        config = ColumnAutoregressiveConfig.model_validate(config.model_dump())
        if budget is not None:
            return cls._fit_private(cohort, config, budget, progress)
        device = pick_device(config.device)
        codec = TableCodec.fit(cls.writable(cohort.schema), cohort.table, cohort.subject_id, n_levels=config.levels)
        with (
            enough_memory(cls.title, f"lower batch_rows (now {config.batch_rows})"),
            one_thread(),
            seeded(config.seed, device),
        ):
            data = data_tensors(device, codec.small_levels(cohort.table))
            penalty = config.penalty / math.sqrt(len(cohort.table))
            network = ColumnNetwork(codec, config.hidden, config.dropout, penalty).to(device)
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
            training, held_back = (torch.from_numpy(part).to(device) for part in split_rows(cohort.subject_id, config))
            rows = training[torch.randperm(len(training), device=device)[:MOST_ROWS_TO_MATCH]]
            match_strengths(network, data[0][rows], data[0][held_back])
            rows = torch.randperm(len(data[0]), device=device)[:MOST_ROWS_TO_MATCH]
            match_shares(network, data[0][rows])
        generator = cls(codec, config, network.eval(), history)
        if config.correction:
            generator._correct(data[0].cpu().numpy(), cohort.subject_id, progress)
        return generator

    @torch.no_grad()
    def _correct(self, levels: np.ndarray, subject_id: np.ndarray, progress: Progress | None) -> None:
        """Learn the correction from the rows that trained the network; those that validated it say how far it goes."""
        training, held_back = split_rows(subject_id, self.config)
        generator = torch.Generator(self.device).manual_seed(self.config.seed)

        def draw(n: int) -> np.ndarray:
            blocks = [min(BLOCK_ROWS, n - start) for start in range(0, n, BLOCK_ROWS)]
            return np.concatenate([self._draw(block, {}, generator)[0].cpu().numpy() for block in blocks])

        with one_thread():
            self.correction = learn_correction(
                self.codec,
                levels[training],
                levels[held_back],
                draw,
                np.random.default_rng(self.config.seed),
                task=f"{self.title}, correction",
                progress=progress,
            )

    @classmethod
    def privacy_plan(cls, schema: Schema, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """Histograms of the columns, then the training of all heads."""
        return private_plan(cls.writable(schema), cls.config_type.model_validate(config.model_dump()), budget)

    @classmethod
    def _fit_private(
        cls, cohort: TrainingCohort, config: ColumnAutoregressiveConfig, budget: Budget, progress: Progress | None
    ) -> Self:
        """Learn the columns' levels and the heads within the budget; one row stands for each patient."""
        plan = cls.privacy_plan(cohort.schema, config, budget)
        schema = cls.writable(cohort.schema)
        fit = fit_private_network(LogBilinearNetwork, schema, cohort, plan, config, task=cls.title, progress=progress)
        generator = cls(fit.codec, config, fit.network, history=[])
        generator.privacy, generator.n_patients = plan, fit.n_patients
        return generator

    @torch.no_grad()
    def sample(self, n: int, seed: int, conditions: dict[str, Any] | None = None) -> pd.DataFrame:
        """Draw `n` rows; `attrs["acceptance_rate"]` is the share of the proposals that were kept.

        Heads that see the condition propose; a proposal is kept in proportion to how probable the chain without
        sight of what comes later makes it, times its correction. What is kept follows the conditional of the model's
        own joint distribution, and a condition that one patient in a thousand meets costs little more than any other.
        """
        row = conditions_row(self.codec, conditions)
        given = wanted_levels(self.codec, row)
        rng = np.random.default_rng(seed)
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        kept: list[Tensor] = []
        n_kept = n_drawn = 0
        highest = None if given else 0.0 if self.correction is None else self.correction.highest
        with one_thread():
            while n_kept < n or not kept:
                n_rows = BLOCK_ROWS if given else min(BLOCK_ROWS, self._proposals(n - n_kept))
                levels, log_weights = self._draw(n_rows, given, generator)
                highest = _highest(log_weights) if highest is None else highest
                uniform = torch.rand(n_rows, generator=generator, device=self.device)
                levels = levels[uniform.log() <= log_weights - highest]
                kept.append(levels[: n - n_kept])
                n_kept, n_drawn = n_kept + len(levels), n_drawn + n_rows
        frame = fixed(self.codec.draw(torch.cat(kept).cpu().numpy(), rng), row)
        frame.attrs["acceptance_rate"] = n_kept / max(1, n_drawn)
        return frame

    def _proposals(self, n: int) -> int:
        """Proposals of which about `n` rows are kept, where nothing is given."""
        if self.correction is None:
            return n
        return n + int(n * math.expm1(self.correction.highest - self.correction.log_mean))

    def _draw(self, n: int, given: dict[int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Levels of `n` proposed rows, int64 of shape (n, d), and their log-weights, (n,).

        The weight is prod_k p(x_k | x_before k) over prod_(k not given) p(x_k | x_before k, x_given), times the
        correction's.
        """
        network = self.network
        d = network.n_columns
        levels = torch.zeros(n, d, dtype=torch.int64, device=self.device)
        log_weights = torch.zeros(n, device=self.device)
        x = torch.zeros(n, network.width, device=self.device)
        end_of_given = max(given, default=-1) + 1
        for k, level in given.items():
            levels[:, k] = level
            network.show(x, k, levels[:, k])
        for k in range(d):
            chain = network.probabilities(k, x, until=k)
            if k not in given:
                guided = network.probabilities(k, x, until=end_of_given) if k < end_of_given else chain
                levels[:, k] = _drawn(guided, generator)
                network.show(x, k, levels[:, k])
                if k < end_of_given:
                    log_weights -= _log_probability(guided, levels[:, k])
            if k < end_of_given:
                log_weights += _log_probability(chain, levels[:, k])
        if self.correction is not None:
            log_weights += torch.from_numpy(self.correction.log_weights(levels.cpu().numpy())).to(log_weights)
        return levels, log_weights

    @torch.no_grad()
    def scores(self, table: pd.DataFrame) -> np.ndarray:
        """Log-likelihood of each row's levels: the chain's, and the correction's share in it."""
        levels = torch.from_numpy(self.codec.levels(table)).to(self.device)
        self.network.eval()
        with one_thread():
            losses = [self.network.losses(block, share_done=1.0) for block in levels.split(BLOCK_ROWS)]
        scores = -torch.cat(losses).double().cpu().numpy()
        if self.correction is not None:
            scores += self.correction.log_weights(levels.cpu().numpy()) - self.correction.log_mean
        return scores

    def save(self, folder: Path) -> None:
        """Write the codec, the config and history, the weights, and the correction where there is one."""
        self.codec.save(folder)
        if self.correction is not None:
            write_state(folder, "correction", *self.correction.state())
        plain = {
            "config": self.config.model_dump(mode="json"),
            "history": self.history,
            "network": type(self.network).__name__,
        }
        weights = {name: weight.cpu().numpy() for name, weight in self.network.state_dict().items()}
        write_state(folder, "generator", plain, {f"network.{name}": weight for name, weight in weights.items()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote, onto a GPU where there is one."""
        plain, arrays = read_state(folder, "generator")
        config = ColumnAutoregressiveConfig.model_validate(plain["config"])
        codec = TableCodec.load(folder)
        device = pick_device("cpu" if config.device == "cpu" else "auto")
        private = plain.get("network") == LogBilinearNetwork.__name__
        network = LogBilinearNetwork(codec) if private else ColumnNetwork(codec, config.hidden, config.dropout)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in under("network.", arrays).items()})
        is_corrected = (folder / "correction.json").exists()
        correction = RowCorrection.of_state(*read_state(folder, "correction")) if is_corrected else None
        return cls(codec, config, network.to(device).eval(), plain["history"], correction)


def _for_rows(config: ColumnAutoregressiveConfig, n_rows: int) -> ColumnAutoregressiveConfig:
    """The config with the rate that suits the batches of a table of `n_rows`: noisier gradients, smaller steps."""
    share = Plan.of(n_rows, config).batch_rows / config.batch_rows
    return config.model_copy(update={"learning_rate": config.learning_rate * share**0.25})


def _log_probability(probabilities: Tensor, levels: Tensor) -> Tensor:
    """Log-probability of one level of each row: (n, n_levels) and (n,) to (n,)."""
    return probabilities.gather(1, levels[:, None]).squeeze(1).clamp_min(1e-30).log()


def _highest(log_weights: Tensor) -> float:
    """The log-weight from which on each proposal is kept: few lie above it, and enough are kept in all."""
    weights = (log_weights - log_weights.max()).exp()
    level = torch.minimum(weights.quantile(HIGHEST_QUANTILE), weights.mean() / LEAST_ACCEPTANCE)
    return float(level.log() + log_weights.max())


def _drawn(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """One level of each row: (n, n_levels) to int64 of shape (n,)."""
    upto = probabilities.cumsum(dim=1)
    uniform = torch.rand(len(upto), 1, generator=generator, device=upto.device) * upto[:, -1:]
    return torch.searchsorted(upto, uniform, right=True).squeeze(1).clamp_max(upto.shape[1] - 1)
