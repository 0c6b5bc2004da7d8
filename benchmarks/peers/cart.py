"""Sequential CART synthesis in synthpop's manner (py-synthpop, MIT) with its defaults.

Paper: Nowok, Raab and Dibben, synthpop, Journal of Statistical Software 74(11), 2016.
Its trees draw from the training rows in a leaf: whole rows come back.
"""

from __future__ import annotations

import argparse

import pandas as pd
from stopwatch import measure
from synthpop import Synthpop


def read(path: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table, and the kind of each column in the words of the package."""
    table = pd.read_parquet(path)
    kinds = {c: {"i": "int", "f": "float"}.get(table[c].dtype.kind, "category") for c in table}
    return table.astype({c: "category" for c, kind in kinds.items() if kind == "category"}), kinds


def fit(source: tuple[pd.DataFrame, dict[str, str]], asked: argparse.Namespace) -> Synthpop:
    """One tree per column."""
    table, kinds = source
    synthesizer = Synthpop(seed=asked.seed)
    synthesizer.fit(table, kinds)
    return synthesizer


def sample(synthesizer: Synthpop, asked: argparse.Namespace) -> pd.DataFrame:
    """Rows; categories as text."""
    rows = synthesizer.generate(asked.rows)
    return rows.astype({c: object for c in rows if isinstance(rows[c].dtype, pd.CategoricalDtype)})


if __name__ == "__main__":
    measure(read, fit, sample, ("py-synthpop", "scikit-learn", "pandas"))
