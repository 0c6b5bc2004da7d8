"""Sampling in chunks: any number of rows in bounded memory, each chunk with a seed of its own.

What belongs here: how a long table is cut. What does not: what is done with the rows (sanity rejects some and
keeps drawing).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ehr_pipeline.generators.base import Generator

CHUNK_ROWS = 65_536


def chunk_seed(seed: int, chunk: int) -> int:
    """The seed of a chunk: depends on `seed` and the chunk's number alone."""
    return int(np.random.SeedSequence((seed, chunk)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def draw_chunks(
    generator: Generator, seed: int, chunk_rows: int = CHUNK_ROWS, conditions: dict[str, Any] | None = None
) -> Iterator[pd.DataFrame]:
    """Chunks of `chunk_rows` rows, without end; the caller stops when it has enough.

    The same generator, seed and `chunk_rows` give the same chunks on the same machine.
    """
    for chunk in itertools.count():
        yield generator.sample(chunk_rows, chunk_seed(seed, chunk), conditions)
