"""The command line: `ehr-pipeline ...`, thin, over the same library.

What belongs here: options, what is printed, exit codes. Only `run` and `ui` know that Dagster exists.

Exit codes: 0 done, 1 a check or gate said no, 2 the input was wrong. An error is one line on stderr.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from ehr_pipeline import cli_audit, cli_events, cli_export, cli_ledger, cli_release, cli_review
from ehr_pipeline.cli_options import (
    Balances,
    CohortFolders,
    Cohorts,
    Conditions,
    Data,
    Delta,
    Epsilon,
    MappingName,
    Seed,
    Source,
    Universe,
)
from ehr_pipeline.errors import EhrPipelineError, OptionError
from ehr_pipeline.progress import shown
from ehr_pipeline.storage import DataFolder, WhatIfFiles
from ehr_pipeline.writing import private_process

app = typer.Typer(
    name="ehr-pipeline",
    help="Synthetic patients from MIMIC-style records: ingested, checked, evaluated, reported.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(cli_ledger.app, name="ledger")
app.add_typer(cli_release.app)
app.add_typer(cli_audit.app)
app.add_typer(cli_events.app)
app.add_typer(cli_export.app)
app.add_typer(cli_review.app)


@app.callback()
def _debug(debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False) -> None:
    if debug:
        os.environ["EHR_PIPELINE_DEBUG"] = "1"


@app.command()
def run(
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="MIMIC-IV or MEDS folder, or simulated; repeat for more (default: as before)"),
    ] = None,
    mapping: MappingName = None,
    cohort: Cohorts = None,
    generator: Annotated[
        list[str] | None, typer.Option("--generator", help="repeat for more (default: see generators)")
    ] = None,
    data: Data = None,
    cohorts: CohortFolders = None,
    patients: Annotated[int, typer.Option(min=1, help="size of the simulated hospital")] = 4000,
    rows: Annotated[int | None, typer.Option(min=1, help="synthetic rows (default: as many as the cohort has)")] = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    universe: Universe = None,
    seed: Seed = 0,
) -> None:
    """Ingest, then run each cohort up to its report."""
    from ehr_pipeline.defs.run import RunRequest, run_pipeline

    request = RunRequest(
        data=DataFolder.find(data),
        sources=tuple(source or ()),
        mapping=mapping,
        cohorts=tuple(cohort or ()),
        generators=tuple(generator or ()),
        cohort_folders=tuple(cohorts or ()),
        simulated_patients=patients,
        rows=rows,
        seed=seed,
        epsilon=epsilon,
        delta=delta,
        universe=universe,
    )
    summary = run_pipeline(request, say=_say)
    for made in summary.made:
        print(made)
    for failure in summary.failures:
        _complain(failure.message)
    raise typer.Exit(summary.exit_code)


@app.command()
def simulate(
    patients: Annotated[int, typer.Option(min=1, help="number of patients")],
    out: Annotated[Path, typer.Option(help="folder to write; a simulated hospital there is replaced")],
    sites: Annotated[int, typer.Option(min=1, max=999, help="number of sites with small differences")] = 1,
    seed: Seed = 0,
) -> None:
    """Write a MIMIC-IV folder with known truth (truth.json)."""
    from ehr_pipeline.simulate import simulate_hospital

    with shown() as progress:
        summary = simulate_hospital(patients, out, sites=sites, seed=seed, progress=progress)
    print(f"{out}: {summary}")


@app.command()
def ingest(source: Source, mapping: MappingName = None, data: Data = None) -> None:
    """Read MIMIC-IV tables, MEDS events or files with a mapping into warehouse and events."""
    from ehr_pipeline.ingest import ingest as ingest_sources

    folder = DataFolder.find(data)
    with shown() as progress:
        summary = ingest_sources([Path(path) for path in source], folder, progress, mapping)
    for note in summary.notes:
        _say(note)
    print(summary)
    print(f"events     {folder.events}")


@app.command(name="what-if")
def what_if(
    cohort: Annotated[str, typer.Option(help="cohort")],
    generator: Annotated[str, typer.Option(help="generator, trained on that cohort")],
    condition: Conditions = None,
    balance: Balances = None,
    rows: Annotated[int | None, typer.Option(min=1, help="rows (default: as many as the cohort has)")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of sampling")] = 0,
    name: Annotated[str | None, typer.Option(help="keep it in the data folder under this name")] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write instead; its record goes beside it")] = None,
    data: Data = None,
) -> None:
    """Draw patients on request from a trained model."""
    from ehr_pipeline.generators.balance import read_balance
    from ehr_pipeline.generators.conditions import read_conditions
    from ehr_pipeline.sanity.what_if import WhatIf, sample_what_if

    if (name is None) == (out is None):
        raise OptionError("say either --name, to keep it in the data folder, or --out FILE")
    if out is not None and out.suffix != ".parquet":
        raise OptionError("--out must end in .parquet")
    folder = DataFolder.find(data).cohort(cohort)
    files = folder.generator(generator).what_if(name) if name else WhatIfFiles(out.resolve())
    asked = WhatIf(
        conditions=read_conditions(condition or ()), balance=read_balance(balance or ()), rows=rows, seed=seed
    )
    with shown() as progress:
        made = sample_what_if(folder, generator, asked, files, progress)
    for part in made.parts:
        _say(f"{part['n_rows']:,} rows, {part['acceptance_rate']:.2%} of the draws met: {_words(part['conditions'])}")
    print(f"what-if    {made.files.table}")


@app.command()
def synthesize(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet file, one row per patient or visit")],
    out: Annotated[Path, typer.Option(help="file to write: .csv, .tsv (either with .gz) or .parquet")],
    generator: Annotated[
        str | None, typer.Option(help="default: column_autoregressive; marginals for --epsilon up to 1")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="rows (default: as many as the table has)")] = None,
    schema: Annotated[
        Path | None, typer.Option(help="schema file; columns it leaves out are inferred (with --epsilon: refused)")
    ] = None,
    condition: Conditions = None,
    balance: Balances = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    universe: Universe = None,
    data: Data = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of training and sampling")] = 0,
) -> None:
    """Learn any table and write a synthetic one like it."""
    from ehr_pipeline.generators.balance import read_balance
    from ehr_pipeline.generators.conditions import read_conditions
    from ehr_pipeline.privacy.account import Account
    from ehr_pipeline.tables.synthesize import Request
    from ehr_pipeline.tables.synthesize import synthesize as synthesize_table

    account = Account(data=DataFolder.find(data), why=f"ehr-pipeline synthesize, file {out.name}", universe=universe)
    is_written_down = epsilon is not None or data is not None or account.ledger.exists
    request = Request(
        table=table,
        out=out,
        generator=generator,
        rows=rows,
        schema=schema,
        conditions=read_conditions(condition or ()),
        balance=read_balance(balance or ()),
        epsilon=epsilon,
        delta=delta,
        account=account if is_written_down else None,
        seed=seed,
    )
    with shown() as progress:
        made = synthesize_table(request, progress, _say)
    if condition or balance:
        _say(f"{made.acceptance_rate:.2%} of the draws met what was asked")
    print(f"{made.n_rows:,} rows  {made.out}")
    print(f"schema  {made.schema}")


@app.command()
def evaluate(
    real: Annotated[Path, typer.Option("--real", help="CSV or Parquet file that the synthetic rows were made from")],
    synthetic: Annotated[Path, typer.Option("--synthetic", help="the synthetic rows")],
    out: Annotated[Path, typer.Option("--out", help="folder for index.html and scores.json")],
    holdout: Annotated[Path | None, typer.Option("--holdout", help="real rows of patients the maker never saw")] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", help="COLUMN or COLUMN=LEVEL to predict; repeat for more")
    ] = None,
    treatment: Annotated[str | None, typer.Option("--treatment", help="column of two levels")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="column of two levels it may change")] = None,
    confounders: Annotated[str | None, typer.Option("--confounders", help="columns to adjust for: A,B,C")] = None,
    true_log_odds: Annotated[
        float | None, typer.Option("--true-log-odds", help="the treatment's true effect, if it is known")
    ] = None,
    schema: Annotated[Path | None, typer.Option("--schema", help="schema file of the real table")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of folds, bootstrap and attacks")] = 0,
) -> None:
    """Judge a synthetic file beside the real one."""
    from ehr_pipeline.evaluate.files import evaluate_files

    with shown() as progress:
        evaluation = evaluate_files(
            real,
            synthetic,
            holdout,
            tuple(target or ()),
            treatment=treatment,
            outcome=outcome,
            confounders=tuple(name.strip() for name in (confounders or "").split(",") if name.strip()),
            true_log_odds=true_log_odds,
            schema=schema,
            seed=seed,
            out=out,
            progress=progress,
            say=_say,
        )
    print(evaluation)
    print(out / "index.html")


@app.command(name="cohorts")
def list_cohorts(cohorts: CohortFolders = None, data: Data = None) -> None:
    """List the cohorts."""
    from ehr_pipeline.cohort import folders_of_cohorts, load_definitions

    definitions = load_definitions([*(cohorts or ()), *folders_of_cohorts(DataFolder.find(data))])
    for name, definition in sorted(definitions.items()):
        print(f"{name:16} {definition.title}")


@app.command(name="generators")
def list_generators() -> None:
    """List the generators; * runs when none is named."""
    from ehr_pipeline.generators.registry import GENERATORS, TIMELINE_GENERATORS

    for kind, generators in (("table", GENERATORS), ("timeline", TIMELINE_GENERATORS)):
        for name, entry in generators.items():
            print(f"{'*' if entry.by_default and kind == 'table' else ' '} {name:24} {kind:9} {entry.title}")


@app.command()
def ui(
    data: Data = None,
    cohorts: CohortFolders = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="port on 127.0.0.1")] = 3000,
) -> None:
    """Serve the Dagster UI and daemon on loopback."""
    from ehr_pipeline.defs.run import serve

    raise typer.Exit(serve(DataFolder.find(data), tuple(cohorts or ()), port, say=_say))


def _say(line: str) -> None:
    """One line of what goes on, on stderr, so that stdout holds results alone."""
    print(line, file=sys.stderr, flush=True)


def _words(conditions: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value or 'missing'}" for name, value in conditions.items()) or "no condition"


def _complain(message: str) -> None:
    _say(f"error: {message}")


def main() -> None:
    """Run a command; `--debug` may stand anywhere. Whatever is written is readable by its owner alone."""
    private_process()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(["--debug", *arguments] if debug else arguments)
    except KeyboardInterrupt:
        _complain("interrupted; what was written before is whole")
        sys.exit(130)
    except EhrPipelineError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last wall: its text may hold patients' values
        if debug:
            traceback.print_exc()
        _complain(f"unexpected {type(error).__name__}; repeat with --debug to see where, away from others' eyes")
        sys.exit(1)
