"""Synthetic patients from MIMIC-style records: pure stages, and a thin layer of Dagster over them.

For any table, three lines; nothing is imported before it is used:

    import ehr_pipeline as ehr
    model = ehr.fit("patients.csv")
    synthetic = model.sample(1000)
"""

from typing import Any

__all__ = ["Model", "evaluate", "fit"]


def __getattr__(name: str) -> Any:
    """The names of `__all__`, imported when first asked for."""
    if name in ("fit", "Model"):
        from ehr_pipeline.tables import model

        return getattr(model, name)
    if name == "evaluate":
        from ehr_pipeline.evaluate.files import evaluate_files

        return evaluate_files
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
