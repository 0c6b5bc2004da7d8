"""A synthetic table, drawn until it is sane, judged beside the real cohort, and written only if it passes.

What belongs here: `write_synthetic` and the record it leaves, `sanity.json`; `write_accepted` for whoever draws
otherwise (`timelines.py`). The table is read back from the file that would be released: what is judged is what is
written.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from ehr_pipeline.errors import ResourceShort
from ehr_pipeline.progress import Progress, silent
from ehr_pipeline.record import Schema
from ehr_pipeline.sanity.accept import Accounting, draw_accepted
from ehr_pipeline.sanity.binding import BoundRule, bind
from ehr_pipeline.sanity.judge import JudgedRule, RealCount, judge_synthetic
from ehr_pipeline.sanity.real import RealSanity, rule_as_dict
from ehr_pipeline.sanity.rules import Rule, load_rules, rules_hash
from ehr_pipeline.sanity.run import run_file_rules
from ehr_pipeline.sanity.verdict import TableCheck, check_table
from ehr_pipeline.storage import GeneratorFolder, atomic_file, sha256, write_json

HEADINGS = ("conformance", "completeness", "plausibility")
"""Kahn's headings (doi 10.13063/2327-9214.1244), under which rules are reported."""


@dataclass(frozen=True, kw_only=True)
class SyntheticSanity:
    """What was found out about one synthetic table; the file exists only if `passed`."""

    accounting: Accounting
    judged: tuple[JudgedRule, ...]
    checks: tuple[TableCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether no check blocks."""
        return not any(check.blocking for check in self.checks)


class _Refused(Exception):
    """The table failed a blocking check: its temporary file must not be kept."""


def write_synthetic(
    chunks: Iterable[pd.DataFrame],
    n: int,
    schema: Schema,
    real: RealSanity,
    folder: GeneratorFolder,
    *,
    is_private: bool = False,
    max_draws: int | None = None,
    rules: tuple[Rule, ...] | None = None,
    drawn_with: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> SyntheticSanity:
    """Draw `n` sane rows into `folder.synthetic`, and their record into `folder.sanity`, if the checks pass.

    A table that fails is never left there, nor is an older one: the answer then has `passed` False, or the error of
    `draw_accepted` is raised. A process that dies leaves a whole table, old
    or new, but it may have lost its record; the report then passes it over.

    Parameters
    ----------
    schema
        Columns of the chunks (the generator's own schema).
    real
        What the rules found on the real cohort.
    is_private
        The generator has a privacy budget: no rule is loosened by what the real patients do.
    drawn_with
        How the chunks were drawn (seed, model), kept in the record word for word.
    """

    def draw(hard: Sequence[BoundRule], table: Path, others: Sequence[Path]) -> Accounting:
        return draw_accepted(chunks, n, schema, hard, table, max_draws=max_draws, progress=progress)

    return write_accepted(draw, n, schema, real, folder, is_private=is_private, rules=rules, drawn_with=drawn_with)


Draw = Callable[[Sequence[BoundRule], Path, Sequence[Path]], Accounting]
"""Writes accepted rows into a temporary file, what goes with them into others, and says what it took."""


def write_accepted(
    draw: Draw,
    n: int,
    schema: Schema,
    real: RealSanity,
    folder: GeneratorFolder,
    *,
    others: Mapping[str, Path] = MappingProxyType({}),
    is_private: bool = False,
    rules: tuple[Rule, ...] | None = None,
    drawn_with: Mapping[str, Any] | None = None,
) -> SyntheticSanity:
    """`write_synthetic`, with the drawing given.

    `others` are files by name that are written with the table, and stand or fall with it; the record holds their
    SHA-256 as `NAME_sha256`.
    """
    rules = load_rules() if rules is None else rules
    bound = bind(schema, rules)
    targets = (*others.values(), folder.synthetic)
    try:
        with ExitStack() as writing:
            *beside, temporary = (writing.enter_context(atomic_file(target)) for target in targets)
            accounting = draw(rejecting_rules(bound, real.rules, is_private), temporary, beside)
            judged = judge_synthetic(run_file_rules(temporary, schema, bound), real.rules, is_private)
            checks = check_table(temporary, schema, judged, n_expected=n)
            sanity = SyntheticSanity(accounting=accounting, judged=tuple(judged), checks=tuple(checks))
            content = _as_dict(sanity, real, rules_hash(rules), is_private) | {
                "table_sha256": sha256(temporary),
                **{f"{name}_sha256": sha256(path) for name, path in zip(others, beside, strict=True)},
                "drawn_with": dict(drawn_with or {}),
            }
            folder.sanity.unlink(missing_ok=True)  # the old record must never stand beside the new table
            if not sanity.passed:
                raise _Refused
    except _Refused:
        _remove(targets)
        return sanity
    except ResourceShort:  # says nothing about the table: what stood there before still stands
        raise
    except Exception:
        _remove((folder.sanity, *targets))
        raise
    write_json(folder.sanity, content)
    return sanity


def _remove(targets: Iterable[Path]) -> None:
    for target in targets:
        target.unlink(missing_ok=True)


def rejecting_rules(bound: Sequence[BoundRule], real: dict[str, RealCount], is_private: bool) -> list[BoundRule]:
    """The HARD rules that the real cohort did not demote."""
    demoted = set() if is_private else {key for key, count in real.items() if count.is_demoted}
    return [one for one in bound if one.rule.is_hard and one.key not in demoted]


def _as_dict(sanity: SyntheticSanity, real: RealSanity, digest: str, is_private: bool) -> dict[str, Any]:
    """`sanity.json`: verdicts, rules under Kahn's headings with real beside synthetic, and the account."""
    return {
        "passed": sanity.passed,
        "is_private": is_private,
        "rules_hash": digest,
        "real_rules_hash": real.rules_hash,
        "n_real_rows": real.n_rows,
        "n_rows": sanity.accounting.n_accepted,
        "versions": {name: version(name) for name in ("duckdb", "great-expectations", "pandas")}
        | {"python": platform.python_version()},
        "checks": [check.as_dict() for check in sanity.checks],
        "accounting": sanity.accounting.as_dict(),
        "rules": {
            heading: [_beside_real(one, real) for one in sanity.judged if one.result.rule.heading == heading]
            for heading in HEADINGS
        },
    }


def _beside_real(one: JudgedRule, real: RealSanity) -> dict[str, Any]:
    counted = real.rules.get(one.result.key)
    n_checked, n_failed = one.result.n_checked, one.result.n_failed
    return rule_as_dict(one) | {
        "n_allowed": one.n_allowed,
        "real": counted.as_dict() if counted else None,
        "synthetic": {
            "n_checked": n_checked,
            "n_failed": n_failed,
            "rate": n_failed / n_checked if n_checked else None,
            "could_run": one.result.could_run,
        },
    }
