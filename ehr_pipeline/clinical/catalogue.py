"""How the YAML files of `clinical/` are read.

What belongs here: reading one packaged file, once. What the files mean stands in the modules beside this.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def read_catalogue(name: str) -> dict[str, Any]:
    """The mapping in `clinical/<name>.yaml`. Callers must not change it."""
    text = files("ehr_pipeline.clinical").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=_Loader)  # noqa: S506  a safe loader, in C where there is one
