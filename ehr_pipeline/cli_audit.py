"""The command `ehr-pipeline audit`: thin, over `privacy/audit.py`.

What belongs here: options and what is printed.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ehr_pipeline.cli_options import Data, Delta, Epsilon
from ehr_pipeline.errors import CheckFailed
from ehr_pipeline.progress import shown
from ehr_pipeline.storage import DataFolder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def audit(
    cohort: Annotated[str, typer.Option(help="cohort, prepared")],
    generator: Annotated[str, typer.Option(help="see generators")],
    epsilon: Epsilon = None,
    delta: Delta = None,
    canaries: Annotated[int, typer.Option(help="made-up patients to hide and look for; more can show more")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of the canaries")] = 0,
    data: Data = None,
) -> None:
    """Fit once more with canaries among the patients, and look for them; exit 1 if that refutes a promise."""
    from ehr_pipeline.privacy.account import asked_budget
    from ehr_pipeline.privacy.audit import audit_cohort

    budget = asked_budget(epsilon, delta)
    with shown() as progress:
        found = audit_cohort(
            DataFolder.find(data), cohort, generator, budget, n_canaries=canaries, seed=seed, progress=progress
        )
    for line in found.lines():
        print(line)
    if found.is_violated:
        raise CheckFailed(f"{generator}: the audit refutes its promise of epsilon {found.claimed_epsilon:.4g}")
