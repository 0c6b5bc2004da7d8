"""The verdict card: per generator and dimension passed or failed, and which gates failed. Fail closed.

What belongs here: reading verdicts off scores, attacks and rules. What does not: thresholds (`evaluate/` has
them), or any judgement whether the data may be released: that is the board's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ehr_pipeline.evaluate.result import Attack, Evaluation, Score
from ehr_pipeline.evaluate.timelines.result import TimelineEvaluation
from ehr_pipeline.report import metrics
from ehr_pipeline.report.inputs import ReportInputs
from ehr_pipeline.report.numbers import number
from ehr_pipeline.report.promise import tier
from ehr_pipeline.report.sanity_view import SanityView, read_sanity

State = Literal["passed", "failed", "not judged"]

DIMENSIONS = ("fidelity", "utility", "causal", "privacy")
RELEASE_CLASS = "internal"


@dataclass(frozen=True, kw_only=True)
class DimensionVerdict:
    """What became of one dimension: its gates counted, the failed ones in words, and why it was not judged."""

    dimension: str
    state: State
    n_gates: int
    failed: tuple[str, ...]
    why_not: str | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """The verdict card of one generator."""

    name: str
    title: str
    tier: str
    dimensions: tuple[DimensionVerdict, ...]
    attacks: tuple[Attack, ...]

    @property
    def failed(self) -> list[str]:
        """Every failed gate, in words."""
        return [reason for dimension in self.dimensions for reason in dimension.failed]

    @property
    def state(self) -> State:
        """Passed only where some dimension passed, none failed, and none was refused a judgement."""
        states = {dimension.state for dimension in self.dimensions}
        if "failed" in states:
            return "failed"
        is_refused = any(dimension.why_not for dimension in self.dimensions)
        return "passed" if "passed" in states and not is_refused else "not judged"


def cards(inputs: ReportInputs) -> list[Card]:
    """The verdict card of each generator. Where files were compared there are no rules, and no verdict on them."""
    found = []
    for one in inputs.generators:
        dimensions = [_dimension(dimension, one.evaluation) for dimension in DIMENSIONS]
        if one.evaluation.timelines is not None:
            dimensions.append(_timelines(one.evaluation.timelines))
        if not inputs.is_of_files:
            dimensions.append(_sanity(read_sanity(one.sanity, "synthetic")))
        found.append(
            Card(
                name=one.name,
                title=one.title,
                tier=tier(one, is_of_files=inputs.is_of_files),
                dimensions=tuple(dimensions),
                attacks=tuple(one.evaluation.attacks),
            )
        )
    return found


def shown_verdict(score: Score, attacks: Sequence[Attack]) -> str:
    """A score's verdict as it may be shown: one of an attack that missed its planted leak is never `passed`."""
    if score.verdict == "passed" and score.name in blind_scores(attacks):
        return "failed"
    return score.verdict


def blind_scores(attacks: Sequence[Attack]) -> set[str]:
    """Scores of which no attack found its planted leak."""
    seeing = {name for attack in attacks if attack.found_plant for name in attack.score_names}
    return {name for attack in attacks if not attack.found_plant for name in attack.score_names} - seeing


def _dimension(dimension: str, evaluation: Evaluation) -> DimensionVerdict:
    gates = [
        score for score in evaluation.scores.values() if score.dimension == dimension and score.verdict != "diagnostic"
    ]
    failed = [score for score in gates if score.verdict == "failed"]
    n_gates, reasons, why_not = len(gates), [], evaluation.not_judged.get(dimension)
    if dimension == "privacy" and why_not is None:
        blind = blind_scores(evaluation.attacks)
        failed = [score for score in failed if score.name not in blind or _is_outside(score)]
        n_gates += max(len(evaluation.attacks), 1)
        reasons = _attack_failures(evaluation.attacks)
    reasons = [_reason(score) for score in failed] + reasons
    state: State = "failed" if reasons else "passed" if n_gates and why_not is None else "not judged"
    return DimensionVerdict(dimension=dimension, state=state, n_gates=n_gates, failed=tuple(reasons), why_not=why_not)


def _timelines(found: TimelineEvaluation) -> DimensionVerdict:
    """The gates of the events, whatever they measure."""
    gates = [score for score in found.scores.values() if score.verdict != "diagnostic"]
    failed = tuple(_reason(score) for score in gates if score.verdict == "failed")
    state: State = "failed" if failed else "passed" if gates else "not judged"
    return DimensionVerdict(dimension="timelines", state=state, n_gates=len(gates), failed=failed)


def _attack_failures(attacks: Sequence[Attack]) -> list[str]:
    """What is wrong with the attacks themselves; their gates are then not listed one by one."""
    if not attacks:
        return ["no attack was run, so nothing is known of what the table gives away"]
    missed = [attack.name for attack in attacks if not attack.found_plant]
    if not missed:
        return []
    return [
        f"{len(missed)} of {len(attacks)} attacks missed the leak planted for them: finding nothing, they show nothing"
    ]


def _is_outside(score: Score) -> bool:
    """Whether the value alone fails the gate."""
    if score.value is None or score.threshold is None:
        return True
    return score.value < score.threshold if score.better == "higher" else score.value > score.threshold


def _reason(score: Score) -> str:
    """A failed gate in words. Its note comes first where the value alone would have passed."""
    title, limit = metrics.title(score.name), score.threshold
    if score.value is None or limit is None:
        return f"{title}: {score.note or 'could not be computed'}"
    if score.note and not _is_outside(score):
        return f"{title}: {number(score.value)}, but {score.note}"
    bound = "at least" if score.better == "higher" else "at most"
    return f"{title}: {number(score.value)}, allowed {bound} {number(limit)}"


def _sanity(sanity: SanityView | None) -> DimensionVerdict:
    if sanity is None:
        return DimensionVerdict(
            dimension="clinical sanity", state="failed", n_gates=1, failed=("clinical rules: were not run",)
        )
    judged = [rule for rule in sanity.rules if rule.is_applicable]
    failed = [
        f"{rule.severity} rule {rule.key}: {rule.title} ({rule.state}, broken by {rule.shown_share})"
        for rule in judged
        if rule.state in ("failed", "could not run")
    ]
    state: State = "failed" if failed else "passed" if judged else "not judged"
    return DimensionVerdict(dimension="clinical sanity", state=state, n_gates=len(judged), failed=tuple(failed))
