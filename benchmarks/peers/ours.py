"""One generator of this project, run as the peers are: the same clock, the same file, a process of its own."""

from __future__ import annotations

import argparse

import pandas as pd
from stopwatch import measure

from ehr_pipeline.tables import Table, read_table
from ehr_pipeline.tables.model import Draw, Model, fit_table, write_sample


def options(parser: argparse.ArgumentParser) -> None:
    """The generator's name, and whether its rows go to disk in chunks."""
    parser.add_argument("--generator", required=True)
    parser.add_argument("--streamed", action="store_true", help="write rows as they are drawn: memory holds one chunk")


def fit(table: Table, asked: argparse.Namespace) -> Model:
    """Columns are read from the file one at a time inside the fit, and so inside the clock."""
    return fit_table(table, asked.generator, seed=asked.seed)


def sample(model: Model, asked: argparse.Namespace) -> pd.DataFrame | None:
    """A frame in the table's own dtypes; None where the rows were written as they were drawn."""
    if not asked.streamed:
        return model.sample(asked.rows, seed=asked.seed)
    write_sample(model, asked.out, Draw(model.generator, asked.rows, asked.seed), lambda done: None)
    return None


if __name__ == "__main__":
    measure(read_table, fit, sample, ("torch", "pandas"), options=options)
