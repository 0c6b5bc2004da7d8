"""The report of one cohort from what the earlier stages left in its folder.

What belongs here: reading, and the guard that only verdicts about the present data are shown. What does not: how
anything is shown.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from ehr_pipeline.cohort import CohortDefinition, folders_of_cohorts, load_definitions
from ehr_pipeline.cohort.summary import load_summary
from ehr_pipeline.errors import NotReady, OptionError
from ehr_pipeline.evaluate.cohort import data_hashes
from ehr_pipeline.evaluate.result import Evaluation
from ehr_pipeline.generators.registry import GENERATORS, TIMELINE_GENERATORS
from ehr_pipeline.generators.train import model_sha256
from ehr_pipeline.privacy.ledger import Ledger
from ehr_pipeline.record import Schema
from ehr_pipeline.report.analyses import AnalysisResult, analyse_cohort
from ehr_pipeline.report.build import build_report, write_report
from ehr_pipeline.report.code_titles import retitled
from ehr_pipeline.report.inputs import CohortFacts, FlowStep, GeneratorFacts, Lineage, ReportInputs
from ehr_pipeline.report.reviews import read_reviews, sum_up
from ehr_pipeline.report.summary import key_scores, thumbnail
from ehr_pipeline.report.viewer import read_viewer
from ehr_pipeline.storage import CohortFolder, DataFolder, read_json, sha256

ALL_GENERATORS = {**GENERATORS, **TIMELINE_GENERATORS}
FACTS = ("device", "duration_s", "n_rows", "n_patients", "n_events", "left_out", "notes")
VERSIONS_OF = ("ehr-pipeline", "dagster", "duckdb", "great-expectations", "numpy", "pandas", "scikit-learn", "torch")


@dataclass(frozen=True, kw_only=True)
class CohortReport:
    """What the report asset tells the UI: a small PNG and a handful of numbers."""

    thumbnail: bytes
    key_scores: dict[str, float]
    generators: tuple[str, ...]


def report_cohort(
    data: DataFolder,
    definition: CohortDefinition,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> CohortReport:
    """Write the report of a cohort: every generator whose scores are about the tables as they stand now.

    Raises
    ------
    NotReady
        The cohort is not prepared, or no generator has scores for its present tables.
    """
    folder = data.cohort(definition.name)
    generators = [facts for name in ALL_GENERATORS if (facts := _generator(data, folder, name)) is not None]
    if not generators:
        raise NotReady(f"cohort {definition.name} has no scores for its present tables; evaluate a generator first")
    inputs = ReportInputs(
        cohort=_cohort(data, definition),
        schema=Schema.model_validate(read_json(folder.schema)),
        lineage=_lineage(data, folder, generators, clock()),
        generators=generators,
        real_sanity=read_json(folder.sanity),
        spent=Ledger(data.ledger).totals(),
        analyses=_analyses(data, definition.name, generators),
    )
    report = build_report(inputs)
    write_report(report, folder)
    return CohortReport(
        thumbnail=thumbnail(report),
        key_scores=key_scores(report),
        generators=tuple(one.name for one in generators),
    )


def refresh_report(data: DataFolder, cohort: str) -> Path:
    """Write the report of a cohort by its name again; returns the page's path.

    Raises
    ------
    OptionError
        There is no such cohort.
    NotReady
        As of `report_cohort`.
    """
    definitions = load_definitions(folders_of_cohorts(data))
    if cohort not in definitions:
        raise OptionError(f"there is no cohort {cohort!r}; see `ehr-pipeline cohorts`")
    report_cohort(data, definitions[cohort])
    return data.cohort(cohort).report_page


def _analyses(data: DataFolder, cohort: str, generators: Sequence[GeneratorFacts]) -> tuple[AnalysisResult, ...] | None:
    """Analyses of MIMIC-IV, where some generator makes timelines and there is a warehouse to compare with."""
    timed = [one.name for one in generators if one.evaluation.timelines is not None]
    return analyse_cohort(data, cohort, timed) if timed and data.warehouse.exists() else None


def _generator(data: DataFolder, folder: CohortFolder, name: str) -> GeneratorFacts | None:
    """A generator's findings; None where it has none, or they are about other tables or another model than stand."""
    files = folder.generator(name)
    if not (files.scores.exists() and files.synthetic.exists() and files.sanity.exists()):
        return None
    evaluation = Evaluation.model_validate(read_json(files.scores))
    if any(evaluation.provenance.get(what) != digest for what, digest in data_hashes(folder, name).items()):
        return None
    card = files.model / "model.json"
    sanity = read_json(files.sanity)
    if sanity["table_sha256"] != evaluation.provenance["synthetic_sha256"] or not card.exists():
        return None
    if sanity["drawn_with"].get("model_sha256") != model_sha256(files):
        return None
    if evaluation.timelines is not None:
        evaluation = evaluation.model_copy(update={"timelines": retitled(evaluation.timelines, data.warehouse)})
    model = read_json(card)
    viewer = read_viewer(files.events, data.warehouse) if files.events.exists() else None
    reviews = read_reviews(files) if viewer is not None else []
    return GeneratorFacts(
        name=name,
        title=ALL_GENERATORS[name].title,
        config=model["config"],
        evaluation=evaluation,
        history=model["history"],
        sanity=sanity,
        privacy=model.get("privacy"),
        audit=read_json(files.audit)["lines"] if files.audit.exists() else (),
        facts={fact: model[fact] for fact in FACTS if fact in model},
        viewer=viewer,
        reviews=sum_up(reviews, viewer.events_sha256) if viewer is not None and reviews else None,
    )


def _cohort(data: DataFolder, definition: CohortDefinition) -> CohortFacts:
    counts = load_summary(data, definition.name)
    text = yaml.safe_dump(definition.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    return CohortFacts(
        name=definition.name,
        title=definition.title,
        description=definition.description or "",
        definition=text,
        definition_sha256=hashlib.sha256(text.encode()).hexdigest(),
        n_patients=counts.n_patients,
        n_train=counts.n_train_patients,
        n_holdout=counts.n_holdout_patients,
        is_small=counts.is_small,
        flow=[FlowStep(label=step.criterion, n_left=step.n_patients) for step in counts.flow],
    )


def _lineage(data: DataFolder, folder: CohortFolder, generators: list[GeneratorFacts], now: datetime) -> Lineage:
    manifest = read_json(data.ingest_manifest)
    hashes = {
        "ingest manifest": sha256(data.ingest_manifest),
        "prepared table": sha256(folder.prepared_table),
        "schema": sha256(folder.schema),
        "split": sha256(folder.split),
    }
    seeds: dict[str, int] = {"simulation": read_json(data.truth)["seed"]} if data.truth.exists() else {}
    dates: dict[str, str] = {}
    for one in generators:
        files = folder.generator(one.name)
        hashes[f"synthetic table, {one.name}"] = one.evaluation.provenance["synthetic_sha256"]
        hashes[f"model, {one.name}"] = model_sha256(files)
        hashes[f"sanity, {one.name}"] = sha256(files.sanity)
        hashes[f"scores, {one.name}"] = sha256(files.scores)
        seeds[f"training, {one.name}"] = one.config["seed"]
        seeds[f"evaluation, {one.name}"] = one.evaluation.provenance["seed"]
        drawn_with = (one.sanity or {}).get("drawn_with", {})
        seeds |= {f"sampling, {one.name}": drawn_with["seed"]} if "seed" in drawn_with else {}
        dates |= {f"sampled, {one.name}": drawn_with["made_at"]} if "made_at" in drawn_with else {}
        dates[f"evaluated, {one.name}"] = one.evaluation.provenance["made_at"]
    return Lineage(
        source="simulated hospital" if data.truth.exists() else "MIMIC-IV tables",
        is_simulated=data.truth.exists(),
        made_at=now.isoformat(timespec="seconds"),
        hashes=hashes,
        source_rows=_source_rows(manifest),
        versions={package: version(package) for package in VERSIONS_OF} | {"python": platform.python_version()},
        seeds=seeds,
        dates=dates,
    )


def _source_rows(manifest: dict[str, Any]) -> dict[str, int]:
    """Rows of each table that the source had."""
    tables = manifest["summary"]["tables"]
    return {name: table["n_rows"] for name, table in tables.items() if table["file"] is not None}
