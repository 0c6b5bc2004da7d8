"""What every contender is measured by: reads the table, times fit and sample, writes the rows, prints a JSON line.

What belongs here: the clock and the calling convention, for the python of any environment (standard library and pandas
alone). What does not: any generator. CPU seconds are of the process and of the children it has waited for.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cpu_s() -> float:
    """CPU seconds of this process and its children, user and system."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def peak_mb() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where the system does not tell.

    Not `ru_maxrss`: Linux hands that of the process that started this one down to it.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    peak = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float | None]]:
    """What `work` returns, and its CPU seconds, wall seconds and the peak of memory at its end."""
    cpu, wall = cpu_s(), time.perf_counter()
    made = work()
    return made, {"cpu_s": cpu_s() - cpu, "wall_s": time.perf_counter() - wall, "peak_mb": peak_mb()}


def measure(
    read: Callable[[Path], Any],
    fit: Callable[[Any, argparse.Namespace], Any],
    sample: Callable[[Any, argparse.Namespace], Any],
    packages: tuple[str, ...],
    *,
    note: str = "",
    options: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> None:
    """Run one contender as its command line says.

    Parameters
    ----------
    read
        Path of a Parquet file to whatever `fit` takes; not timed.
    fit
        That and the options (`seed`) to a model.
    sample
        Model and options (`rows`, `seed`) to a pandas frame; None where it wrote to `out` itself.
    packages
        Distributions whose versions belong beside the numbers.
    note
        What a reader of the numbers must know.
    options
        Adds the contender's own options to the parser.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options(parser)
    asked = parser.parse_args()
    table = read(asked.train)
    before = peak_mb()
    model, fitting = timed(lambda: fit(table, asked))
    synthetic, sampling = timed(lambda: sample(model, asked))
    if synthetic is not None:
        synthetic.to_parquet(asked.out, index=False)
    versions = {name: importlib.metadata.version(name) for name in packages}
    found = {"fit": fitting, "sample": sampling, "all_cpu_s": cpu_s(), "before_peak_mb": before}
    print(json.dumps(found | {"versions": {"python": platform.python_version()} | versions, "note": note}))
