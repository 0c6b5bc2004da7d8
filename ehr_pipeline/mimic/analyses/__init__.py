"""Published kinds of analysis as SQL for MIMIC-IV: they run unchanged on a real warehouse and on an exported one.

What belongs here: one `.sql` file per analysis, ours, with the paper that defines it, and running it. What does not:
comparing what they find (`evaluate/`).

Each answers with a few aggregated rows, so that a real and a synthetic database can stand side by side. Small cells
are shown as they are: what is read of a real warehouse stays inside.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import duckdb
import pandas as pd


@cache
def analyses() -> dict[str, str]:
    """SQL of each analysis by name, in alphabetical order."""
    found = sorted(files(__package__).iterdir(), key=lambda file: file.name)
    return {file.name[:-4]: file.read_text(encoding="utf-8") for file in found if file.name.endswith(".sql")}


def run_analysis(con: duckdb.DuckDBPyConnection, name: str) -> pd.DataFrame:
    """Answer the analysis `name` on a database with MIMIC-IV's schemas: one row per group, columns as its SQL says.

    Raises
    ------
    KeyError
        There is no such analysis.
    """
    return con.sql(analyses()[name]).df()
