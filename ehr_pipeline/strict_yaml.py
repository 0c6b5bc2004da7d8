"""YAML that a user wrote, read strictly: a safe loader that refuses a key written twice.

What belongs here: a file's text into plain values, and what is said when that fails. What does not: what they mean.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ehr_pipeline.errors import DefinitionError


def read_yaml_file(path: Path) -> Any:
    """The content of a YAML file.

    Raises
    ------
    DefinitionError
        It cannot be read, is not UTF-8, is no YAML, or has a key twice; the message names file and line.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506  a safe loader
    except OSError as error:
        raise DefinitionError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, RecursionError):
        raise DefinitionError(f"{path}: is not YAML in UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:  # a date that no calendar has is a ValueError
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise DefinitionError(f"{path}:{place} is not valid YAML ({problem})") from None


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """A safe loader that refuses a key written twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node; every key once."""
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node.value, str) else None
            if key is not None and key in seen:
                raise yaml.constructor.ConstructorError(None, None, "a key stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
