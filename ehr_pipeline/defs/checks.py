"""Asset checks of a table: declared in advance for each cohort, and filled from the sanity stage's verdicts.

What belongs here: names and translation. The verdicts come from `sanity/`; the checks run in the step that
writes the table, so that a table that fails is never left behind.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import dagster as dg
from dagster_shared.utils.warnings import PreviewWarning

from ehr_pipeline.sanity.rules import CHECK_NAMES
from ehr_pipeline.sanity.verdict import TableCheck


def cohort_check(
    name: str, asset: list[str], partitions: dg.PartitionsDefinition, description: str, *, blocking: bool
) -> dg.AssetCheckSpec:
    """A check with a verdict per cohort. Partitioned checks are a preview of Dagster's: they are made here alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreviewWarning)
        return dg.AssetCheckSpec(
            name, asset=dg.AssetKey(asset), blocking=blocking, partitions_def=partitions, description=description
        )


def sanity_check_specs(asset: list[str], partitions: dg.PartitionsDefinition) -> list[dg.AssetCheckSpec]:
    """One blocking check per clinical domain, for the table `asset`."""
    meaning = "Clinical rules and expectations on {}; closed when one cannot run."
    return [
        cohort_check(name, asset, partitions, meaning.format(name.replace("_", " ")), blocking=True)
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
