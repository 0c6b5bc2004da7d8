"""What a generator made for a cohort, in the format that was asked for.

What belongs here: which file is read, which format can be had of it, and that nothing foreign is overwritten. What
does not: the formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline import storage
from ehr_pipeline.errors import OptionError
from ehr_pipeline.export.meds_folder import export_meds
from ehr_pipeline.export.mimic_iv import SUMMARY, export_mimic_iv
from ehr_pipeline.generators.registry import GENERATORS, TIMELINE_GENERATORS
from ehr_pipeline.progress import Progress
from ehr_pipeline.release.csv_safe import write_csv

FORMATS = ("mimic-iv", "meds", "csv")
NOT_YET = ("omop", "fhir")
UNGATED = (
    "note: an export is of records that no release gate has judged; keep it inside until `ehr-pipeline release` opens"
)
"""Said with each export: it reads the working folder, not a released bundle."""


@dataclass(frozen=True)
class Made:
    """What was written, in words, and where."""

    out: Path
    words: str
    left_out: dict[str, int]


def export(
    data: storage.DataFolder,
    cohort: str,
    generator: str,
    form: str,
    out: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Made:
    """Write what `generator` made for `cohort` in the format `form` (one of `FORMATS`) into the folder `out`.

    `out` must be new, empty, or an earlier export, which is replaced.

    Raises
    ------
    OptionError
        No such generator or format, a table is asked for as events, or `out` holds something else.
    NotReady
        The generator has made nothing for the cohort yet, or nothing was ingested.
    """
    _refuse_options(generator, form, out)
    folder = data.cohort(cohort).generator(generator)
    mend = f"run `ehr-pipeline run --cohort {cohort} --generator {generator}` first"
    if form == "csv":
        table = storage.require(folder.synthetic, mend)
        with storage.atomic_folder(out) as temporary:
            n_neutralised = write_csv(table, temporary / f"{cohort}.csv")
            storage.write_json(temporary / SUMMARY, {"format": form, "cells_neutralised": n_neutralised})
        return Made(out, f"{cohort}.csv", {})
    events = storage.require(folder.events, mend)
    warehouse = storage.require(data.warehouse, "run `ehr-pipeline ingest` first")
    if form == "meds":
        with storage.atomic_folder(out) as temporary:
            made = export_meds([events], warehouse, temporary, name=f"synthetic {cohort}, {generator}")
            storage.write_json(temporary / SUMMARY, {"format": form, "events": made.n_events})
        return Made(out, str(made), {})
    whole = export_mimic_iv([events], warehouse, out, seed=seed, progress=progress)
    return Made(out, str(whole), whole.left_out)


def _refuse_options(generator: str, form: str, out: Path) -> None:
    if form in NOT_YET:
        raise OptionError(f"--format {form} is not written yet; there are {', '.join(FORMATS)}")
    if form not in FORMATS:
        raise OptionError(f"there is no --format {form}; there are {', '.join(FORMATS)}")
    if generator in GENERATORS and form != "csv":
        raise OptionError(f"{generator} makes tables, which have no events: only --format csv can be had of it")
    if generator not in GENERATORS and generator not in TIMELINE_GENERATORS:
        raise OptionError(f"there is no generator {generator!r}; see `ehr-pipeline generators`")
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / SUMMARY).exists())):
        raise OptionError(f"--out {out} holds something that is no export; name a new or an empty folder")
