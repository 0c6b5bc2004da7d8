"""Options that several commands share, each with its words of help.

What belongs here: options. What does not: commands (`cli.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None, typer.Option("--data", help="data folder (default: EHR_PIPELINE_DATA, else data/)", show_default=False)
]
Source = Annotated[
    list[str], typer.Option("--source", help="MIMIC-IV folder (repeat it for one that lies apart), or MEDS folder")
]
MappingName = Annotated[
    str | None,
    typer.Option("--mapping", help="file, or name of one that ships, for a source of another layout: docs/sources.md"),
]
Cohorts = Annotated[list[str] | None, typer.Option("--cohort", help="cohort; repeat for more (default: all)")]
CohortFolders = Annotated[list[Path] | None, typer.Option("--cohorts", help="folder with your own cohort files")]
Conditions = Annotated[
    list[str] | None, typer.Option("--condition", help="COLUMN=VALUE that every row has; repeat for more")
]
Balances = Annotated[
    list[str] | None,
    typer.Option("--balance", help="COLUMN, or COLUMN=LEVEL:SHARE,...; repeat for the cross of columns"),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="seed of simulation, training and sampling")]
Epsilon = Annotated[float | None, typer.Option("--epsilon", help="privacy budget per patient (default: none)")]
Delta = Annotated[float | None, typer.Option("--delta", help="chance that the budget does not hold (default: 1e-6)")]
Universe = Annotated[
    str | None,
    typer.Option("--universe", help="name of these patients, if they are others than all others of the data folder"),
]
