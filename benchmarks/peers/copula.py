"""A Gaussian copula (copulas 0.7.0, MIT) with beta margins, which SDV sets by default.

Its own default tries kernel densities too, which need a matrix of rows by rows: 20 GB at 50,000 rows.

It takes numbers alone: a level is handed over as a uniform draw from its own interval of (0, 1), as wide as it is
frequent, and read back from there, as Patki, Wedge and Veeramachaneni, The synthetic data vault, DSAA 2016, do.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from copulas.multivariate import GaussianMultivariate
from copulas.univariate import BetaUnivariate
from stopwatch import measure


@dataclass
class Fitted:
    """The copula, and by column of levels their names and the upper ends of their intervals."""

    copula: GaussianMultivariate
    levels: dict[str, tuple[np.ndarray, np.ndarray]]
    whole: list[str]


def fit(table: pd.DataFrame, asked: argparse.Namespace) -> Fitted:
    """Levels to numbers, then the copula."""
    rng = np.random.default_rng(asked.seed)
    np.random.seed(asked.seed)  # noqa: NPY002 - it draws from numpy's global stream
    levels, numbers = {}, table.copy()
    for name in table:
        if table[name].dtype.kind in "if" and table[name].nunique() > 2:
            continue
        share = table[name].value_counts(normalize=True)
        ends = share.cumsum().to_numpy()
        code = pd.Categorical(table[name], categories=share.index).codes
        levels[name] = (share.index.to_numpy(), ends)
        numbers[name] = (ends - share.to_numpy())[code] + rng.random(len(table)) * share.to_numpy()[code]
    copula = GaussianMultivariate(distribution=BetaUnivariate)
    copula.fit(numbers)
    return Fitted(copula, levels, [name for name in table if table[name].dtype.kind == "i" and name not in levels])


def sample(fitted: Fitted, asked: argparse.Namespace) -> pd.DataFrame:
    """Rows, with levels read back and whole numbers whole."""
    np.random.seed(asked.seed)  # noqa: NPY002
    rows = fitted.copula.sample(asked.rows)
    for name, (names, ends) in fitted.levels.items():
        rows[name] = names[np.searchsorted(ends, rows[name].to_numpy()).clip(0, len(names) - 1)]
    return rows.round(dict.fromkeys(fitted.whole, 0)).astype(dict.fromkeys(fitted.whole, "int64"))


if __name__ == "__main__":
    note = "beta margins; levels handed over as intervals of (0, 1)"
    measure(lambda path: pd.read_parquet(Path(path)), fit, sample, ("copulas", "scipy", "pandas"), note=note)
