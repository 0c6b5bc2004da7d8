"""A table as CSV that a spreadsheet can open without running anything that stands in it.

What belongs here: which cells could be read as formulas, and neutralising them (OWASP ASVS 1.2.10). Numbers, counts
and times are typed and written as they are; only text is touched. The Parquet file beside it is the exact table.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 50_000
"""Rows in memory at a time."""
PREFIX = "'"
LINE_END = "\r\n"
"""As RFC 4180 has it. The writer quotes a cell that holds either sign only where both end a line; unquoted, the rest of
the cell would begin a row of its own."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
"""How a cell begins that a spreadsheet reads as a formula or skips to find one; full-width forms too."""


def neutral(text: str) -> str:
    """The text, behind an apostrophe if a spreadsheet could read it as a formula.

    >>> neutral("=1+1"), neutral("-"), neutral("Furosemide")
    ("'=1+1", "'-", 'Furosemide')
    """
    return PREFIX + text if text.startswith(FORMULA_STARTS) else text


def write_csv(table: Path, target: Path) -> int:
    """Write a Parquet table as CSV in UTF-8, batch by batch; returns how many cells and names were neutralised."""
    n_neutralised = 0
    with pq.ParquetFile(table) as file, target.open("w", encoding="utf-8", newline="") as out:
        schema = file.schema_arrow
        names = [neutral(name) for name in schema.names]
        n_neutralised += sum(name != before for name, before in zip(names, schema.names, strict=True))
        pd.DataFrame(columns=names).to_csv(out, index=False, lineterminator=LINE_END)
        texts = [place for place, kind in enumerate(schema.types) if not _is_typed(kind)]
        for batch in file.iter_batches(BATCH_ROWS):
            frame = batch.to_pandas(types_mapper=pd.ArrowDtype)
            frame.columns = range(len(names))  # two names may become one; places cannot
            for place in texts:
                before = frame[place].astype("str")
                is_formula = before.str.startswith(FORMULA_STARTS).fillna(False).astype(bool)
                frame[place] = before.mask(is_formula, PREFIX + before)
                n_neutralised += int(is_formula.sum())
            frame.to_csv(out, index=False, header=False, lineterminator=LINE_END)
    return n_neutralised


def _is_typed(kind: pa.DataType) -> bool:
    """Whether values of this type can be no formula: numbers, truth values, dates and times."""
    return pa.types.is_primitive(kind)
