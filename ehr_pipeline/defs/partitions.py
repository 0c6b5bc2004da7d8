"""The partitions: one per cohort, nothing else.

One Dagster run holds one partition definition, so generators are assets of their own and a cohort's whole
chain is one run, gated by its blocking checks.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from ehr_pipeline.storage import check_name


def cohort_partitions(names: Iterable[str]) -> dg.StaticPartitionsDefinition:
    """One partition per cohort, in alphabetical order; names are checked once more here."""
    return dg.StaticPartitionsDefinition([check_name(name, "cohort") for name in sorted(names)])
