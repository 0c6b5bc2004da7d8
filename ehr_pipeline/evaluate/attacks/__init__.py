"""Attacks on a synthetic table, each with its control: the same attack on data with a planted leak."""
