"""Whether groups of patients are served as well as everyone: size, fidelity and utility inside each group.

What belongs here: groups by sensitive columns and by site. A number is cut into bands near the thirds of the
training table. Groups under `SMALL_CELL` rows have no numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.columns import Three, level_name
from ehr_pipeline.evaluate.correlation import pairwise_correlation
from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.intervals import auc_and_error
from ehr_pipeline.evaluate.marginals import ks_distance
from ehr_pipeline.evaluate.plan import Task
from ehr_pipeline.evaluate.result import Subgroup
from ehr_pipeline.evaluate.smallcells import suppressed
from ehr_pipeline.evaluate.utility import Predictions, Utility
from ehr_pipeline.record import SMALL_CELL

MAX_GROUPS = 12


@dataclass(frozen=True)
class _Group:
    """Which rows of each table belong to one level of a column, bool [n]."""

    level: str
    train: np.ndarray
    holdout: np.ndarray
    synthetic: np.ndarray


@dataclass(frozen=True)
class Subgroups:
    """The three tables and what models trained on synthetic and on real rows say of the holdout."""

    tables: Three
    encoding: Encoding
    utility: Utility
    by_synthetic: dict[str, Predictions]
    by_real: dict[str, Predictions]

    def of(self, names: tuple[str, ...]) -> list[Subgroup]:
        """Groups of the named columns, the most frequent levels first."""
        found = []
        for name in names:
            if name not in self.encoding.names:
                continue
            groups = self._bands(name) if name in self.encoding.continuous else self._levels(name)
            shown = suppressed(np.array([group.train.sum() for group in groups], dtype=np.int64))
            found += [self._describe(name, group, n_real) for group, n_real in zip(groups, shown, strict=True)]
        return found

    def _levels(self, name: str) -> list[_Group]:
        levels = self.encoding.levels[self.encoding.categorical.index(name)]
        codes = {place: self.encoding.column(table, name) for place, table in self.tables.items()}
        return [
            _Group(level_name(level), **{place: code == number for place, code in codes.items()})
            for number, level in enumerate(levels[:MAX_GROUPS])
        ]

    def _bands(self, name: str) -> list[_Group]:
        values = {place: self.encoding.number(table, name) for place, table in self.tables.items()}
        real = values["train"][~np.isnan(values["train"])]
        if len(real) < 3 * SMALL_CELL:
            return []
        thirds = np.quantile(real, [1 / 3, 2 / 3])
        digits = -int(np.floor(np.log10(max(thirds[1] - thirds[0], 1e-9))))
        low, high = (float(cut) for cut in thirds.round(digits))
        return [
            _Group(f"under {low:g}", **{place: v < low for place, v in values.items()}),
            _Group(f"{low:g} to {high:g}", **{place: (v >= low) & (v < high) for place, v in values.items()}),
            _Group(f"{high:g} and over", **{place: v >= high for place, v in values.items()}),
        ]

    def _describe(self, name: str, group: _Group, n_real: int | None) -> Subgroup:
        n_synthetic = int(group.synthetic.sum())
        if n_real is None:
            return Subgroup(column=name, level=group.level, n_real=None, n_synthetic=None)
        scores: dict[str, float | None] = {}
        if n_synthetic >= SMALL_CELL:
            real = self.tables["train"].take(np.flatnonzero(group.train))
            scores = _fidelity(real, self.tables["synthetic"].take(np.flatnonzero(group.synthetic)))
        share = n_synthetic / max(len(group.synthetic), 1)
        return Subgroup(
            column=name,
            level=group.level,
            n_real=n_real,
            n_synthetic=n_synthetic if n_synthetic >= SMALL_CELL else None,
            share_ratio=float(share / group.train.mean()),
            scores=scores | {f"tstr_gap[{t.label}]": self._gap(t, group.holdout) for t in self.utility.tasks},
        )

    def _gap(self, task: Task, rows: np.ndarray) -> float | None:
        """AUROC on the group's holdout rows by the model of real rows less that by the model of synthetic rows."""
        real, synthetic = (by[task.label].scores.get("tstr_hgb") for by in (self.by_real, self.by_synthetic))
        if real is None or synthetic is None:
            return None
        label = self.utility.labels(self.utility.holdout, task)[rows]
        if min(label.sum(), len(label) - label.sum()) < SMALL_CELL:
            return None
        patient = self.utility.holdout.patient[rows]
        return auc_and_error(label, real[rows], patient)[0] - auc_and_error(label, synthetic[rows], patient)[0]


def _fidelity(real: Encoded, synthetic: Encoded) -> dict[str, float | None]:
    """Mean KS and correlation error of the continuous columns inside one group."""
    distances = [ks_distance(a, b) for a, b in zip(real.numbers.T, synthetic.numbers.T, strict=True)]
    error = np.abs(pairwise_correlation(real.numbers) - pairwise_correlation(synthetic.numbers))
    upper = np.triu_indices(len(error), 1)
    return {
        "ks_mean": float(np.mean(distances)) if distances else None,
        "correlation_error": float(error[upper].mean()) if upper[0].size else None,
    }
