"""A hospital of a few hand-made patients, as an event stream, for the tests of cohort and prepare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ehr_pipeline.cohort import CohortDefinition, load_definition
from ehr_pipeline.record import EVENT_SCHEMA
from ehr_pipeline.storage import DataFolder


@dataclass
class Hospital:
    """Events in the making. Times are text such as `2150-03-01 10:00`; None is a static fact."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def event(
        self,
        subject_id: int,
        time: str | None,
        code: str,
        number: float | None = None,
        *,
        text: str | None = None,
        hadm_id: int | None = None,
        stay_id: int | None = None,
    ) -> Hospital:
        self.rows.append(
            {
                "subject_id": subject_id,
                "time": None if time is None else pd.Timestamp(time),
                "code": code,
                "numeric_value": number,
                "text_value": text,
                "hadm_id": hadm_id,
                "stay_id": stay_id,
            }
        )
        return self

    def patient(self, subject_id: int, birth_year: int = 2100, gender: str = "F") -> Hospital:
        self.event(subject_id, None, f"GENDER//{gender}")
        return self.event(subject_id, f"{birth_year}-01-01", "MEDS_BIRTH")

    def admission(
        self, subject_id: int, hadm_id: int, begins: str, ends: str, *, discharge: str = "HOME", race: str = "WHITE"
    ) -> Hospital:
        self.event(subject_id, begins, "ADMISSION//URGENT", text="CLINIC REFERRAL", hadm_id=hadm_id)
        self.event(subject_id, begins, f"RACE//{race}", hadm_id=hadm_id)
        self.event(subject_id, begins, "INSURANCE//Medicare", hadm_id=hadm_id)
        return self.event(subject_id, ends, f"DISCHARGE//{discharge}", hadm_id=hadm_id)

    def icu_stay(self, subject_id: int, hadm_id: int, stay_id: int, begins: str, ends: str | None) -> Hospital:
        unit = "Medical Intensive Care Unit (MICU)"
        self.event(subject_id, begins, f"ICU_ADMISSION//{unit}", hadm_id=hadm_id, stay_id=stay_id)
        if ends is not None:
            self.event(subject_id, ends, f"ICU_DISCHARGE//{unit}", hadm_id=hadm_id, stay_id=stay_id)
        return self

    def visit(self, subject_id: int, stay_id: int, begins: str, ends: str, hadm_id: int | None = None) -> Hospital:
        keys = {"hadm_id": hadm_id, "stay_id": stay_id}
        self.event(subject_id, begins, "ED_ARRIVAL//AMBULANCE", **keys)
        self.event(subject_id, begins, "TRIAGE//temperature//°F", 98.6, **keys)
        self.event(subject_id, begins, "TRIAGE//acuity", 2, **keys)
        self.event(subject_id, begins, "TRIAGE//pain", None, text="unable", **keys)
        self.event(subject_id, begins, "TRIAGE//chiefcomplaint", text="CHEST  PAIN, Dyspnea", **keys)
        return self.event(subject_id, ends, "ED_DISPOSITION//HOME", **keys)

    def write(self, root: Path, n_files: int = 2) -> DataFolder:
        """The events as Parquet files, patients dealt over them."""
        data = DataFolder(root)
        data.events.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame(self.rows, columns=EVENT_SCHEMA.names)
        frame = frame.astype({"subject_id": "int64", "hadm_id": "Int64", "stay_id": "Int64"})
        frame["time"] = frame["time"].astype("datetime64[us]")
        frame = frame.sort_values(["subject_id", "time"], na_position="first", kind="stable")
        for number in range(n_files):
            part = frame[frame["subject_id"] % n_files == number]
            pq.write_table(
                pa.Table.from_pandas(part, schema=EVENT_SCHEMA, preserve_index=False),
                data.events / f"part-{number}.parquet",
            )
        return data


def definition_of(
    folder: Path, content: dict[str, Any] | None = None, name: str = "made", **changes: Any
) -> CohortDefinition:
    """A definition read from a file: a small admission cohort with `changes` on top."""
    base = {
        "title": "Made for a test",
        "index": "admission",
        "window": {"until": "admission"},
        "features": {"age": {"fact": "age"}, "sex": {"fact": "sex"}},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump((content or base) | changes, sort_keys=False), encoding="utf-8")
    return load_definition(path)


def columns(frame: pd.DataFrame, names: Iterable[str]) -> list[list[Any]]:
    """Rows of some columns as plain lists, missing values as None."""
    part = frame[list(names)].astype(object)
    return part.where(part.notna(), None).to_numpy().tolist()
