"""The command `ehr-pipeline synthesize-events`: thin, over `timelines/synthesize.py`.

What belongs here: options and what is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ehr_pipeline.cli_options import Conditions, Data, Delta, Epsilon, Universe
from ehr_pipeline.progress import shown
from ehr_pipeline.storage import DataFolder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(name="synthesize-events")
def synthesize_events(
    events: Annotated[Path, typer.Argument(help="MEDS Parquet file, or a folder of them")],
    out: Annotated[Path, typer.Option(help="Parquet file to write, in the columns and types of the input")],
    generator: Annotated[str | None, typer.Option(help="see generators (default: timeline_transformer)")] = None,
    patients: Annotated[int | None, typer.Option(min=1, help="patients (default: as many as there are)")] = None,
    condition: Conditions = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    universe: Universe = None,
    data: Data = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of training and sampling")] = 0,
) -> None:
    """Learn timelines of any MEDS events and write synthetic ones like them."""
    from ehr_pipeline.generators.conditions import read_conditions
    from ehr_pipeline.privacy.account import Account
    from ehr_pipeline.timelines.synthesize import EventsRequest
    from ehr_pipeline.timelines.synthesize import synthesize_events as synthesize

    why = f"ehr-pipeline synthesize-events, file {out.name}"
    account = Account(data=DataFolder.find(data), why=why, universe=universe)
    is_written_down = epsilon is not None or data is not None or account.ledger.exists
    request = EventsRequest(
        events=events,
        out=out,
        generator=generator,
        patients=patients,
        conditions=read_conditions(condition or ()),
        epsilon=epsilon,
        delta=delta,
        account=account if is_written_down else None,
        seed=seed,
    )
    with shown() as progress:
        made = synthesize(request, progress, lambda line: print(line, file=sys.stderr, flush=True))
    print(f"{made.n_patients:,} patients  {made.n_events:,} events  {made.out}")
