"""Trains one generator on one cohort and puts the model in place; reads it back.

What belongs here: the model folder and its `model.json`. What does not: any algorithm.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ehr_pipeline.errors import NotReady, OptionError
from ehr_pipeline.generators.base import Generator, GeneratorConfig, TrainingCohort
from ehr_pipeline.generators.cohort_data import load_training_cohort
from ehr_pipeline.generators.registry import TIMELINE_GENERATORS, generator_type, timeline_generator_type
from ehr_pipeline.generators.timeline_data import timelines_fingerprint
from ehr_pipeline.generators.timelines import TimelineCohort, TimelineGenerator
from ehr_pipeline.privacy.account import Account, require_kept
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.progress import Progress
from ehr_pipeline.storage import CohortFolder, GeneratorFolder, atomic_folder, read_json, sha256, write_json

VERSIONS_OF = ("ehr-pipeline", "numpy", "pandas", "torch")


@dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """What a training leaves to be told: plain values for metadata and the report.

    Attributes
    ----------
    n_rows, n_patients
        Rows and patients that were learned from.
    left_out
        Columns of the cohort that the generator cannot write.
    n_events, notes
        Of timelines: events that were there, and lines that say what of them was not learned.
    history
        One record per epoch; empty for what needs no training.
    data_fingerprint
        SHA-256 over the training table, its schema and its patients; of timelines, over their files.
    privacy
        What a private fit spent (`PrivacyPlan.record`); None without a budget. With one, `n_rows` and `n_patients`
        are as the fit measured them, noise included.
    ledger_entry
        Id of the ledger's entry of this fit; None where no ledger was given.
    """

    generator: str
    n_rows: int
    n_patients: int
    left_out: list[str]
    duration_s: float
    history: list[dict[str, float]]
    data_fingerprint: str
    config: dict[str, Any]
    device: str
    privacy: dict[str, Any] | None
    ledger_entry: str | None
    versions: dict[str, str]
    n_events: int | None = None
    notes: tuple[str, ...] = ()


def train(
    name: str,
    cohort: TrainingCohort | TimelineCohort,
    config: GeneratorConfig | None,
    folder: GeneratorFolder,
    progress: Progress | None = None,
    *,
    budget: Budget | None = None,
    account: Account | None = None,
    fingerprint: str | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> TrainingSummary:
    """Fit the generator `name` and put it into `folder.model` in one step.

    An interrupted training goes on from `folder.checkpoint`, which is gone once the model is whole. An old
    model stays until then. With a budget, what will be spent is written into the account's ledger and said before the
    fit starts, and stays spent whatever becomes of it; columns without public bounds or levels are left out.

    Parameters
    ----------
    fingerprint
        Of the data, where it is known already (`timelines_fingerprint`); else it is taken of the values.

    Raises
    ------
    OptionError
        No generator of such data has that name, or it has no private tier and a budget is given, or there is no
        account for it.
    BudgetExceeded
        The patients' cap does not allow it; nothing was trained.
    ResourceShort
        Memory or disk ran out; an old model is still there.
    """
    is_timeline = isinstance(cohort, TimelineCohort)
    generator_class = timeline_generator_type(name) if is_timeline else generator_type(name)
    config = config if config is not None else generator_class.config_type()
    learned, plan = cohort, None
    if budget is not None:
        if account is None:
            raise OptionError("a private training needs a ledger to be written into")
        account.require_room(budget)
        if is_timeline:
            plan = generator_class.privacy_plan(config, budget)
        else:
            from ehr_pipeline.generators.private_codec import public_part  # its noise takes seconds to import

            schema = public_part(cohort.schema)
            learned = replace(cohort, schema=schema, table=cohort.table[schema.names])
            plan = generator_class.privacy_plan(schema, config, budget)
    fingerprint, entry = fingerprint or data_fingerprint(cohort), None
    if account is not None:
        source = folder.root.parent.name
        entry = account.charge(plan, source=source, generator=name, data_fingerprint=fingerprint)
    for line in plan.lines() if plan else ():
        say(line)
    started = time.perf_counter()
    checkpoint = folder.checkpoint if plan is None else None
    generator = generator_class.fit(learned, config, budget, progress, checkpoint=checkpoint)
    if plan is not None:
        require_kept(plan, generator.privacy)
    elif generator.privacy is not None:  # its method has noise of its own, whose promise nobody asked for
        for line in generator.privacy.lines():
            say(line)
    summary = TrainingSummary(
        generator=name,
        **_learned(cohort, generator),
        duration_s=round(time.perf_counter() - started, 3),
        history=generator.history,
        data_fingerprint=fingerprint,
        config=config.model_dump(mode="json"),
        device=generator.device,
        privacy=generator.privacy.record() if generator.privacy else None,
        ledger_entry=entry,
        versions={package: importlib.metadata.version(package) for package in VERSIONS_OF},
    )
    with atomic_folder(folder.model) as temporary:
        generator.save(temporary)
        write_json(temporary / "model.json", vars(summary) | {"seed": config.seed})
    shutil.rmtree(folder.checkpoint, ignore_errors=True)
    return summary


def _learned(cohort: TrainingCohort | TimelineCohort, generator: Generator | TimelineGenerator) -> dict[str, Any]:
    """The fields of a summary that say what was learned from, and what was left out."""
    if isinstance(cohort, TimelineCohort):
        n = generator.n_patients or cohort.n_patients
        n_events = None if generator.privacy else len(cohort.events)
        return {"n_rows": n, "n_patients": n, "left_out": [], "n_events": n_events, "notes": generator.notes}
    return {
        "n_rows": generator.n_patients or len(cohort.table),
        "n_patients": generator.n_patients or len(pd.unique(cohort.subject_id)),
        "left_out": [column for column in cohort.schema.names if column not in generator.schema],
    }


def load_model(folder: GeneratorFolder) -> Generator | TimelineGenerator:
    """The generator in `folder.model`, of tables or of timelines.

    Raises
    ------
    NotReady
        There is none; train it first.
    """
    if not folder.model.is_dir():
        raise NotReady(f"{folder.root.name} has no model yet; train it first")
    name = read_json(folder.model / "model.json", "train the generator again")["generator"]
    kind = timeline_generator_type(name) if name in TIMELINE_GENERATORS else generator_type(name)
    return kind.load(folder.model)


def require_present_data(folder: CohortFolder, generator: str) -> None:
    """Make sure that the model was trained on what the cohort holds now, split included (of timelines, their files).

    Raises
    ------
    NotReady
        There is no model, or the table or the split has changed since; a holdout patient may have trained it.
    """
    files = folder.generator(generator)
    card = read_json(files.model / "model.json", f"train {generator} first")
    if generator in TIMELINE_GENERATORS:
        present = timelines_fingerprint(folder)
    else:
        present = data_fingerprint(load_training_cohort(folder))
    if card["data_fingerprint"] != present:
        raise NotReady(f"{generator} was trained on other data than {folder.root.name} holds now; train it again")


def model_sha256(folder: GeneratorFolder) -> str:
    """SHA-256 over the names and contents of a model folder's files: weights, settings and what they spent."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.model.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder.model).as_posix()}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def data_fingerprint(cohort: TrainingCohort | TimelineCohort) -> str:
    """SHA-256 over values, patients and schema, in the order of the rows; of timelines, over all events."""
    if isinstance(cohort, TimelineCohort):
        digest = hashlib.sha256(repr(cohort.clock.state()).encode() + cohort.origin.tobytes())
        for column in cohort.events:
            digest.update(pd.util.hash_pandas_object(cohort.events[column], index=False).to_numpy().tobytes())
        return digest.hexdigest()
    digest = hashlib.sha256(cohort.schema.model_dump_json().encode())
    digest.update(pd.util.hash_pandas_object(cohort.table[cohort.schema.names], index=False).to_numpy().tobytes())
    digest.update(cohort.subject_id.tobytes())
    return digest.hexdigest()
