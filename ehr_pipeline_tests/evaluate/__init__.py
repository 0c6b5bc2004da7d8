"""Tests of the evaluation: each metric by hand, the references, the attacks and their controls, the judge."""
