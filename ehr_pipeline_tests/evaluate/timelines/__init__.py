"""Tests of the evaluation of timelines: each measure by hand, floors and nulls, planted faults, the judge."""
