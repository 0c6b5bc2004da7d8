"""Exports: a stream of synthetic events, or a synthetic table, as others know to read it.

What belongs here: one module per format and what they share, from events to files. What does not: making events
(`generators/`), the mapping itself (`mimic/`), whether anything may leave the institution (`release/`).
"""

from ehr_pipeline.export.mimic_iv import MimicExport, export_mimic_iv

__all__ = ["MimicExport", "export_mimic_iv"]
