"""Where everything lies inside a released bundle: a folder that travels, and is verified wherever it lands.

What belongs here: names of files in a bundle. What does not: where bundles lie in the data folder (`storage.py`).
"""

from __future__ import annotations

from pathlib import PurePosixPath

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
PUBLIC_KEY = "public-key.pem"
SEALS = frozenset({MANIFEST, SIGNATURE, PUBLIC_KEY})
"""Files that the manifest does not list: itself, and what proves it."""

PARQUET, CSV, DUCKDB = "data/patients.parquet", "data/patients.csv", "data/patients.duckdb"
EVENTS = "data/events"
"""Folder of a MEDS data set, where the generator makes timelines."""
README = "README.txt"
PAGES = {
    "report": "index.html",
    "statement": "privacy-statement.html",
    "data_sheet": "data-sheet.html",
    "model_card": "model-card.html",
    "crosswalk": "crosswalk.html",
    "expert": "expert-evidence.html",
}
FORMAT = "ehr-pipeline release 1"


def is_inside(name: str) -> bool:
    """Whether a name from a manifest can only mean a file inside its bundle.

    >>> is_inside("data/patients.csv"), is_inside("../keys"), is_inside("/etc/passwd"), is_inside("a//b")
    (True, False, False, False)
    """
    path = PurePosixPath(name)
    is_plain = str(path) == name and not path.is_absolute() and "\\" not in name and "\0" not in name
    return is_plain and bool(path.parts) and ".." not in path.parts and name != "."
