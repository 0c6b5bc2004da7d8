"""What a source is: MIMIC-IV tables, MEDS events, or files that a mapping describes.

What belongs here: telling them apart by names and headers, before anything is read. What does not: reading
(`readers.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.errors import EhrPipelineError, OptionError, SourceError
from ehr_pipeline.ingest.mapped import FoundLayout, find_layouts
from ehr_pipeline.ingest.mapping import SourceMapping
from ehr_pipeline.ingest.mapping_file import OWN_MAPPING, find_mapping, load_mapping, shipped_mappings
from ehr_pipeline.ingest.meds_source import meds_files
from ehr_pipeline.ingest.source import Source, find_source


@dataclass(frozen=True)
class MedsSource:
    """A folder of MEDS events."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]

    @property
    def paths(self) -> dict[str, Path]:
        """Every file that is read, by a name of its own."""
        return {str(path): path for path in self.files}


@dataclass(frozen=True)
class MappedSource:
    """A folder that a mapping describes; `asked` is how it was named, None where it was found."""

    folders: tuple[Path, ...]
    mapping: SourceMapping
    path: Path
    layouts: tuple[FoundLayout, ...]
    asked: str | None

    @property
    def paths(self) -> dict[str, Path]:
        """Every file that is read, the mapping included, by a name of its own."""
        found = [one for layout in self.layouts for group in (layout.found, *layout.lenders) for one in group]
        return {str(path): path for path in (self.path, *(one.path for one in found))}


def recognise(folders: Sequence[Path], asked: str | None = None) -> Source | MedsSource | MappedSource:
    """Tell what the folders are. `asked` names a mapping: a file, or one that ships.

    Without it a folder's own `mapping.yaml` is taken, else it is MEDS, else files with the columns of a mapping that
    ships, else MIMIC-IV.

    Raises
    ------
    SourceError
        A folder is missing, or is nothing of all this.
    DefinitionError
        The mapping says something wrong.
    OptionError
        There is no such mapping, or there is more than one folder for one.
    """
    if asked is not None and len(folders) != 1:
        raise OptionError("--mapping describes one folder; give one --source")
    if len(folders) == 1:
        found = _of_one(folders[0], asked)
        if found is not None:
            return found
    try:
        return find_source(folders)
    except SourceError as error:
        if "holds no MIMIC-IV table" not in str(error):
            raise
        raise SourceError(f"{error}; nor MEDS events; for other layouts give --mapping (docs/sources.md)") from None


def _of_one(folder: Path, asked: str | None) -> MedsSource | MappedSource | None:
    if asked is not None:
        return _mapped(folder, find_mapping(asked), asked if asked in shipped_mappings() else None, asked)
    if not folder.is_dir() and not folder.is_file():
        return None  # `find_source` says so
    try:
        if (folder / OWN_MAPPING).is_file():
            return _mapped(folder, folder / OWN_MAPPING)
        if files := meds_files(folder):
            return MedsSource((folder,), tuple(files))
    except PermissionError as error:
        raise SourceError(f"{error.filename} may not be read by this user; change its permissions") from None
    return next((found for path in shipped_mappings().values() if (found := _tried(folder, path))), None)


def _tried(folder: Path, path: Path) -> MappedSource | None:
    """The folder as this shipped mapping describes it, if it does."""
    try:
        return _mapped(folder, path)
    except (EhrPipelineError, OSError):
        return None


def _mapped(folder: Path, path: Path, shipped: str | None = None, asked: str | None = None) -> MappedSource:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise SourceError(f"{folder} {what}; name the folder that holds the mapping's files")
    mapping = load_mapping(path)
    named = None if asked is None else shipped or str(path.resolve())
    return MappedSource((folder,), mapping, path, find_layouts(folder, mapping), named)
