"""Share of patients with any inconsistency, real beside synthetic, under the rules of events and of patient tables.

What belongs here: from who breaks what to shares and their gate's numbers. What does not: the rules (`rules.py`,
`sanity/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.intervals import clopper_pearson
from ehr_pipeline.evaluate.scoring import Reading
from ehr_pipeline.evaluate.smallcells import coarse_share
from ehr_pipeline.evaluate.timelines.result import Plausibility, RuleShare
from ehr_pipeline.evaluate.timelines.rules import Found, find_broken, load_event_rules
from ehr_pipeline.record import SMALL_CELL, Schema
from ehr_pipeline.sanity.binding import bind
from ehr_pipeline.sanity.rules import load_rules
from ehr_pipeline.sanity.run import run_table_rules

NAME = "implausible_share"


@dataclass(frozen=True, kw_only=True, eq=False)
class RuleFacts:
    """What a rule says, wherever it comes from."""

    title: str
    severity: str
    confirmed: bool
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Broken:
    """Who breaks what among `n_patients` patients, by rule id."""

    n_patients: int
    found: Mapping[str, Found]

    @property
    def n_rules(self) -> int:
        """Rules that had anything to check."""
        return sum(one.n_checked > 0 for one in self.found.values())

    @property
    def not_run(self) -> list[str]:
        """Rules that raised."""
        return [name for name, one in self.found.items() if not one.could_run]

    @property
    def any_of(self) -> np.ndarray:
        """subject_id of the patients who break at least one rule, int64."""
        pieces = [one.broken for one in self.found.values()]
        return np.unique(np.concatenate(pieces)) if pieces else np.array([], dtype=np.int64)

    @property
    def share(self) -> float | None:
        """Share of patients who break at least one rule; None where no rule had anything to check."""
        return len(self.any_of) / self.n_patients if self.n_rules and self.n_patients else None

    def reading(self) -> Reading:
        """The share with its exact interval; where a rule could not be run, everyone counts as breaking it."""
        if self.not_run:
            return Reading(1.0, note=f"could not be run: {', '.join(self.not_run)}")
        if self.share is None:
            return Reading(None, note="no rule reads these events")
        return Reading(self.share, *clopper_pearson(len(self.any_of), self.n_patients))

    def coarse(self) -> Reading:
        """The share of real patients as it may be shown: in steps of SMALL_CELL of them."""
        return Reading(real_share(self))


def broken_in(events: pd.DataFrame, table: Mapping[str, Found] | None = None) -> Broken:
    """Who breaks a rule of events, and of the patient table where what it found is given; of these patients alone."""
    ids = events["subject_id"].unique()
    rows = {
        rule: Found(n_checked=one.n_checked, broken=np.intersect1d(one.broken, ids), could_run=one.could_run)
        for rule, one in (table or {}).items()
    }
    return Broken(n_patients=len(ids), found=find_broken(events) | rows)


def broken_rows(table: pd.DataFrame, subject_id: np.ndarray, schema: Schema) -> dict[str, Found]:
    """Who breaks a clinical row rule in a patient table, rules of one id together; as what stands in `Broken.found`.

    Parameters
    ----------
    subject_id
        int64 [n_rows]: whose each row is.
    """
    by_id: dict[str, list] = {}
    for one in bind(schema, load_rules()):
        if one.columns and not one.rule.is_of_whole_table and one.rule.sources != ("schema",):
            hard = one.rule.model_copy(update={"severity": "hard", "tolerance": 0.0})  # so that rows are marked
            by_id.setdefault(one.rule.id, []).append(one.__class__(**{**vars(one), "rule": hard}))
    found = {}
    for rule_id, bound in by_id.items():
        results = run_table_rules(table, schema, bound)
        n_checked = max((result.n_checked for result in results.results), default=0)
        could_run = not results.could_not_run
        broken = np.unique(subject_id[results.breaks_hard]) if could_run else np.array([], dtype=np.int64)
        found[rule_id] = Found(n_checked=n_checked, broken=broken.astype(np.int64), could_run=could_run)
    return found


def plausibility(real: Broken, synthetic: Broken) -> Plausibility:
    """Both sides, rule by rule; real shares in steps of SMALL_CELL patients, None for 1 to 10 of them."""
    facts = _facts()
    reading = synthetic.reading()
    by_rule = []
    for rule_id, made in synthetic.found.items():
        known = real.found.get(rule_id)
        if rule_id not in facts or not (made.n_checked or (known and known.n_checked)):
            continue
        rule = facts[rule_id]
        by_rule.append(
            RuleShare(
                rule=rule_id,
                title=rule.title,
                severity=rule.severity,
                confirmed=rule.confirmed,
                sources=list(rule.sources),
                real=_shown(known, real.n_patients) if known else None,
                synthetic=len(made.broken) / synthetic.n_patients,
            )
        )
    share = real.share
    return Plausibility(
        real_share=None if share is None else real_share(real),
        synthetic_share=reading.value,
        low=reading.low,
        high=reading.high,
        n_rules=synthetic.n_rules,
        by_rule=sorted(by_rule, key=lambda one: -(one.synthetic or 0)),
        not_run=synthetic.not_run,
    )


def real_share(real: Broken) -> float | None:
    """The real share as it may be shown: in steps of SMALL_CELL patients."""
    if real.share is None:
        return None
    return coarse_share(np.arange(real.n_patients) < len(real.any_of))


def _shown(found: Found, n_patients: int) -> float | None:
    n = len(found.broken)
    return None if 0 < n < SMALL_CELL else coarse_share(np.arange(n_patients) < n)


def _facts() -> dict[str, RuleFacts]:
    return {
        rule.id: RuleFacts(
            title=rule.title, severity=rule.severity, confirmed=rule.confirmed, sources=tuple(rule.sources)
        )
        for rule in (*load_event_rules(), *load_rules())
    }
