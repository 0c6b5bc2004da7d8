"""The simulated hospital: a MIMIC-IV folder of any size with known truth.

What belongs here: putting the pieces of this folder together, block by block. A block of patients owes its
content to the seed and its number alone, so that the first patients are the same in a hospital of any size.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline import storage
from ehr_pipeline.errors import OptionError
from ehr_pipeline.progress import Progress, Step, silent
from ehr_pipeline.simulate import catalogue, clinic, codes, emergency, icu, labs, medicore, movements, orders
from ehr_pipeline.simulate.course import draw_course
from ehr_pipeline.simulate.encounters import Encounters, date_of_death, draw_encounters
from ehr_pipeline.simulate.identifiers import CAREGIVER_IDS, PROVIDER_IDS
from ehr_pipeline.simulate.patients import FIRST_SUBJECT_ID, Patients, draw_patients, patients_table
from ehr_pipeline.simulate.sites import Sites, draw_sites
from ehr_pipeline.simulate.tables import writing_tables

BLOCK_PATIENTS = 1_000
MOST_RESULTS_PER_PATIENT = 400
MOST_SITES = 999
MOST_PATIENTS = 2_500_000  # identifiers stay apart and inside MIMIC-IV's integers
TRUTH_FILE = "truth.json"
MONTE_CARLO_PATIENTS = 2_000_000

_SITES, _MEDICORE, _PATIENTS, _ENCOUNTERS, _COURSE, _ICU, _LABS, _CODES, _ORDERS, _MOVEMENTS, _EMERGENCY, _CLINIC = (
    range(12)
)


@dataclass(frozen=True, kw_only=True)
class SimulationSummary:
    """What was written: `rows` by table name."""

    folder: Path
    patients: int
    sites: int
    seed: int
    rows: dict[str, int]
    true_effects: medicore.TrueEffects

    def __str__(self) -> str:
        effects = self.true_effects
        return (
            f"{self.patients:,} patients at {self.sites} sites, {sum(self.rows.values()):,} rows in {len(self.rows)}"
            f" tables; true effect: log-odds {effects.log_odds}, risk difference {effects.risk_difference:.4f}"
        )


def simulate_hospital(
    patients: int, out: Path, sites: int = 1, seed: int = 0, progress: Progress | None = None
) -> SimulationSummary:
    """Write a MIMIC-IV folder of simulated patients, and its truth, in one step.

    Tables without anything to say are absent. Memory does not grow with `patients`. The same arguments give
    the same bytes.

    Raises
    ------
    OptionError
        `patients`, `sites` or `seed` is out of range, or `out` is something else than a simulated hospital or
        an empty folder.
    """
    _check_options(patients, sites, seed, out)
    listen, started = progress or silent, time.monotonic()
    site_differences = draw_sites(sites, _rng(seed, _SITES))
    truth = _true_effects()
    with storage.atomic_folder(out) as folder:
        with writing_tables(folder) as writer:
            for number, n in _blocks(patients):
                writer.append(_block_tables(seed, number, n, site_differences))
                done = min((number + 1) * BLOCK_PATIENTS, patients)
                elapsed_s = time.monotonic() - started
                listen(Step(task="simulate", done=done, total=patients, unit="patient", elapsed_s=elapsed_s))
            writer.append(_dictionaries())
        storage.write_json(folder / TRUTH_FILE, _truth(patients, sites, seed, truth))
    return SimulationSummary(
        folder=out, patients=patients, sites=sites, seed=seed, rows=dict(writer.rows), true_effects=truth
    )


def simulate_patients(patients: int, sites: int = 1, seed: int = 0) -> pd.DataFrame:
    """The patients that `simulate_hospital` turns into records: subject_id, site and the case study's columns."""
    site_differences = draw_sites(sites, _rng(seed, _SITES))
    frames = []
    for number, n in _blocks(patients):
        block = _block_patients(seed, number, site_differences)
        ids = {"subject_id": block.subject_id, "site": site_differences.names[block.site]}
        frames.append(pd.DataFrame(ids).join(block.medicore).head(n))
    return pd.concat(frames, ignore_index=True)


def _blocks(patients: int) -> Iterator[tuple[int, int]]:
    """Number of each block and how many of its patients are wanted."""
    for number in range(-(-patients // BLOCK_PATIENTS)):
        yield number, min(BLOCK_PATIENTS, patients - number * BLOCK_PATIENTS)


def _rng(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def _block_patients(seed: int, number: int, sites: Sites) -> Patients:
    rngs = _rng(seed, _MEDICORE, number), _rng(seed, _PATIENTS, number)
    return draw_patients(number * BLOCK_PATIENTS, BLOCK_PATIENTS, sites, rngs)


def _block_tables(seed: int, number: int, n: int, sites: Sites) -> dict[str, pa.Table]:
    """All tables of the first `n` patients of a block. The block is always drawn whole."""

    def rng(stream: int) -> np.random.Generator:
        return _rng(seed, stream, number)

    patients = _block_patients(seed, number, sites)
    drawing = rng(_ENCOUNTERS)
    encounters = draw_encounters(patients, sites, drawing)
    dod = date_of_death(patients, encounters, drawing)
    tables = {
        "hosp/patients": patients_table(patients, dod),
        "hosp/transfers": movements.transfers_table(patients, encounters),
        "hosp/omr": clinic.omr_table(patients, encounters, dod, rng(_CLINIC)),
        "extension/sites": pa.table({"subject_id": patients.subject_id, "site": sites.names[patients.site]}),
    }
    admissions = encounters.take(encounters.is_admission)
    tables |= _admission_tables(patients, admissions, sites, number, rng)
    tables |= _emergency_tables(patients, encounters.take(encounters.emergency_in >= 0), rng(_EMERGENCY))
    first_not_wanted = FIRST_SUBJECT_ID + number * BLOCK_PATIENTS + n
    return {name: table.filter(pc.less(table["subject_id"], first_not_wanted)) for name, table in tables.items()}


def _admission_tables(
    patients: Patients, admissions: Encounters, sites: Sites, number: int, rng: Callable[[int], np.random.Generator]
) -> dict[str, pa.Table]:
    course = draw_course(admissions, rng(_COURSE))
    in_icu = np.nonzero(admissions.icu_in >= 0)[0]
    stays = admissions.take(in_icu)
    icu_rng, labs_rng, codes_rng, movements_rng = rng(_ICU), rng(_LABS), rng(_CODES), rng(_MOVEMENTS)
    chartings = icu.draw_chartings(patients, sites, stays, admission=in_icu, course=course, rng=icu_rng)
    draws = labs.draw_draws(patients, sites, admissions, course, labs_rng)
    first_result = 1 + number * BLOCK_PATIENTS * MOST_RESULTS_PER_PATIENT
    diagnoses = codes.draw_diagnoses(patients, admissions, codes_rng)
    ordered = orders.draw_orders(patients, admissions, rng(_ORDERS))
    return {
        "hosp/admissions": movements.admissions_table(patients, admissions, movements_rng),
        "hosp/services": movements.services_table(patients, admissions),
        "hosp/diagnoses_icd": codes.diagnoses_table(patients, admissions, diagnoses),
        "hosp/procedures_icd": codes.procedures_table(patients, admissions, codes_rng),
        "hosp/labevents": labs.labevents_table(patients, admissions, draws, first_result, labs_rng),
        "hosp/prescriptions": orders.prescriptions_table(patients, admissions, ordered),
        "hosp/pharmacy": orders.pharmacy_table(patients, admissions, ordered),
        "icu/icustays": icu.icustays_table(patients, stays),
        "icu/chartevents": icu.chartevents_table(patients, stays, chartings, icu_rng),
    }


def _emergency_tables(patients: Patients, visits: Encounters, rng: np.random.Generator) -> dict[str, pa.Table]:
    diagnoses = codes.draw_diagnoses(patients, visits, rng, most=3)
    return {
        "ed/edstays": emergency.edstays_table(patients, visits, rng),
        "ed/triage": emergency.triage_table(patients, visits, rng),
        "ed/vitalsign": emergency.vitalsign_table(patients, visits, rng),
        "ed/diagnosis": emergency.diagnosis_table(patients, visits, diagnoses),
    }


def _dictionaries() -> dict[str, pa.Table]:
    procedures = [catalogue.reasons()[name].procedures for name in catalogue.reasons_with_procedures()]
    return {
        "hosp/d_labitems": labs.d_labitems_table(),
        "hosp/d_icd_diagnoses": codes.d_icd_table(catalogue.coded()),
        "hosp/d_icd_procedures": codes.d_icd_table(procedures),
        "hosp/provider": pa.table({"provider_id": PROVIDER_IDS}),
        "icu/d_items": icu.d_items_table(),
        "icu/caregiver": pa.table({"caregiver_id": CAREGIVER_IDS}),
    }


@cache
def _true_effects() -> medicore.TrueEffects:
    """The effect of treatment belongs to the equations, not to the seed of a hospital: one draw serves all."""
    return medicore.true_effects(MONTE_CARLO_PATIENTS, np.random.default_rng(0))


def _truth(patients: int, sites: int, seed: int, effects: medicore.TrueEffects) -> dict[str, Any]:
    return {
        "treatment": medicore.TREATMENT,
        "outcome": medicore.OUTCOME,
        "treatment_log_odds": effects.log_odds,
        "treatment_risk_difference": effects.risk_difference,
        "treatment_risk_difference_standard_error": effects.risk_difference_standard_error,
        "monte_carlo_patients": effects.n,
        "coefficients": medicore.coefficients(),
        "patients": patients,
        "sites": sites,
        "seed": seed,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What a hospital's content depends on beside its options: numpy, and the code and data of this folder."""
    digest = hashlib.sha256()
    for file in sorted(resources.files(__package__).iterdir(), key=lambda file: file.name):
        if file.name.endswith((".py", ".yaml")):
            digest.update(file.read_bytes())
    return {"ehr_pipeline": version("ehr-pipeline"), "numpy": np.__version__, "simulate": digest.hexdigest()[:16]}


def _check_options(patients: int, sites: int, seed: int, out: Path) -> None:
    for option, value, least, most in (
        ("--patients", patients, 1, MOST_PATIENTS),
        ("--sites", sites, 1, MOST_SITES),
        ("--seed", seed, 0, None),
    ):
        if value < least or (most is not None and value > most):
            bounds = f"from {least:,} to {most:,}" if most is not None else f"{least} or more"
            raise OptionError(f"{option} must be {bounds}, got {value:,}")
    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out} is a file; name a folder")
    if out.exists() and any(out.iterdir()) and not (out / TRUTH_FILE).is_file():
        raise OptionError(f"--out {out} holds something that is not a simulated hospital; name an empty folder")
