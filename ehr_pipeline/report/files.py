"""The report of a pair of files: the page of a cohort less what only a cohort has.

What belongs here: what is said of files in a cohort's place. What does not: reading or judging them
(`evaluate/files.py`), and how anything is shown. Of a file its name, digest and size are said, never where it lies.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ehr_pipeline.evaluate.files import ComparedFiles
from ehr_pipeline.evaluate.questions import Questions
from ehr_pipeline.evaluate.result import Evaluation
from ehr_pipeline.evaluate.score import Dimension
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.report.build import Report, build_report
from ehr_pipeline.report.code_titles import retitled
from ehr_pipeline.report.inputs import CohortFacts, GeneratorFacts, Lineage, ReportInputs
from ehr_pipeline.report.lint import claims
from ehr_pipeline.storage import write_json, write_text

NAME = "synthetic"
LEFT_OUT = ("sanity", "config", "facts", "history", "title")


def report_files(compared: ComparedFiles) -> Report:
    """The page and its numbers.

    Raises
    ------
    DefinitionError
        A column or level is named for a claim that no number can carry (`lint.BANNED`).
    """
    evaluation, files = _of_events(compared.evaluation), compared.files
    names = {role: _shown_name(role, facts.name) for role, facts in files.items()}
    provenance = evaluation.provenance
    held_out = (
        f"rows of {names['holdout']} stand for patients it was not made from"
        if "holdout" in files
        else f"one half of the patients of {names['real']} is held against the other, since no holdout was given"
    )
    inputs = ReportInputs(
        cohort=CohortFacts(
            name=f"{names['synthetic']} and {names['real']}",
            title=f"{names['synthetic']} beside {names['real']}",
            description=f"How near {names['synthetic']} comes to {names['real']}: {held_out}.",
            definition="",
            definition_sha256="",
            n_patients=sum(facts.n_patients for role, facts in files.items() if role != "synthetic"),
            n_train=compared.n_train,
            n_holdout=compared.n_holdout,
            is_small=min(compared.n_train, compared.n_holdout) < Thresholds().min_patients,
        ),
        schema=compared.schema,
        lineage=Lineage(
            source=names["real"],
            is_simulated=compared.questions.true_log_odds is not None,
            made_at=provenance["made_at"],
            hashes={f"{role} file, {names[role]}": facts.sha256 for role, facts in files.items() if facts.sha256},
            source_rows={f"{role} file, {names[role]}": facts.n_rows for role, facts in files.items()},
            versions=provenance["versions"],
            seeds={"evaluation": compared.seed},
            dates={"evaluated": provenance["made_at"]},
            settings=_settings(compared.questions),
        ),
        generators=[GeneratorFacts(name=NAME, title=names["synthetic"], config={}, evaluation=evaluation)],
        is_of_files=True,
    )
    return build_report(inputs)


def _of_events(evaluation: Evaluation) -> Evaluation:
    """What was found in events alone, by readers' titles, and why the questions to tables were not judged.

    Privacy is judged where the events were attacked.
    """
    found = evaluation.timelines
    if found is None or evaluation.columns:
        return evaluation
    not_judged: dict[Dimension, str] = {
        **dict.fromkeys(("fidelity", "utility", "causal"), "events were compared, which timelines are about"),
    }
    if not evaluation.attacks:
        not_judged["privacy"] = "no attack was run on these events, so nothing is known of what they give away"
    return evaluation.model_copy(
        update={"timelines": retitled(found), "not_judged": not_judged | evaluation.not_judged}
    )


def write_files_report(report: Report, folder: Path) -> Path:
    """Write `scores.json`, then `index.html`, into `folder`, each in one step; returns the page's path."""
    said = report.scores["generators"][NAME]
    found = {name: value for name, value in said.items() if name not in LEFT_OUT}
    content = {"scores": found.pop("scores"), **found}
    content |= {name: report.scores[name] for name in ("lineage", "schema")}
    write_json(folder / "scores.json", content)
    return write_text(folder / "index.html", report.html)


def _shown_name(role: str, name: str) -> str:
    """The file's name, or its part in the comparison where the name makes a claim (`anonymised.csv`)."""
    return f"the {role} file" if claims(name) else name


def _settings(questions: Questions) -> dict[str, Any]:
    """What was asked, where something was."""
    return {name: value for name, value in asdict(questions).items() if value not in ((), None)}
