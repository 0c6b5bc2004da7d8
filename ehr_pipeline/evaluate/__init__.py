"""Evaluation: how close a synthetic table comes to a fresh real sample, and what it gives away.

`ehr_pipeline.evaluate` is this room, and what a user calls: `ehr_pipeline.evaluate("real.csv", synthetic)`. Python sets
the name to the room whenever a module of it is imported, so the room itself is what answers the call.
"""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    def __call__(self, *tables: Any, **options: Any) -> Any:
        """Judge a synthetic table beside the real one: `files.evaluate_files`."""
        from ehr_pipeline.evaluate.files import evaluate_files

        return evaluate_files(*tables, **options)


sys.modules[__name__].__class__ = _Room
