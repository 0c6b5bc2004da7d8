"""Quality, time and memory of every table generator beside the open peers: same data, split, core and judge.

    python benchmarks/tables.py [--table medicore|diabetes-130|FILE --holdout FILE] [--generator NAME] [--peer NAME]

Without names all take part; `--install` makes the environments that peers lack. What was measured is kept in `--out`,
so that the command goes on where it stopped; a result is measured again when the data or its code changed. CPU seconds
are of the contender's own process on one core; a fit begins with the table read and the packages imported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from cases import Data, diabetes_130, medicore, own
from contenders import Conditions, Contender, chosen, digest, install, run
from judges import Scores, judge, sources

HERE = Path(__file__).parent
METRICS = {
    "c2st_auc": "two-sample AUC",
    "ks_mean": "mean KS",
    "tvd_mean": "mean TVD",
    "correlation_error": "correlation error",
    "tvd2_mean": "2-way error",
    "tvd3_mean": "3-way error",
    "tstr_hgb[": "train on synthetic, test on real",
    "causal_log_odds_error": "log-odds error",
    "membership_auc[all]": "membership AUC",
    "membership_tpr_at_1%[all]": "TPR at 1 %",
    "dcr_share": "closer to training",
    "exact_copies_train": "copies of training",
    "exact_copies_holdout": "copies of holdout",
}


def main() -> None:
    """Measure, judge, and write `results.md` and `results.json`."""
    asked = options().parse_args()
    folder = asked.out / f"{Path(asked.table).stem}-{asked.rows or 'all'}-{asked.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    data = table(asked, folder)
    conditions = Conditions(
        train=data.train,
        rows=pq.read_metadata(data.train).num_rows,
        seed=asked.seed,
        core=max(os.sched_getaffinity(0)) if asked.core is None else asked.core,
        cap_s=asked.cap_s,
        environments=asked.venvs,
    )
    results: dict[str, dict[str, Any]] = {}
    for contender in chosen(asked.generator, asked.peer):
        tell(f"{contender.name}: fit and sample")
        reason = install(contender, asked.venvs) if asked.install and contender.environment else None
        found = {"reason": reason} if reason else measured(contender, conditions, folder)
        if not found["reason"]:
            tell(f"{contender.name}: fit {found['fit']['cpu_s']:,.1f} CPU s; judging")
            found |= judged(contender, data, asked.judge, asked.seed, folder)
        if found["reason"]:
            tell(f"{contender.name}: {found['reason']}")
        results[contender.name] = found
        text = markdown(data, conditions, results)
        write(folder / "results.md", text)
        write(folder / "results.json", json.dumps({"machine": machine(), "results": results}, indent=2))
    print(text)


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="medicore", help="medicore, diabetes-130, or a CSV or Parquet file")
    parser.add_argument("--holdout", type=Path, help="for a file: real rows of other patients")
    parser.add_argument("--target", action="append", default=[], help="for a file: COLUMN or COLUMN=LEVEL to predict")
    parser.add_argument("--generator", action="append", default=[], help="one of ours; repeat for more")
    parser.add_argument("--peer", action="append", default=[], help="a peer; repeat for more")
    parser.add_argument("--rows", type=int, help="rows of train, holdout and synthetic (default: the whole table)")
    parser.add_argument("--seed", type=int, default=0, help="of training, sampling and judging")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of results")
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="folder of the peers' environments")
    parser.add_argument("--install", action="store_true", help="make the environments that are not there")
    parser.add_argument("--judge", type=Path, help="an outside judge script (default: ehr_pipeline.evaluate)")
    parser.add_argument("--core", type=int, help="the core to pin to (default: the last one)")
    parser.add_argument("--cap-s", type=float, default=7200, help="wall seconds after which a contender is stopped")
    return parser


def table(asked: argparse.Namespace, folder: Path) -> Data:
    """The data that was asked for, as files in `folder`."""
    if asked.table == "medicore":
        return medicore(folder, asked.rows)
    if asked.table == "diabetes-130":
        return diabetes_130(folder, asked.rows)
    if asked.holdout is None:
        raise SystemExit(f"--table {asked.table} needs --holdout: real rows of other patients, in the same columns")
    return own(folder, asked.rows, Path(asked.table), asked.holdout, tuple(asked.target))


def measured(contender: Contender, conditions: Conditions, folder: Path) -> dict[str, Any]:
    """The run of a contender, from the folder if it was measured there under the same conditions."""
    out, kept = folder / f"{contender.name}.parquet", folder / f"{contender.name}.run.json"
    key = digest(conditions.train, f"{conditions.rows} {conditions.seed}", *contender.sources)
    if (found := stored(kept, key)) and out.exists():
        return found
    out.unlink(missing_ok=True)
    found = run(contender, conditions, out)
    if not found["reason"]:
        write(kept, json.dumps({"key": key} | found, indent=2))
    return found


def judged(contender: Contender, data: Data, script: Path | None, seed: int, folder: Path) -> dict[str, Any]:
    """The scores of a contender's rows, from the folder if the same judge gave them before."""
    synthetic, kept = folder / f"{contender.name}.parquet", folder / f"{contender.name}.scores.json"
    key = digest(data.train, data.holdout, synthetic, f"{data} {seed}", *sources(script))
    if found := stored(kept, key):
        return {"scores": found["scores"]}
    try:
        scores = judge(data, synthetic, seed, script)
    except Exception as error:  # noqa: BLE001 - rows that cannot be judged are a row that says so
        return {"reason": f"cannot be judged: {type(error).__name__}: {error}"[:200].replace("|", "/")}
    write(kept, json.dumps({"key": key, "scores": scores}, indent=2))
    return {"scores": scores}


def stored(path: Path, key: str) -> dict[str, Any] | None:
    """What `path` holds, if it was made from the same things."""
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if found["key"] == key else None


def markdown(data: Data, conditions: Conditions, results: dict[str, dict[str, Any]]) -> str:
    """One row per contender, floor and null first; then who could not take part, and what was run."""
    done = {name: found for name, found in results.items() if not found["reason"]}
    scores: dict[str, Scores] = {name: found["scores"] for name, found in done.items()}
    shown = [metric for metric in _in_order(scores) if any(_values(one, metric) for one in scores.values())]
    head = ["", *(title(metric) for metric in shown), "fit CPU s", "sample CPU s", "peak MB", "version"]
    rows = []
    for reference in ("floor", "null") if scores else ():
        first = next(iter(scores.values()))
        rows.append([reference, *(number(first[metric].get(reference)) for metric in shown), "", "", "", ""])
    for name, found in done.items():
        values = [number(found["scores"].get(metric, {}).get("value")) for metric in shown]
        spent = [f"{found[phase]['cpu_s']:,.1f}" for phase in ("fit", "sample")]
        peak = found["sample"]["peak_mb"]
        version = next((f"{k} {v}" for k, v in found["versions"].items() if k != "python"), "")
        rows.append([f"`{name}`", *values, *spent, f"{peak:,.0f}" if peak else "", version])
    rows += [[f"`{name}`", found["reason"]] for name, found in results.items() if found["reason"]]
    lines = [_line(head), _line(["---"] * len(head)), *(_line(row + [""] * (len(head) - len(row))) for row in rows)]
    about = [f"{data.name}, {conditions.rows:,} rows, seed {conditions.seed}, one core of {machine()}."]
    about += [f"`{name}`: {found['note']}." for name, found in done.items() if found.get("note")]
    return "\n".join([*lines, "", *about]) + "\n"


def title(metric: str) -> str:
    """A metric in words; a task's name stays with it."""
    words = next(text for name, text in METRICS.items() if metric.startswith(name))
    return f"{words}: {metric.partition('[')[2].rstrip(']')}" if metric.startswith("tstr_hgb[") else words


def number(value: float | None) -> str:
    """Four digits after the point; nothing where there is none."""
    return "" if value is None else f"{value:.4f}"


def machine() -> str:
    """What the seconds were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{model} ({os.cpu_count()} cores, {platform.system()}, python {platform.python_version()})"


def _in_order(scores: dict[str, Scores]) -> list[str]:
    """Names of the metrics there are, in the order of `METRICS`."""
    there = dict.fromkeys(name for one in scores.values() for name in one)
    shown = [(wanted, name) for wanted in METRICS for name in there]
    return [name for wanted, name in shown if name == wanted or (wanted[-1] == "[" and name.startswith(wanted))]


def _values(scores: Scores, metric: str) -> bool:
    return scores.get(metric, {}).get("value") is not None


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write(path: Path, text: str) -> None:
    """Write in one step, so that a run that is stopped leaves whole files."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def tell(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
