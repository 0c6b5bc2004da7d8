"""The audit of a generator with canaries: one extra fit, and how small its epsilon could be at all.

What belongs here: hiding canaries, looking for them, telling what was found. What does not: what guesses prove
(`lower_bounds.py`), the canaries (`canaries.py`).

Each of m canaries is among the patients of one extra fit with chance 1/2. From that model's rows, and from its own
likelihood where it has one, the third that seems most at home is guessed to be in, the third that seems least to be
out, and the rest is left alone. A guarantee under which so many guesses would hardly be right is refuted. Nothing is
ever confirmed: the most that all guesses right would prove, the ceiling, is told beside every result.

The extra fit reads all patients, so it is charged to the ledger like any fit; its model is thrown away.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ehr_pipeline.errors import OptionError
from ehr_pipeline.evaluate.attacks.space import nearest, points
from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.cohort_data import load_training_cohort
from ehr_pipeline.generators.private_codec import public_part
from ehr_pipeline.generators.registry import generator_type
from ehr_pipeline.generators.train import data_fingerprint
from ehr_pipeline.privacy.account import Account, require_kept
from ehr_pipeline.privacy.budget import UNIT, Budget
from ehr_pipeline.privacy.canaries import make_canaries, twins_of
from ehr_pipeline.privacy.lower_bounds import CONFIDENCE, ceiling, one_run_bound
from ehr_pipeline.progress import Progress
from ehr_pipeline.storage import DataFolder, read_json, write_json

FEWEST_CANARIES = 12
MOST_ROWS = 50_000
"""Synthetic rows that are searched."""
NEIGHBOURS = 10
TWINS = 8
"""Rows like a canary but for one column, to which the model's likelihood of it is compared."""
TINY = 1e-6


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """What one way of looking found.

    Attributes
    ----------
    score
        `nearest`: distance to the nearest synthetic row; `density`: to the nearest ten; `model`: likelihood.
    epsilon
        What the right guesses prove, a bound from below.
    """

    score: str
    n_guesses: int
    n_right: int
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit of one generator found.

    Attributes
    ----------
    epsilon
        The highest of the bounds from below, all of which hold together with `confidence`.
    ceiling
        What it would be had all guesses been right.
    claimed_epsilon, claimed_delta, unit
        What the fit promised; None and 0 where it promised nothing.
    data_fingerprint
        SHA-256 of the cohort without canaries.
    """

    generator: str
    n_canaries: int
    guesses: tuple[Guesses, ...]
    epsilon: float
    ceiling: float
    confidence: float
    claimed_epsilon: float | None
    claimed_delta: float
    unit: str
    seed: int
    data_fingerprint: str

    @property
    def is_violated(self) -> bool:
        """Whether the promise is refuted."""
        return self.claimed_epsilon is not None and self.epsilon > self.claimed_epsilon

    def lines(self) -> list[str]:
        """What was found, for a terminal or a report."""
        found = f"epsilon is at least {self.epsilon:.2f}" if self.epsilon else "nothing was found"
        told = [
            f"audit of {self.generator}: {self.n_canaries:,} canaries, {found} "
            f"({self.confidence:.0%} confidence; {self.ceiling:.2f} is the most this audit could show)"
        ]
        told += [
            f"  {one.score}: {one.n_right:,} of {one.n_guesses:,} guesses right, epsilon at least {one.epsilon:.2f}"
            for one in self.guesses
        ]
        if self.claimed_epsilon is None:
            return [*told, "the model promised nothing"]
        promise = f"the promise of epsilon {self.claimed_epsilon:.4g} at delta {self.claimed_delta:.3g} per {self.unit}"
        if self.is_violated:
            return [*told, f"{promise} is refuted"]
        return [*told, f"no violation of {promise} was found at resolution {self.ceiling:.2f}"]

    def record(self) -> dict[str, Any]:
        """The audit as JSON, what it says in words among it."""
        return asdict(self) | {"is_violated": self.is_violated, "lines": self.lines()}


def audit(
    name: str,
    cohort: TrainingCohort,
    config: GeneratorConfig | None = None,
    budget: Budget | None = None,
    *,
    n_canaries: int = 100,
    seed: int = 0,
    account: Account | None = None,
    source: str = "",
    progress: Progress | None = None,
) -> Audit:
    """Fit the generator `name` to the cohort and canaries, and look for those who were in.

    With an account the fit is written into its ledger before it starts. With a budget, columns that are not public are
    left out, as in training. Unless the promise is for a patient added or removed, a canary that is out leaves its
    place to a row of the cohort: the worlds then differ by a patient replaced. Memory holds the table twice.

    Raises
    ------
    OptionError
        There are fewer than 12 canaries, or a budget and no private tier.
    BudgetExceeded
        The patients' cap does not allow another fit; nothing was done.
    """
    if n_canaries < FEWEST_CANARIES:
        raise OptionError(f"--canaries must be at least {FEWEST_CANARIES}; fewer can show nothing")
    generator_class = generator_type(name)
    config = config if config is not None else generator_class.config_type()
    schema = cohort.schema if budget is None else public_part(cohort.schema)
    learned = replace(cohort, schema=schema, table=cohort.table[schema.names])
    plan = None if budget is None else generator_class.privacy_plan(schema, config, budget)
    fingerprint = data_fingerprint(cohort)
    if account is not None:
        account.charge(plan, source=source, generator=name, data_fingerprint=fingerprint)
    rng = np.random.default_rng(seed)
    canaries = make_canaries(learned, n_canaries, rng)
    is_in = rng.random(n_canaries) < 0.5
    replaces = plan is None or plan.unit != UNIT
    generator = generator_class.fit(_with(learned, canaries, is_in, replaces, rng), config, budget, progress)
    if plan is not None:
        require_kept(plan, generator.privacy)
    scores = _scores(generator, canaries, learned, rng, seed)
    promise = generator.privacy
    delta = promise.accounted.delta if promise else 0.0
    confidence = 1 - (1 - CONFIDENCE) / len(scores)
    guesses = tuple(_guessed(score, values, is_in, delta, confidence) for score, values in scores.items())
    return Audit(
        generator=name,
        n_canaries=n_canaries,
        guesses=guesses,
        epsilon=max(one.epsilon for one in guesses),
        ceiling=ceiling(n_canaries, guesses[0].n_guesses, delta=delta, confidence=confidence),
        confidence=CONFIDENCE,
        claimed_epsilon=promise.accounted.epsilon if promise else None,
        claimed_delta=delta,
        unit=promise.unit if promise else UNIT,
        seed=seed,
        data_fingerprint=fingerprint,
    )


def audit_cohort(
    data: DataFolder,
    cohort: str,
    name: str,
    budget: Budget | None = None,
    *,
    n_canaries: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> Audit:
    """Audit a generator on a cohort's training patients, with the settings of its model there, and keep the result.

    Raises
    ------
    NotReady
        The cohort is not prepared.
    """
    folder = data.cohort(cohort)
    files = folder.generator(name)
    card = files.model / "model.json"
    config = generator_type(name).config_type.model_validate(read_json(card)["config"]) if card.exists() else None
    found = audit(
        name,
        load_training_cohort(folder),
        config,
        budget,
        n_canaries=n_canaries,
        seed=seed,
        account=Account(data=data, why=f"ehr-pipeline audit of {name} on {cohort}"),
        source=cohort,
        progress=progress,
    )
    write_json(files.audit, found.record())
    return found


def _with(
    cohort: TrainingCohort, canaries: pd.DataFrame, is_in: np.ndarray, replaces: bool, rng: np.random.Generator
) -> TrainingCohort:
    """The cohort and the canaries that are in, as patients of their own."""
    more = canaries[is_in]
    if replaces:
        stand_ins = cohort.table.iloc[rng.integers(len(cohort.table), size=int((~is_in).sum()))]
        more = pd.concat([more, stand_ins])
    new = int(cohort.subject_id.max(initial=0)) + 1 + np.arange(len(more))
    return replace(
        cohort,
        table=pd.concat([cohort.table, more], ignore_index=True),
        subject_id=np.concatenate([cohort.subject_id, new]),
    )


def _scores(
    generator: Generator, canaries: pd.DataFrame, cohort: TrainingCohort, rng: np.random.Generator, seed: int
) -> dict[str, np.ndarray]:
    """Ways of looking, each with a score per canary: the higher, the more it seems to have been in."""
    schema = generator.schema
    rows = generator.sample(min(MOST_ROWS, max(len(cohort.table), 1_000)), seed)
    encoding = Encoding.learn(cohort.table[schema.names], schema)
    own, drawn, real = (
        points(encoding, encoding.encode(table[schema.names])) for table in (canaries, rows, cohort.table[:MOST_ROWS])
    )
    distances = nearest(own, drawn, NEIGHBOURS)[0]
    alone = nearest(own, real)[0][:, 0] + TINY
    scores = {
        "nearest": -distances[:, 0] / alone,
        "density": -np.log(distances + TINY).mean(axis=1) + np.log(alone),
    }
    likelihood = generator.scores(canaries)
    if likelihood is not None:
        twins = [generator.scores(twins_of(canaries, cohort, rng)) for _ in range(TWINS)]
        scores["model"] = likelihood - np.mean(twins, axis=0)
    return scores


def _guessed(score: str, values: np.ndarray, is_in: np.ndarray, delta: float, confidence: float) -> Guesses:
    """The highest third guessed to be in, the lowest to be out: as many as was settled before anything was seen."""
    third = len(values) // 3
    order = np.argsort(values, kind="stable")
    n_right = int(is_in[order[-third:]].sum() + (~is_in[order[:third]]).sum())
    epsilon = one_run_bound(len(values), 2 * third, n_right, delta=delta, confidence=confidence)
    return Guesses(score=score, n_guesses=2 * third, n_right=n_right, epsilon=epsilon)
