"""Tests of rules, counting, rejection, verdicts and what is left on disk."""
