"""`timeline_transformer` within a budget: what is measured of patients, and what is learned from noise alone.

What belongs here: the plan of a private fit and its order. What does not: noisy tables of events (`private_markov.py`),
rows of plans (`private_stay_plan.py`), losses of single stays (`private_stay_losses.py`), noise and steps (`privacy/`).

1. Noisy tables: codes, texts, ranges, gaps, transitions and values, as `timeline_markov` measures them. Stays drawn
   from them, the *guide*, may be looked at as often as one likes: levels, gaps and the plan's columns come from them.
2. Plans of stays: one row per patient, learned by DP-SGD over noisy histograms.
3. The network learns to fill plans from the guide, held to drawn plans (`private_guide.py`): no patient is looked at.
4. Its heads are then trained by DP-SGD on real stays: one patient, one example, one gradient.
5. Gaps of drawn stays are matched to those that the noisy tables give.

# NOTE[DIFF] Private steps move the heads and not the blocks: noise grows with the number of weights, and what a
#   thousand patients can say through it is far less than what noisy tables said already.

Memory: as in the parts; the guide's events besides, 300 bytes each.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ehr_pipeline.generators.configs import TimelineMarkovConfig, TimelineTransformerConfig
from ehr_pipeline.generators.private_guide import guide_stays, held_to_plans
from ehr_pipeline.generators.private_markov import SHARES as TABLE_SHARES
from ehr_pipeline.generators.private_markov import fit_private
from ehr_pipeline.generators.private_stay_losses import StayLosses, padded_stays
from ehr_pipeline.generators.private_stay_plan import RealAndGuide, private_stay_plan
from ehr_pipeline.generators.stay_plan import PlanRows, StayPlan
from ehr_pipeline.generators.timeline_calibration import gap_counts, match_gaps
from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_levels import EventLevels
from ehr_pipeline.generators.timeline_markov import TimelineMarkov
from ehr_pipeline.generators.timeline_network import Shape, TimelineNetwork
from ehr_pipeline.generators.timeline_sequences import Sequences
from ehr_pipeline.generators.timeline_steps import TimedEvents
from ehr_pipeline.generators.timeline_training import own_device, shares, train_timelines
from ehr_pipeline.generators.timelines import BIRTH, DAY_MINUTES, TimelineCohort, shortest
from ehr_pipeline.generators.training import enough_memory, one_thread, seeded
from ehr_pipeline.privacy.accountant import accounted, noise_for, total_noise
from ehr_pipeline.privacy.budget import Accounted, Budget, GaussianMechanism, PrivacyPlan
from ehr_pipeline.privacy.training import STEPS_NAME, PrivateSteps, patient_gradients, train_privately
from ehr_pipeline.progress import Progress

TABLES, HISTOGRAMS = 0.45, 0.15
"""Shares of the budget: noisy tables of events, and histograms of the plans' columns. Trainings have the rest."""
PLAN_HISTOGRAMS, PLAN_STEPS = "histograms of the plans' columns", "clipped gradients of the plans' network"
PLAN_RATE, N_PLAN_STEPS = 0.1, 300
"""Sampling rate and steps of the plans' training."""
EVENTS_NOISE = 1.5
"""Noise of a step of the events' network, for each of the plans': what plans say is seen in all that is drawn."""
NORM_STAYS = 64
"""Guide stays by whose gradients the clipping norm is chosen."""
EXAMPLE_STAYS = 8
FULL_RATE_AT = 100.0
"""Patients per step, over its noise, from which on the full rate is taken."""
GUIDE_PASSES = 3
"""Passes over the guide."""


def transformer_plan(config: TimelineTransformerConfig, budget: Budget) -> PrivacyPlan:
    """Noisy tables, rows of plans and private steps within `budget`, whoever the patients are.

    Raises
    ------
    OptionError
        The budget is too small for any noise.
    """
    return _plan(config.private_rate, config.private_steps, budget)


@functools.cache  # a plan is made to be told, and again to be kept to
def _plan(rate: float, n_steps: int, budget: Budget) -> PrivacyPlan:
    spent = Budget(epsilon=budget.epsilon, delta=budget.delta / 2)
    total = total_noise(spent)
    measured = {name: TABLES * share for name, share in TABLE_SHARES.items()} | {PLAN_HISTOGRAMS: HISTOGRAMS}
    fixed = tuple(
        GaussianMechanism(name=name, noise_multiplier=total / math.sqrt(share)) for name, share in measured.items()
    )

    def mechanisms(noise: float) -> tuple[GaussianMechanism, ...]:
        return (
            *fixed,
            GaussianMechanism(name=PLAN_STEPS, noise_multiplier=noise, sampling_rate=PLAN_RATE, steps=N_PLAN_STEPS),
            GaussianMechanism(
                name=STEPS_NAME,
                noise_multiplier=EVENTS_NOISE * noise,
                sampling_rate=rate,
                steps=n_steps,
            ),
        )

    all_of_it = mechanisms(noise_for(mechanisms, spent))
    found = accounted(all_of_it, spent.delta)
    return PrivacyPlan(
        budget=budget,
        mechanisms=all_of_it,
        accounted=Accounted(**{**vars(found), "delta": budget.delta}),
        notes=(
            "  half of delta is for codes and texts that are named although nobody knew of them before; epsilon is "
            "computed for the other half",
        ),
    )


def fit_private_transformer(
    cohort: TimelineCohort, config: TimelineTransformerConfig, plan: PrivacyPlan, progress: Progress | None = None
) -> tuple[dict[str, Any], int]:
    """What `TimelineTransformer` is made of, and the noisy number of patients."""
    small = {"width": config.private_width, "hidden": config.private_width, "layers": 1, "passes": GUIDE_PASSES}
    config = config.model_copy(update=small)
    markov = TimelineMarkovConfig(private_events=config.private_events, private_codes=config.private_codes)
    tables, n_patients = fit_private(cohort, markov, plan)
    cohort = replace(cohort, clock=tables["clock"])
    rng = np.random.default_rng(config.seed)
    guide = guide_stays(TimelineMarkov(config=markov, **tables), config.private_guide, rng)
    timed = _timed(cohort, guide, config.private_events)
    stay_plan = private_stay_plan(
        cohort,
        RealAndGuide(timed=timed, guide=guide, static=tables["static"]),
        histograms=_named(plan, PLAN_HISTOGRAMS),
        training=_named(plan, PLAN_STEPS),
        plan=plan,
        seed=config.seed,
        progress=progress,
    )
    rows = stay_plan.draw(config.private_guide, config.seed)
    kept = held_to_plans(guide, rows, stay_plan.layout, tables["values"], rng)
    levels = EventLevels.learn(kept, stay_plan.planned, gap_levels=config.gap_levels, value_levels=config.value_levels)
    network = None
    if len(kept.code):
        fill = _Fill(
            config=config,
            plan=stay_plan,
            levels=levels,
            rows=rows,
            device=own_device(config.device),
            length=-(-config.private_positions // config.window) * config.window,
            gaps=gap_counts(guide, levels),
        )
        begin = tables["begins"].from_ranks(rng.random(config.private_guide))
        with enough_memory("Timeline transformer", "lower private_positions"), one_thread():
            network = fill.network(
                fill.of_guide(kept, 0 * begin if cohort.clock.is_shared else begin),
                fill.of_patients(cohort, timed),
                _named(plan, STEPS_NAME),
                n_patients,
                progress,
            )
    parts = {"config": config, "clock": cohort.clock, "plan": stay_plan, "levels": levels, "begins": tables["begins"]}
    return parts | {"network": network, "history": []}, n_patients


@dataclass(frozen=True, kw_only=True)
class _Fill:
    """How the network learns to fill plans: from the guide, then from patients in private steps.

    Attributes
    ----------
    rows
        Drawn plans, one for each guide stay.
    length
        Events of a stay that are read at a time, public.
    gaps
        How often each level of gaps is drawn from the noisy tables.
    """

    config: TimelineTransformerConfig
    plan: StayPlan
    levels: EventLevels
    rows: PlanRows
    device: torch.device
    length: int
    gaps: np.ndarray

    def of_guide(self, guide: TimedEvents, begin: np.ndarray) -> tuple[Sequences, Goals]:
        """Guide stays, with the static facts of the drawn plans that they were held to."""
        static = self.rows.table[self.plan.facts.schema.names]
        return self._arrays(guide, begin, self.plan.of_events(static, guide))

    def of_patients(self, cohort: TimelineCohort, timed: TimedEvents) -> tuple[Sequences, Goals]:
        """Real stays."""
        begin = cohort.origin.astype("datetime64[m]").astype(np.int64) % DAY_MINUTES
        return self._arrays(timed, 0 * begin if cohort.clock.is_shared else begin, self.plan.of(cohort, timed))

    def _arrays(self, timed: TimedEvents, begin: np.ndarray, rows: PlanRows) -> tuple[Sequences, Goals]:
        goals = Goals.of(rows, np.arange(len(begin)), self.plan.planned, self.levels)
        sequences = Sequences.of(timed, self.levels, begin, self.length)
        return sequences.to(self.device), goals.to(self.device)

    def network(
        self,
        guide: tuple[Sequences, Goals],
        patients: tuple[Sequences, Goals],
        training: GaussianMechanism,
        n_patients: int,
        progress: Progress | None,
    ) -> TimelineNetwork:
        """The network; `patients` are seen by the private steps alone."""
        config, (sequences, goals) = self.config, guide
        with seeded(config.seed, self.device):
            network = TimelineNetwork(self.levels, shape_of(config, goals.features.shape[1]))
            network.start_at(*shares(sequences, self.levels.n_slots, self.levels.n_steps))
            network.to(self.device)
            train_timelines(network, sequences, goals, config, task="Guide stays", progress=progress)
        losses = StayLosses(network)
        made_up = tuple(part[:NORM_STAYS] for part in padded_stays(*guide, self.length))
        train_privately(
            losses,
            padded_stays(*patients, self.length),
            _steps(losses, made_up, training, config, n_patients),
            example=tuple(part[:EXAMPLE_STAYS] for part in made_up),
            task="Timeline transformer",
            progress=progress,
        )
        planned = Goals.of(self.rows, np.arange(len(goals.counts)), self.plan.planned, self.levels).to(self.device)
        match_gaps(
            network,
            self.levels,
            sequences,
            planned,
            rounds=config.gap_rounds,
            window=self.plan.layout.window_minutes,
            rng=np.random.default_rng(config.seed),
            wanted=self.gaps,
        )
        return network


def _named(plan: PrivacyPlan, name: str) -> GaussianMechanism:
    return next(one for one in plan.mechanisms if one.name == name)


def _steps(
    losses: StayLosses,
    made_up: tuple[torch.Tensor, ...],
    mechanism: GaussianMechanism,
    config: TimelineTransformerConfig,
    n_patients: int,
) -> PrivateSteps:
    """The private training: the norm in units of what guide stays have, shorter steps where patients are few."""
    gradients = patient_gradients(losses, made_up)
    norms = torch.stack([part.flatten(1).square().sum(dim=1) for part in gradients]).sum(dim=0).sqrt()
    clip_norm = config.private_clip_norm * max(1e-3, float(norms.median()))
    said = mechanism.sampling_rate * n_patients / (mechanism.noise_multiplier * FULL_RATE_AT)
    rate = config.private_learning_rate * min(1.0, said)
    return PrivateSteps(mechanism=mechanism, clip_norm=clip_norm, learning_rate=rate)


def shape_of(config: TimelineTransformerConfig, n_features: int) -> Shape:
    """Sizes of the network by the config."""
    return Shape(
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        window=config.window,
        hidden=config.hidden,
        n_features=n_features,
    )


def _timed(cohort: TimelineCohort, guide: TimedEvents, most_events: int) -> TimedEvents:
    """The real events of the guide's codes, inside the window, each patient's first `most_events`."""
    events = cohort.events
    place = {name: k for k, name in enumerate(guide.codes)}
    names = events["code"].cat.categories
    of = np.array([place.get(name, -1) for name in names] + [-1], dtype=np.int64)
    code = of[events["code"].cat.codes.to_numpy()]
    timed = ~cohort.is_static & (events["code"] != BIRTH).to_numpy()
    within = (cohort.minutes >= 0) & (cohort.minutes <= cohort.clock.window_minutes)
    which = np.flatnonzero(timed & within & (code >= 0))
    which = which[np.lexsort((code[which], cohort.minutes[which], cohort.patient[which]))]
    patient = cohort.patient[which]
    which = which[np.arange(len(which)) - np.searchsorted(patient, patient) < most_events]
    return replace(
        guide,
        patient=cohort.patient[which],
        minute=cohort.minutes[which],
        code=code[which],
        value=shortest(events["numeric_value"].to_numpy()[which]),
        text=events["text_value"].iloc[which].astype(object).to_numpy(),
        is_cut=np.zeros(cohort.n_patients, dtype=bool),
    )
