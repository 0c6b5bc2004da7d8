"""Who judges: the project's own evaluation, or an outside script with the same metric names.

What belongs here: from three files to `{metric: {value, floor, null}}`. What does not: any metric.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cases import Data

Scores = dict[str, dict[str, Any]]

LIBRARY = Path(__file__).parents[1] / "ehr_pipeline"


def judge(data: Data, synthetic: Path, seed: int, script: Path | None) -> Scores:
    """Scores of a synthetic file, by `script` if there is one."""
    return _own(data, synthetic, seed) if script is None else _outside(data, synthetic, seed, script)


def sources(script: Path | None) -> list[Path]:
    """Files that decide what the scores are."""
    if script is not None:
        return sorted(script.parent.glob("*.py"))
    return sorted((LIBRARY / "evaluate").rglob("*.py"))


def _own(data: Data, synthetic: Path, seed: int) -> Scores:
    from ehr_pipeline.evaluate.files import evaluate_files

    evaluation = evaluate_files(
        data.train,
        synthetic,
        data.holdout,
        data.targets,
        treatment=data.treatment,
        outcome=data.outcome,
        confounders=data.confounders,
        true_log_odds=data.true_log_odds,
        seed=seed,
    )
    return {
        name: {"value": score.value, "floor": score.floor, "null": score.null}
        for name, score in evaluation.scores.items()
    }


def _outside(data: Data, synthetic: Path, seed: int, script: Path) -> Scores:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scores.json"
        command = [sys.executable, script, "table", "--train", data.train, "--holdout", data.holdout]
        command += ["--synthetic", synthetic, "--seed", str(seed), "--json", out]
        command += ["--target", *data.targets] if data.targets else []
        if data.treatment and data.outcome:
            command += ["--treatment", data.treatment, "--outcome", data.outcome]
            command += ["--confounders", ",".join(data.confounders), f"--true-log-odds={data.true_log_odds}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise RuntimeError(f"the judge ended with exit {done.returncode}: {done.stderr.strip()[-160:]}")
        return json.loads(out.read_text(encoding="utf-8"))
