"""Evaluation of any pair of MEDS files: synthetic events beside the real ones that they were made from.

What belongs here: telling events from tables, reading them as they are, what stands for training and for strangers.
What does not: any metric. Nothing is mended: what is wrong with synthetic events is to be found, not repaired.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.errors import OptionError, SourceError
from ehr_pipeline.evaluate.reading import FileFacts, Source
from ehr_pipeline.evaluate.timelines.evaluate import evaluate_timelines
from ehr_pipeline.evaluate.timelines.result import TimelineEvaluation
from ehr_pipeline.evaluate.timelines.stream import COLUMNS
from ehr_pipeline.progress import Progress
from ehr_pipeline.storage import sha256, write_text
from ehr_pipeline.timelines.files import NO_TIME, RawEvents, event_files, read_raw

MIN_PATIENTS = 20
VERSIONS_OF = ("ehr-pipeline", "duckdb", "numpy", "pandas", "scikit-learn", "scipy")
NO_HOLDOUT = (
    "no holdout: half of the real patients is held against the other half, and what needs patients whom the generator "
    "never saw (prediction, attacks) is not judged; give --holdout"
)


def are_events(source: Source) -> bool:
    """Whether a file, folder or frame has the columns of MEDS events."""
    if isinstance(source, pd.DataFrame):
        return set(COLUMNS) <= set(source.columns)
    path = Path(source)
    try:
        return path.exists() and set(COLUMNS) <= set(pq.read_schema(event_files(path)[0]).names)
    except (pa.ArrowException, OSError, SourceError):
        return False


def evaluate_event_files(
    real: Source,
    synthetic: Source,
    holdout: Source | None = None,
    *,
    outcome: str | None = None,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> TimelineEvaluation:
    """Judge synthetic events beside real ones; `print` of what comes back shows the scores.

    Parameters
    ----------
    real, synthetic, holdout
        MEDS Parquet files or folders, or frames. Without a holdout, the real patients are halved.
    outcome
        Code to be predicted; death where None.
    out
        Folder for `scores.json` and `index.html`; None writes nothing.

    Raises
    ------
    InputError
        A file or option cannot be used; one line says which and the mend. Nothing was written.
    """
    started = time.perf_counter()
    given = {"real": real, "synthetic": synthetic} | ({} if holdout is None else {"holdout": holdout})
    frames = {role: _read(source, role) for role, source in given.items()}
    facts = {role: _facts(source, role, frames[role]) for role, source in given.items()}
    notes = [] if holdout is not None else [NO_HOLDOUT]
    if holdout is None:
        train, strangers = _halves(frames["real"], np.random.default_rng(seed))
    else:
        train, strangers = frames["real"], frames["holdout"]
        _refuse_shared(facts, train, strangers)
    for note in notes:
        (say or _keep_quiet)(note)
    found = evaluate_timelines(
        train,
        strangers,
        frames["synthetic"],
        outcome=outcome,
        is_holdout_unseen=holdout is not None,
        seed=seed,
        progress=progress,
    )
    provenance = {
        "made_at": clock().isoformat(timespec="seconds"),
        "duration_s": round(time.perf_counter() - started, 3),
        "seed": seed,
        "versions": {package: importlib.metadata.version(package) for package in VERSIONS_OF},
        **{f"{role}_sha256": one.sha256 for role, one in facts.items()},
    }
    found = found.model_copy(update={"provenance": provenance, "notes": notes + found.notes})
    if out is not None:
        _write(found, facts, seed, out)
    return found


def _write(found: TimelineEvaluation, facts: dict[str, FileFacts], seed: int, out: Path) -> None:
    """The numbers, then the page."""
    from ehr_pipeline.evaluate.files import ComparedFiles
    from ehr_pipeline.evaluate.questions import Questions
    from ehr_pipeline.evaluate.result import Evaluation
    from ehr_pipeline.record import Schema
    from ehr_pipeline.report.files import report_files

    without_table = Evaluation(
        scores={},
        columns=[],
        correlation=None,
        two_sample=[],
        tasks=[],
        attacks=[],
        subgroups=[],
        epidemiology=[],
        effect=None,
        n_rows={role: found.n_patients[role] for role in ("train", "holdout", "synthetic", "compared")},
        provenance=found.provenance,
    ).with_events(found)
    compared = ComparedFiles(
        evaluation=without_table,
        files=facts,
        schema=Schema(columns=()),
        n_train=found.n_patients["train"],
        n_holdout=found.n_patients["holdout"],
        questions=Questions(),
        seed=seed,
    )
    page = report_files(compared).html
    write_text(out / "scores.json", found.model_dump_json(indent=2) + "\n")
    write_text(out / "index.html", page)


def _read(source: Source, role: str) -> pd.DataFrame:
    """Events as a frame; what a column cannot hold was told by the reader."""
    if not are_events(source):
        raise SourceError(
            f"{_name(source, role)} holds no events in MEDS columns ({', '.join(COLUMNS)}), as --real does"
        )
    events = source if isinstance(source, pd.DataFrame) else _frame(read_raw(Path(source)))
    n_patients = events["subject_id"].nunique()
    if n_patients < MIN_PATIENTS:
        raise SourceError(f"{_name(source, role)} has {n_patients} patients; at least {MIN_PATIENTS} are needed")
    return events


def _frame(raw: RawEvents) -> pd.DataFrame:
    has_time = raw.time != NO_TIME
    return pd.DataFrame(
        {
            "subject_id": raw.subject_id,
            "time": np.where(has_time, raw.time.astype("datetime64[us]"), np.datetime64("NaT", "us")),
            "code": pd.Categorical.from_codes(raw.code, pd.Index(raw.codes, dtype=object)),
            "numeric_value": raw.value,
        }
    )


def _facts(source: Source, role: str, events: pd.DataFrame) -> FileFacts:
    is_file = not isinstance(source, pd.DataFrame) and Path(source).is_file()
    return FileFacts(
        name=_name(source, role),
        sha256=sha256(Path(source)) if is_file else None,
        n_rows=len(events),
        n_patients=events["subject_id"].nunique(),
    )


def _name(source: Source, role: str) -> str:
    return f"the {role} events" if isinstance(source, pd.DataFrame) else Path(source).name


def _halves(events: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two halves of the patients, drawn at random."""
    ids = events["subject_id"].unique()
    is_first = events["subject_id"].isin(rng.permutation(ids)[: len(ids) // 2])
    return events[is_first], events[~is_first]


def _refuse_shared(facts: dict[str, FileFacts], real: pd.DataFrame, holdout: pd.DataFrame) -> None:
    """Refuse a holdout with patients of the real file, whom the generator has seen."""
    if facts["real"].sha256 is not None and facts["real"].sha256 == facts["holdout"].sha256:
        raise OptionError("--holdout is the same file as --real; name patients that the events were not made from")
    n_shared = len(np.intersect1d(real["subject_id"].unique(), holdout["subject_id"].unique()))
    if n_shared:
        raise OptionError(
            f"--holdout {facts['holdout'].name} shares {n_shared:,} subject_ids with the real file: leave these "
            "patients out"
        )


def _keep_quiet(line: str) -> None:
    """Say nothing."""
