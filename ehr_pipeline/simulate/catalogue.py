"""What the simulated hospital knows: conditions, reasons to come, drugs and measurements, read from its YAML files.

What belongs here: typed access to `conditions.yaml`, `drugs.yaml` and `measurements.yaml`. What does not: any
randomness, any patient.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field

FIRST_CODE_SHARE = 0.6


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Coded(_Entry):
    """Something with ICD codes of both versions: code to published title."""

    icd10: dict[str, str]
    icd9: dict[str, str]

    def codes(self, version: int) -> dict[str, str]:
        """Codes of ICD version 9 or 10."""
        return self.icd10 if version == 10 else self.icd9


class LongTermCondition(Coded):
    """A condition that stays with its patient."""

    of: str | None = None
    share: float
    log_odds: dict[str, float] = {}
    sex: str | None = None
    first_admission_only: bool = False


class Reason(Coded):
    """What brings someone in."""

    of: str | None = None
    weight: dict[str, float]
    complaints: list[str]
    emergency: float
    severity: float
    fever: float
    service: str
    ward: str
    unit: str
    panels: list[str] = []
    procedures: Coded | None = None


class Finding(Coded):
    """What may join an admission of a sick patient."""

    intercept: float
    slope: float


class Drug(_Entry):
    """One drug as it is ordered."""

    indications: list[str] = Field([], alias="for")
    share: float
    strength: str
    dose: str
    unit: str
    form: str
    route: str
    per_day: float | None = None
    frequency: str


class Panel(_Entry):
    """Log-odds, in the latent severity, that a blood draw holds the panel."""

    intercept: float
    slope: float


class LaboratoryItem(_Entry):
    """One laboratory item; see the head of `measurements.yaml` for the model of its values."""

    item: int
    label: str
    category: str
    panel: str
    unit: str | None
    decimals: int
    normal: tuple[float, float]
    limits: tuple[float, float]
    mean: float | None = None
    sd: float = 0.0
    slope: float = 0.0
    noise: float = 0.0
    log: bool = False


class BedsideItem(_Entry):
    """One item charted in intensive care."""

    item: int
    label: str
    abbreviation: str
    category: str
    unit: str | None
    kind: str
    texts: list[str] = []


@cache
def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load(files("ehr_pipeline.simulate").joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def conditions() -> dict[str, LongTermCondition]:
    """Long-term conditions by name."""
    return {name: LongTermCondition(**entry) for name, entry in _read("conditions")["conditions"].items()}


@cache
def reasons() -> dict[str, Reason]:
    """Reasons for a visit or an admission by name."""
    return {name: Reason(**entry) for name, entry in _read("conditions")["reasons"].items()}


@cache
def findings() -> dict[str, Finding]:
    """Findings of sick patients by name."""
    return {name: Finding(**entry) for name, entry in _read("conditions")["findings"].items()}


@cache
def treatment_drugs() -> dict[str, Drug]:
    """The drugs of the case study's treatment, shares adding up to one."""
    return {name: Drug(**entry) for name, entry in _read("drugs")["treatment"].items()}


@cache
def other_drugs() -> dict[str, Drug]:
    """Every other drug by name."""
    return {name: Drug(**entry) for name, entry in _read("drugs")["others"].items()}


@cache
def panels() -> dict[str, Panel]:
    """Laboratory panels by name."""
    return {name: Panel(**entry) for name, entry in _read("measurements")["panels"].items()}


@cache
def laboratory() -> dict[str, LaboratoryItem]:
    """Laboratory items by name."""
    return {name: LaboratoryItem(**entry) for name, entry in _read("measurements")["laboratory"].items()}


@cache
def bedside() -> dict[str, BedsideItem]:
    """Items charted in intensive care by name."""
    return {name: BedsideItem(**entry) for name, entry in _read("measurements")["bedside"].items()}


def coded() -> list[Coded]:
    """All that has diagnosis codes, in the order of `code_table`: conditions, reasons, findings."""
    return [*conditions().values(), *reasons().values(), *findings().values()]


class CodeTable:
    """The codes of several entries laid out for drawing: one row of cumulated shares per entry.

    Attributes
    ----------
    codes, titles
        Object arrays of shape (n_entries, n_most_codes), padded with None.
    thresholds
        float64 of the same shape: a uniform draw takes the first code whose threshold lies above it.
    """

    def __init__(self, entries: list[Coded], version: int) -> None:
        code_maps = [entry.codes(version) for entry in entries]
        shape = len(entries), max(len(code_map) for code_map in code_maps)
        self.version = version
        self.codes, self.titles = np.full(shape, None, dtype=object), np.full(shape, None, dtype=object)
        self.thresholds = np.ones(shape)
        for row, code_map in enumerate(code_maps):
            n_codes = len(code_map)
            self.codes[row, :n_codes], self.titles[row, :n_codes] = list(code_map), list(code_map.values())
            if n_codes > 1:
                others = (1 - FIRST_CODE_SHARE) / (n_codes - 1)
                self.thresholds[row, : n_codes - 1] = FIRST_CODE_SHARE + others * np.arange(n_codes - 1)

    def draw(self, entry: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One code and its title for each entry number: two object arrays of the shape of `entry`."""
        column = (rng.random(len(entry))[:, None] >= self.thresholds[entry]).sum(axis=1)
        return self.codes[entry, column], self.titles[entry, column]


@cache
def diagnosis_table(version: int) -> CodeTable:
    """Diagnosis codes of `coded()` in one ICD version."""
    return CodeTable(coded(), version)


@cache
def procedure_table(version: int) -> CodeTable:
    """Procedure codes of the reasons that have any, in the order of `reasons_with_procedures`."""
    return CodeTable([reasons()[name].procedures for name in reasons_with_procedures()], version)


@cache
def reasons_with_procedures() -> tuple[str, ...]:
    """Names of the reasons for which something is done."""
    return tuple(name for name, reason in reasons().items() if reason.procedures)
