"""Cohort files: where they are, how they are read, and what is said when one is wrong.

What belongs here: YAML in, `CohortDefinition` out. What a file may say is in `definition.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.storage import DataFolder, check_name
from ehr_pipeline.strict_yaml import read_yaml_file

COHORTS_VARIABLE = "EHR_PIPELINE_COHORTS"
SHIPPED_FOLDER = Path(__file__).parent / "definitions"


def load_definitions(folders: Sequence[Path] = ()) -> dict[str, CohortDefinition]:
    """Every cohort by name: those that ship, then those of `folders` (`*.yaml`, `*.yml`).

    Raises
    ------
    DefinitionError
        A folder is not there; a file cannot be read, says something that is no cohort, or has the name of another.
    """
    definitions = dict(_shipped())
    for folder in folders:
        if not Path(folder).is_dir():
            raise DefinitionError(f"the folder of cohort files {folder} does not exist")
        for path in sorted([*Path(folder).glob("*.yaml"), *Path(folder).glob("*.yml")]):
            definition = load_definition(path)
            if definition.name in definitions:
                raise DefinitionError(f"{path}: there is a cohort {definition.name} already; rename the file")
            definitions[definition.name] = definition
    return definitions


def folders_of_cohorts(data: DataFolder) -> list[Path]:
    """A user's folders: EHR_PIPELINE_COHORTS (separated as in PATH), and the data folder's own where it exists."""
    named = [Path(folder) for folder in os.environ.get(COHORTS_VARIABLE, "").split(os.pathsep) if folder]
    return [*named, *([data.cohort_definitions] if data.cohort_definitions.is_dir() else [])]


@cache
def _shipped() -> dict[str, CohortDefinition]:
    return {path.stem: load_definition(path) for path in sorted(SHIPPED_FOLDER.glob("*.yaml"))}


def load_definition(path: Path) -> CohortDefinition:
    """One cohort from its file; the file's stem is the cohort's name.

    Raises
    ------
    DefinitionError
        One line: the file, the first field that is wrong, and what it must be.
    """
    content = _read(path)
    try:
        name = check_name(path.stem, "cohort")
    except OptionError as error:
        raise DefinitionError(f"{path}: the file's name is the cohort's name: {error}") from None
    if "name" in content:
        raise DefinitionError(f"{path}: name: take it out, the file's name is the cohort's name")
    try:
        return CohortDefinition.model_validate({"name": name, **content})
    except ValidationError as error:
        raise DefinitionError(f"{path}: {_first_fault(error)}") from None


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml_file(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DefinitionError(f"{path}: must be a mapping with title, index, window and features")
    return content


_WORDS = {
    "extra_forbidden": "there is no such field; check its spelling",
    "missing": "is missing",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
}


def _first_fault(error: ValidationError) -> str:
    """Field path and message of the first fault, and how many more there are."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    fault = faults[0]
    path = [str(part) for part in fault["loc"] if part not in ("[key]", "name", "content")]
    if path[:1] == ["features"]:  # after the column comes the form that was recognised, not a field
        del path[2:3]
    message = _WORDS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return " ".join(f"{'.'.join(path)}: {message}{more}".removeprefix(": ").split())
