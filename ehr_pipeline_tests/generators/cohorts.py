"""Timelines for the tests of generators, made as a file's would be."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from ehr_pipeline.generators.timelines import TimelineCohort
from ehr_pipeline.timelines.cohort import cohort_of
from ehr_pipeline.timelines.files import read_raw
from ehr_pipeline.timelines.mend import mended
from ehr_pipeline_tests.timelines.events import stays, write


def timeline_cohort(frame: pd.DataFrame | None = None) -> TimelineCohort:
    """The cohort of a frame of events; made-up stays where None."""
    frame = stays() if frame is None else frame
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        write(frame, path)
        return cohort_of(mended(read_raw(path), path.name), path.name)


def minutes_frame(rows: list[tuple[int, int, str]], **columns: list) -> pd.DataFrame:
    """Events from (subject_id, minute after midnight, code), with columns besides."""
    frame = pd.DataFrame(rows, columns=["subject_id", "minute", "code"])
    time = np.datetime64("2150-01-01", "us") + frame.pop("minute").to_numpy().astype("timedelta64[m]")
    return frame.assign(**{"time": time, "numeric_value": np.nan, "text_value": None, **columns})
