"""Whether groups of patients are served as well as everyone: size, fidelity and utility inside each group.

What belongs here: groups by sensitive columns and by site. A number is cut into bands at round thirds of
the training table. Groups under `SMALL_CELL` rows have no numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.columns import level_name
from ehr_pipeline.evaluate.dependence import pairwise_correlation
from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.intervals import auc_and_error
from ehr_pipeline.evaluate.marginals import ks_distance
from ehr_pipeline.evaluate.result import SMALL_CELL, Subgroup
from ehr_pipeline.evaluate.smallcells import suppressed
from ehr_pipeline.evaluate.utility import Predictions, Utility

MAX_GROUPS = 12


@dataclass(frozen=True)
class _Group:
    label: str
    train: np.ndarray
    holdout: np.ndarray
    synthetic: np.ndarray


def subgroups(
    tables: dict[str, Encoded],
    encoding: Encoding,
    names: tuple[str, ...],
    utility: Utility,
    trained: tuple[dict[str, Predictions], dict[str, Predictions]],
) -> list[Subgroup]:
    """Groups of the named columns, most frequent first. `trained`: predictions by models of synthetic, of real rows."""
    found = []
    for name in names:
        if name not in encoding.names:
            continue
        groups = _bands(tables, encoding, name) if name in encoding.continuous else _levels(tables, encoding, name)
        shown = suppressed(np.array([group.train.sum() for group in groups], dtype=np.int64)) if groups else []
        for group, n_real in zip(groups, shown, strict=True):
            found.append(_describe(name, group, n_real, tables, encoding, utility, trained))
    return found


def _levels(tables: dict[str, Encoded], encoding: Encoding, name: str) -> list[_Group]:
    levels = encoding.levels[encoding.categorical.index(name)]
    return [
        _Group(
            level_name(levels[code]), **{place: encoding.column(table, name) == code for place, table in tables.items()}
        )
        for code in range(min(len(levels), MAX_GROUPS))
    ]


def _bands(tables: dict[str, Encoded], encoding: Encoding, name: str) -> list[_Group]:
    real = encoding.number(tables["train"], name)
    real = real[~np.isnan(real)]
    if len(real) < 3 * SMALL_CELL:
        return []
    thirds = np.quantile(real, [1 / 3, 2 / 3])
    width = max(float(np.diff(thirds)[0]), 1e-9)
    digits = -int(np.floor(np.log10(width)))
    low, high = (float(cut) for cut in thirds.round(digits))
    labels = (f"under {low:g}", f"{low:g} to {high:g}", f"{high:g} and over")
    bands = {}
    for place, table in tables.items():
        values = encoding.number(table, name)
        bands[place] = (values < low, (values >= low) & (values < high), values >= high)
    return [
        _Group(label, *(bands[place][i] for place in ("train", "holdout", "synthetic")))
        for i, label in enumerate(labels)
    ]


def _describe(
    name: str,
    group: _Group,
    n_real: int | None,
    tables: dict[str, Encoded],
    encoding: Encoding,
    utility: Utility,
    trained: tuple[dict[str, Predictions], dict[str, Predictions]],
) -> Subgroup:
    n_synthetic = int(group.synthetic.sum())
    if n_real is None:
        return Subgroup(column=name, level=group.label, n_real=None, n_synthetic=None)
    real_share, share = group.train.mean(), group.synthetic.mean() if len(group.synthetic) else 0.0
    scores: dict[str, float | None] = {}
    if n_synthetic >= SMALL_CELL:
        real, synthetic = (
            tables[place].take(np.flatnonzero(rows))
            for place, rows in (("train", group.train), ("synthetic", group.synthetic))
        )
        scores = _fidelity(real, synthetic)
    scores |= {f"tstr_gap[{task.label}]": _gap(task.label, group.holdout, utility, trained) for task in utility.tasks}
    return Subgroup(
        column=name,
        level=group.label,
        n_real=n_real,
        n_synthetic=n_synthetic if n_synthetic >= SMALL_CELL else None,
        share_ratio=float(share / real_share),
        scores=scores,
    )


def _fidelity(real: Encoded, synthetic: Encoded) -> dict[str, float | None]:
    """Mean KS and correlation error of the continuous columns inside one group."""
    distances = [ks_distance(a, b) for a, b in zip(real.numbers.T, synthetic.numbers.T, strict=True)]
    error = np.abs(pairwise_correlation(real.numbers) - pairwise_correlation(synthetic.numbers))
    upper = np.triu_indices(len(error), 1)
    return {
        "ks_mean": float(np.mean(distances)) if distances else None,
        "correlation_error": float(error[upper].mean()) if upper[0].size else None,
    }


def _gap(
    task: str, rows: np.ndarray, utility: Utility, trained: tuple[dict[str, Predictions], dict[str, Predictions]]
) -> float | None:
    """AUROC on the group's holdout rows by models of real rows less that by models of synthetic rows."""
    synthetic, real = (predictions[task].scores.get("tstr_hgb") for predictions in trained)
    if synthetic is None or real is None:
        return None
    chosen = next(t for t in utility.tasks if t.label == task)
    label = utility.labels(utility.holdout, chosen)[rows]
    if min(label.sum(), len(label) - label.sum()) < SMALL_CELL:
        return None
    patient = utility.holdout.patient[rows]
    return auc_and_error(label, real[rows], patient)[0] - auc_and_error(label, synthetic[rows], patient)[0]
