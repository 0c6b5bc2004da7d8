"""A table in, a synthetic table out: what the command `synthesize` does.

What belongs here: the order of things, and checks of options before anything long starts. What does not: options as
typed (`cli.py`), and each step's own work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.balance import Balance
from ehr_pipeline.generators.registry import default_generator, generator_type
from ehr_pipeline.privacy.account import Account, asked_budget
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.progress import Progress, Step, silent
from ehr_pipeline.tables.asked import check_conditions
from ehr_pipeline.tables.model import Draw, fit_table, write_sample
from ehr_pipeline.tables.schema_file import schema_lines, schema_path, write_schema_file
from ehr_pipeline.tables.table import SUFFIXES, read_table, refuse_too_few

Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    table, out
        The file to learn from, and the one to write.
    generator
        Where None, the one that suits the budget.
    rows
        As many as the table has where None; with a budget, as many patients as were counted, noise included.
    schema
        Schema file.
    conditions
        Column to value, in the file's spelling; an empty text means missing.
    balance
        Columns whose levels get given or equal shares of the rows.
    epsilon, delta
        Privacy budget per patient; without epsilon there is none.
    account
        Where the fit is written down; a budget needs one.
    """

    table: Path
    out: Path
    generator: str | None = None
    rows: int | None = None
    schema: Path | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)
    balance: Balance = field(default_factory=dict)
    epsilon: float | None = None
    delta: float | None = None
    account: Account | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What was made."""

    out: Path
    schema: Path
    n_rows: int
    acceptance_rate: float


def synthesize(request: Request, progress: Progress = silent, say: Say = lambda line: None) -> Synthesis:
    """Learn a table and write a synthetic one, with the schema file of its columns beside it.

    Whatever is wrong is found before `say` is first called, as far as it can be told before training. Memory holds
    what the generator does, and one column or one chunk of rows.

    Raises
    ------
    InputError
        A file or option cannot be used. Nothing was written.
    """
    generator = request.generator or default_generator(request.epsilon)
    budget = _checked(request, generator)
    with read_table(request.table, request.schema, is_private=budget is not None) as table:
        refuse_too_few(table)
        conditions = check_conditions(table, request.conditions)
        _check_balance(request, table.layout.learned.names)
        listen = _told_first([*schema_lines(table.layout), *table.layout.notes()], say, progress)
        how = {"seed": request.seed, "budget": budget, "account": request.account}
        model = fit_table(table, generator, **how, progress=listen, say=say)
    n_rows = model.n_rows if request.rows is None else request.rows
    draw = Draw(model.generator, n_rows, request.seed, conditions, request.balance)
    started = time.monotonic()

    def drawn(done: int) -> None:
        elapsed_s = time.monotonic() - started
        progress(Step(task="Rows", done=done, total=n_rows, unit="row", elapsed_s=elapsed_s))

    write_sample(model, request.out, draw, drawn)
    path = schema_path(request.out)
    if request.schema is None or not path.exists() or not path.samefile(request.schema):
        write_schema_file(path, model.layout)
    return Synthesis(out=request.out, schema=path, n_rows=n_rows, acceptance_rate=draw.acceptance_rate)


def _checked(request: Request, generator: str) -> Budget | None:
    """Refuse what can be told from the options alone; the budget, if there is one."""
    generator_type(generator)
    out = request.out
    if not out.name.lower().endswith(SUFFIXES):
        raise OptionError(f"--out {out} must end in {', '.join(SUFFIXES)}")
    if out.is_dir():
        raise OptionError(f"--out {out} is a folder; name a file")
    if not out.parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {out.parent}; make it first")
    if out.exists() and request.table.exists() and out.samefile(request.table):
        raise OptionError(f"--out {out} is the table itself; write to another file")
    budget = asked_budget(request.epsilon, request.delta)
    if budget is not None and request.schema is None:
        raise OptionError(
            "--epsilon needs --schema FILE, which says what is public of each column: nothing is inferred"
        )
    if budget is not None and request.account is not None:
        request.account.require_room(budget)
    return budget


def _check_balance(request: Request, names: list[str]) -> None:
    for name in request.balance:
        if name not in names:
            raise OptionError(f"the balance names the column {name!r}, which is not one that is learned")


def _told_first(lines: list[str], say: Say, progress: Progress) -> Progress:
    """A listener that says `lines` before the first step, so that a fit that refuses says one line alone."""
    waiting = list(lines)

    def listen(step: Step) -> None:
        while waiting:
            say(waiting.pop(0))
        progress(step)

    return listen
