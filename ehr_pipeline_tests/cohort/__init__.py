"""Tests of cohorts: definitions, members, tables, splits."""
