"""CTGAN, TVAE and TabDDPM as synthcity (Apache-2.0) has them, each with its defaults, on the CPU.

Papers: Xu et al., Modeling tabular data using conditional GAN, NeurIPS 2019 (CTGAN, TVAE); Kotelnikov et al.,
TabDDPM, ICML 2023.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

import pandas as pd
import torch
from stopwatch import measure
from synthcity.plugins.core.dataloader import GenericDataLoader
from synthcity.plugins.core.plugin import Plugin

CLASSES = {"ctgan": "CTGANPlugin", "tvae": "TVAEPlugin", "ddpm": "TabDDPMPlugin"}


def options(parser: argparse.ArgumentParser) -> None:
    """Which of its generators."""
    parser.add_argument("--plugin", choices=CLASSES, required=True)


def fit(table: pd.DataFrame, asked: argparse.Namespace) -> Plugin:
    """Train on the whole table as a plain one, without target."""
    module = importlib.import_module(f"synthcity.plugins.generic.plugin_{asked.plugin}")
    plugin = getattr(module, CLASSES[asked.plugin])(
        random_state=asked.seed, device=torch.device("cpu"), workspace=Path(tempfile.mkdtemp(prefix="synthcity-"))
    )
    return plugin.fit(GenericDataLoader(table))


def sample(plugin: Plugin, asked: argparse.Namespace) -> pd.DataFrame:
    """Rows that keep to the ranges and levels of the training table, as the package has it."""
    return plugin.generate(asked.rows, random_state=asked.seed).dataframe()


if __name__ == "__main__":
    measure(pd.read_parquet, fit, sample, ("synthcity", "torch", "pandas"), options=options)
