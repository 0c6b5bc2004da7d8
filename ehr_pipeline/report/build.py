"""The report of one cohort: findings in, a page and its numbers out.

What belongs here: the order of things (refuse claims, hide small cells, show, lint) and writing both files.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ehr_pipeline.errors import CheckFailed, DefinitionError, NotReady
from ehr_pipeline.record import Schema
from ehr_pipeline.report.inputs import GeneratorFacts, ReportInputs
from ehr_pipeline.report.lint import claims, lint, texts
from ehr_pipeline.report.scores import report_scores
from ehr_pipeline.report.smallcells import HIDDEN, is_small, protect
from ehr_pipeline.report.view import view
from ehr_pipeline.storage import CohortFolder, sha256, write_json, write_text

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True, kw_only=True)
class Report:
    """A finished report: the page, every number of it, and the findings (small cells hidden) that it was made from."""

    html: str
    scores: dict[str, Any]
    inputs: ReportInputs


def build_report(inputs: ReportInputs) -> Report:
    """Make the report of one cohort.

    Raises
    ------
    NotReady
        No generator has been evaluated.
    DefinitionError
        A title, name or definition claims what no number can carry (`lint.BANNED`); the message says where.
    CheckFailed
        The page says such a thing in its own words.
    """
    if not inputs.generators:
        raise NotReady(f"cohort {inputs.cohort.name} has no evaluated generator to report on; evaluate one first")
    _refuse_claims(inputs)
    shown = replace(inputs, generators=tuple(_protected(one, inputs.schema) for one in inputs.generators))
    html = _render(view(shown))
    said = lint(html)
    if said:
        raise CheckFailed(f"the report of {inputs.cohort.name} was not written: it would say {', '.join(said)}")
    return Report(html=html, scores=report_scores(shown), inputs=shown)


def write_report(report: Report, folder: CohortFolder) -> Path:
    """Write the page, then the scores with the page's hash, each in one step; returns the page's path."""
    page = write_text(folder.report_page, report.html)
    write_json(folder.report_scores, report.scores | {"page_sha256": sha256(page)})
    return page


def _protected(generator: GeneratorFacts, schema: Schema) -> GeneratorFacts:
    """The generator with small cells hidden, also among its facts (`n_patients`, `n_rows`)."""
    facts = {
        name: HIDDEN if name.startswith("n_") and is_small(value) else value for name, value in generator.facts.items()
    }
    return replace(generator, evaluation=protect(generator.evaluation, schema), facts=facts)


def _refuse_claims(inputs: ReportInputs) -> None:
    """Refuse user text that would put a claim on the page; the message names its place, not its words."""
    whose = "the files" if inputs.is_of_files else f"cohort {inputs.cohort.name}"
    for where, text in texts(_plain(inputs)):
        found = claims(text)
        if found:
            said = ", ".join(repr(name) for name in found)
            raise DefinitionError(f"{whose}: {where} says {said}, which no report can show; reword it")


def _plain(content: Any) -> Any:
    """Findings as dicts, lists and values, so that every text in them can be walked; numbers in lists say nothing."""
    if isinstance(content, BaseModel):
        return content.model_dump(mode="json")
    if is_dataclass(content) and not isinstance(content, type):
        return {name: _plain(getattr(content, name)) for name in content.__dataclass_fields__}
    if isinstance(content, dict):
        return {str(name): _plain(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content if not isinstance(value, int | float)]
    return content


@functools.cache
def _environment() -> Any:
    """The templates, escaping everything and refusing names that the view does not have."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("page")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(context: dict[str, Any]) -> str:
    script = _own("review.js") if context["viewers"] else None
    digest = hashlib.sha256(script.encode()).digest() if script else b""
    return (
        _environment()
        .get_template("page.html")
        .render(
            **context,
            style=_own("style.css"),
            script=script,
            script_sha256=base64.b64encode(digest).decode("ascii"),
        )
        .lstrip()
    )


def _own(name: str) -> Markup:
    """A file of the page, as it is."""
    from markupsafe import Markup

    return Markup((Path(__file__).with_name("page") / name).read_text(encoding="utf-8"))  # noqa: S704  our own file
