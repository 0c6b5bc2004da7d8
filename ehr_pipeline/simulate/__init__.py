"""The hospital with known truth: patients from published structural equations, written as MIMIC-IV tables."""

from ehr_pipeline.simulate.ensure import ensure_hospital
from ehr_pipeline.simulate.hospital import SimulationSummary, simulate_hospital, simulate_patients
from ehr_pipeline.simulate.medicore import simulate_medicore

__all__ = ["SimulationSummary", "ensure_hospital", "simulate_hospital", "simulate_medicore", "simulate_patients"]
