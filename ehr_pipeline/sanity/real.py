"""The real cohort first: every rule measured on its prepared table, before any synthetic row is judged.

What belongs here: `check_cohort` and its record, which later judges synthetic tables. Counts of 1 to SMALL_CELL - 1
real records are hidden in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from ehr_pipeline.record import Schema
from ehr_pipeline.sanity.binding import bind
from ehr_pipeline.sanity.judge import JudgedRule, RealCount, judge_real
from ehr_pipeline.sanity.rules import Rule, load_rules, rules_hash
from ehr_pipeline.sanity.run import run_table_rules
from ehr_pipeline.sanity.verdict import TableCheck, check_table
from ehr_pipeline.storage import CohortFolder, read_json, read_parquet, write_json


@dataclass(frozen=True, kw_only=True)
class RealSanity:
    """What the rules found on the real prepared table: `prepared/sanity.json`."""

    rules_hash: str
    n_rows: int
    rules: dict[str, RealCount]
    checks: tuple[TableCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing found here stops the chain."""
        return not any(check.blocking for check in self.checks)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `check_cohort` wrote."""
        content = read_json(path, "run the sanity checks of the cohort first")
        counts = {
            entry["key"]: RealCount(**{name: entry["real"][name] for name in RealCount.__dataclass_fields__})
            for entry in content["rules"]
        }
        checks = tuple(TableCheck(**check) for check in content["checks"])
        return cls(rules_hash=content["rules_hash"], n_rows=content["n_rows"], rules=counts, checks=checks)


def check_cohort(
    prepared_table: pd.DataFrame,
    schema: Schema,
    target: Path,
    *,
    key: Sequence[str] = (),
    rules: tuple[Rule, ...] | None = None,
) -> RealSanity:
    """Measure every rule on the real table, validate it, and write the record to `target`.

    A check that blocks says that prepare or ingest is at fault; the record is written all the same, since it tells
    where. `key` names columns of the table that together name each row once.
    """
    rules = load_rules() if rules is None else rules
    results = run_table_rules(prepared_table, schema, bind(schema, rules)).results
    judged = judge_real(results)
    checks = check_table(prepared_table, schema, judged, key=key)
    real = RealSanity(
        rules_hash=rules_hash(rules),
        n_rows=len(prepared_table),
        rules={result.key: RealCount.of(result, len(prepared_table)) for result in results},
        checks=tuple(checks),
    )
    write_json(target, _as_dict(real, judged))
    return real


def check_prepared(folder: CohortFolder) -> tuple[Schema, RealSanity]:
    """Check a cohort's prepared table where it lies; one that is refused is removed, and its record stays."""
    schema = Schema.model_validate(read_json(folder.schema, "prepare the cohort first"))
    sanity = check_cohort(read_parquet(folder.prepared_table), schema, folder.sanity)
    if not sanity.passed:
        folder.prepared_table.unlink()
    return schema, sanity


def _as_dict(real: RealSanity, judged: Sequence[JudgedRule]) -> dict[str, Any]:
    return {
        "passed": real.passed,
        "rules_hash": real.rules_hash,
        "n_rows": real.n_rows,
        "checks": [check.as_dict() for check in real.checks],
        "rules": [rule_as_dict(one) | {"real": real.rules[one.result.key].as_dict()} for one in judged],
    }


def rule_as_dict(one: JudgedRule) -> dict[str, Any]:
    """What a rule says and its verdict, as plain JSON, without counts."""
    rule = one.result.rule
    return {
        "key": one.result.key,
        "rule": rule.id,
        "title": rule.title,
        "columns": list(one.result.columns),
        "check": rule.check,
        "heading": rule.heading,
        "severity": rule.severity,
        "severity_here": one.severity,
        "sources": list(rule.sources),
        "confirmed": rule.confirmed,
        "verdict": one.verdict,
        "note": one.note or rule.note,
    }
