"""The real side of an evaluation of timelines: what no generator changes, computed once.

What belongs here: reading frames on one clock and one list of codes, floors and nulls. What does not: any metric.

The floor is the metric of as many fresh real patients in the synthetic ones' place: the holdout's where the reference
is the training patients, and training patients where it is the holdout. The null is training patients whose codes,
each with its own value, are dealt out again over all of their events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_pipeline.errors import OptionError
from ehr_pipeline.evaluate.attacks.timelines import TimelinePanel
from ehr_pipeline.evaluate.scoring import Reading, Readings
from ehr_pipeline.evaluate.timelines.codes import CodeUse
from ehr_pipeline.evaluate.timelines.courses import Courses
from ehr_pipeline.evaluate.timelines.draws import Draws
from ehr_pipeline.evaluate.timelines.features import summaries
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.plausibility import NAME as IMPLAUSIBLE
from ehr_pipeline.evaluate.timelines.plausibility import Broken, broken_in
from ehr_pipeline.evaluate.timelines.rates import Rates
from ehr_pipeline.evaluate.timelines.relations import Relations
from ehr_pipeline.evaluate.timelines.rules import Found
from ehr_pipeline.evaluate.timelines.shape import Shape
from ehr_pipeline.evaluate.timelines.stream import Timelines, conformed
from ehr_pipeline.evaluate.timelines.survival import Survival
from ehr_pipeline.evaluate.timelines.tasks import Tasks
from ehr_pipeline.evaluate.timelines.two_sample import tell_apart
from ehr_pipeline.evaluate.timelines.utility import TimelineUtility, Trained
from ehr_pipeline.evaluate.timelines.values import Values
from ehr_pipeline.evaluate.two_sample import TwoSample
from ehr_pipeline.generators.timelines import BIRTH, DEATH
from ehr_pipeline.record import SMALL_CELL

MAX_PATIENTS = 5_000
"""Patients of a table that are compared; of more, so many are drawn at random."""
NULL_FOLDS = 2
SHARED_SHARE, SHARED_PART = 0.9, 0.1
"""So many patients begin in so large a first part of the whole time, where all have one clock."""


@dataclass(frozen=True, eq=False)
class Zero:
    """Where each patient's hours begin: one time for all, else the first event of the index code, else the first."""

    shared: np.datetime64 | None
    index: str | None

    def of(self, events: pd.DataFrame) -> np.ndarray:
        """Time 0 of each row's patient: datetime64[us] [n]; of patients without a time, missing."""
        if self.shared is not None:
            return np.full(len(events), self.shared)
        time = events["time"].to_numpy().astype("datetime64[us]")
        words = events["code"].cat
        is_first = (words.categories != BIRTH)[words.codes.to_numpy()]
        start = _earliest(events["subject_id"].to_numpy(), time, is_first)
        if self.index is not None:
            is_index = words.categories.str.startswith(self.index)[words.codes.to_numpy()]
            own = _earliest(events["subject_id"].to_numpy(), time, is_index)
            start = np.where(np.isnat(own), start, own)
        return start


@dataclass(frozen=True, eq=False)
class TimelineReferences:
    """All that the real patients decide; `size` patients of each table are compared."""

    size: int
    zero: Zero
    lists: CodeLists
    outcome: int | None
    train: Timelines
    holdout: Timelines
    fresh: Timelines
    measures: tuple[Shape | CodeUse | Rates | Values | Relations | Courses | Survival, ...]
    utility: TimelineUtility
    trained_on_real: Trained
    holdout_features: np.ndarray
    two_sample_floor: TwoSample
    broken: Broken
    panel: TimelinePanel | None
    floor: Readings
    null: Readings
    notes: tuple[str, ...]
    n_patients: dict[str, int]
    n_events: dict[str, int]

    def readings(self, other: Timelines, draws: Draws) -> Readings:
        """Every measure that is held against the training patients."""
        return {name: one for measure in self.measures for name, one in measure.readings(other, draws).items()}


def prepare_timeline_references(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    *,
    n_synthetic: int,
    seed: int,
    index: str | None = None,
    outcome: str | None = None,
    window_hours: float | None = None,
    table_rules: Mapping[str, Mapping[str, Found]] | None = None,
    owners: Mapping[str, pd.Series] | None = None,
    is_attacked: bool = True,
) -> TimelineReferences:
    """Floors, nulls and the rest of the real side; parameters as in `evaluate_timelines`.

    Parameters
    ----------
    is_attacked
        Whether the attacks are prepared; they need a holdout that the generator never saw.

    Raises
    ------
    SourceError
        The events cannot be read as MEDS says.
    OptionError
        No training patient has the outcome.
    """
    rng = np.random.default_rng(seed)
    frames, notes = {}, []
    for role, given in (("train", train), ("holdout", holdout)):
        frames[role], note = sampled(conformed(given, role), given, role, rng)
        notes += note
    zero = Zero(shared_start(frames["train"][0]), index)
    codes = pd.Index(frames["train"][0]["code"].value_counts().loc[lambda n: n > 0].index.astype(object))
    whole = {role: Timelines.of(events, codes, zero.of(events)) for role, (events, _) in frames.items()}
    lists = CodeLists.of(whole["train"], codes, window_hours)
    place, note = _outcome(outcome, lists)
    notes += note
    size = min(*(side.n_patients for side in whole.values()), n_synthetic)
    real, fresh = (draw_patients(whole[role], size, rng) for role in ("train", "holdout"))
    null = real.shuffled(rng)
    measures = (
        Shape(whole["train"], lists),
        CodeUse(whole["train"], lists),
        Rates(whole["train"], lists),
        Values(whole["train"], lists),
        Relations(whole["train"], lists),
        Courses(whole["train"], lists, place),
        Survival(whole["train"], lists),
    )
    tasks = Tasks(real, whole["holdout"], lists, place)
    utility = TimelineUtility(tasks, whole["holdout"], lists)
    trained = utility.train(real, "real")
    features = [summaries(side, lists) for side in (whole["holdout"], real, null)]
    two_floor = tell_apart(features[0], features[1], "fresh real patients", seed)
    two_null = tell_apart(features[0], features[2], "shuffled events", seed, NULL_FOLDS)
    table_rules = table_rules or {}
    broken = {role: broken_in(raw, table_rules.get(role)) for role, (_, raw) in frames.items()}
    broken_null = broken_in(_shuffled_rows(frames["train"][1], rng))
    found = [
        {name: one for measure in measures for name, one in measure.readings(side, Draws(size, None)).items()}
        for side in (fresh, null)
    ]
    floor = found[0] | trained.readings | {"c2st_auc": two_floor.reading, IMPLAUSIBLE: broken["holdout"].coarse()}
    chance = {"c2st_auc": two_null.reading, IMPLAUSIBLE: Reading(broken_null.share)}
    events = {role: events for role, (events, _) in frames.items()}
    return TimelineReferences(
        size=size,
        zero=zero,
        lists=lists,
        outcome=place,
        train=whole["train"],
        holdout=whole["holdout"],
        fresh=fresh,
        measures=measures,
        utility=utility,
        trained_on_real=trained,
        holdout_features=features[0],
        two_sample_floor=two_floor,
        broken=broken["train"],
        panel=_panel(events, zero, owners or {}, seed) if is_attacked else None,
        floor=floor,
        null=found[1] | utility.nulls() | chance,
        notes=(*notes, *tasks.notes),
        n_patients={role: side.n_patients for role, side in whole.items()},
        n_events={role: len(side) for role, side in whole.items()},
    )


def _panel(events: Mapping[str, pd.DataFrame], zero: Zero, owners: Mapping[str, pd.Series], seed: int) -> TimelinePanel:
    """The attacks, on the codes of both sides: what only strangers have must be as easy to recognise."""
    words = [
        pd.Index(side["code"].cat.remove_unused_categories().cat.categories.astype(object)) for side in events.values()
    ]
    codes = words[0].union(words[1])
    sides = {role: Timelines.of(side, codes, zero.of(side)) for role, side in events.items()}
    whose = {role: owners[role].loc[side.subject_id].to_numpy() for role, side in sides.items() if role in owners}
    return TimelinePanel(
        sides["train"],
        sides["holdout"],
        codes,
        np.random.default_rng([seed, 1]),  # a stream of its own: attacks leave the other draws as they are
        train_owner=whose.get("train"),
        holdout_owner=whose.get("holdout"),
    )


def sampled(
    events: pd.DataFrame, given: pd.DataFrame, role: str, rng: np.random.Generator
) -> tuple[tuple[pd.DataFrame, pd.DataFrame], list[str]]:
    """Conformed and raw events of at most `MAX_PATIENTS` patients, drawn evenly, and what a reader must know of it."""
    notes, n_rows = [], len(given)
    if len(events) < n_rows:
        notes.append(f"{role}: {n_rows - len(events):,} events name no patient or no code and are left out")
    ids = np.unique(events["subject_id"].to_numpy())
    if len(ids) > MAX_PATIENTS:
        chosen = np.sort(rng.permutation(ids)[:MAX_PATIENTS])
        notes.append(f"{role}: {MAX_PATIENTS:,} of {len(ids):,} patients were drawn at random and compared")
        events = events[np.isin(events["subject_id"].to_numpy(), chosen)]
        given = given[given["subject_id"].isin(chosen)]
    return (events, given), notes


def draw_patients(timelines: Timelines, size: int, rng: np.random.Generator) -> Timelines:
    """`size` patients at random."""
    return timelines.of_patients(np.sort(rng.permutation(timelines.n_patients)[:size]))


def shared_start(events: pd.DataFrame) -> np.datetime64 | None:
    """Midnight of the day on which all patients begin together; None where they have calendars of their own."""
    timed = events[events["time"].notna() & (events["code"] != BIRTH)]
    if not len(timed):
        return None
    spans = timed.groupby("subject_id", observed=True)["time"].agg(["min", "max"])
    start = np.sort(spans["min"].to_numpy())[min(SMALL_CELL, len(spans)) - 1].astype("datetime64[D]")
    start = start.astype("datetime64[us]")
    begins = (spans["min"].to_numpy() - start) / (spans["max"].max().to_datetime64() - start + np.timedelta64(1, "us"))
    return start if (begins >= 0).all() and (begins <= SHARED_PART).mean() >= SHARED_SHARE else None


def _outcome(code: str | None, lists: CodeLists) -> tuple[int | None, list[str]]:
    """Place of the outcome's code; death where none was named and enough patients died."""
    if code is not None:
        if code not in lists.codes:
            raise OptionError("--outcome is no code of the real events; name one that they have, such as MEDS_DEATH")
        return int(lists.codes.get_loc(code)), []
    if DEATH in lists.codes and lists.n_carriers[lists.codes.get_loc(DEATH)] >= SMALL_CELL:
        return int(lists.codes.get_loc(DEATH)), []
    return None, [f"no outcome was named, and fewer than {SMALL_CELL} training patients died"]


def _shuffled_rows(events: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Codes, each with its number, dealt out again over the rows."""
    order = rng.permutation(len(events))
    return events.assign(code=events["code"].array[order], numeric_value=events["numeric_value"].array[order])


def _earliest(subject_id: np.ndarray, time: np.ndarray, is_chosen: np.ndarray) -> np.ndarray:
    """Earliest chosen time of each row's patient: datetime64[us] [n], missing where there is none."""
    _, patient = np.unique(subject_id, return_inverse=True)
    is_chosen = is_chosen & ~np.isnat(time)
    late = np.iinfo(np.int64).max
    first = np.full(int(patient.max()) + 1, late)
    np.minimum.at(first, patient[is_chosen], time[is_chosen].astype(np.int64))
    return np.where(first == late, np.datetime64("NaT", "us"), first.astype("datetime64[us]"))[patient]
