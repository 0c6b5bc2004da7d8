"""Any MEDS events as timelines: read and mended, learned, and written as the same kind of file.

What belongs here: files of events that are no part of a cohort. What does not: generators (`generators/`), MIMIC-IV.
"""
