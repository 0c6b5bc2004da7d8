"""The pages of a bundle: public facts in, HTML and a README out, linted.

What belongs here: rendering and the wording lint. What does not: which facts are public (`facts.py`), and the words
(`pages/`).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ehr_pipeline import report
from ehr_pipeline.errors import CheckFailed
from ehr_pipeline.release.layout import PAGES, README
from ehr_pipeline.report.lint import claims, lint

DOCUMENTS = [
    (PAGES["report"], "Report"),
    (PAGES["statement"], "Privacy statement"),
    (PAGES["data_sheet"], "Data sheet"),
    (PAGES["model_card"], "Model card"),
    (PAGES["crosswalk"], "Crosswalk"),
    (PAGES["expert"], "Evidence for an expert"),
]


def documents(facts: dict[str, Any], n_neutralised: int) -> dict[str, str]:
    """Every page by its place in the bundle.

    Raises
    ------
    CheckFailed
        A page would claim what no number can carry (`lint.BANNED`), in its own words or in a name from the cohort.
    """
    context = facts | {
        "documents": DOCUMENTS,
        "n_neutralised": n_neutralised,
        "style": _style(),
        "rows_of_attacks": [
            (one.name, one.n_attacks, one.n_found_plant, one.n_passed, one.n_failed) for one in facts["attacks"]
        ],
        "rows_of_gates": [(one.title, one.dimension, one.n_passed, one.n_failed, one.worst) for one in facts["gates"]],
        "rows_of_columns": [
            tuple(column[field] for field in ("name", "kind", "unit", "values", "missing", "role", "title"))
            for column in facts["columns"]
        ],
    }
    environment, headings = _environment(), dict(DOCUMENTS)
    pages = {
        file: environment.get_template(f"{name}.html").render(context, here=file, heading=headings[file])
        for name, file in PAGES.items()
    }
    said = {file: lint(page) for file, page in pages.items()}
    pages[README] = environment.get_template("readme.txt").render(context)
    said[README] = claims(pages[README])
    for file, found in said.items():
        if found:
            raise CheckFailed(f"{file} was not written: it would say {', '.join(found)}; reword the cohort's title")
    return pages


def _style() -> Any:
    """The style of the internal report, so that both editions look alike."""
    from markupsafe import Markup

    return Markup((Path(report.__file__).with_name("page") / "style.css").read_text(encoding="utf-8"))  # noqa: S704  our own file


@functools.cache
def _environment() -> Any:
    """The templates, escaping everything in HTML and refusing names that the facts do not have."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("pages")),
        autoescape=select_autoescape(("html",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
