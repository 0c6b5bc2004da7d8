"""Tests of ingest: reading, refusing, publishing, checking."""
