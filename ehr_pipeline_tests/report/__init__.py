"""Tests of the report: what it shows, what it hides, and what it refuses to say."""
