"""Evaluation: how close a synthetic table comes to a fresh real sample, and what it gives away."""
