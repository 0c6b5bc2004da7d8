"""Laboratory results: `hosp/labevents`.

What belongs here: when blood is drawn, which panels are asked for, and the values. The first creatinine,
cholesterol and HbA1c of a patient's first admission are the case study's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ehr_pipeline.simulate import catalogue
from ehr_pipeline.simulate.course import Course
from ehr_pipeline.simulate.draw import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Ragged,
    at_seconds,
    autoregressive,
    logistic,
)
from ehr_pipeline.simulate.encounters import Encounters
from ehr_pipeline.simulate.identifiers import provider
from ehr_pipeline.simulate.patients import Patients
from ehr_pipeline.simulate.sites import Sites

ROUND_S = 6 * HOUR_S  # blood is drawn in rounds that begin at 3, 9, 15 and 21 o'clock
MORNING_ROUND_S = 3 * HOUR_S
FIRST_DRAW_PANELS = ("chemistry", "blood_count", "lipids", "glycation")
REASON_PANEL_LOG_ODDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Draws:
    """One row per blood draw; `rows.parent` is the row of the admission."""

    rows: Ragged
    time: np.ndarray
    severity: np.ndarray
    holds: np.ndarray
    """bool of shape (n_draws, n_panels)."""


def draw_draws(
    patients: Patients, sites: Sites, admissions: Encounters, course: Course, rng: np.random.Generator
) -> Draws:
    """Blood draws: soon after admission, each morning, and at other rounds the more the sicker."""
    first = admissions.admit + rng.integers(5, 50, len(admissions)) * MINUTE_S
    next_round = -((MORNING_ROUND_S - first) // ROUND_S) * ROUND_S + MORNING_ROUND_S
    rounds = Ragged.of(1 + ((admissions.discharge - next_round) // ROUND_S).clip(0, None))
    is_first = rounds.position == 0
    begin = next_round[rounds.parent] + (rounds.position - 1) * ROUND_S
    is_morning = begin % DAY_S == MORNING_ROUND_S
    minute = np.where(is_morning, rng.triangular(30, 150, 240, len(begin)), rng.uniform(1, 359, len(begin)))
    time = np.where(is_first, first[rounds.parent], begin + minute.astype("int64") * MINUTE_S)
    severity = course.at(rounds.parent, time)
    measuring = sites.measuring_log_odds[patients.site[admissions.patient[rounds.parent]]]
    zeal = np.where(is_morning, 1.2 + 0.8 * severity, -2.2 + 1.1 * severity) + measuring
    is_drawn = (rng.random(len(begin)) < logistic(zeal)) | is_first
    rows = Ragged.of(np.bincount(rounds.parent[is_drawn], minlength=len(admissions)))
    return Draws(
        rows=rows,
        time=time[is_drawn],
        severity=severity[is_drawn],
        holds=_panels(patients, admissions, rows, severity[is_drawn], rng),
    )


def labevents_table(
    patients: Patients, admissions: Encounters, draws: Draws, first_id: int, rng: np.random.Generator
) -> pa.Table:
    """`hosp/labevents`, one row per result. `first_id` begins both the results' and the specimens' ids."""
    items = catalogue.laboratory()
    entries = list(items.values())
    values = _values(patients, admissions, draws, rng)
    matrix = np.stack([values[name] for name in items], axis=1)
    panel = np.array([list(catalogue.panels()).index(entry.panel) for entry in entries])
    draw, item = np.nonzero(draws.holds[:, panel])
    admission = draws.rows.parent[draw]
    number = matrix[draw, item]
    low, high = (np.array([entry.normal[side] for entry in entries])[item] for side in (0, 1))
    specimen = np.cumsum(draws.holds.ravel()).reshape(draws.holds.shape)
    charttime = draws.time[draw]
    turnaround = rng.integers(20, 110, draws.holds.shape)[draw, panel[item]] * MINUTE_S
    severity = draws.severity[draw]
    n = len(draw)
    return pa.table(
        {
            "labevent_id": first_id + np.arange(n),
            "subject_id": patients.subject_id[admissions.patient[admission]],
            "hadm_id": admissions.hadm_id(patients)[admission],
            "specimen_id": first_id + specimen[draw, panel[item]] - 1,
            "itemid": np.array([entry.item for entry in entries])[item],
            "order_provider_id": provider(admissions.number(patients)[admission]),
            "charttime": at_seconds(charttime),
            "storetime": at_seconds(charttime + turnaround),
            "value": number,
            "valuenum": number,
            "valueuom": pa.array([entry.unit for entry in entries]).take(pa.array(item)),
            "ref_range_lower": low,
            "ref_range_upper": high,
            "flag": pa.array(["abnormal"]).take(
                pa.array(np.zeros(n, dtype="int8"), mask=(number >= low) & (number <= high))
            ),
            "priority": pa.array(["ROUTINE", "STAT"]).take(pa.array((severity > 0.3).astype("int8"))),
            "comments": pa.nulls(n, pa.string()),
        }
    )


def d_labitems_table() -> pa.Table:
    """`hosp/d_labitems`: the items measured."""
    items = list(catalogue.laboratory().values())
    return pa.table(
        {
            "itemid": [entry.item for entry in items],
            "label": [entry.label for entry in items],
            "fluid": ["Blood"] * len(items),
            "category": [entry.category for entry in items],
        }
    )


def _panels(
    patients: Patients, admissions: Encounters, rows: Ragged, severity: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Which panels each draw holds: bool of shape (n_draws, n_panels); every draw holds one at least."""
    panels = catalogue.panels()
    names = list(panels)
    wanted = np.array([[name in reason.panels for name in names] for reason in catalogue.reasons().values()])
    log_odds = np.array([panel.intercept for panel in panels.values()]) + severity[:, None] * np.array(
        [panel.slope for panel in panels.values()]
    )
    log_odds += REASON_PANEL_LOG_ODDS * wanted[admissions.reason[rows.parent]]
    holds = rng.random(log_odds.shape) < logistic(log_odds)
    is_opening = (rows.position == 0) & admissions.is_first_admission[rows.parent]
    for name in FIRST_DRAW_PANELS:
        holds[:, names.index(name)] |= is_opening
    # HbA1c and lipids move over months: once per admission at most.
    for name in ("lipids", "glycation"):
        holds[:, names.index(name)] &= rows.position == 0
    holds[:, names.index("chemistry")] |= ~holds.any(axis=1)
    return holds


def _values(
    patients: Patients, admissions: Encounters, draws: Draws, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Value of each item at each draw, measured or not: float64 of shape (n_draws,), at the item's decimals."""
    rows, items = draws.rows, catalogue.laboratory()
    admission = rows.parent
    patient = admissions.patient[admission]
    shifts = _consequences(patients, admissions)
    values: dict[str, np.ndarray] = {}
    for number, (name, entry) in enumerate(items.items()):
        if entry.mean is None:
            continue
        level = entry.mean + entry.sd * patients.laboratory_level[patient, number] + entry.slope * draws.severity
        level += entry.noise * autoregressive(rows, 0.6, rng)
        if name in shifts:
            level += shifts[name][admission]
        values[name] = np.exp(level) if entry.log else level
    values = {name: _printed(items[name], value) for name, value in values.items()}
    values |= _derived(values, rng)
    values |= _case_study(patients, admissions, draws, rng)
    return {name: _printed(items[name], value) for name, value in values.items()}


def _consequences(patients: Patients, admissions: Encounters) -> dict[str, np.ndarray]:
    """What conditions and the reason do to the level of an item, on its own scale: shape (n_admissions,)."""
    patient = admissions.patient
    medicore = patients.medicore.iloc[patient]
    has = {name: holders[patient] for name, holders in patients.has.items()}
    is_heart_attack = admissions.reason == list(catalogue.reasons()).index("heart_attack")
    fever = np.array([reason.fever for reason in catalogue.reasons().values()])[admissions.reason]
    return {
        "glucose": 0.2 * has["diabetes"] + 0.16 * (medicore["hba1c"].to_numpy() - 4.5),
        "urea_nitrogen": 0.6 * np.log(medicore["creatinine"].to_numpy() / 0.9),
        "haemoglobin": np.where(medicore["sex"] == "F", -0.5, 0.5) - 1.3 * has["anemia"],
        "white_cells": 0.15 * fever,
        "platelets": -0.5 * has["cirrhosis"],
        "bilirubin": 1.0 * has["cirrhosis"],
        "albumin": -0.5 * has["cirrhosis"],
        "nt_pro_bnp": 1.4 * has["heart_failure"],
        "troponin": 2.0 * is_heart_attack,
    }


def _printed(entry: catalogue.LaboratoryItem, values: np.ndarray) -> np.ndarray:
    return values.clip(*entry.limits).round(entry.decimals)


def _derived(values: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Items that follow from printed ones, as the laboratory computes them."""
    n = len(values["sodium"])
    haematocrit = (3 * values["haemoglobin"] * rng.normal(1, 0.025, n)).round(1)
    red_cells = (10 * haematocrit / values["cell_volume"]).round(2)
    dissolved = 0.0307 * values["pco2"]  # mmol/L of CO2 per mm Hg
    bicarbonate = np.maximum(values["total_co2"] - dissolved, 2)
    return {
        "anion_gap": values["sodium"] + values["potassium"] - values["chloride"] - values["bicarbonate"],
        "haematocrit": haematocrit,
        "red_cells": red_cells,
        "prothrombin_time": 11.5 * values["inr"] * rng.normal(1, 0.02, n),
        "ph": 6.1 + np.log10(bicarbonate / dissolved),  # Henderson-Hasselbalch
    }


def _case_study(
    patients: Patients, admissions: Encounters, draws: Draws, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Creatinine, lipids and HbA1c: the case study's value first, what follows from it later."""
    rows = draws.rows
    admission = rows.parent
    patient = admissions.patient[admission]
    medicore = patients.medicore
    is_opening = (rows.position == 0) & admissions.is_first_admission[admission]
    since_start = draws.severity - draws.severity[rows.start][admission]
    wander = autoregressive(rows, 0.8, rng)
    creatinine = medicore["creatinine"].to_numpy()[patient]
    cholesterol = medicore["cholesterol"].to_numpy()[patient]
    hba1c = medicore["hba1c"].to_numpy()[patient]
    total = np.where(is_opening, cholesterol, cholesterol + 12 * wander).clip(100, 350).round()
    hdl = total * rng.uniform(0.18, 0.36, len(total))
    ldl = total * rng.uniform(0.42, 0.58, len(total))
    return {
        "creatinine": np.where(is_opening, creatinine, creatinine * np.exp(0.15 * since_start + 0.08 * wander)),
        "cholesterol": total,
        "hdl": hdl,
        "ldl": ldl,
        "triglycerides": 5 * (total - hdl - ldl),  # Friedewald
        "hba1c": np.where(is_opening, hba1c, hba1c + 0.3 * wander),
    }
