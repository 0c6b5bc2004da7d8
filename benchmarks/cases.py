"""The tables of the benchmark: train and holdout as Parquet files that all read, and what the judge is asked of them.

What belongs here: making the two files. What does not: anything that learns from them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.simulate.medicore import simulate_medicore

TRAIN_SEED, HOLDOUT_SEED = 42, 43
BLOCK_ROWS = 100_000

DIABETES = Path(__file__).parents[2] / "shared/data/diabetes-130/diabetic_data.csv.gz"
DIABETES_COLUMNS = [
    *("race", "gender", "age", "admission_type_id", "discharge_disposition_id", "admission_source_id"),
    *("time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications", "number_outpatient"),
    *("number_emergency", "number_inpatient", "diag_1", "number_diagnoses", "max_glu_serum", "A1Cresult"),
    *("metformin", "insulin", "change", "diabetesMed", "readmitted"),
]
FREQUENT_DIAGNOSES = 50


@dataclass(frozen=True, kw_only=True)
class Data:
    """Two files with the same columns, rows of different patients, and what the judge is asked of them."""

    name: str
    train: Path
    holdout: Path
    targets: tuple[str, ...] = ()
    treatment: str | None = None
    outcome: str | None = None
    confounders: tuple[str, ...] = ()
    true_log_odds: float | None = None


def medicore(folder: Path, rows: int | None) -> Data:
    """The case study: two draws of its equations, so that the holdout is a fresh sample and the effect is known."""
    for name, seed in (("train", TRAIN_SEED), ("holdout", HOLDOUT_SEED)):
        simulate_medicore(rows or 50_000, np.random.default_rng(seed)).to_parquet(folder / f"{name}.parquet")
    return Data(
        name="medicore",
        train=folder / "train.parquet",
        holdout=folder / "holdout.parquet",
        targets=("adverse_event",),
        treatment="treatment",
        outcome="adverse_event",
        confounders=("age", "diabetes", "hypertension", "cvd"),
        true_log_odds=-0.8,
    )


def diabetes_130(folder: Path, rows: int | None, source: Path = DIABETES) -> Data:
    """Real encounters of 130 US hospitals (UCI 296), 22 columns, halved by patient; diagnoses by three characters.

    What the file says in words of a missing value ("?", "None") stays a level.
    """
    if not source.exists():
        raise SystemExit(f"{source} does not exist: download diabetic_data.csv (UCI data set 296) and put it there")
    encounters = pd.read_csv(source, keep_default_na=False, low_memory=False)
    diagnosis = encounters["diag_1"].str[:3]
    frequent = diagnosis.value_counts().index[:FREQUENT_DIAGNOSES]
    encounters["diag_1"] = diagnosis.where(diagnosis.isin(frequent), "other")
    patients = sorted(encounters["patient_nbr"].astype(str).unique())
    random.Random(0).shuffle(patients)
    in_train = encounters["patient_nbr"].astype(str).isin(patients[: len(patients) // 2])
    for name, chosen in (("train", in_train), ("holdout", ~in_train)):
        encounters.loc[chosen, DIABETES_COLUMNS].head(rows).to_parquet(folder / f"{name}.parquet", index=False)
    return Data(
        name="diabetes-130",
        train=folder / "train.parquet",
        holdout=folder / "holdout.parquet",
        targets=("readmitted=<30",),
    )


def own(folder: Path, rows: int | None, train: Path, holdout: Path, targets: tuple[str, ...]) -> Data:
    """Any two files of one layout, CSV or Parquet."""
    for name, path in (("train", train), ("holdout", holdout)):
        if not path.exists():
            raise SystemExit(f"{path} does not exist")
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, low_memory=False)
        table.head(rows).to_parquet(folder / f"{name}.parquet", index=False)
    return Data(name=train.stem, train=folder / "train.parquet", holdout=folder / "holdout.parquet", targets=targets)


def write_blocks(path: Path, rows: int, columns: int = 12, seed: int = TRAIN_SEED) -> Path:
    """The case study's table at any size, a block of rows at a time; beyond 12 columns it stands side by side."""
    writer = None
    for block in _blocks(rows, columns, np.random.default_rng(seed)):
        table = pa.Table.from_pandas(block, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return path


def _blocks(rows: int, columns: int, rng: np.random.Generator) -> Iterator[pd.DataFrame]:
    for start in range(0, rows, BLOCK_ROWS):
        n = min(BLOCK_ROWS, rows - start)
        copies = [simulate_medicore(n, rng) for _ in range(-(-columns // 12))]
        named = [copy.add_suffix(f"_{k}") if k else copy for k, copy in enumerate(copies)]
        yield pd.concat(named, axis=1).iloc[:, :columns]
