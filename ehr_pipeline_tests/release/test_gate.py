"""What the gate promises: it stays shut for each single thing that is missing, altered, stale, failed or unproved."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import LedgerBroken, ReleaseRefused
from ehr_pipeline.evaluate.result import Attack
from ehr_pipeline.privacy.account import Account
from ehr_pipeline.privacy.budget import PrivacyPlan
from ehr_pipeline.release import checks
from ehr_pipeline.release import gate as room
from ehr_pipeline.release.gate import examine
from ehr_pipeline.release.spending import Spending
from ehr_pipeline.report.cohort import report_cohort
from ehr_pipeline.storage import write_json, write_parquet

from .conftest import ATTACKS, SCORES, attack, chain, edit, judge, score


def reasons(data, **more):
    """Why the gate refuses."""
    with pytest.raises(ReleaseRefused) as refused:
        examine(data, "small", "independent", **more)
    assert not any("\n" in reason for reason in refused.value.reasons)
    return refused.value.reasons


def only(data, words, **more):
    """That the gate refuses for one reason alone, which holds these words."""
    (reason,) = reasons(data, **more)
    assert words in reason
    return reason


@pytest.fixture
def folder(data):
    return data.cohort("small")


@pytest.fixture
def files(folder):
    return folder.generator("independent")


def test_what_passes_everything_is_cleared(data):
    cleared = examine(data, "small", "independent")
    assert cleared.is_private and cleared.spending.total.epsilon == pytest.approx(1.0)


# Missing or unreadable

LEFT = {
    "model": lambda folder, files: files.model / "model.json",
    "sanity": lambda folder, files: files.sanity,
    "scores": lambda folder, files: files.scores,
    "synthetic": lambda folder, files: files.synthetic,
    "report scores": lambda folder, files: folder.report_scores,
    "report page": lambda folder, files: folder.report_page,
    "real sanity": lambda folder, files: folder.sanity,
    "split": lambda folder, files: folder.split,
    "prepared table": lambda folder, files: folder.prepared_table,
    "schema": lambda folder, files: folder.schema,
    "summary": lambda folder, files: folder.summary,
}


@pytest.mark.parametrize("what", LEFT)
def test_a_missing_file_refuses_and_is_named(data, folder, files, what):
    path = LEFT[what](folder, files)
    path.unlink()
    assert any(path.name in reason and "first" in reason for reason in reasons(data))


@pytest.mark.parametrize("what", LEFT)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"a": 1}'])
def test_an_unreadable_file_refuses(data, folder, files, what, content):
    LEFT[what](folder, files).write_bytes(content)
    assert reasons(data)


def test_json_nested_too_deeply_refuses(data, files):
    files.scores.write_text("[" * 100_000 + "]" * 100_000)
    assert any("scores.json" in reason for reason in reasons(data))


@pytest.mark.parametrize(
    ("path", "field"),
    [
        *(("sanity", name) for name in ("drawn_with", "table_sha256", "checks", "rules", "passed", "is_private")),
        *(("scores", name) for name in ("scores", "attacks", "provenance")),
    ],
)
def test_a_record_without_a_field_refuses(data, files, path, field):
    edit(getattr(files, path), lambda content: content.pop(field))
    assert reasons(data)


# About something else than what stands there


def test_a_synthetic_table_that_was_overwritten_after_judging_is_refused(data, files):
    table = pd.read_parquet(files.synthetic)
    table.loc[0, "age"] = 44.4
    write_parquet(files.synthetic, table)
    found = " ".join(reasons(data))
    assert "not the one that its sanity checks saw" in found and "not the one that was evaluated" in found


def test_a_table_sampled_again_is_refused_until_it_is_judged_again(data, definition, folder, files):
    from ehr_pipeline.sanity.sample import sample_cohort

    sample_cohort(folder, "independent", seed=5)
    assert any("not the one that was evaluated" in reason for reason in reasons(data))
    judge(data, definition, "independent")
    examine(data, "small", "independent")


@pytest.mark.parametrize("part", ["model.json", "weights"])
def test_an_altered_model_is_refused(data, files, part):
    path = files.model / "model.json"
    if part == "weights":
        path = next(one for one in files.model.iterdir() if one.name != "model.json")
    path.write_bytes(path.read_bytes() + b" ")
    assert any("was not drawn from the model" in reason for reason in reasons(data))


def test_a_split_made_anew_is_refused(data, folder):
    split = pd.read_parquet(folder.split)
    split["split"] = np.where(split["subject_id"] % 3 == 1, "holdout", "train")
    write_parquet(folder.split, split)
    assert any("train it again" in reason for reason in reasons(data))


def test_real_records_that_changed_are_refused(data, folder):
    table = pd.read_parquet(folder.prepared_table)
    table.loc[0, "age"] = 44.4
    write_parquet(folder.prepared_table, table)
    assert any("train it again" in reason or "prepared table" in reason for reason in reasons(data))


def test_an_evaluation_of_another_definition_is_refused(data, definition):
    judge(data, definition, "independent", definition_sha256="0" * 64)
    only(data, "another definition")


def test_a_report_of_other_findings_is_refused(data, definition, files):
    edit(files.scores, lambda content: content["provenance"].update(seed=1))
    only(data, "the report shows another scores")
    report_cohort(data, definition)
    examine(data, "small", "independent")


def test_a_page_that_was_edited_is_refused(data, folder):
    folder.report_page.write_text(folder.report_page.read_text() + " ")
    only(data, "page is not the one")


# Verdicts


def rejudge(data, definition, scores=SCORES, attacks=ATTACKS, **more):
    judge(data, definition, "independent", scores=scores, attacks=attacks, **more)


def test_a_failed_privacy_score_is_refused(data, definition):
    rejudge(data, definition, [*SCORES[1:], score("exact_copies_train", value=0.5, verdict="failed")])
    assert "exact_copies_train failed: it is beyond its limit" in reasons(data)


def test_a_verdict_that_its_own_value_contradicts_is_refused(data, definition):
    rejudge(data, definition, [*SCORES[1:], score("exact_copies_train", value=0.5)])
    only(data, "said to have passed")
    rejudge(data, definition, [*SCORES[1:], score("exact_copies_train", value=None)])
    only(data, "said to have passed")


def test_an_attack_that_missed_its_plant_is_refused_whatever_its_scores_say(data, definition):
    rejudge(data, definition, attacks=[replace_attack(ATTACKS[0]), ATTACKS[1]])
    only(data, "missed the leak planted for it")


def test_an_attack_that_found_some_leaks_and_missed_one_it_is_for_is_refused(data, definition):
    leak = {"plant": "jittered", "must_be_found": True, "is_found": False, "score": "x", "value": 0.0, "limit": 1.0}
    half = Attack.model_validate(ATTACKS[0].model_dump() | {"plants": [leak]})
    rejudge(data, definition, attacks=[half, ATTACKS[1]])
    only(data, "missed the leak planted for it")


AUDIT = {"claimed_epsilon": 1.0, "epsilon": 0.2, "is_violated": False, "ceiling": 3.5, "n_canaries": 100}


def test_an_audit_refuses_only_what_it_refutes(data, files):
    write_json(files.audit, AUDIT | {"data_fingerprint": "0" * 64})
    examine(data, "small", "independent")
    for found in ({"is_violated": True}, {"epsilon": 1.2}, {"epsilon": float(3)}, {"is_violated": None}):
        write_json(files.audit, AUDIT | found)
        only(data, "an audit refuted the promise")
    files.audit.write_text("{}")
    only(data, "the audit could not be checked")


def replace_attack(one):
    return one.model_copy(update={"found_plant": False})


def test_diagnostics_neither_pass_nor_refuse(data, definition):
    distance = score("dcr_share", value=0.99, threshold=None, verdict="diagnostic")
    rejudge(data, definition, [*SCORES, distance])
    examine(data, "small", "independent")
    blind = [one for one in SCORES if one.name != "membership_tpr_at_1%[all]"]
    rejudge(data, definition, blind)
    only(data, "membership has no score that passed")


def test_an_attack_that_the_policy_asks_for_must_have_been_run(data, definition):
    rejudge(data, definition, attacks=ATTACKS[:1])
    only(data, "no attack by the name of membership")
    rejudge(data, definition, attacks=[])
    assert len(reasons(data)) == 2


def test_any_attack_beside_the_required_ones_must_hold_too(data, definition):
    linkage = attack("linkage", ["linkage_rate"])
    failed = score("linkage_rate", value=0.3, verdict="failed")
    rejudge(data, definition, [*SCORES, failed], [*ATTACKS, linkage])
    assert "linkage_rate failed: it is beyond its limit" in reasons(data)


def test_privacy_that_was_not_judged_is_refused(data, files, definition):
    edit(files.scores, lambda content: content.update(not_judged={"privacy": "no holdout"}))
    report_cohort(data, definition)
    only(data, "was not judged: no holdout")


def test_scores_under_other_limits_than_the_policys_are_refused(data, definition):
    data.policy.write_text("limits: {membership_tpr_excess: 0.001}\n")
    only(data, "under other limits")


def test_too_few_patients_are_the_reason(data):
    data.policy.write_text("minimum_patients: 200\n")
    assert any("with fewer than 200 on a side" in reason for reason in reasons(data))


def test_quality_refuses_only_where_the_policy_says_so(data):
    data.policy.write_text("quality_gates: [fidelity, utility]\n")
    found = reasons(data)
    assert any("c2st_auc failed" in reason for reason in found)
    assert any(reason.startswith("utility: nothing passed") for reason in found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(passed=False), "failed its sanity checks"),
        (lambda c: c["checks"][0].update(blocking=True), "sanity check structure"),
        (lambda c: c["checks"].pop(), "a sanity check of independent is missing"),
        (lambda c: first_rule(c)["synthetic"].update(n_failed=1), "breaks the HARD rule"),
        (lambda c: first_rule(c)["synthetic"].update(could_run=False), "could not run"),
        (lambda c: c.update(rules_hash="0"), "other clinical rules"),
        (lambda c: c.update(rules={name: [] for name in c["rules"]}), "no clinical rule was run"),
        (lambda c: c.update(is_private=False), "rules were loosened"),
    ],
)
def test_each_fault_of_the_sanity_record_is_refused(data, definition, files, change, words):
    edit(files.sanity, change)
    report_cohort(data, definition)
    assert any(words in reason for reason in reasons(data))


def first_rule(content):
    return next(rule for rules in content["rules"].values() for rule in rules if rule["severity_here"] == "hard")


def test_a_cohort_whose_real_table_failed_is_refused(data, folder):
    edit(folder.sanity, lambda content: content.update(passed=False))
    only(data, "the prepared table of small failed its checks")


# Budgets


def test_the_cap_of_the_policy_holds(data):
    data.policy.write_text("epsilon_cap: 0.5\n")
    found = reasons(data)
    assert any("the policy allows 0.5" in reason for reason in found)
    assert any("all private fits on these patients" in reason for reason in found)


def test_the_cap_of_delta_holds(data):
    data.policy.write_text("delta_cap: 1.0e-9\n")
    assert any("delta" in reason for reason in reasons(data))


def test_the_tier_of_a_private_model_is_not_said_to_be_another(data):
    only(data, "has a budget; leave --tier", tier="non-private")


def test_a_model_without_a_budget_needs_its_tier_said_and_allowed(data, definition):
    chain(data, definition, "independent")
    only(data, "out loud")
    examine(data, "small", "independent", tier="non-private")
    data.policy.write_text("non_private_tier: false\n")
    only(data, "releases no model without one", tier="non-private")


def test_a_private_model_is_refused_once_its_patients_count_as_infinity(data, definition):
    account = Account(data=data, why="a test")
    entry = account.charge(None, source="small", generator="tabular_vae", data_fingerprint="0" * 64)
    account.ledger.mark_released(entry, what="elsewhere", why="a test")
    only(data, "no budget promises them anything now")


def test_an_altered_ledger_refuses(data):
    data.ledger.write_bytes(data.ledger.read_bytes()[:-1] + b"x")
    only(data, "does not verify")


def test_a_ledger_that_is_gone_refuses(data):
    data.ledger.unlink()
    data.ledger.with_suffix(".head.json").unlink()
    only(data, "the ledger has no entry")


def evidence_of(data):
    return examine(data, "small", "independent").evidence


def with_plan(evidence, **changes):
    """The evidence with another promise in the model's card."""
    plan = PrivacyPlan.of_record(evidence.privacy)
    model = evidence.model | {"privacy": replace(plan, **changes).record()}
    return replace(evidence, model=model)


def test_a_promise_that_its_mechanisms_do_not_keep_is_refused(data, monkeypatch):
    """Somebody divides epsilon by ten in the model's card: the mechanisms still add up to what they add up to."""
    evidence = evidence_of(data)
    plan = PrivacyPlan.of_record(evidence.privacy)
    less, more = (replace(plan.accounted, epsilon=epsilon) for epsilon in (0.1, 3.0))
    quieter = replace(plan.mechanisms[0], noise_multiplier=99.0)
    for changed, words in (
        ({"accounted": less}, "add up to more than"),
        ({"mechanisms": ()}, "names no mechanism"),
        ({"budget": replace(plan.budget, epsilon=0.1)}, "more than the budget it was given"),
        ({"mechanisms": (quieter,)}, "the ledger was told of other mechanisms"),
        ({"accounted": more, "budget": replace(plan.budget, epsilon=3.0)}, "more than the ledger was told"),
    ):
        monkeypatch.setattr(room, "gather", lambda *_, changed=changed: with_plan(evidence, **changed))
        assert any(words in reason for reason in reasons(data)), words


@pytest.mark.parametrize("field", ["source", "generator", "data_fingerprint"])
def test_a_ledger_entry_of_another_model_does_not_serve(data, files, definition, field):
    evidence = evidence_of(data)
    plan = PrivacyPlan.of_record(evidence.privacy)
    said = {
        "source": "small", "generator": "independent", "data_fingerprint": evidence.model["data_fingerprint"],
    }  # fmt: skip
    other = Account(data=data, why="a test").charge(plan, **(said | {field: "other"}))
    edit(files.model / "model.json", lambda content: content.update(ledger_entry=other))
    assert any(f"is of another {field.replace('_', ' ')}" in reason for reason in reasons(data))


def test_the_recombination_as_published_is_never_released(data, monkeypatch):
    evidence = evidence_of(data)
    published = replace(evidence, model=evidence.model | {"config": {"mode": "as_published"}})
    monkeypatch.setattr(room, "gather", lambda *_: published)
    assert any("as_published" in reason for reason in reasons(data))
    private = published.model | {"privacy": None}
    monkeypatch.setattr(room, "gather", lambda *_: replace(published, model=private))
    assert any("never released" in reason for reason in reasons(data, tier="non-private"))


# The gate itself


@pytest.mark.parametrize("error", [ValueError("Mrs Example, 52"), KeyError("x"), LedgerBroken("the ledger is broken")])
@pytest.mark.parametrize("check", list(room.CHECKS))
def test_a_check_that_cannot_run_refuses_and_its_text_is_not_told(data, monkeypatch, check, error):
    def broken(evidence, policy):
        raise error

    monkeypatch.setitem(room.CHECKS, check, broken)
    reason = only(data, "could not be checked" if not isinstance(error, LedgerBroken) else "the ledger is broken")
    assert "Example" not in reason


def test_a_gate_without_a_word_on_spending_stays_shut(data, monkeypatch):
    def broken(*_):
        raise RuntimeError

    monkeypatch.setattr(room, "spending_of", broken)
    only(data, "what was spent could not be checked")


def test_as_many_people_must_approve_as_the_policy_says(data):
    data.policy.write_text("approvers: 2\n")
    only(data, "2 different people")
    only(data, "2 different people", approvers=["A. Person", "a.  person"])
    assert examine(data, "small", "independent", approvers=["A. Person", "B. Person"]).approvers


def test_reasons_are_single_printable_lines(data, files):
    edit(files.sanity, lambda content: content["checks"][0].update(blocking=True, name="a\x1b[2J\nb"))
    assert any("\\x1b" in reason for reason in reasons(data))


def test_every_check_is_asked():
    """A check that is written and not listed would be a gate nobody passes through."""
    listed = {*room.CHECKS.values(), checks.approved}
    written = {value for name, value in vars(checks).items() if callable(value) and value.__module__ == checks.__name__}
    assert {one for one in written if not one.__name__.startswith("_")} == listed


def test_totals_are_told_in_words():
    spending = Spending(tier="private", plan=None, entry=None, total=None)
    assert spending.totals_words == "not known"
