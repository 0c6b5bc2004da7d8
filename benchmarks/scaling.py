"""Time and memory of a generator from 10,000 rows to 2.1 million, and at 100,000 x 50, with the line through them.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--generator NAME]... [--rows N]... [--out DIR]

The case study's table is drawn in blocks into a Parquet file, learned from that file, and as many rows are written back
in chunks; each size is a process of its own, pinned to one core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cases import write_blocks
from contenders import Conditions, Contender, ours, run
from tables import HERE, machine, tell, write

SIZES = (10_000, 100_000, 1_000_000, 2_100_000)
WIDE = (100_000, 50)


def main() -> None:
    """Run each size, print one row for each, and how well a line fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", action="append", help="repeat for more (default: column_autoregressive)")
    parser.add_argument("--rows", action="append", type=int, help="repeat for more (default: 10 k, 100 k, 1 M, 2.1 M)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    shapes = [(rows, 12) for rows in asked.rows or SIZES] + ([] if asked.rows else [WIDE])
    head = "| generator | rows | columns | fit CPU s | sample CPU s | peak MB after fit | after sample |"
    lines = [head, "|" + "---|" * 7]
    records: list[dict[str, Any]] = []
    for name in asked.generator or ["column_autoregressive"]:
        contender = ours(name)
        found = [record(contender, rows, columns, asked) for rows, columns in shapes]
        records += found
        lines += [row(one) for one in found]
        lines += ["", *straightness([one for one in found if one["columns"] == 12 and not one["reason"]]), ""]
    text = "\n".join([*lines, f"One core of {machine()}."]) + "\n"
    write(asked.out / "scaling.md", text)
    write(asked.out / "scaling.json", json.dumps({"machine": machine(), "records": records}, indent=2))
    print(text)


def record(contender: Contender, rows: int, columns: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One size: what the process says of its time and memory, or why it ended."""
    tell(f"{contender.name}: {rows:,} x {columns}")
    with tempfile.TemporaryDirectory(dir=asked.out) as folder:
        conditions = Conditions(
            train=write_blocks(Path(folder) / "train.parquet", rows, columns),
            rows=rows,
            seed=asked.seed,
            core=asked.core,
            cap_s=24 * 3600,
            environments=Path(folder),
        )
        streamed = Contender(
            name=contender.name, script=contender.script, arguments=(*contender.arguments, "--streamed")
        )
        found = run(streamed, conditions, Path(folder) / "synthetic.parquet")
    return {"generator": contender.name, "rows": rows, "columns": columns} | found


def row(one: dict[str, Any]) -> str:
    """A line of the table."""
    cells = [f"`{one['generator']}`", f"{one['rows']:,}", str(one["columns"])]
    if one["reason"]:
        return f"| {' | '.join([*cells, one['reason'], '', '', ''])} |"
    spent = [f"{one[phase]['cpu_s']:,.1f}" for phase in ("fit", "sample")]
    peaks = [f"{one[phase]['peak_mb'] or 0:,.0f}" for phase in ("fit", "sample")]
    return f"| {' | '.join([*cells, *spent, *peaks])} |"


def straightness(found: list[dict[str, Any]]) -> list[str]:
    """For time and memory of each phase: the least-squares line over rows, and the share of variance it explains."""
    if len(found) < 3:
        return ["(a line needs three sizes)"]
    rows = np.array([one["rows"] for one in found]) / 1e6
    said = []
    for phase in ("fit", "sample"):
        for what, unit in (("cpu_s", "CPU s"), ("peak_mb", "MB")):
            values = np.array([one[phase][what] or np.nan for one in found])
            slope, start = np.polyfit(rows, values, 1)
            explained = 1 - np.square(values - slope * rows - start).sum() / np.square(values - values.mean()).sum()
            said.append(f"{phase}: {start:,.1f} {unit} and {slope:,.1f} {unit} per million rows (R2 {explained:.4f})")
    return said


if __name__ == "__main__":
    main()
