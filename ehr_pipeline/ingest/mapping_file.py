"""Where mappings are, how one is read, and what is said when it is wrong.

What belongs here: YAML in, `SourceMapping` out. What a mapping may say is in `mapping.py`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from ehr_pipeline.errors import DefinitionError, OptionError
from ehr_pipeline.ingest.mapping import Condition, Event, File, Join, SourceMapping, Time
from ehr_pipeline.strict_yaml import read_yaml_file

SHIPPED_FOLDER = Path(__file__).parent / "mappings"
OWN_MAPPING = "mapping.yaml"
"""A file of this name in a source's folder is its mapping."""

_MODELS: dict[str, type[BaseModel]] = {
    "files": File,
    "events": Event,
    "joins": Join,
    "time": Time,
    "where": Condition,
}
_NUMBERED = {"files": "file", "events": "event", "joins": "join"}
_WORDS = {
    "missing": "is missing",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
}


def shipped_mappings() -> dict[str, Path]:
    """Files of the mappings that ship, by name."""
    return {path.stem: path for path in sorted(SHIPPED_FOLDER.glob("*.yaml"))}


def find_mapping(asked: str) -> Path:
    """The file of a mapping: a path, or the name of one that ships.

    Raises
    ------
    OptionError
        There is neither.
    """
    if asked in shipped_mappings():
        return shipped_mappings()[asked]
    if not Path(asked).is_file():
        names = ", ".join(shipped_mappings())
        raise OptionError(f"--mapping {asked} is no file, nor one of the mappings that ship: {names}")
    return Path(asked).resolve()


def load_mapping(path: Path) -> SourceMapping:
    """The mapping in a file.

    Raises
    ------
    DefinitionError
        One line: the file, the first key that is wrong, and what may stand there.
    """
    content = read_yaml_file(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DefinitionError(f"{path}: must be a mapping with title and files")
    if "name" in content:
        raise DefinitionError(f"{path}: name: take it out, the file's name is the mapping's name")
    try:
        return SourceMapping.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise DefinitionError(f"{path}: {_first_fault(error)}") from None


def _first_fault(error: ValidationError) -> str:
    """Place and message of the first fault, a wrong key before all, and how many more there are."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    fault = min(faults, key=lambda one: one["type"] != "extra_forbidden")  # a misspelt key is missing as well
    place = [part for part in fault["loc"] if part != "[key]"]
    message = _WORDS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        *place, key = place
        message = f"there is no key {key!r}; there are {', '.join(_keys(place))}"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return " ".join(f"{_place(place)}: {message}{more}".removeprefix(": ").split())


def _place(place: list[str | int]) -> str:
    """Where a fault is, with files and events counted from 1, as a reader counts."""
    words: list[str] = []
    for part in place:
        if isinstance(part, int) and words and words[-1] in _NUMBERED:
            words[-1] = f"{_NUMBERED[words[-1]]} {part + 1}"
        else:
            words.append(str(part))
    return ", ".join(words)


def _keys(place: list[str | int]) -> list[str]:
    """The keys that may stand at a place."""
    model = next((_MODELS[part] for part in reversed(place) if part in _MODELS), SourceMapping)
    return [field.alias or name for name, field in model.model_fields.items() if name != "name"]
