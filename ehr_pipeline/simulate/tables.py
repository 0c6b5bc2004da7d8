"""Writing MIMIC-IV tables piece by piece: `hosp/patients.csv.gz` and the like, each one gzip stream.

What belongs here: bytes on disk. The same tables give the same bytes. What does not: what the tables say.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

COMPRESSION_LEVEL = 1
WRITERS = 2


class TableWriter:
    """Appends to many tables at once while the caller makes the next piece; use `writing_tables`.

    Attributes
    ----------
    rows
        Rows handed over so far, by table.
    """

    def __init__(self, folder: Path, open_files: ExitStack, pool: ThreadPoolExecutor) -> None:
        self.rows: Counter[str] = Counter()
        self._folder, self._open_files, self._pool = folder, open_files, pool
        self._streams: dict[str, gzip.GzipFile] = {}
        self._pending: list[Future[None]] = []

    def append(self, tables: Mapping[str, pa.Table]) -> None:
        """Append one piece to each table named; what was appended before is written by then."""
        self.finish()
        for name, table in tables.items():
            self.rows[name] += table.num_rows
            stream = self._streams.get(name) or self._open(name, table.schema)
            self._pending.append(self._pool.submit(_write, stream, table))

    def finish(self) -> None:
        """Wait until all is written; raises what a writer raised."""
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()

    def _open(self, name: str, schema: pa.Schema) -> gzip.GzipFile:
        path = self._folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = self._open_files.enter_context(path.open("wb"))
        # No name and no time in the gzip header: the bytes depend on the table alone.
        stream = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0)
        self._streams[name] = self._open_files.enter_context(stream)
        stream.write((",".join(schema.names) + "\n").encode())
        return stream


@contextmanager
def writing_tables(folder: Path) -> Iterator[TableWriter]:
    """A writer of tables into `folder`; on leaving, all is written and closed."""
    with ExitStack() as open_files, ThreadPoolExecutor(WRITERS, thread_name_prefix="table") as pool:
        writer = TableWriter(folder, open_files, pool)
        yield writer
        writer.finish()


def _write(stream: gzip.GzipFile, table: pa.Table) -> None:
    options = pa.csv.WriteOptions(include_header=False, batch_size=1 << 16)
    pa.csv.write_csv(table, stream, options)
