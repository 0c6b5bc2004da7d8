"""The rules of MIMIC-IV tables, counted in a warehouse: the hospital's own, or one made of synthetic tables.

What belongs here: counting whole records over joins. It informs; it blocks nothing. Patient tables are in `run.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from ehr_pipeline.sanity.judge import judge_real
from ehr_pipeline.sanity.rules import Rule, load_rules
from ehr_pipeline.sanity.run import RuleResult
from ehr_pipeline.sanity.verdict import TableCheck


def run_warehouse_rules(
    connection: duckdb.DuckDBPyConnection, rules: Sequence[Rule] | None = None
) -> tuple[RuleResult, ...]:
    """Count every rule that has a warehouse form; a rule whose tables are absent has nothing checked.

    A rule that raises has `could_run=False`.
    """
    rules = load_rules() if rules is None else rules
    query = "SELECT lower(table_schema || '.' || table_name) FROM information_schema.tables"
    present = {row[0] for row in connection.execute(query).fetchall()}
    return tuple(_run(connection, rule, present) for rule in rules if rule.warehouse)


def _run(connection: duckdb.DuckDBPyConnection, rule: Rule, present: set[str]) -> RuleResult:
    form = rule.warehouse
    assert form is not None  # callers give only rules that have one
    n_checked, n_failed, could_run = 0, 0, True
    if present.issuperset(form.reads):
        counts = f"SELECT count(*), count(*) FILTER (WHERE ({form.violates}) IS NOT FALSE) FROM ({form.checked})"
        try:
            row = connection.execute(counts).fetchone()
        except duckdb.Error:  # its text may quote a value: nothing of it is kept
            could_run = False
        else:
            assert row is not None  # an aggregate always has one row
            n_checked, n_failed = row
    return RuleResult(rule=rule, columns=(), key=rule.id, n_checked=n_checked, n_failed=n_failed, could_run=could_run)


def check_warehouse(connection: duckdb.DuckDBPyConnection) -> TableCheck:
    """One informing verdict over all warehouse rules: a look is due where a HARD one is demoted, or one cannot run."""
    judged = judge_real(run_warehouse_rules(connection))
    demoted = [one.result.rule.id for one in judged if one.verdict == "demoted"]
    not_run = [one.result.rule.id for one in judged if one.verdict == "could_not_run"]
    n_applicable = sum(one.is_applicable for one in judged)
    said = {
        "could not run": not_run,
        "broken by 11 real records and more than 0.1 % of them, so SOFT from here on": demoted,
    }
    words = [f"{what}: {', '.join(rules)}" for what, rules in said.items() if rules]
    return TableCheck(
        name="structure",
        passed=not (demoted or not_run),
        blocking=False,
        is_applicable=n_applicable > 0,
        counts={"rules": n_applicable, "rules_warned": len(demoted), "could_not_run": len(not_run)},
        description="; ".join(words) or f"{n_applicable} rules hold",
    )
