"""The command `ehr-pipeline review`: thin, over `report/reviews.py`.

What belongs here: options, what is printed, exit codes. What does not: checks of verdicts.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ehr_pipeline.cli_options import Data
from ehr_pipeline.errors import EhrPipelineError, ReviewRefused
from ehr_pipeline.storage import DataFolder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def review(
    verdicts: Annotated[Path, typer.Argument(help="JSON file that the report's page saved")],
    cohort: Annotated[str, typer.Option("--cohort", help="cohort")],
    generator: Annotated[str, typer.Option("--generator", help="generator whose synthetic patients were judged")],
    data: Data = None,
) -> None:
    """Store a clinician's verdicts on single synthetic patients, and show them in the report."""
    from ehr_pipeline.report.cohort import refresh_report
    from ehr_pipeline.report.reviews import store_review

    folder = DataFolder.find(data)
    try:
        stored = store_review(folder, cohort, generator, verdicts)
    except ReviewRefused as refused:
        for reason in refused.reasons:
            _say(f"error: {reason}")
        raise typer.Exit(refused.exit_code) from None
    n_realistic = sum(verdict.realistic for verdict in stored.verdicts)
    print(f"stored     {len(stored.verdicts)} verdicts, {n_realistic} realistic")
    try:
        print(f"report     {refresh_report(folder, cohort)}")
    except EhrPipelineError as error:  # the verdicts are stored all the same
        _say(f"the report was not written again: {error}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
