"""Evaluation of timelines: how close synthetic events come to those of fresh real patients.

What belongs here: measures of events in time, one file per idea. What does not: the patient table (`evaluate/`).
"""
