"""Sampling with sanity: a cohort's model draws, the rules reject, and what passes is written.

What belongs here: the few lines that bring a model, the real cohort's rule counts and the gate together.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow.parquet as pq

from ehr_pipeline.errors import CheckFailed
from ehr_pipeline.generators.sampling import CHUNK_ROWS, draw_chunks
from ehr_pipeline.generators.train import load_model, model_sha256, require_present_data
from ehr_pipeline.progress import Progress, silent
from ehr_pipeline.record import Schema
from ehr_pipeline.sanity.real import RealSanity
from ehr_pipeline.sanity.synthetic import SyntheticSanity, write_synthetic
from ehr_pipeline.storage import CohortFolder, read_json, require

SMALLEST_CHUNK_ROWS = 1024


def sample_cohort(
    folder: CohortFolder, generator: str, *, rows: int | None = None, seed: int = 0, progress: Progress = silent
) -> tuple[Schema, SyntheticSanity]:
    """Draw the synthetic table of `generator` for a cohort; returns its schema and what sanity found.

    Parameters
    ----------
    rows
        Rows to write; where not said, as many as the real cohort has, or as many as a private model counted, noise
        included: the true number is not part of what it may tell.

    Raises
    ------
    NotReady
        The cohort is not prepared, or the model not trained on what the cohort holds now.
    CheckFailed
        The cohort's own prepared table failed its checks.
    RejectionCapReached
        Too few drawn rows pass the HARD rules; no table is left.
    """
    real = RealSanity.read(folder.sanity)
    if not real.passed:
        raise CheckFailed(f"the prepared table of {folder.root.name} failed its checks: nothing is drawn from it")
    files = folder.generator(generator)
    require_present_data(folder, generator)
    model = load_model(files)
    card = read_json(files.model / "model.json")
    is_private = card.get("privacy") is not None
    real_rows = pq.read_metadata(require(folder.prepared_table, "prepare the cohort first")).num_rows
    n_rows = rows or (card["n_patients"] if is_private else real_rows)
    chunks = draw_chunks(model, seed, min(CHUNK_ROWS, max(SMALLEST_CHUNK_ROWS, n_rows)))
    drawn_with = {
        "seed": seed,
        "n_rows": n_rows,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model_sha256": model_sha256(files),
    }
    sanity = write_synthetic(
        chunks, n_rows, model.schema, real, files, is_private=is_private, drawn_with=drawn_with, progress=progress
    )
    return model.schema, sanity
