"""Running the job from the command line, in this process, so that the same checks gate it as in the UI.

What belongs here: the Dagster instance inside the data folder, and which runs one command means.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg

from ehr_pipeline.cohort import COHORTS_VARIABLE, CohortDefinition, folders_of_cohorts, load_definitions
from ehr_pipeline.defs.automation import TIMELINES
from ehr_pipeline.defs.boundary import EXIT_CODE
from ehr_pipeline.defs.cohort import MEANING
from ehr_pipeline.defs.console import PLAIN
from ehr_pipeline.defs.ingest import SIMULATED, SOURCE_VARIABLE
from ehr_pipeline.errors import OptionError
from ehr_pipeline.privacy.account import Account, asked_budget
from ehr_pipeline.privacy.budget import Budget
from ehr_pipeline.storage import DataFolder, GeneratorFolder, private_folder

Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What `ehr-pipeline run` was asked for; empty sources, cohorts or generators mean the defaults."""

    data: DataFolder
    sources: tuple[str, ...] = ()
    mapping: str | None = None
    cohorts: tuple[str, ...] = ()
    generators: tuple[str, ...] = ()
    cohort_folders: tuple[Path, ...] = ()
    simulated_patients: int = 4000
    rows: int | None = None
    seed: int = 0
    epsilon: float | None = None
    delta: float | None = None
    universe: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunFailure:
    """One step that failed: the line to show, and the exit code it means."""

    message: str
    exit_code: int


@dataclass(kw_only=True)
class RunSummary:
    """What a run made, one line each with its place, and what failed."""

    made: list[str] = field(default_factory=list)
    failures: list[RunFailure] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The gravest of the failures' exit codes; 0 without one."""
        return max((failure.exit_code for failure in self.failures), default=0)


def prepare_instance(data: DataFolder) -> Path:
    """Make DAGSTER_HOME inside the data folder, with the shipped instance and workspace files; returns it."""
    home = private_folder(data.dagster_home)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copyfile(Path(__file__).with_name(name), home / name)
    return home


def set_environment(data: DataFolder, cohort_folders: Iterable[Path] = ()) -> dict[str, str]:
    """The variables that a Dagster process of ours needs: nothing calls home, all lies in the data folder."""
    named = [str(Path(one).resolve()) for one in os.environ.get(COHORTS_VARIABLE, "").split(os.pathsep) if one]
    return {
        "EHR_PIPELINE_DATA": str(data.root),
        COHORTS_VARIABLE: os.pathsep.join([*(str(folder.resolve()) for folder in cohort_folders), *named]),
        "DAGSTER_HOME": str(data.dagster_home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "GX_ANALYTICS_ENABLED": "false",
    }


def run_pipeline(request: RunRequest, say: Say) -> RunSummary:
    """Ingest, then run each cohort's chain; a cohort that fails does not stop the others.

    Raises
    ------
    OptionError
        A cohort or generator is unknown, or epsilon or delta is no budget, or a generator cannot keep to one.
    """
    budget = asked_budget(request.epsilon, request.delta)
    Account(data=request.data, why="run", universe=request.universe)
    os.environ.update(set_environment(request.data, request.cohort_folders))
    from ehr_pipeline.definitions import build_defs

    defs = build_defs()
    cohorts = _known_cohorts(request, defs)
    private = {name: one.privacy.epsilon for name, one in _definitions(request).items() if one.privacy is not None}
    private |= dict.fromkeys(cohorts, budget.epsilon) if budget else {}
    generators = {cohort: _generators(request, private.get(cohort)) for cohort in cohorts}
    for name in {one for chosen in generators.values() for one in chosen} if budget else ():
        _require_tier(name, budget)
    summary = RunSummary()
    with dg.DagsterInstance.from_config(str(prepare_instance(request.data))) as instance:
        runner = _Runner(defs, instance, summary)
        source = {"source": list(request.sources), "patients": request.simulated_patients, "seed": request.seed}
        source |= {"mapping": request.mapping} if request.mapping else {}
        if not runner.run("ingest", {"raw": source}):
            return summary
        summary.made.append(f"warehouse  {request.data.warehouse}")
        for cohort in cohorts:
            say(f"cohort {cohort}")
            chosen = generators[cohort]
            if runner.run(None, _chain_config(chosen, request), cohort, _chain(chosen)):
                folder = request.data.cohort(cohort)
                summary.made += [f"synthetic  {path}" for one in chosen for path in _synthetic(folder.generator(one))]
                summary.made.append(f"report     {folder.report_page}")
    return summary


def serve(data: DataFolder, cohort_folders: tuple[Path, ...], port: int, say: Say) -> int:
    """Run `dagster dev` on loopback until it is interrupted; returns its exit code."""
    home = prepare_instance(data)
    environment = {**os.environ, **set_environment(data, cohort_folders)}
    if sources := environment.get(SOURCE_VARIABLE):
        environment[SOURCE_VARIABLE] = os.pathsep.join(_absolute(one) for one in sources.split(os.pathsep))
    command = [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)]
    say(f"Dagster on http://127.0.0.1:{port} over {data.root}; Ctrl-C stops it")
    with subprocess.Popen(command, env=environment, cwd=home) as process:  # noqa: S603 - our own arguments
        try:
            return process.wait()
        except KeyboardInterrupt:
            return process.wait()


def _absolute(source: str) -> str:
    return source if source == SIMULATED else str(Path(source).resolve())


def _definitions(request: RunRequest) -> dict[str, CohortDefinition]:
    return load_definitions(folders_of_cohorts(request.data))


def _known_cohorts(request: RunRequest, defs: dg.Definitions) -> list[str]:
    """Cohorts to run; unknown names, of generators too, are refused before anything starts."""
    from ehr_pipeline.generators.registry import GENERATORS, TIMELINE_GENERATORS

    known_cohorts = defs.resolve_job_def("refresh_cohort").partitions_def.get_partition_keys()
    for what, asked, known in (
        ("cohort", request.cohorts, known_cohorts),
        ("generator", request.generators, [*GENERATORS, *TIMELINE_GENERATORS]),
    ):
        for name in asked:
            if name not in known:
                raise OptionError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return list(request.cohorts or known_cohorts)


def _generators(request: RunRequest, epsilon: float | None) -> list[str]:
    """Those that were named; else the default ones, or the one that suits a budget."""
    from ehr_pipeline.generators.registry import default_generator, default_generators

    return list(request.generators or (default_generators() if epsilon is None else [default_generator(epsilon)]))


def _require_tier(generator: str, budget: Budget) -> None:
    """Refuse a budget that a generator of timelines cannot keep, before anything is read."""
    from ehr_pipeline.generators.registry import TIMELINE_GENERATORS, timeline_generator_type

    if generator in TIMELINE_GENERATORS:
        kind = timeline_generator_type(generator)
        kind.privacy_plan(kind.config_type(), budget)


def _synthetic(files: GeneratorFolder) -> list[Path]:
    """The synthetic table, and the events of a generator of timelines."""
    return [path for path in (files.synthetic, files.events) if path.exists()]


def _chain(generators: Iterable[str]) -> list[dg.AssetKey]:
    """The assets of one cohort's chain, with these generators."""
    from ehr_pipeline.generators.registry import TIMELINE_GENERATORS

    generators = list(generators)
    keys = [["cohort", name] for name in MEANING]
    keys += [["prepared", name] for name in ("table", "events")]
    keys += [TIMELINES] if TIMELINE_GENERATORS.keys() & generators else []
    keys += [[stage, generator] for generator in generators for stage in ("model", "synthetic", "scores")]
    return [dg.AssetKey(key) for key in [*keys, ["validation_report"]]]


def _chain_config(generators: Iterable[str], request: RunRequest) -> dict[str, dict[str, Any]]:
    config: dict[str, dict[str, Any]] = {}
    for generator in generators:
        asked = {"epsilon": request.epsilon, "delta": request.delta, "universe": request.universe}
        private = {name: value for name, value in asked.items() if value is not None}
        config[f"model__{generator}"] = {"seed": request.seed} | private
        config[f"synthetic__{generator}"] = {"seed": request.seed} | ({"rows": request.rows} if request.rows else {})
        config[f"scores__{generator}"] = {"seed": request.seed}
    return config


@dataclass(frozen=True)
class _Runner:
    """Runs jobs in this process and notes what failed."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    summary: RunSummary

    def run(
        self,
        job: str | None,
        op_config: dict[str, dict[str, Any]],
        cohort: str | None = None,
        selection: list[dg.AssetKey] | None = None,
    ) -> bool:
        """Run one job, or assets of any where none is named, for one cohort; returns whether all of it succeeded."""
        named = self.defs.resolve_job_def(job) if job else self.defs.resolve_implicit_global_asset_job_def()
        result = named.execute_in_process(
            run_config={
                "ops": {name: {"config": config} for name, config in op_config.items()},
                "loggers": {PLAIN: {}},
            },
            instance=self.instance,
            partition_key=cohort,
            asset_selection=selection,
            raise_on_error=False,
        )
        failures = [_failure_of(event) for event in result.filter_events(lambda event: event.is_step_failure)]
        if not result.success and not failures:
            failures = [
                RunFailure(message=f"{job or 'the run'} failed; the UI shows why (ehr-pipeline ui)", exit_code=1)
            ]
        place = f"{cohort}: " if cohort else ""
        self.summary.failures.extend(replace(one, message=f"{place}{one.message}") for one in failures)
        return result.success


def _failure_of(event: dg.DagsterEvent) -> RunFailure:
    """The line and exit code of a failed step, from what the boundary raised."""
    data = event.step_failure_data.user_failure_data
    if data is None:  # not raised inside the boundary: a gate of Dagster's own, or a fault of ours
        return RunFailure(message=f"step {event.step_key} failed; the UI shows why (ehr-pipeline ui)", exit_code=1)
    exit_code = data.metadata.get(EXIT_CODE)
    return RunFailure(message=data.description or "", exit_code=int(exit_code.value) if exit_code else 1)
