"""Tests of the Dagster layer: assets, gates, the live server and the browser."""
