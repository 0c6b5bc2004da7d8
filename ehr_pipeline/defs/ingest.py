"""Stage ingest: one asset per raw table and the event stream, all in one step; four checks per table."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from pydantic import Field

from ehr_pipeline.defs.boundary import patient_safe
from ehr_pipeline.defs.metadata import OWNERS, PHI, column_schema
from ehr_pipeline.defs.resources import PipelineData
from ehr_pipeline.ingest.checks import CHECKS, CheckResult
from ehr_pipeline.mimic.tables import Table, tables
from ehr_pipeline.progress import lines
from ehr_pipeline.storage import DataFolder

SOURCE_VARIABLE = "EHR_PIPELINE_SOURCE"
SIMULATED = "simulated"
EVENTS = dg.AssetKey(["raw", "events"])
CLINICAL_RULES = "clinical_rules"
CHECK_MEANING = {
    "columns": "Columns and types as MIMIC-IV declares them, nothing empty that may not be, times and numbers read.",
    "keys": "No primary key twice.",
    "references": "Every foreign key leads somewhere; a warning where MIMIC-IV itself leaves it open.",
    "rows": "As many rows as the source has; required tables are not empty.",
}


def sources_from_environment() -> list[str]:
    """EHR_PIPELINE_SOURCE: folders, separated as in PATH; none where it is not set."""
    return [source for source in os.environ.get(SOURCE_VARIABLE, "").split(os.pathsep) if source]


def _sources(asked: list[str], data: DataFolder) -> list[str]:
    """What to read: what was asked for, else the environment's, else what was read before, else the simulation."""
    from ehr_pipeline.ingest import known_sources

    before = [SIMULATED if path == data.simulated_source else str(path) for path in known_sources(data)]
    return asked or sources_from_environment() or before or [SIMULATED]


def _mapping_as_before(folders: list[Path], data: DataFolder) -> str | None:
    """The mapping with which these very folders were read the last time."""
    from ehr_pipeline.ingest import known_mapping, known_sources

    return known_mapping(data) if [folder.resolve() for folder in folders] == known_sources(data) else None


class IngestConfig(dg.Config):
    """Where raw tables come from."""

    source: list[str] = Field(
        default_factory=list,
        description="MIMIC-IV folders, a MEDS folder, or 'simulated'; empty: EHR_PIPELINE_SOURCE, as before, simulated",
    )
    mapping: str | None = Field(
        None, description="mapping of a source that is not MIMIC-IV: a file, or the name of one that ships"
    )
    patients: int = Field(4000, ge=1, description="patients of the simulated hospital")
    sites: int = Field(3, ge=1, le=999, description="sites of the simulated hospital")
    seed: int = Field(0, ge=0, description="seed of the simulated hospital")


def raw_assets() -> dg.AssetsDefinition:
    """All raw tables and the event stream, from one reading of the source."""
    specs = [_table_spec(table) for table in tables().values()]
    specs.append(
        dg.AssetSpec(
            EVENTS,
            group_name="ingest",
            description="The event stream (MEDS): every clinical table as subject, time, code, value.",
            deps=[spec.key for spec in specs],
            kinds={"parquet"},
            owners=OWNERS,
            tags=PHI,
        )
    )

    @dg.multi_asset(name="raw", specs=specs, check_specs=_check_specs())
    def raw(
        context: dg.AssetExecutionContext, config: IngestConfig, pipeline: PipelineData
    ) -> Iterator[dg.MaterializeResult]:
        """Read the source, unless it is what it was, and check every table of the warehouse."""
        from ehr_pipeline.ingest import check_tables, connect, ingest
        from ehr_pipeline.sanity.warehouse import check_warehouse
        from ehr_pipeline.simulate import ensure_hospital

        data, progress = pipeline.folder, lines(context.log.info)
        with patient_safe("ingest"):
            sources = _sources(config.source, data)
            if SIMULATED in sources:
                ensure_hospital(data.simulated_source, config.patients, config.sites, config.seed, progress)
            folders = [data.simulated_source if one == SIMULATED else Path(one) for one in sources]
            mapping = config.mapping or _mapping_as_before(folders, data)
            summary = ingest(folders, data, progress, mapping)
            checks = check_tables(data)
            with connect(data) as connection:
                clinical = check_warehouse(connection)
        for note in summary.notes:
            context.log.info(note)
        context.log.info(str(summary))
        for name, table in summary.tables.items():
            yield dg.MaterializeResult(
                asset_key=_key(tables()[name]),
                metadata={
                    "dagster/row_count": table.n_rows,
                    "dagster/table_name": f"{data.warehouse.stem}.{name}",
                    "dagster/column_schema": column_schema((column, kind, None) for column, kind in table.columns),
                    "in_source": table.file is not None,
                },
                check_results=[_check_result(tables()[name], check) for check in checks[name]],
            )
        yield dg.MaterializeResult(
            asset_key=EVENTS,
            metadata={
                "dagster/row_count": summary.events.n_events,
                "patients": summary.events.n_subjects,
                "codes": summary.events.n_codes,
                "files": summary.events.n_files,
                "folder": dg.MetadataValue.path(str(data.events)),
                "unchanged": summary.unchanged,
            },
            check_results=[
                dg.AssetCheckResult(
                    asset_key=EVENTS,
                    check_name=CLINICAL_RULES,
                    passed=clinical.passed,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=clinical.description,
                    metadata=dict(clinical.counts),
                )
            ],
        )

    return raw


def _key(table: Table) -> dg.AssetKey:
    return dg.AssetKey(["raw", table.short_name])


def _table_spec(table: Table) -> dg.AssetSpec:
    return dg.AssetSpec(
        _key(table),
        group_name="ingest",
        description=f"{table.name}{'' if table.required else ' (optional: empty where the source lacks it)'}",
        kinds={"duckdb"},
        owners=OWNERS,
        tags=PHI,
    )


def _check_specs() -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(check, asset=_key(table), blocking=True, description=CHECK_MEANING[check])
        for table in tables().values()
        for check in CHECKS
    ] + [
        dg.AssetCheckSpec(
            CLINICAL_RULES,
            asset=EVENTS,
            description="Clinical rules over the raw tables, measured on the real records first; it only informs.",
        )
    ]


def _check_result(table: Table, check: CheckResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=_key(table),
        check_name=check.check,
        passed=check.passed,
        severity=dg.AssetCheckSeverity.ERROR if check.blocks else dg.AssetCheckSeverity.WARN,
        description="; ".join(check.details) or None,
        metadata={"checked": check.n_checked, "failed": check.n_failed, "could_run": check.could_run},
    )
