"""Synthetic patients from MIMIC-style records: pure stages, and a thin layer of Dagster over them."""
