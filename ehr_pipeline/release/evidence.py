"""The evidence of a release: what every earlier stage left of one cohort and generator, with the hash of each file.

What belongs here: reading, once, all or nothing. What does not: any judgement (`checks.py`). A file is hashed from the
very bytes that are read, so that what is judged is what was hashed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ehr_pipeline.errors import EhrPipelineError, ReleaseRefused
from ehr_pipeline.evaluate.result import Evaluation
from ehr_pipeline.generators.registry import TIMELINE_GENERATORS
from ehr_pipeline.generators.train import model_sha256, require_present_data
from ehr_pipeline.record import Schema
from ehr_pipeline.storage import CohortFolder, sha256


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was found on disk for one cohort and generator.

    Attributes
    ----------
    model, sanity, real_sanity, cohort_summary, report
        Contents of `model.json`, both `sanity.json`, `cohort.json` and `report/scores.json`.
    audit
        Content of `audit.json`; None where no audit was run.
    hashes
        SHA-256 of what stands now: `synthetic`, `model` (the whole folder), `prepared_table`, `schema`, `split`,
        `sanity`, `scores`, `report`, `report_page`; of a generator of timelines `events`, `prepared_timelines` too.
    n_train, n_holdout
        Patients on each side of the split that are in the prepared table; internal.
    """

    cohort: str
    generator: str
    schema: Schema
    model: dict[str, Any]
    sanity: dict[str, Any]
    real_sanity: dict[str, Any]
    cohort_summary: dict[str, Any]
    evaluation: Evaluation
    report: dict[str, Any]
    audit: dict[str, Any] | None
    hashes: dict[str, str]
    n_train: int
    n_holdout: int

    @property
    def has_events(self) -> bool:
        """Whether the generator makes timelines, whose events are released beside the table."""
        return self.generator in TIMELINE_GENERATORS

    @property
    def privacy(self) -> dict[str, Any] | None:
        """What the model's private fit spent (`PrivacyPlan.record`); None for a fit without a budget."""
        return self.model.get("privacy")


def gather(folder: CohortFolder, generator: str) -> Evidence:
    """Read everything.

    Raises
    ------
    ReleaseRefused
        A file is missing or unreadable, or the model was trained on other data than the cohort holds now; with one
        reason for each.
    """
    files = folder.generator(generator)
    reader = _Reader()
    model = reader.json(files.model / "model.json", f"train {generator}")
    sanity = reader.json(files.sanity, f"sample {generator}")
    scores = reader.json(files.scores, f"evaluate {generator}")
    report = reader.json(folder.report_scores, "write the report")
    real_sanity = reader.json(folder.sanity, "run the cohort's checks")
    schema = reader.json(folder.schema, "prepare the cohort")
    summary = reader.json(folder.summary, "build the cohort")
    audit = reader.json(files.audit, "run the audit again") if files.audit.exists() else None
    events = [
        ("events", files.events, f"sample {generator}"),
        ("prepared_timelines", folder.prepared_timelines, "prepare the cohort"),
    ]
    for name, path, mend in (
        *(events if generator in TIMELINE_GENERATORS else ()),
        ("synthetic", files.synthetic, f"sample {generator}"),
        ("prepared_table", folder.prepared_table, "prepare the cohort"),
        ("split", folder.split, "build the cohort"),
        ("report_page", folder.report_page, "write the report"),
    ):
        reader.hash(name, path, mend)
    hashes = {"sanity": files.sanity, "scores": files.scores, "report": folder.report_scores, "schema": folder.schema}
    if not reader.reasons:
        reader.attempt(lambda: require_present_data(folder, generator), "the present data could not be compared")
    evaluation = reader.attempt(lambda: Evaluation.model_validate(scores), f"{files.scores} is no evaluation")
    columns = reader.attempt(lambda: Schema.model_validate(schema), f"{folder.schema} is no schema")
    sides = reader.attempt(lambda: _sides(folder), "the split cannot be read")
    digest = reader.attempt(lambda: model_sha256(files), f"{files.model} cannot be read")
    if reader.reasons:
        raise ReleaseRefused(list(dict.fromkeys(reader.reasons)))
    return Evidence(
        cohort=folder.root.name,
        generator=generator,
        schema=columns,
        model=model,
        sanity=sanity,
        real_sanity=real_sanity,
        cohort_summary=summary,
        evaluation=evaluation,
        report=report,
        audit=audit,
        hashes={**reader.hashes, **{name: reader.of[path] for name, path in hashes.items()}, "model": digest},
        n_train=sides.get("train", 0),
        n_holdout=sides.get("holdout", 0),
    )


def _sides(folder: CohortFolder) -> dict[str, int]:
    """Patients of the prepared table on each side of the split."""
    patients = pd.read_parquet(folder.prepared_table, columns=["subject_id"])["subject_id"].drop_duplicates()
    split = pd.read_parquet(folder.split, columns=["subject_id", "split"])
    return split.loc[split["subject_id"].isin(patients), "split"].value_counts().to_dict()


class _Reader:
    """Reads files and notes, one line each, what is wrong with them instead of stopping at the first."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.hashes: dict[str, str] = {}
        self.of: dict[Path, str] = {}

    def json(self, path: Path, mend: str) -> dict[str, Any]:
        """The JSON object in a file, whose hash is kept; an empty one where it cannot be read."""
        try:
            content = path.read_bytes()
            found = json.loads(content)
        except FileNotFoundError:
            self.reasons.append(f"{path} does not exist; {mend} first")
            return {}
        except (OSError, ValueError, RecursionError):
            self.reasons.append(f"{path} cannot be read as JSON; {mend} again")
            return {}
        self.of[path] = hashlib.sha256(content).hexdigest()
        if not isinstance(found, dict):
            self.reasons.append(f"{path} holds no JSON object; {mend} again")
            return {}
        return found

    def hash(self, name: str, path: Path, mend: str) -> None:
        """Keep the hash of a file that is too large to keep."""
        try:
            self.hashes[name] = sha256(path)
        except OSError:
            self.reasons.append(f"{path} does not exist or cannot be read; {mend} first")

    def attempt(self, read: Callable[[], Any], otherwise: str) -> Any:
        """What `read` gives; where it fails, a reason: its own line if it is one of ours, else `otherwise`."""
        try:
            return read()
        except EhrPipelineError as error:
            self.reasons.append(str(error))
        except (ValidationError, OSError, KeyError, TypeError, ValueError, ArithmeticError):
            if not self.reasons:  # what is missing already says why
                self.reasons.append(otherwise)
        return None
