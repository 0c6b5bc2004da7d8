"""Tests of ehr_pipeline; the folders mirror the library."""
