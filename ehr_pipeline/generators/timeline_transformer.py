"""Timelines event by event from a small transformer, each held to a plan of the stay: the flagship for timelines.

1. The plan: static facts, how often each common code is measured, first and last time, values in sum, death. One row
   per patient, drawn by our generator of tables (`stay_plan.py`); so what holds for a stay as a whole is as good as it.
2. The events: a decoder-only transformer fills the plan. Each position reads an event, the state it leaves (last value
   of every common code, time since, what is still to come: `timeline_state.py`) and the plan, and says when the next
   event is, which code it has given when, and which value given both (`timeline_network.py`).
3. The match: stays drawn from real plans say which gaps come too often; that is taken back
   (`timeline_calibration.py`).
4. Drawing: all stays of a chunk at once, with the keys and values of attention kept (`timeline_decoding.py`); what the
   plan rules out is masked, so nothing follows death, and no stay outlasts its window.

The end of the window is censoring: the plan says until when a stay is watched and when the last event is, so no event
has to decide whether it is the last one. Codes that are not planned share one count.

# NOTE[DIFF] Decoder-only models of records (CEHR-GPT, https://arxiv.org/abs/2402.04400; ETHOS,
#   https://www.nature.com/articles/s41746-024-01235-0) take a token for each gap, code and value, and stop at a token.
#   Here an event is one position, and a stay ends with its plan.

Kept out: codes, texts and extremes of fewer than `MINIMUM_PATIENTS` patients. Budgets: `private_transformer.py`.

Memory: the fit keeps about 110 bytes per event, and a step about 1 kB per event of its batch and unit of width; drawing
needs `CHUNK_BYTES` and 60 bytes per drawn event. `piece`, `batch_events` and `accumulate` bound a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.base import GeneratorConfig
from ehr_pipeline.generators.code_limits import ages, closed_codes, possible, sexes
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.configs import TimelineTransformerConfig
from ehr_pipeline.generators.number_codec import NumberCodec
from ehr_pipeline.generators.persistence import read_state, under, write_state
from ehr_pipeline.generators.private_transformer import fit_private_transformer, shape_of, transformer_plan
from ehr_pipeline.generators.stay_plan import PlanRows, StayPlan
from ehr_pipeline.generators.timeline_calibration import match_gaps
from ehr_pipeline.generators.timeline_decoding import Drawing
from ehr_pipeline.generators.timeline_goals import Goals
from ehr_pipeline.generators.timeline_levels import EventLevels
from ehr_pipeline.generators.timeline_network import TimelineNetwork
from ehr_pipeline.generators.timeline_sequences import Sequences
from ehr_pipeline.generators.timeline_steps import TimedEvents
from ehr_pipeline.generators.timeline_training import mixed_precision, own_device, shares, train_timelines
from ehr_pipeline.generators.timeline_values import drawn_values
from ehr_pipeline.generators.timelines import DAY_MINUTES, Clock, TimelineCohort, TimelineGenerator, events_frame
from ehr_pipeline.generators.training import enough_memory, one_thread, pick_device, seeded
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.progress import Progress

CHUNK_STAYS, CHUNK_BYTES = 1024, 1 << 30
"""Stays drawn at a time: no more than these, in no more memory than this."""


class TimelineTransformer(TimelineGenerator):
    """Timeline transformer."""

    name: ClassVar[str] = "timeline_transformer"
    title: ClassVar[str] = "Timeline transformer"
    config_type: ClassVar[type[GeneratorConfig]] = TimelineTransformerConfig

    def __init__(
        self,
        *,
        config: TimelineTransformerConfig,
        clock: Clock,
        plan: StayPlan,
        levels: EventLevels,
        begins: NumberCodec,
        network: TimelineNetwork | None,
        history: list[dict[str, float]],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.clock = clock
        self.plan = plan
        self.levels = levels
        self.begins = begins
        """Minute of the day of the origin, where patients have calendars of their own."""
        self.network = network
        """None where nobody has timed events."""
        self.history = history
        self.notes = notes
        self.device = "cpu" if network is None else network.code_bias.device.type

    @classmethod
    def fit(
        cls,
        cohort: TimelineCohort,
        config: GeneratorConfig,
        budget: Budget | None = None,
        progress: Progress | None = None,
        *,
        checkpoint: Path | None = None,
    ) -> Self:
        """Learn the plans of stays, then the network that fills them."""
        config = TimelineTransformerConfig.model_validate(config.model_dump())
        if budget is not None:
            return cls._fit_private(cohort, config, budget, progress)
        if cohort.n_patients < MINIMUM_PATIENTS:
            raise DefinitionError(f"{cls.name} needs at least {MINIMUM_PATIENTS} patients, and there are fewer")
        device = own_device(config.device)
        timed = TimedEvents.of(cohort, config.events_per_patient)
        plan = StayPlan.learn(cohort, timed, config.seed, progress, updates=config.plan_updates)
        levels = EventLevels.learn(timed, plan.planned, gap_levels=config.gap_levels, value_levels=config.value_levels)
        minute_of_day = cohort.origin.astype("datetime64[m]").astype(np.int64) % DAY_MINUTES
        begins = NumberCodec.fit(
            minute_of_day.astype(np.float64), np.arange(cohort.n_patients), decimals=0, may_miss=False, n_levels=24
        )
        network, history = None, []
        if len(timed.code):
            begin = np.zeros(cohort.n_patients) if cohort.clock.is_shared else minute_of_day
            sequences = Sequences.of(timed, levels, begin, config.piece).to(device)
            goals = Goals.of(plan.of(cohort, timed), np.arange(cohort.n_patients), plan.planned, levels).to(device)
            with (
                enough_memory(cls.title, f"lower batch_events (now {config.batch_events})"),
                one_thread(),
                seeded(config.seed, device),
            ):
                network = TimelineNetwork(levels, shape_of(config, goals.features.shape[1]), config.dropout)
                network.start_at(*shares(sequences, levels.n_slots, levels.n_steps))
                network.to(device)
                history = train_timelines(
                    network, sequences, goals, config, task=cls.title, progress=progress, checkpoint=checkpoint
                )
                match_gaps(
                    network,
                    levels,
                    sequences,
                    goals,
                    rounds=config.gap_rounds,
                    window=cohort.clock.window_minutes,
                    rng=np.random.default_rng(config.seed),
                )
        return cls(
            config=config,
            clock=cohort.clock,
            plan=plan,
            levels=levels,
            begins=begins,
            network=network,
            history=history,
            notes=timed.notes,
        )

    @classmethod
    def privacy_plan(cls, config: GeneratorConfig, budget: Budget) -> PrivacyPlan:
        """Noisy tables and private steps, by shares that are fixed (`private_transformer.py`)."""
        return transformer_plan(TimelineTransformerConfig.model_validate(config.model_dump()), budget)

    @classmethod
    def _fit_private(
        cls, cohort: TimelineCohort, config: TimelineTransformerConfig, budget: Budget, progress: Progress | None
    ) -> Self:
        plan = cls.privacy_plan(config, budget)
        parts, n_patients = fit_private_transformer(cohort, config, plan, progress)
        generator = cls(**parts)
        generator.privacy, generator.n_patients = plan, n_patients
        return generator

    def sample(self, n: int, seed: int, conditions: Mapping[str, str | float] | None = None) -> pd.DataFrame:
        """Draw `n` plans, then their events, chunk by chunk."""
        rng = np.random.default_rng(seed)
        begin = np.zeros(n) if self.clock.is_shared else self.begins.from_ranks(rng.random(n))
        origin = self.clock.start + begin.astype(np.int64).astype("timedelta64[m]")
        rows = self.plan.draw(n, seed, conditions)
        static = self.plan.static_events(rows, origin)
        sex, age = sexes(static, n), ages(static, origin)
        closed = closed_codes(self.levels.codes, sex, age)
        timed = self._timed(rows, begin, origin, closed, rng)
        events = pd.concat([possible(static, sex, age), timed], ignore_index=True)
        # Both parts are in order by themselves, and static facts come first; a birth lies before the origin.
        events = events.sort_values(["subject_id", "time"], na_position="first", kind="stable", ignore_index=True)
        return events.astype({"code": "category", "text_value": "category"})

    @torch.no_grad()
    def _timed(
        self,
        rows: PlanRows,
        begin: np.ndarray,
        origin: np.ndarray,
        closed: np.ndarray | None,
        rng: np.random.Generator,
    ) -> pd.DataFrame:
        """The timed events of all plans, in order of patient and time."""
        nobody = np.empty(0, dtype=object)
        parts = [events_frame([], [], nobody, [], nobody)]
        if self.network is None:
            return parts[0]
        device, names, chunk = self.network.code_bias.device, np.array(self.levels.codes, dtype=object), self._chunk()
        with one_thread(), mixed_precision(device):
            for first in range(0, len(begin), chunk):
                stays = np.arange(first, min(first + chunk, len(begin)))
                goals = Goals.of(rows, stays, self.plan.planned, self.levels)
                began = torch.from_numpy(begin[stays]).float().to(device)
                barred = None if closed is None else torch.from_numpy(closed[stays]).to(device)
                drawn = (
                    Drawing(
                        self.network,
                        self.levels,
                        goals.to(device),
                        begin=began,
                        closed=barred,
                        window=self.clock.window_minutes,
                        rng=rng,
                    )
                    .events()
                    .sorted()
                )
                value, text = drawn_values(drawn, self.levels, goals.values.numpy(), rng)
                stay = stays[drawn.patient]
                time = origin[stay] + drawn.minute.astype("timedelta64[m]")
                parts.append(events_frame(stay + 1, time, names[drawn.code], value, text))
        return pd.concat(parts, ignore_index=True)

    def _chunk(self) -> int:
        """Stays that are drawn at a time."""
        shape = self.network.shape
        stay_bytes = 64 * len(self.levels.codes) + 16 * shape.layers * shape.window * shape.width
        return max(1, min(CHUNK_STAYS, CHUNK_BYTES // (2 * stay_bytes)))

    def save(self, folder: Path) -> None:
        """Write config, levels and weights; the plan lies in folders of its own."""
        levels, arrays = self.levels.state()
        arrays = {f"levels.{name}": array for name, array in arrays.items()}
        begins, parts = self.begins.state()
        arrays |= {f"begins.{part}": array for part, array in parts.items()}
        weights = {} if self.network is None else self.network.state_dict()
        arrays |= {f"network.{name}": weight.cpu().numpy() for name, weight in weights.items()}
        plain: dict[str, Any] = {
            "config": self.config.model_dump(mode="json"),
            "clock": self.clock.state(),
            "levels": levels,
            "begins": begins,
            "n_features": None if self.network is None else self.network.shape.n_features,
            "history": self.history,
            "notes": list(self.notes),
        }
        write_state(folder, "generator", plain, arrays)
        self.plan.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote, onto a GPU where there is one."""
        plain, arrays = read_state(folder, "generator")
        config = TimelineTransformerConfig.model_validate(plain["config"])
        levels = EventLevels.of_state(plain["levels"], under("levels.", arrays))
        network = None
        if plain["n_features"] is not None:
            network = TimelineNetwork(levels, shape_of(config, plain["n_features"]), config.dropout)
            weights = under("network.", arrays)
            network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
            network = network.to(pick_device("cpu" if config.device == "cpu" else "auto")).eval()
        return cls(
            config=config,
            clock=Clock.of_state(plain["clock"]),
            plan=StayPlan.load(folder),
            levels=levels,
            begins=NumberCodec(**plain["begins"], **under("begins.", arrays)),
            network=network,
            history=plain["history"],
            notes=tuple(plain["notes"]),
        )
