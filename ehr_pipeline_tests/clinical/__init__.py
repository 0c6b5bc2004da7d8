"""Tests of the clinical catalogue."""
