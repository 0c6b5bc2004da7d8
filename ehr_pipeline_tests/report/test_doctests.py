"""The examples in the report's docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from ehr_pipeline import report

FOLDER = Path(report.__file__).parent
MODULES = [
    ".".join(("ehr_pipeline.report", *path.relative_to(FOLDER).with_suffix("").parts))
    for path in sorted(FOLDER.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_hold(name):
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted > 0 and failed == 0
