"""MOSTLY AI's TabularARGN (mostlyai-engine, Apache-2.0) with its defaults, on the CPU.

Paper: Tiwald et al., TabularARGN, https://arxiv.org/abs/2501.12012.
"""

from __future__ import annotations

import argparse

import pandas as pd
from mostlyai.engine import TabularARGN, set_random_state
from stopwatch import measure


def fit(table: pd.DataFrame, asked: argparse.Namespace) -> TabularARGN:
    """Split, analyse, encode and train: all that its `fit` does."""
    return TabularARGN(device="cpu", random_state=asked.seed).fit(table)


def sample(model: TabularARGN, asked: argparse.Namespace) -> pd.DataFrame:
    """Rows in the table's own columns."""
    set_random_state(asked.seed)
    return model.sample(n_samples=asked.rows)


if __name__ == "__main__":
    measure(pd.read_parquet, fit, sample, ("mostlyai-engine", "torch", "pandas"))
