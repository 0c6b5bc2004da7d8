"""Dagster over the library: one thin file per stage, and what they share.

An asset is a decorator and a few lines: open, call the library, describe. Nothing here computes.
"""
