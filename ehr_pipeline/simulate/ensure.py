"""The hospital that stands in where no source is named: made once, kept while it is what is asked for.

What belongs here: `ensure_hospital`. How a hospital is made is in `hospital.py`.
"""

from __future__ import annotations

from pathlib import Path

from ehr_pipeline.progress import Progress
from ehr_pipeline.simulate.hospital import TRUTH_FILE, simulate_hospital, versions
from ehr_pipeline.storage import read_json


def ensure_hospital(folder: Path, patients: int, sites: int, seed: int, progress: Progress | None = None) -> bool:
    """Simulate a hospital into `folder`, unless this very one lies there; returns whether it was made now.

    One that another version of the code made is not this very one.
    """
    truth = folder / TRUTH_FILE
    asked = {"patients": patients, "sites": sites, "seed": seed, "versions": versions()}
    if truth.exists():
        found = read_json(truth)
        if {name: found.get(name) for name in asked} == asked:
            return False
    simulate_hospital(patients, folder, sites, seed, progress)
    return True
