"""Tests of preparing a cohort."""
