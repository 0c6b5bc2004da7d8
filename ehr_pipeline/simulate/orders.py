"""Drugs: `hosp/prescriptions` and the `hosp/pharmacy` orders that they refer to.

What belongs here: who gets which drug, and when. The drugs of the case study's treatment go to its treated
patients alone, in the first admission always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ehr_pipeline.simulate import catalogue
from ehr_pipeline.simulate.draw import HOUR_S, MINUTE_S, Ragged, at_seconds, choose
from ehr_pipeline.simulate.encounters import Encounters
from ehr_pipeline.simulate.identifiers import FIRST_PHARMACY_ID, MOST_PHARMACY_ORDERS, provider
from ehr_pipeline.simulate.patients import Patients

TREATMENT_CONTINUED_SHARE = 0.8
SHOCK_SEVERITY = 1.2  # of the latent severity on arrival


@dataclass(frozen=True, kw_only=True)
class Orders:
    """One row per order, by admission; arrays of shape (n,), times in seconds."""

    admission: np.ndarray
    drug: np.ndarray
    pharmacy_id: np.ndarray
    start: np.ndarray
    stop: np.ndarray


def draw_orders(patients: Patients, admissions: Encounters, rng: np.random.Generator) -> Orders:
    """Who gets what; `drug` is a number in the order of `_drugs()`."""
    ordered = np.concatenate([_treated(patients, admissions, rng), _others(patients, admissions, rng)], axis=1)
    admission, drug = np.nonzero(ordered)
    rows = Ragged.of(ordered.sum(axis=1))
    length_s = (admissions.discharge - admissions.admit)[admission]
    n = len(admission)
    start = admissions.admit[admission] + (rng.random(n) ** 2 * np.minimum(0.6 * length_s, 60 * HOUR_S)).astype("int64")
    until_discharge = admissions.discharge[admission] - start
    stop = start + np.where(rng.random(n) < 0.6, 1.0, rng.uniform(0.3, 1, n)) * until_discharge
    return Orders(
        admission=admission,
        drug=drug,
        pharmacy_id=FIRST_PHARMACY_ID + admissions.number(patients)[admission] * MOST_PHARMACY_ORDERS + rows.position,
        start=start // MINUTE_S * MINUTE_S,
        stop=stop.astype("int64") // MINUTE_S * MINUTE_S,
    )


def prescriptions_table(patients: Patients, admissions: Encounters, orders: Orders) -> pa.Table:
    """`hosp/prescriptions`, one row per order."""
    n = len(orders.drug)
    none = pa.nulls(n, pa.string())
    return pa.table(
        {
            "subject_id": patients.subject_id[admissions.patient[orders.admission]],
            "hadm_id": admissions.hadm_id(patients)[orders.admission],
            "pharmacy_id": orders.pharmacy_id,
            "poe_id": none,
            "poe_seq": pa.nulls(n, pa.int64()),
            "order_provider_id": provider(orders.pharmacy_id),
            "starttime": at_seconds(orders.start),
            "stoptime": at_seconds(orders.stop),
            "drug_type": pa.array(["MAIN"] * n, pa.string()),
            "drug": _of_each(list(_drugs()), orders),
            "formulary_drug_cd": none,
            "gsn": none,
            "ndc": none,
            "prod_strength": _of_each([drug.strength for drug in _drugs().values()], orders),
            "form_rx": none,
            "dose_val_rx": _of_each([drug.dose for drug in _drugs().values()], orders),
            "dose_unit_rx": _of_each([drug.unit for drug in _drugs().values()], orders),
            "form_val_disp": pa.array(["1"] * n, pa.string()),
            "form_unit_disp": _of_each([drug.form for drug in _drugs().values()], orders),
            "doses_per_24_hrs": _of_each([drug.per_day for drug in _drugs().values()], orders),
            "route": _of_each([drug.route for drug in _drugs().values()], orders),
        }
    )


def pharmacy_table(patients: Patients, admissions: Encounters, orders: Orders) -> pa.Table:
    """`hosp/pharmacy`, one row per order."""
    n = len(orders.drug)
    none, no_number = pa.nulls(n, pa.string()), pa.nulls(n, pa.float64())
    at_discharge = orders.stop >= admissions.discharge[orders.admission]
    status = pa.array(["Discontinued", "Discontinued via patient discharge"])
    return pa.table(
        {
            "subject_id": patients.subject_id[admissions.patient[orders.admission]],
            "hadm_id": admissions.hadm_id(patients)[orders.admission],
            "pharmacy_id": orders.pharmacy_id,
            "poe_id": none,
            "starttime": at_seconds(orders.start),
            "stoptime": at_seconds(orders.stop),
            "medication": _of_each(list(_drugs()), orders),
            "proc_type": pa.array(["Unit Dose"] * n, pa.string()),
            "status": status.take(pa.array(at_discharge.astype("int8"))),
            "entertime": at_seconds(orders.start - 10 * MINUTE_S),
            "verifiedtime": at_seconds(orders.start - 5 * MINUTE_S),
            "route": _of_each([drug.route for drug in _drugs().values()], orders),
            "frequency": _of_each([drug.frequency for drug in _drugs().values()], orders),
            "disp_sched": none,
            "infusion_type": none,
            "sliding_scale": none,
            "lockout_interval": none,
            "basal_rate": no_number,
            "one_hr_max": none,
            "doses_per_24_hrs": _of_each([drug.per_day for drug in _drugs().values()], orders),
            "duration": no_number,
            "duration_interval": pa.array(["Ongoing"] * n, pa.string()),
            "expiration_value": pa.nulls(n, pa.int64()),
            "expiration_unit": none,
            "expirationdate": pa.nulls(n, pa.timestamp("s")),
            "dispensation": pa.array(["Omnicell"] * n, pa.string()),
            "fill_quantity": none,
        }
    )


def _drugs() -> dict[str, catalogue.Drug]:
    return catalogue.treatment_drugs() | catalogue.other_drugs()


def _of_each(column: list, orders: Orders) -> pa.Array:
    """The column's value of each order's drug."""
    return pa.array(column).take(pa.array(orders.drug))


def _treated(patients: Patients, admissions: Encounters, rng: np.random.Generator) -> np.ndarray:
    """Which drug of the treatment, at most one each: bool of shape (n_admissions, n_treatment_drugs)."""
    n = len(admissions)
    shares = np.array([drug.share for drug in catalogue.treatment_drugs().values()])
    chosen = choose(np.broadcast_to(shares, (n, len(shares))), rng)
    continued = admissions.is_first_admission | (rng.random(n) < TREATMENT_CONTINUED_SHARE)
    is_treated = patients.medicore["treatment"].to_numpy()[admissions.patient] == 1
    return (chosen[:, None] == np.arange(len(shares))) & (is_treated & continued)[:, None]


def _others(patients: Patients, admissions: Encounters, rng: np.random.Generator) -> np.ndarray:
    """Which other drugs: bool of shape (n_admissions, n_other_drugs)."""
    n = len(admissions)
    reason_number = {name: number for number, name in enumerate(catalogue.reasons())}

    def has(indication: str) -> np.ndarray:
        if indication == "everyone":
            return np.ones(n, dtype=bool)
        if indication == "shock":
            return (admissions.icu_in >= 0) & (admissions.severity > SHOCK_SEVERITY)
        by_reason = admissions.reason == reason_number.get(indication, -1)
        return by_reason | patients.has.get(indication, np.zeros(len(patients), dtype=bool))[admissions.patient]

    drugs = catalogue.other_drugs().values()
    eligible = np.stack([np.any([has(name) for name in drug.indications], axis=0) for drug in drugs], axis=1)
    return eligible & (rng.random(eligible.shape) < np.array([drug.share for drug in drugs]))
