"""Judging: what a rule's counts mean, for real records and for synthetic ones beside them.

What belongs here: limits, demotion and verdicts. Real counts under SMALL_CELL are hidden before anything else sees
them, so a verdict from memory and one from `sanity.json` are the same.

Real records are measured, not rejected. A HARD clinical rule that more than DEMOTION_RATE of them break, and at least
SMALL_CELL of them, is demoted: soft for the synthetic table, and a warning, because either the rule is too strict or
the ingest is wrong. Fewer are a few records' mistakes, which loosen nothing and are nobody's to read off. A HARD rule
of form (a range, a level, a key of the schema) is never demoted: prepare has made it true, so a breach is a fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ehr_pipeline.record import SMALL_CELL
from ehr_pipeline.sanity.rules import Severity
from ehr_pipeline.sanity.run import RuleResult

Verdict = Literal["passed", "failed", "measured", "demoted", "not_applicable", "not_compared", "could_not_run"]

DEMOTION_RATE = 0.001
"""Share of real records above which a HARD clinical rule is too strict for this cohort (or the ingest is wrong)."""

STANDARD_ERRORS = 3.0
"""Standard errors of sampling that a soft rule is given: one false alarm in some 700 rules."""


@dataclass(frozen=True, kw_only=True)
class RealCount:
    """Counts of one rule on the real cohort; None stands for 1 to SMALL_CELL - 1 records.

    A rule of the whole table counts one table, not patients: nothing of it is hidden.
    """

    n_checked: int | None
    n_failed: int | None
    could_run: bool
    is_demoted: bool

    @classmethod
    def of(cls, result: RuleResult, n_rows: int | None = None) -> RealCount:
        """Hide what is small, remember whether the exact counts demote the rule.

        With `n_rows`, the rows of the table, a rule that all but 1 to SMALL_CELL - 1 of them were checked by counts as
        checked on all: the difference would tell how few have a gap.
        """
        rate = result.n_failed / result.n_checked if result.n_checked else 0.0
        is_of_patients = not result.rule.is_of_whole_table
        n_checked = result.n_checked
        if n_rows is not None and hide_small(n_rows - n_checked) is None and n_checked >= SMALL_CELL:
            n_checked = n_rows
        return cls(
            n_checked=hide_small(n_checked) if is_of_patients else result.n_checked,
            n_failed=hide_small(result.n_failed) if is_of_patients else result.n_failed,
            could_run=result.could_run,
            is_demoted=result.rule.may_be_demoted and rate > DEMOTION_RATE and result.n_failed >= SMALL_CELL,
        )

    @property
    def is_comparable(self) -> bool:
        """Whether enough real records were checked to compare with."""
        return self.could_run and self.n_checked is not None and self.n_checked > 0

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain JSON, with the rate where no count is hidden."""
        rate = None if not self.n_checked or self.n_failed is None else self.n_failed / self.n_checked
        return {
            "n_checked": self.n_checked,
            "n_failed": self.n_failed,
            "rate": rate,
            "could_run": self.could_run,
            "is_demoted": self.is_demoted,
        }


def hide_small(n: int) -> int | None:
    """The count, or None for 1 to SMALL_CELL - 1."""
    return None if 0 < n < SMALL_CELL else n


@dataclass(frozen=True, kw_only=True)
class JudgedRule:
    """One rule's counts, the severity it has here, and its verdict.

    Attributes
    ----------
    severity
        `soft` also for a HARD rule that the real cohort demoted.
    n_allowed
        Failures allowed; None where nothing is compared.
    """

    result: RuleResult
    severity: Severity
    verdict: Verdict
    n_allowed: int | None = None
    note: str | None = None

    @property
    def stops(self) -> bool:
        """Whether the verdict stops what comes after."""
        return self.verdict == "could_not_run" or (self.verdict == "failed" and self.severity == "hard")

    @property
    def warns(self) -> bool:
        """Whether the verdict asks for a look without stopping anything."""
        return self.verdict == "demoted" or (self.verdict == "failed" and self.severity == "soft")

    @property
    def is_applicable(self) -> bool:
        """Whether the rule had anything to say about this table."""
        return self.verdict != "not_applicable"


def judge_real(results: Iterable[RuleResult]) -> list[JudgedRule]:
    """Verdicts on the real cohort's own table."""
    return [_judge_real(result) for result in results]


def _judge_real(result: RuleResult) -> JudgedRule:
    rule = result.rule
    if not result.could_run:
        return JudgedRule(result=result, severity=rule.severity, verdict="could_not_run", n_allowed=0)
    if not result.is_applicable:
        return JudgedRule(result=result, severity=rule.severity, verdict="not_applicable")
    if not rule.is_hard:
        return JudgedRule(result=result, severity="soft", verdict="measured")
    if RealCount.of(result).is_demoted:
        note = rule.demotion or "more than 0.1 % of real records break it: look at the ingest before trusting the rule"
        n_allowed = math.floor(DEMOTION_RATE * result.n_checked)
        return JudgedRule(result=result, severity="soft", verdict="demoted", n_allowed=n_allowed, note=note)
    if rule.may_be_demoted:
        return JudgedRule(result=result, severity="hard", verdict="measured")
    verdict: Verdict = "failed" if result.n_failed else "passed"
    return JudgedRule(result=result, severity="hard", verdict=verdict, n_allowed=0)


def judge_synthetic(results: Iterable[RuleResult], real: Mapping[str, RealCount], is_private: bool) -> list[JudgedRule]:
    """Verdicts on a synthetic table, beside the real counts by rule key.

    With `is_private` no rule is loosened by what real patients do: a demotion would be learned from them outside
    the budget. (The limits of soft rules only give warnings; they change nothing in the table.)
    """
    return [_judge_synthetic(result, real.get(result.key), is_private) for result in results]


def _judge_synthetic(result: RuleResult, real: RealCount | None, is_private: bool) -> JudgedRule:
    is_demoted = real is not None and real.is_demoted and not is_private
    severity: Severity = "hard" if result.rule.is_hard and not is_demoted else "soft"
    if not result.could_run:
        return JudgedRule(result=result, severity=severity, verdict="could_not_run", n_allowed=0)
    if not result.is_applicable:
        return JudgedRule(result=result, severity=severity, verdict="not_applicable")
    if severity == "hard":
        n_allowed = 0
    elif real is None or not real.is_comparable:
        note = "too few real records to compare with"
        return JudgedRule(result=result, severity=severity, verdict="not_compared", note=note)
    elif result.rule.is_of_whole_table:
        n_allowed = real.n_failed or 0
    else:
        n_allowed = math.floor(soft_limit(real, result.n_checked, result.rule.tolerance) * result.n_checked)
    verdict: Verdict = "failed" if result.n_failed > n_allowed else "passed"
    return JudgedRule(result=result, severity=severity, verdict=verdict, n_allowed=n_allowed)


def soft_limit(real: RealCount, n_synthetic: int, tolerance: float) -> float:
    """Largest rate that a soft rule may have: real rate + tolerance + STANDARD_ERRORS of the difference.

    The standard error is that of the difference of two proportions at the real rate, (k + 1) / (n + 2) so that it
    is not zero at zero failures. A hidden count of failures (1 to SMALL_CELL - 1) is taken in its middle.
    """
    assert real.n_checked  # callers compare only where real records were checked
    n_failed = SMALL_CELL // 2 if real.n_failed is None else real.n_failed
    smoothed = (n_failed + 1) / (real.n_checked + 2)
    variance = smoothed * (1 - smoothed) * (1 / real.n_checked + 1 / n_synthetic)
    return min(1.0, n_failed / real.n_checked + tolerance + STANDARD_ERRORS * math.sqrt(variance))
