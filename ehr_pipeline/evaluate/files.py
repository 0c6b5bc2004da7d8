"""Evaluation of any pair of files: a synthetic table beside the real one that it was made from.

What belongs here: what stands for training and for strangers, and the order of things. What does not: reading
(`reading.py`), what a user may ask (`questions.py`), any metric, and the page (`report/files.py`).
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ehr_pipeline.errors import OptionError
from ehr_pipeline.evaluate.cohort import VERSIONS_OF
from ehr_pipeline.evaluate.questions import Questions
from ehr_pipeline.evaluate.reading import FileFacts, Rows, Source, read_beside, read_real, refuse_shared_patients
from ehr_pipeline.evaluate.result import Evaluation
from ehr_pipeline.evaluate.table import evaluate_table
from ehr_pipeline.evaluate.timelines.files import are_events, evaluate_event_files
from ehr_pipeline.evaluate.timelines.result import TimelineEvaluation
from ehr_pipeline.progress import Progress
from ehr_pipeline.record import Schema

NO_HOLDOUT = (
    "no holdout: half of the real patients is held against the other half, and what needs rows that the generator "
    "never saw (membership, copies, prediction) is not judged; give --holdout"
)


@dataclass(frozen=True, kw_only=True)
class ComparedFiles:
    """Everything that the report of a pair of files is made from.

    Attributes
    ----------
    files
        `real`, `synthetic` and, where one was given, `holdout`.
    schema
        The compared columns.
    n_train, n_holdout
        Patients on either side: of the real file and of the holdout, or of the two halves of the real file.
    questions, seed
        What was asked.
    """

    evaluation: Evaluation
    files: dict[str, FileFacts]
    schema: Schema
    n_train: int
    n_holdout: int
    questions: Questions
    seed: int


def evaluate_files(
    real: Source,
    synthetic: Source,
    holdout: Source | None = None,
    targets: Sequence[str] | str = (),
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    confounders: Sequence[str] = (),
    true_log_odds: float | None = None,
    schema: Path | str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Evaluation | TimelineEvaluation:
    """Judge a synthetic table beside the real one; `print` of what comes back shows the main scores.

    MEDS events, told by their columns, are judged as timelines; of the questions they take one target, a code.

    Parameters
    ----------
    real, synthetic
        CSV or Parquet files, or data frames: what the synthetic rows were made from, and these rows.
    holdout
        Real rows of other patients, which the generator never saw. Without them the real patients are split in two,
        and membership, copies and prediction are not judged.
    targets
        Columns to predict, `COLUMN` or, of more than two levels, `COLUMN=LEVEL`. None by default, or the columns of
        role `outcome` in the schema file.
    treatment, outcome, confounders, true_log_odds
        A causal question, and its true answer where the data was simulated.
    schema
        Schema file of the real table; kinds it does not name are told from the values.
    out
        Folder for `scores.json` and `index.html`; None writes nothing.
    say
        Called with one line for each thing a reader should know before the numbers.

    Raises
    ------
    InputError
        A file or option cannot be used; one line says which and the mend. Nothing was written.
    """
    started = time.perf_counter()
    folder = None if out is None else _folder(Path(out))
    targets = (targets,) if isinstance(targets, str) else tuple(targets)
    if are_events(real):
        if len(targets) > 1 or any(one for one in (treatment, outcome, confounders, schema)):
            raise OptionError("of events, --target names one code to predict; tables have the other questions")
        outcome_code = targets[0] if targets else None
        asked = {"outcome": outcome_code, "seed": seed, "out": folder}
        return evaluate_event_files(real, synthetic, holdout, **asked, progress=progress, say=say, clock=clock)
    questions = Questions(
        targets=targets,
        treatment=treatment,
        outcome=outcome,
        confounders=tuple(confounders),
        true_log_odds=true_log_odds,
    )
    rng = np.random.default_rng(seed)
    known = read_real(real, None if schema is None else Path(schema), rng)
    plan = questions.plan(known.frame, known.compared)
    made = read_beside(synthetic, "synthetic", known, rng)
    held = None if holdout is None else read_beside(holdout, "holdout", known, rng)
    if held is not None:
        refuse_shared_patients(known, held)
    tables = {"real": known, "synthetic": made} | ({} if held is None else {"holdout": held})
    notes = [note for one in tables.values() for note in one.notes()] + ([NO_HOLDOUT] if held is None else [])
    for note in notes:
        (say or _keep_quiet)(note)
    train, strangers = halves(known, rng) if held is None else (known, held)
    evaluation = evaluate_table(
        train.frame,
        strangers.frame,
        made.frame,
        known.compared,
        plan=plan,
        seed=seed,
        train_subject_id=train.patient,
        holdout_subject_id=strangers.patient,
        is_holdout_unseen=held is not None,
        progress=progress,
    )
    provenance = {
        "made_at": clock().isoformat(timespec="seconds"),
        "duration_s": round(time.perf_counter() - started, 3),
        "seed": seed,
        "versions": {package: importlib.metadata.version(package) for package in VERSIONS_OF},
        **{f"{role}_sha256": one.facts.sha256 for role, one in tables.items()},
    }
    evaluation = evaluation.model_copy(update={"provenance": provenance, "warnings": notes + evaluation.warnings})
    if folder is not None:
        from ehr_pipeline.report.files import report_files, write_files_report

        compared = ComparedFiles(
            evaluation=evaluation,
            files={role: one.facts for role, one in tables.items()},
            schema=known.compared,
            n_train=len(np.unique(train.patient)),
            n_holdout=len(np.unique(strangers.patient)),
            questions=questions,
            seed=seed,
        )
        write_files_report(report_files(compared), folder)
    return evaluation


def halves(rows: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Two halves of a table, drawn by patient."""
    _, position = np.unique(rows.patient, return_inverse=True)
    in_first = (rng.permutation(position.max() + 1) % 2 == 0)[position]
    return rows.of(np.flatnonzero(in_first)), rows.of(np.flatnonzero(~in_first))


def _folder(out: Path) -> Path:
    """The folder to write into, known to be one before any work is done."""
    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out.name} is a file; name a folder")
    return out


def _keep_quiet(line: str) -> None:
    """Say nothing."""
