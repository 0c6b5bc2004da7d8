"""The public facts of one release: everything that its pages say, and nothing else of the evidence.

What belongs here: choosing, rounding and naming what may be said outside. What does not: how it is shown (`pages/`).
The exact number of patients, seeds, durations, hashes of real tables and the names of approvers stay inside.
"""

from __future__ import annotations

import importlib.metadata
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ehr_pipeline.generators.registry import entry_of
from ehr_pipeline.record import Column
from ehr_pipeline.release import coarse, statement
from ehr_pipeline.release.crosswalk import criteria
from ehr_pipeline.release.events import ReleasedEvents
from ehr_pipeline.release.evidence import Evidence
from ehr_pipeline.release.figures import pictures
from ehr_pipeline.release.gate import Cleared
from ehr_pipeline.report.numbers import percent

VERSIONS_OF = ("ehr-pipeline", "dp-accounting", "duckdb", "numpy", "opacus", "opendp", "pandas", "torch")
N_LEVELS_SHOWN = 30
INTERNAL_SETTINGS = frozenset({"seed", "device"})


def public_facts(
    cleared: Cleared, release: str, made_at: datetime, table: Path, key: str, *, events: ReleasedEvents | None = None
) -> dict[str, Any]:
    """What the pages of a release show.

    Parameters
    ----------
    table
        The synthetic table as it lies in the bundle.
    key
        Fingerprint of the public key that signs.
    events
        Numbers of the synthetic events that lie beside the table.
    """
    evidence, spending = cleared.evidence, cleared.spending
    names = set(pq.read_schema(table).names)
    schema = evidence.schema.without(name for name in evidence.schema.names if name not in names)
    found = coarse.attacks(evidence.evaluation)
    return {
        "release": release,
        "made_on": made_at.date().isoformat(),
        "cohort": evidence.cohort,
        "title": evidence.report["cohort"]["title"],
        "source": evidence.report["lineage"]["source"],
        "is_simulated": evidence.report["lineage"]["is_simulated"],
        "generator": evidence.generator,
        "generator_title": entry_of(evidence.generator).title,
        "tier": spending.tier,
        "tier_words": statement.PRIVATE_WORDS if cleared.is_private else statement.NON_PRIVATE_WORDS,
        "is_private": cleared.is_private,
        "n_rows": f"{pq.read_metadata(table).num_rows:,}",
        "events": None if events is None else {"n": f"{events.n_events:,}", "n_codes": f"{events.n_codes:,}"},
        "n_patients": _patients(cleared),
        "columns": [_column(column) for column in schema.columns],
        "pictures": list(pictures(table, schema)),
        "gates": coarse.gates(evidence.evaluation),
        "attacks": found,
        "criteria": criteria(found),
        "unjudged": sorted(evidence.evaluation.not_judged),
        "rules": _rules(evidence.sanity),
        "settings": _settings(evidence.model["config"]),
        "promise": None if spending.plan is None else _promise(cleared),
        "audit": _audit(evidence),
        "spent_before": spending.totals_words,
        "policy": _policy(cleared),
        "n_approvers": len(cleared.approvers),
        "versions": {package: importlib.metadata.version(package) for package in VERSIONS_OF},
        "key": key,
        "n_outside": _n_outside(evidence),
    }


def _patients(cleared: Cleared) -> str:
    """Training patients: as the fit counted them, noise included, or to the nearest hundred."""
    if cleared.is_private:
        return f"{coarse.about(cleared.evidence.model['n_patients'])} patients, as counted inside the budget"
    return f"{coarse.about(cleared.evidence.n_train)} patients"


def _column(column: Column) -> dict[str, str]:
    """A row of the data dictionary: public knowledge, as the schema declares it."""
    span = "" if column.minimum is None or column.maximum is None else f"{column.minimum:g} to {column.maximum:g}"
    levels = column.levels or ()
    more = f" and {len(levels) - N_LEVELS_SHOWN} more" if len(levels) > N_LEVELS_SHOWN else ""
    return {
        "name": column.name,
        "title": column.title or "",
        "kind": column.kind,
        "unit": column.unit or "",
        "values": span or ", ".join(levels[:N_LEVELS_SHOWN]) + more,
        "missing": "may be missing" if column.missing else "always there",
        "role": column.role,
    }


def _rules(sanity: dict[str, Any]) -> dict[str, Any]:
    rules = [rule for heading in sanity["rules"].values() for rule in heading]
    judged = [rule for rule in rules if rule["verdict"] not in ("not_applicable", "not_compared")]
    soft = [rule for rule in judged if rule["severity_here"] == "soft"]
    rejection = sanity["accounting"]["rejection"]["rate"]
    return {
        "n_hard": sum(rule["severity_here"] == "hard" for rule in judged),
        "n_soft": len(soft),
        "n_soft_failed": sum(rule["verdict"] == "failed" for rule in soft),
        "rejected": percent(round(rejection, 2)) if rejection is not None else "–",
    }


def _settings(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Settings of the generator, less those that would help an attacker or say nothing."""
    return [(name.replace("_", " "), str(value)) for name, value in config.items() if name not in INTERNAL_SETTINGS]


def _promise(cleared: Cleared) -> dict[str, Any]:
    plan = cleared.spending.plan
    assert plan is not None  # the caller looked
    return {
        "epsilon": f"{plan.accounted.epsilon:.4g}",
        "delta": f"{plan.accounted.delta:.3g}",
        "record": plan.record(),
        "unit": plan.unit,
        "parameters": statement.parameters(plan),
        "mechanisms": statement.mechanisms(plan),
        "notes": list(plan.notes),
        "is_trained": statement.is_trained(plan),
        "is_replace_one": statement.is_replace_one(plan),
    }


def _audit(evidence: Evidence) -> str | None:
    """What an audit of a fit to these very data says, in one sentence; the gate has seen that it refutes nothing."""
    audit = evidence.audit
    if audit is None or audit["claimed_epsilon"] is None:
        return None
    if audit["data_fingerprint"] != evidence.model["data_fingerprint"]:
        return None
    return (
        f"An audit hid {audit['n_canaries']:,} made-up patients in one extra fit, looked for them, and refuted nothing;"
        f" the most that it could have shown is epsilon {audit['ceiling']:.2f}."
    )


def _policy(cleared: Cleared) -> list[tuple[str, str]]:
    policy = cleared.policy
    return [
        ("Most that all private fits on the same patients may spend", f"epsilon {policy.epsilon_cap:g}"),
        ("Most that their deltas may add up to", f"{policy.delta_cap:g}"),
        ("Patients needed on each side of the split", f"{policy.minimum_patients:,}"),
        ("Attacks that must have been run", ", ".join(policy.required_attacks)),
        ("Limits that differ from the defaults", ", ".join(f"{k} {v:g}" for k, v in policy.limits.items()) or "none"),
        ("Qualities that may refuse a release", ", ".join(policy.quality_gates) or "none: they are only reported"),
        ("People who must approve", str(policy.approvers)),
    ]


def _n_outside(evidence: Evidence) -> int:
    """Verdicts and coarse values that were computed on real patients and are told here, outside any budget."""
    gates = coarse.gates(evidence.evaluation)
    verdicts = sum(one.n_passed + one.n_failed for one in gates) + len(evidence.evaluation.attacks)
    return verdicts + len(gates) + _rules(evidence.sanity)["n_soft"]


def manifest_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of the release beside its files."""
    kept = ("release", "made_on", "cohort", "generator", "tier", "is_simulated", "versions")
    promise = facts["promise"]
    return {name: facts[name] for name in kept} | {
        "privacy": None if promise is None else promise["record"],
        "columns": [column["name"] for column in facts["columns"]],
    }
