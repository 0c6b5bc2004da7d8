"""What the gate asks of the evidence: each check gives the reasons that speak against a release, or none.

What belongs here: checks on what the stages left (`evidence.py`). What does not: budgets and ledger (`spending.py`),
the order of checks and what happens when one cannot run (`gate.py`). A diagnostic is a reason neither for nor against.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from ehr_pipeline.evaluate.result import Attack, Score
from ehr_pipeline.evaluate.timelines.plausibility import NAME as IMPLAUSIBLE
from ehr_pipeline.evaluate.verdicts import is_worse
from ehr_pipeline.record import shown_count
from ehr_pipeline.release.evidence import Evidence
from ehr_pipeline.release.policy import Policy
from ehr_pipeline.sanity.rules import CHECK_NAMES, load_rules, rules_hash

EVENTS = "(events)"
"""Stands in the names of the attacks on the order of events."""


def binding(evidence: Evidence, policy: Policy) -> list[str]:
    """Whether every record is about the tables and the model that stand there now."""
    g, now, drawn_with = evidence.generator, evidence.hashes, evidence.sanity["drawn_with"]
    judged = evidence.evaluation.provenance
    reasons = []
    if evidence.sanity["table_sha256"] != now["synthetic"]:
        reasons.append(f"the synthetic table of {g} is not the one that its sanity checks saw; sample {g} again")
    if drawn_with.get("model_sha256") != now["model"]:
        reasons.append(f"the synthetic table of {g} was not drawn from the model that stands there; sample {g} again")
    if judged.get("synthetic_sha256") != now["synthetic"]:
        reasons.append(f"the synthetic table of {g} is not the one that was evaluated; evaluate {g} again")
    reasons += [
        f"{g} was evaluated on another {what.replace('_', ' ')} than stands there; evaluate it again"
        for what in ("prepared_table", "schema", "split")
        if judged.get(f"{what}_sha256") != now[what]
    ]
    if judged.get("definition_sha256") != evidence.cohort_summary["definition_sha256"]:
        reasons.append(f"{g} was evaluated for another definition of {evidence.cohort}; evaluate it again")
    if evidence.has_events:
        reasons += _events_bound(evidence)
    if evidence.model["generator"] != g:
        reasons.append(f"the model of {g} was made by another generator; train {g} again")
    return reasons


def _events_bound(evidence: Evidence) -> list[str]:
    """The same for the events of a generator of timelines."""
    g, now, found = evidence.generator, evidence.hashes, evidence.evaluation.timelines
    reasons = []
    if evidence.sanity.get("events_sha256") != now["events"]:
        reasons.append(f"the synthetic events of {g} are not those that its sanity checks saw; sample {g} again")
    if found is None:
        return [*reasons, f"the synthetic events of {g} were not evaluated; evaluate {g} again"]
    if found.provenance.get("events_sha256") != now["events"]:
        reasons.append(f"the synthetic events of {g} are not those that were evaluated; evaluate {g} again")
    if found.provenance.get("prepared_timelines_sha256") != now["prepared_timelines"]:
        reasons.append(f"{g} was evaluated on other prepared timelines than stand there; evaluate it again")
    return reasons


def reported(evidence: Evidence, policy: Policy) -> list[str]:
    """Whether the internal report shows exactly these findings."""
    g, now, report = evidence.generator, evidence.hashes, evidence.report
    if g not in report["generators"]:
        return [f"the report does not show {g}; write the report again"]
    shown = report["lineage"]["hashes"]
    expected = {
        "prepared table": now["prepared_table"],
        "schema": now["schema"],
        "split": now["split"],
        f"synthetic table, {g}": now["synthetic"],
        f"model, {g}": now["model"],
        f"sanity, {g}": now["sanity"],
        f"scores, {g}": now["scores"],
    }
    other = [name for name, digest in expected.items() if shown.get(name) != digest]
    reasons = [f"the report shows another {', '.join(other)} than stands there; write it again"] if other else []
    if report.get("page_sha256") != now["report_page"]:
        reasons.append("the report's page is not the one that belongs to its scores; write it again")
    return reasons


def clinical(evidence: Evidence, policy: Policy) -> list[str]:
    """Whether every HARD rule held without exception, and every check ran."""
    g, sanity = evidence.generator, evidence.sanity
    reasons = []
    if evidence.real_sanity["passed"] is not True:
        reasons.append(f"the prepared table of {evidence.cohort} failed its checks")
    if sanity["rules_hash"] != rules_hash(load_rules()):
        reasons.append(f"{g} was checked by other clinical rules than are there now; sample {g} again")
    if sanity["passed"] is not True:
        reasons.append(f"{g} failed its sanity checks")
    if sorted(check["name"] for check in sanity["checks"]) != sorted(CHECK_NAMES):
        reasons.append(f"a sanity check of {g} is missing; sample {g} again")
    reasons += [f"sanity check {check['name']} of {g} failed" for check in sanity["checks"] if check["blocking"]]
    rules = [rule for heading in sanity["rules"].values() for rule in heading]
    if not rules:
        reasons.append(f"no clinical rule was run on {g}; sample {g} again")
    reasons += [f"rule {rule['key']} could not run on {g}" for rule in rules if not rule["synthetic"]["could_run"]]
    hard = [rule for rule in rules if rule["severity_here"] == "hard"]
    reasons += [f"{g} breaks the HARD rule {rule['key']}" for rule in hard if rule["synthetic"]["n_failed"] != 0]
    if sanity["is_private"] is not (evidence.privacy is not None):
        reasons.append(f"rules were loosened by what real patients do, which a budget forbids; sample {g} again")
    return reasons


def enough_patients(evidence: Evidence, policy: Policy) -> list[str]:
    """Whether there are enough patients for an attack to show anything."""
    least, sides = policy.minimum_patients, (evidence.n_train, evidence.n_holdout)
    if min(sides) >= least:
        return []
    train, holdout = (shown_count(n) for n in sides)
    return [
        f"{evidence.cohort} has {train} training and {holdout} holdout patients; with fewer than {least} on a side "
        "nothing can be shown"
    ]


def attacked(evidence: Evidence, policy: Policy) -> list[str]:
    """Whether every attack ran, found its planted leak, and found no other."""
    g, evaluation = evidence.generator, evidence.evaluation
    if judged := evaluation.not_judged.get("privacy"):
        return [f"privacy of {g} was not judged: {judged}"]
    reasons = []
    if evaluation.provenance.get("thresholds") != asdict(policy.thresholds()):
        reasons.append(f"{g} was evaluated under other limits than the policy has now; evaluate it again")
    scores = {name: score for name, score in evaluation.scores.items() if score.dimension == "privacy"}
    blind = {name for attack in evaluation.attacks if not attack.found_plant for name in attack.score_names}
    reasons += [
        _of_score(score)
        for score in scores.values()
        if score.verdict == "failed" and not (score.name in blind and _holds(score))  # the attack itself is named below
    ]
    reasons += [
        f"{score.name} is said to have passed, but its value does not"
        for score in scores.values()
        if score.verdict == "passed" and not _holds(score)
    ]
    for attack in evaluation.attacks:
        reasons += _of_attack(attack, scores)
    for word in policy.required_attacks:
        if not any(word in attack.name for attack in evaluation.attacks):
            reasons.append(f"no attack by the name of {word} was run on {g}, which the policy asks for")
        elif evidence.has_events and not any(
            word in attack.name and EVENTS in attack.name for attack in evaluation.attacks
        ):
            reasons.append(f"no attack by the name of {word} was run on the events of {g}, which the policy asks for")
    return reasons


def rare_words(evidence: Evidence, policy: Policy) -> list[str]:
    """Whether the events of a model without a budget have no code and no text of few training patients.

    Where a budget stands behind the model, what it may know of a rare code is bounded already.
    """
    if not evidence.has_events or evidence.privacy is not None or evidence.evaluation.timelines is None:
        return []
    g, rare = evidence.generator, evidence.evaluation.timelines.rare
    if rare is None:
        return [f"nobody counted the rare codes in the events of {g}; evaluate {g} again"]
    return [
        f"{n:,} {what} in the events of {g} are those of fewer than {rare.minimum} training patients; train {g} again"
        for what, n in (("codes", rare.n_codes), ("texts", rare.n_texts))
        if n
    ]


def _of_attack(attack: Attack, scores: dict[str, Score]) -> list[str]:
    if not attack.found_plant or any(leak.must_be_found and not leak.is_found for leak in attack.plants):
        return [f"the attack {attack.name} missed the leak planted for it, so that it shows nothing"]
    if not any(name in scores and scores[name].verdict == "passed" for name in attack.score_names):
        return [f"the attack {attack.name} has no score that passed"]
    return []


def _of_score(score: Score) -> str:
    if score.note and (score.value is None or score.threshold is None or _holds(score)):
        return f"{score.name} failed: {score.note}"
    return f"{score.name} failed: it is beyond its limit"


def _holds(score: Score) -> bool:
    """Whether the value alone is within the limit."""
    if score.value is None or score.threshold is None:
        return False
    return not is_worse(score.name, score.value, score.threshold)


def good_enough(evidence: Evidence, policy: Policy) -> list[str]:
    """Whether the qualities that the policy names have no failed gate, and one that passed.

    For a generator of timelines the gates of its events count beside those of its table.
    """
    reasons = []
    timelines = evidence.evaluation.timelines
    scores = [*evidence.evaluation.scores.values(), *(timelines.scores.values() if timelines else ())]
    for dimension in policy.quality_gates:
        gates = [score for score in scores if _quality(score) == dimension]
        failed = [score.name for score in gates if score.verdict == "failed"]
        if failed:
            reasons.append(f"{dimension}: {', '.join(failed)} failed, and the policy lets {dimension} refuse")
        elif not any(score.verdict == "passed" for score in gates):
            reasons.append(f"{dimension}: nothing passed, and the policy lets {dimension} refuse")
    return reasons


def _quality(score: Score) -> str:
    """Which quality of a policy a score speaks of."""
    return "plausibility" if score.name == IMPLAUSIBLE else score.dimension


def approved(approvers: Iterable[str], policy: Policy) -> list[str]:
    """Whether as many different people are named as the policy asks for."""
    named = {" ".join(name.split()).casefold() for name in approvers} - {""}
    if len(named) >= policy.approvers:
        return []
    return [f"the policy asks for {policy.approvers} different people with --approved-by; {len(named)} named"]


def audited(evidence: Evidence, policy: Policy) -> list[str]:
    """Whether an audit with canaries, where one was run, refutes the promise; one that finds nothing proves nothing.

    A refuted promise is a fault of the generator, whatever the data were, so that an old audit counts too.
    """
    audit = evidence.audit
    if audit is None:
        return []
    claimed = audit["claimed_epsilon"]
    if audit["is_violated"] is not False or (claimed is not None and not audit["epsilon"] <= claimed):
        return [f"an audit refuted the promise of {evidence.generator}; its noise is too small, or its code is wrong"]
    return []
