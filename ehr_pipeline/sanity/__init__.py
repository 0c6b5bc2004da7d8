"""Sanity: what no real record may be, counted in DuckDB, judged beside the real cohort, validated, and rejected.

What belongs here: rules bound to tables, their counts and verdicts, rejection and its accounting. What does not:
the rules themselves (`clinical/rules/`, YAML), Great Expectations (`validation.py`), any generator.
"""
