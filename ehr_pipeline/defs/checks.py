"""Asset checks of a table: declared in advance for each cohort, and filled from the sanity stage's verdicts.

What belongs here: names and translation. The verdicts come from `sanity/`; the checks run in the step that
writes the table, so that a table that fails is never left behind.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from ehr_pipeline.sanity.rules import CHECK_NAMES
from ehr_pipeline.sanity.verdict import TableCheck


def sanity_check_specs(asset: list[str], partitions: dg.PartitionsDefinition) -> list[dg.AssetCheckSpec]:
    """One blocking check per clinical domain, for the table `asset`."""
    return [
        dg.AssetCheckSpec(
            name,
            asset=dg.AssetKey(asset),
            blocking=True,
            partitions_def=partitions,
            description=f"Clinical rules and expectations on {name.replace('_', ' ')}; closed when one cannot run.",
        )
        for name in CHECK_NAMES
    ]


def sanity_check_results(asset: list[str], checks: Iterable[TableCheck]) -> list[dg.AssetCheckResult]:
    """The verdicts as Dagster has them: counts and words, no value. A domain without a rule here says so."""
    return [
        dg.AssetCheckResult(
            asset_key=dg.AssetKey(asset),
            check_name=check.name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
            description=check.description,
            metadata=dict(check.counts) | {"applicable": check.is_applicable},
        )
        for check in checks
    ]


def blocking_line(checks: Iterable[TableCheck]) -> str:
    """The checks that stop the run, and what each says."""
    return "; ".join(f"{check.name} {check.description}" for check in checks if check.blocking)
