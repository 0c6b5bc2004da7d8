"""The commands `ehr-pipeline ledger` and `ehr-pipeline ledger verify`: thin, over `privacy/`.

What belongs here: options and what is printed.
"""

from __future__ import annotations

import typer

from ehr_pipeline.cli_options import Data
from ehr_pipeline.storage import DataFolder

app = typer.Typer(
    help="What was spent of the patients' privacy; `ledger verify` proves that nothing of it was altered.",
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def show(context: typer.Context, data: Data = None) -> None:
    """Show what was spent of the patients' privacy, by whom and for what."""
    from ehr_pipeline.privacy.statement import ledger_lines

    if context.invoked_subcommand is None:
        for line in ledger_lines(DataFolder.find(data)):
            print(line)


@app.command(name="verify")
def verify(context: typer.Context, data: Data = None) -> None:
    """Prove that no row was altered, removed or put in between; exit 1 if one was."""
    from ehr_pipeline.privacy.account import verify_ledger

    print(verify_ledger(DataFolder.find(data or context.parent.params["data"])))
