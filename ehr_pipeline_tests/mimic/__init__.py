"""Tests of MIMIC-IV as data and of the mapping between tables and events."""
