"""When things run: jobs, the weekly schedule, the sensor for new source files, the hands-off condition."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from ehr_pipeline.defs.ingest import SIMULATED, sources_from_environment

TIMELINES = ["prepared", "timelines"]
"""Made for generators of timelines alone, of which none runs by default."""


def hands_off() -> dg.AutomationCondition:
    """Run when anything upstream changed and every blocking check upstream of it has passed."""
    return dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()


def jobs(default_generators: Sequence[str]) -> list[dg.UnresolvedAssetJobDefinition]:
    """`ingest`, and `refresh_cohort`: one cohort's chain with the default generators, by hand and by the schedule.

    The others run where their assets are selected, or named by `ehr-pipeline run`: some of them train for half an hour.
    """
    shared = dg.AssetSelection.groups("cohort", "prepare", "report") - dg.AssetSelection.assets(TIMELINES)
    default = shared | dg.AssetSelection.assets(
        *([stage, generator] for generator in default_generators for stage in ("model", "synthetic", "scores"))
    )
    return [
        dg.define_asset_job(
            "ingest", dg.AssetSelection.groups("ingest"), description="Read the source into the warehouse."
        ),
        dg.define_asset_job(
            "refresh_cohort", default, description="One cohort's whole chain, default generators; the schedule's job."
        ),
    ]


def weekly(job: dg.UnresolvedAssetJobDefinition, partitions: dg.PartitionsDefinition) -> dg.ScheduleDefinition:
    """Sunday 03:00: one run per cohort."""

    @dg.schedule(name="weekly", job=job, cron_schedule="0 3 * * 0", description="Sundays at 3:00, one run per cohort.")
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        """One run per cohort, so that a cohort that fails stops no other."""
        for cohort in partitions.get_partition_keys():
            yield dg.RunRequest(
                run_key=f"{context.scheduled_execution_time.isoformat()} {cohort}", partition_key=cohort
            )

    return schedule


def new_source_sensor(job: dg.UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Ask for an ingest when a file of the source was added, changed or removed, and no more is being copied."""

    @dg.sensor(job=job, name="new_source_files", minimum_interval_seconds=60)
    def new_source_files(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """Compare names, sizes and times of the source's files with those at the last tick and the last request."""
        folders = [Path(one) for one in sources_from_environment() if one != SIMULATED and Path(one).is_dir()]
        if not folders:
            yield dg.SkipReason("set EHR_PIPELINE_SOURCE to a MIMIC-IV folder to have it watched")
            return
        state = _state(folders)
        seen = Seen.read(context.cursor)
        context.update_cursor(Seen(last=state, asked=seen.asked).write())
        if state == seen.asked:
            yield dg.SkipReason("no file of the source has changed")
        elif state != seen.last:
            yield dg.SkipReason("files of the source are changing; waiting until they are the same twice")
        else:
            context.update_cursor(Seen(last=state, asked=state).write())
            yield dg.RunRequest(run_key=state)

    return new_source_files


@dataclass(frozen=True)
class Seen:
    """The sensor's memory: the source's state at the last tick, and at the last request."""

    last: str = ""
    asked: str = ""

    @classmethod
    def read(cls, cursor: str | None) -> Seen:
        """From the cursor; a fresh memory where there is none."""
        last, _, asked = (cursor or "").partition(" ")
        return cls(last, asked)

    def write(self) -> str:
        """As a cursor."""
        return f"{self.last} {self.asked}"


def _state(folders: Sequence[Path]) -> str:
    """A digest of names, sizes and modification times; the files themselves are not read."""
    digest = hashlib.sha256()
    for folder in folders:
        for root, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                with contextlib.suppress(FileNotFoundError):  # gone since it was listed: the next tick will tell
                    status = (Path(root) / name).stat()
                    digest.update(f"{root}/{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
