"""Report: one offline page and one JSON per cohort, all generators side by side.

What belongs here: how findings are shown, and the words around them. What does not: any finding; scores come
from `evaluate/`, rule results from `sanity/`, counts from `cohort/`. The entry is `report.build.build_report`.
"""
