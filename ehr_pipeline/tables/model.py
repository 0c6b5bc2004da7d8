"""A generator that has learned a table, with the table's layout: rows in, rows out, in one format.

What belongs here: fit, sample, save, load, for any file or data frame. What does not: the generators themselves, and
what the command line prints (`synthesize.py`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import ValidationError

from ehr_pipeline.errors import OptionError
from ehr_pipeline.generators.balance import Balance, Cost, draw_parts, overall_rate, plan_parts
from ehr_pipeline.generators.base import Generator
from ehr_pipeline.generators.registry import default_generator, generator_type
from ehr_pipeline.generators.sampling import CHUNK_ROWS
from ehr_pipeline.privacy.account import Account, asked_budget, require_kept
from ehr_pipeline.privacy.budget import Budget, PrivacyPlan
from ehr_pipeline.progress import Progress
from ehr_pipeline.storage import DataFolder, atomic_folder, read_json, write_json
from ehr_pipeline.tables.asked import typed_value
from ehr_pipeline.tables.layout import Layout
from ehr_pipeline.tables.public_layout import unit_line
from ehr_pipeline.tables.table import Table, read_table, refuse_too_few, table_of
from ehr_pipeline.tables.write import RowWriter, lines_of, open_table


@dataclass(frozen=True, eq=False)
class Model:
    """What was learned of a table.

    Attributes
    ----------
    generator
        The fitted generator.
    layout
        The table's columns and formats.
    n_rows
        Rows of the table; of a private fit, patients as it counted them, noise included.
    originals
        Hashes of its identifiers; None for a private fit, and for a model that was loaded, whose folder holds nothing
        of a patient.
    ledger_entry
        Id of the ledger's entry of the fit; None where no ledger was given.
    """

    generator: Generator
    layout: Layout
    n_rows: int
    originals: Mapping[str, np.ndarray] | None = None
    ledger_entry: str | None = None

    def sample(self, n: int | None = None, conditions: Mapping[str, Any] | None = None, seed: int = 0) -> pd.DataFrame:
        """`n` synthetic rows (default: as many as the table has), as the table itself would be read.

        A data frame or Parquet file comes back in its own dtypes, a file of text as `pandas.read_csv` reads it.
        `conditions` fixes columns, by name, to a value as the table spells it; None means missing.
        `attrs["acceptance_rate"]` is the share of the draws that met them.

        Raises
        ------
        OptionError
            A column or value is unknown.
        """
        draw = Draw(self.generator, self.n_rows if n is None else n, seed, self._typed(conditions))
        rows = RowWriter(self.layout, seed, self.originals)
        if self.layout.dialect is None:
            tables = [rows.arrow(frame) for frame in draw.chunks()]
            frame = pa.concat_tables(tables or [self.layout.arrow.empty_table()]).to_pandas()
            frame = frame.reset_index(drop=True)
        else:
            dialect = self.layout.dialect
            text = b"".join(lines_of(rows.text(frame), dialect, self.layout) for frame in draw.chunks())
            names = self.layout.schema.names
            frame = pd.read_csv(io.BytesIO(text), sep=dialect.delimiter, header=None, names=names, low_memory=False)
        frame.attrs["acceptance_rate"] = draw.acceptance_rate
        return frame

    def save(self, folder: Path | str) -> None:
        """Write the model into `folder`, in one step; no pickle."""
        with atomic_folder(Path(folder)) as temporary:
            inner = temporary / "generator"
            inner.mkdir()
            self.generator.save(inner)
            privacy = self.generator.privacy
            about = {
                "generator": self.generator.name,
                "n_rows": self.n_rows,
                "ledger_entry": self.ledger_entry,
                "privacy": privacy.record() if privacy else None,
            }
            write_json(temporary / "layout.json", about | {"layout": self.layout.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what `save` wrote; identifiers that it makes are one character longer than any original."""
        about = read_json(Path(folder) / "layout.json", "save a model there first")
        generator = generator_type(about["generator"]).load(Path(folder) / "generator")
        generator.privacy = PrivacyPlan.of_record(about["privacy"]) if about.get("privacy") else None
        layout = Layout.model_validate(about["layout"])
        return cls(generator, layout, about["n_rows"], ledger_entry=about.get("ledger_entry"))

    def _typed(self, conditions: Mapping[str, Any] | None) -> dict[str, Any]:
        """Conditions as the generator takes them; it refuses what it has not learned."""
        known = self.layout.learned
        return {
            name: typed_value(self.layout[name], value) if name in known else value
            for name, value in (conditions or {}).items()
        }


class Draw:
    """Rows of a generator in chunks: by conditions, and by the shares of a balance.

    Parameters
    ----------
    generator
        What draws.
    n
        Rows in all.
    seed
        The same seed gives the same rows on the same machine.
    conditions
        As a generator takes them.
    balance
        Shares of levels (`generators/balance.py`).
    """

    def __init__(
        self,
        generator: Generator,
        n: int,
        seed: int,
        conditions: Mapping[str, Any] | None = None,
        balance: Balance | None = None,
    ) -> None:
        self.generator, self.n, self.seed = generator, n, seed
        self.parts = plan_parts(generator.codec, n, balance, conditions)
        self.costs = [Cost() for _ in self.parts]

    @property
    def acceptance_rate(self) -> float:
        """Share of the draws so far that met the conditions."""
        return overall_rate(self.costs) if self.costs else 1.0

    def chunks(self) -> Iterator[pd.DataFrame]:
        """Frames of at most `CHUNK_ROWS` rows; memory holds one."""
        return draw_parts(self.generator.sample, self.parts, self.seed, self.costs, chunk_rows=CHUNK_ROWS)


def fit_table(
    table: Table,
    generator: str,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    account: Account | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda line: None,
    **settings: Any,
) -> Model:
    """Learn from an open table.

    With a budget, what will be spent is written into the account's ledger and said before the fit starts, and stays
    spent whatever becomes of it.

    Raises
    ------
    OptionError
        There is no such generator or setting, or it has no private tier, or there is no account for a budget.
    BudgetExceeded
        The patients' cap does not allow it.
    DefinitionError
        The table was not opened for a private run (`is_private`), or its schema lacks what one needs.
    SourceError
        The table has too few patients, or nothing to learn from.
    """
    kind = generator_type(generator)
    try:
        config = kind.config_type.model_validate({"seed": seed} | settings)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise OptionError(
            f"{generator} has no such setting: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None
    refuse_too_few(table)
    plan = None
    if budget is not None:
        if account is None or not table.layout.is_public:
            raise OptionError("a private fit needs a ledger, and a table that was opened for it")
        plan = kind.privacy_plan(table.layout.learned, config, budget)
    entry = None
    if account is not None:
        entry = account.charge(
            plan, source=table.layout.source, generator=generator, data_fingerprint=table.fingerprint()
        )
    for line in [*plan.lines(), f"  {unit_line(table.layout)}"] if plan else ():
        say(line)
    fitted = kind.fit(table.cohort(), config, budget, progress)
    if plan is not None:
        require_kept(plan, fitted.privacy)
    elif fitted.privacy is not None:  # its method has noise of its own, whose promise nobody asked for
        for line in fitted.privacy.lines():
            say(line)
    n_rows = len(table) if plan is None else fitted.n_patients
    return Model(fitted, table.layout, n_rows, table.originals(), entry)


def fit(
    source: Path | str | pd.DataFrame,
    generator: str | None = None,
    schema: Path | str | None = None,
    seed: int = 0,
    *,
    epsilon: float | None = None,
    delta: float | None = None,
    universe: str | None = None,
    **settings: Any,
) -> Model:
    """Learn a table: a file (.csv, .tsv, .parquet, .csv.gz) or a data frame with one row per patient or visit.

    Parameters
    ----------
    source
        The table.
    generator
        Its name (`ehr-pipeline generators` lists them); `column_autoregressive` by default, with an epsilon up to 1
        `marginals`.
    schema
        A schema file; what it does not say of the columns is inferred, but for a private fit, which infers nothing.
    seed
        Seed of training; the noise of a private fit has none.
    epsilon, delta
        Privacy budget per patient, written into the ledger of the data folder (EHR_PIPELINE_DATA, else `data/`)
        before anything is learned. Delta is 1e-6 if not given. Without epsilon there is no budget.
    universe
        Name of these patients, if they are others than all others of that ledger.
    settings
        Settings of the generator.

    Raises
    ------
    InputError
        The table, the schema or a setting cannot be used; one line says why.
    """
    said = None if schema is None else Path(schema)
    budget = asked_budget(epsilon, delta)
    account = Account(data=DataFolder.find(), why="ehr_pipeline.fit", universe=universe) if budget else None
    is_private = budget is not None
    is_frame = isinstance(source, pd.DataFrame)
    with (
        table_of(source, said, is_private=is_private)
        if is_frame
        else read_table(Path(source), said, is_private=is_private)
    ) as table:
        generator = generator or default_generator(epsilon)
        return fit_table(table, generator, seed=seed, budget=budget, account=account, **settings)


def write_sample(
    model: Model,
    out: Path,
    draw: Draw,
    progress: Callable[[int], object],
) -> None:
    """Write all rows of `draw` to `out`, in the model's format; memory holds one chunk."""
    done = 0
    with open_table(out, model.layout, draw.seed, originals=model.originals, n_rows=draw.n) as table:
        for frame in draw.chunks():
            table.write(frame)
            done += len(frame)
            progress(done)
