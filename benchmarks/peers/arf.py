"""Adversarial random forests (arfpy, MIT) with its defaults: 30 trees, at most 10 rounds.

Paper: Watson et al., Adversarial random forests for density estimation and generative modeling, AISTATS 2023.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from arfpy import arf
from stopwatch import measure


def read(path: str) -> pd.DataFrame:
    """Text as categories; 0/1 columns too, which the density would else fit as numbers between the two."""
    table = pd.read_parquet(path)
    levels = [c for c in table if not pd.api.types.is_numeric_dtype(table[c]) or table[c].nunique() <= 2]
    return table.astype(dict.fromkeys(levels, str)).astype(dict.fromkeys(levels, "category"))


def fit(table: pd.DataFrame, asked: argparse.Namespace) -> arf.arf:
    """Grow the forest, then the density of each leaf."""
    np.random.seed(asked.seed)  # noqa: NPY002 - it draws from numpy's global stream
    forest = arf.arf(x=table, random_state=asked.seed)
    forest.forde()
    return forest


def sample(forest: arf.arf, asked: argparse.Namespace) -> pd.DataFrame:
    """Rows; categories as text, of which the judge reads the numbers back."""
    rows = forest.forge(n=asked.rows)
    return rows.astype({c: object for c in rows if isinstance(rows[c].dtype, pd.CategoricalDtype)})


if __name__ == "__main__":
    measure(read, fit, sample, ("arfpy", "scikit-learn", "pandas"), note="0/1 columns handed over as categories")
