"""The command `ehr-pipeline export`: thin, over `export/`.

What belongs here: options and what is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ehr_pipeline.cli_options import Data
from ehr_pipeline.progress import shown
from ehr_pipeline.storage import DataFolder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(
    cohort: Annotated[str, typer.Option("--cohort", help="cohort")],
    generator: Annotated[str, typer.Option("--generator", help="generator that made records for that cohort")],
    form: Annotated[str, typer.Option("--format", help="mimic-iv or meds (of timelines), csv (of patient tables)")],
    out: Annotated[Path, typer.Option("--out", help="folder to write; an earlier export there is replaced")],
    data: Data = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of the years to which dates are shifted")] = 0,
) -> None:
    """Write a cohort's synthetic records as MIMIC-IV, MEDS or CSV."""
    from ehr_pipeline.export.export import UNGATED
    from ehr_pipeline.export.export import export as export_records

    folder = DataFolder.find(data)
    with shown() as progress:
        made = export_records(folder, cohort, generator, form, out.resolve(), seed=seed, progress=progress)
    for reason, n in made.left_out.items():
        _say(f"left out: {n:,} events {reason}")
    _say(UNGATED)
    print(f"{made.out}: {made.words}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
