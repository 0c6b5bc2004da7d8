"""Rows per second that a generator trains and samples on the device there is, beside what its arithmetic would allow.

    python benchmarks/gpu.py [--generator NAME]... [--rows 1000000]

A row trained is one row of one epoch. The limit is the rate of large float32 matrix products on this device over the
floating-point operations that the generator's own matrix products take per row, counted by torch on a small table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ehr_pipeline.generators.registry import GENERATORS
from ehr_pipeline.simulate.medicore import simulate_medicore
from ehr_pipeline.tables import table_of
from ehr_pipeline.tables.model import Model, fit_table

COUNTED_ROWS = 5_000
MATRIX = 8192


def main() -> None:
    """One line per generator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", action="append", choices=list(GENERATORS), help="repeat for more (default: all)")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(torch.cuda.get_device_name() if device == "cuda" else "no GPU: these are the CPU's numbers")
    rate = matrix_rate(device)
    print(f"torch {torch.__version__}, matrix products at {rate / 1e12:,.2f} TFLOP/s\n")
    print("| generator | rows/s trained | limit | rows/s sampled | limit |\n|---|---|---|---|---|")
    for name in asked.generator or GENERATORS:
        cells = [f"{value:,.0f}" if value else "" for value in speeds(name, asked.rows, asked.seed, device, rate)]
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


def speeds(name: str, rows: int, seed: int, device: str, rate: float) -> list[float | None]:
    """Rows per second trained and sampled, each followed by its limit; None where nothing is trained or multiplied."""
    # The small table also warms the device up.
    small, train_flops = _counted(lambda: fit(name, COUNTED_ROWS, seed, device))
    epochs_small = len(small.generator.history)
    _, sample_flops = _counted(lambda: small.sample(COUNTED_ROWS, seed=seed))
    model, fit_s = _timed(lambda: fit(name, rows, seed, device), device)
    _, sample_s = _timed(lambda: model.sample(rows, seed=seed), device)
    epochs = len(model.generator.history)
    trained = rows * epochs / fit_s if epochs else None
    train_limit = rate * COUNTED_ROWS * epochs_small / train_flops if train_flops and epochs_small else None
    sample_limit = rate * COUNTED_ROWS / sample_flops if sample_flops else None
    return [trained, train_limit, rows / sample_s, sample_limit]


def fit(name: str, rows: int, seed: int, device: str) -> Model:
    """A model of the case study's table."""
    frame = simulate_medicore(rows, np.random.default_rng(seed))
    return fit_table(table_of(frame), name, seed=seed, device=device)


def matrix_rate(device: str) -> float:
    """Floating-point operations per second of large float32 matrix products, the best of three."""
    size = MATRIX if device == "cuda" else MATRIX // 8
    matrix = torch.rand(size, size, device=device)
    best = min(_timed(lambda: matrix @ matrix, device)[1] for _ in range(4))
    return 2 * size**3 / best


def _timed(work: Callable[[], Any], device: str) -> tuple[Any, float]:
    """What `work` returns and its seconds, the device's queue included."""
    started = time.perf_counter()
    made = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return made, time.perf_counter() - started


def _counted(work: Callable[[], Any]) -> tuple[Any, int]:
    """What `work` returns and the floating-point operations of its matrix products, backward pass included."""
    with FlopCounterMode(display=False) as counter:
        made = work()
    return made, counter.get_total_flops()


if __name__ == "__main__":
    main()
