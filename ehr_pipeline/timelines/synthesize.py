"""Events in, synthetic events out: what the command `synthesize-events` does.

What belongs here: the order of things, and checks of options before anything long starts. What does not: options as
typed (`cli_events.py`), and each step's own work.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.base import GeneratorConfig
from ehr_pipeline.generators.registry import default_timeline_generator, timeline_generator_type
from ehr_pipeline.generators.stay_bounds import within_bounds
from ehr_pipeline.generators.timelines import EVENT_COLUMNS, TimelineCohort, TimelineGenerator
from ehr_pipeline.privacy.account import Account, asked_budget, require_kept
from ehr_pipeline.privacy.budget import PrivacyPlan
from ehr_pipeline.progress import Progress, Step, silent
from ehr_pipeline.timelines.cohort import cohort_of, own_clocks
from ehr_pipeline.timelines.files import read_raw
from ehr_pipeline.timelines.mend import mended
from ehr_pipeline.timelines.write import fresh_ids, write_events

Say = Callable[[str], object]
CHUNK_PATIENTS = 2_000
"""Patients that are drawn, and held in memory, at once."""


@dataclass(frozen=True, kw_only=True)
class EventsRequest:
    """What is asked for.

    Attributes
    ----------
    events, out
        The MEDS Parquet file, or folder of them, to learn from, and the Parquet file to write.
    generator
        Where None, the registry's.
    patients
        As many as there are where None; with a budget, as many as the fit counted with noise.
    conditions
        Static facts that every patient has: name to value, as text.
    epsilon, delta
        Of the budget per patient; without epsilon there is none.
    account
        Where the fit is written down; None writes it nowhere.
    """

    events: Path
    out: Path
    generator: str | None = None
    patients: int | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)
    epsilon: float | None = None
    delta: float | None = None
    account: Account | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class EventsMade:
    """What was made."""

    out: Path
    n_patients: int
    n_events: int


def synthesize_events(request: EventsRequest, progress: Progress = silent, say: Say = lambda line: None) -> EventsMade:
    """Learn timelines and write synthetic ones, in the columns and types of the input; what was mended is said.

    Memory holds the real events (about 150 bytes each while they are read) and what the generator does, then the
    synthetic events of `CHUNK_PATIENTS` patients.

    Raises
    ------
    InputError
        A file or option cannot be used. Nothing was written.
    BudgetExceeded
        The budget would pass a cap of the ledger's policy.
    """
    name = request.generator or default_timeline_generator()
    kind = timeline_generator_type(name)
    _check_out(request)
    config = kind.config_type(seed=request.seed)
    plan = _plan(request, kind, config)
    raw = read_raw(request.events)
    schema, real_ids = raw.schema, np.unique(raw.subject_id)
    events = mended(raw, str(request.events))
    del raw
    for note in events.notes:
        say(note)
    cohort = cohort_of(events, str(request.events)) if plan is None else own_clocks(events, str(request.events))
    del events
    if unlearned := [column for column in schema.names if column not in EVENT_COLUMNS]:
        say(f"columns that are not learned, and empty in {request.out.name}: {', '.join(unlearned)}")
    if request.account is not None:
        fingerprint = events_fingerprint(cohort)
        request.account.charge(plan, source=request.events.name, generator=name, data_fingerprint=fingerprint)
    if plan is None:
        generator = kind.fit(cohort, config, None, progress)
    else:
        for line in plan.lines():
            say(line)
        generator = kind.fit(cohort, config, plan.budget, progress)
        require_kept(plan, generator.privacy)
    for note in generator.notes:
        say(note)
    n_patients = (generator.n_patients or cohort.n_patients) if request.patients is None else request.patients
    # Which numbers are free tells of the real ones; within a budget nothing may.
    ids = fresh_ids(real_ids, n_patients) if plan is None else np.arange(1, n_patients + 1)
    n_events = write_events(request.out, schema, _chunks(generator, ids, request, progress))
    return EventsMade(out=request.out, n_patients=n_patients, n_events=n_events)


def _plan(request: EventsRequest, kind: type[TimelineGenerator], config: GeneratorConfig) -> PrivacyPlan | None:
    """What the budget will be spent on, known before a file is read; None without one.

    Raises
    ------
    OptionError
        The options are no budget, or the generator has no private tier.
    BudgetExceeded
        There is no room for it.
    """
    budget = asked_budget(request.epsilon, request.delta)
    if budget is None:
        return None
    if request.account is not None:
        request.account.require_room(budget)
    return kind.privacy_plan(config, budget)


def events_fingerprint(cohort: TimelineCohort) -> str:
    """SHA-256 over all events, in order."""
    digest = hashlib.sha256()
    for name in EVENT_COLUMNS:
        digest.update(pd.util.hash_pandas_object(cohort.events[name], index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _chunks(
    generator: TimelineGenerator, ids: np.ndarray, request: EventsRequest, progress: Progress
) -> Iterator[pd.DataFrame]:
    started = time.monotonic()
    seeds = np.random.SeedSequence(request.seed).generate_state(-(-len(ids) // CHUNK_PATIENTS))
    for k, first in enumerate(range(0, len(ids), CHUNK_PATIENTS)):
        own = ids[first : first + CHUNK_PATIENTS]
        events = within_bounds(generator.sample(len(own), int(seeds[k]), request.conditions or None))
        yield events.assign(subject_id=own[events["subject_id"].to_numpy() - 1])
        elapsed_s = time.monotonic() - started
        progress(Step(task="Patients", done=first + len(own), total=len(ids), unit="patient", elapsed_s=elapsed_s))


def _check_out(request: EventsRequest) -> None:
    """Refuse what can be told from the options alone."""
    events, out = request.events, request.out
    if out.suffix.lower() != ".parquet":
        raise OptionError(f"--out {out} must end in .parquet")
    if out.is_dir():
        raise OptionError(f"--out {out} is a folder; name a file")
    if not out.parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {out.parent}; make it first")
    if out.resolve() == events.resolve() or events.resolve() in out.resolve().parents:
        raise OptionError(f"--out {out} lies in the events themselves; write elsewhere")
