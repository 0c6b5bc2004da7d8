"""Sampling of timelines with sanity: a model draws, stays are made of it, the cohort and the rules reject.

What belongs here: the loop over chunks of patients, and the account of who was rejected. What does not: how drawn facts
become stays (`prepare/unfold.py`), who is a member (`cohort/synthetic.py`), the rules.

A patient is rejected as a whole: by the cohort's own criteria (as `cohort[CRITERION]` in the account), or by a HARD
rule on the patient's row. Row k of the table is the k-th patient of the events.

Memory: about 500 bytes per event of `CHUNK_PATIENTS` patients, beside what the generator needs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehr_pipeline.cohort.definition import CohortDefinition
from ehr_pipeline.cohort.synthetic import Admitted, admit
from ehr_pipeline.errors import CheckFailed, OptionError, RejectionCapReached
from ehr_pipeline.generators.timelines import TimelineGenerator
from ehr_pipeline.generators.train import load_model, model_sha256, require_present_data
from ehr_pipeline.prepare.prepare import prepared_table
from ehr_pipeline.prepare.unfold import StayKind, Unfolded, unfold
from ehr_pipeline.progress import Progress, Step, silent
from ehr_pipeline.record import EVENT_SCHEMA, Schema, conform
from ehr_pipeline.sanity.accept import DRAWS_PER_ROW, Accounting, Ledger, Rejection, arrow_schema
from ehr_pipeline.sanity.binding import BoundRule
from ehr_pipeline.sanity.pressures import pressures_in_order
from ehr_pipeline.sanity.real import RealSanity
from ehr_pipeline.sanity.synthetic import SyntheticSanity, write_accepted
from ehr_pipeline.storage import CohortFolder, read_json, read_parquet

CHUNK_PATIENTS, SMALLEST_CHUNK = 1_000, 64
_SPARE = 1.1
"""So many times the patients that are still wanted are drawn, at the rate of acceptance so far."""


def sample_timelines(
    folder: CohortFolder,
    definition: CohortDefinition,
    generator: str,
    *,
    rows: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Schema, SyntheticSanity]:
    """Draw the synthetic events of `generator` and their patient table; returns its schema and what sanity found.

    Parameters
    ----------
    rows
        Patients to write; where not said, as many as the cohort has members, or as many as a private model counted.

    Raises
    ------
    NotReady
        The cohort is not prepared, or the model not trained on what the cohort holds now.
    CheckFailed
        The cohort's own prepared table failed its checks.
    RejectionCapReached
        Too few drawn patients are admitted or pass the HARD rules; nothing is left.
    """
    real = RealSanity.read(folder.sanity)
    if not real.passed:
        raise CheckFailed(f"the prepared table of {folder.root.name} failed its checks: nothing is drawn from it")
    files = folder.generator(generator)
    require_present_data(folder, generator)
    model = load_model(files)
    schema = Schema.model_validate(read_json(folder.schema, "prepare the cohort first"))
    members = read_parquet(folder.members, "build the cohort first")
    card = read_json(files.model / "model.json")
    is_private = card.get("privacy") is not None
    n = rows or (card["n_patients"] if is_private else len(members))
    if n < 1:
        raise OptionError(f"rows must be 1 or more, not {n}")
    ids = np.setdiff1d(np.arange(1, n + len(members) + 1), members["subject_id"])[:n]

    def draw(hard: Sequence[BoundRule], table: Path, others: Sequence[Path]) -> Accounting:
        drawing = _Drawing(model, definition, Ledger(schema, hard), schema, ids, seed, progress)
        with (
            pq.ParquetWriter(table, arrow_schema(schema)) as rows_out,
            pq.ParquetWriter(others[0], EVENT_SCHEMA, compression="zstd") as events_out,
        ):
            drawing.write(rows_out, events_out)
        return drawing.account()

    sanity = write_accepted(
        draw,
        n,
        schema,
        real,
        files,
        others={"events": files.events},
        is_private=is_private,
        drawn_with={
            "seed": seed,
            "n_rows": n,
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "model_sha256": model_sha256(files),
        },
    )
    return schema, sanity


@dataclass(eq=False)
class _Drawing:
    """The chunks so far."""

    model: TimelineGenerator
    definition: CohortDefinition
    ledger: Ledger
    schema: Schema
    ids: np.ndarray
    """Numbers of the synthetic patients, none of them a real patient's: int64 of shape (n,)."""
    seed: int
    progress: Progress
    kept_out: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)

    @property
    def n_drawn(self) -> int:
        """Patients drawn up to the last one accepted."""
        return self.ledger.n_drawn + self.kept_out.total()

    def write(self, rows_out: pq.ParquetWriter, events_out: pq.ParquetWriter) -> None:
        """Draw until all are there.

        Raises
        ------
        RejectionCapReached
            They are not, after `DRAWS_PER_ROW` draws for each.
        """
        n, started, chunk = len(self.ids), time.monotonic(), 0
        kind = StayKind.of(self.definition)
        while self.ledger.n_accepted < n:
            if self.n_drawn >= DRAWS_PER_ROW * n:
                raise RejectionCapReached(self._refusal())
            (own_seed,) = np.random.SeedSequence([self.seed, chunk]).generate_state(1)
            drawn = self.model.sample(self._next_size(), int(own_seed))
            stays = _stays(drawn, kind)
            before = self.ledger.n_accepted
            patients, rows = self._accepted(admit(self.definition, stays.events), stays)
            if len(rows):
                rows_out.write_table(pa.Table.from_pandas(rows, schema=rows_out.schema, preserve_index=False))
                events_out.write_table(_renumbered(stays.events, patients, self.ids[before : before + len(patients)]))
            chunk += 1
            elapsed_s, done = time.monotonic() - started, self.ledger.n_accepted
            self.progress(Step(task="accept", done=done, total=n, unit="patients", elapsed_s=elapsed_s))

    def _next_size(self) -> int:
        wanted = len(self.ids) - self.ledger.n_accepted
        if self.n_drawn:
            rate = max(self.ledger.n_accepted / self.n_drawn, 1 / DRAWS_PER_ROW)
            wanted = max(SMALLEST_CHUNK, round(_SPARE * wanted / rate))
        return min(CHUNK_PATIENTS, wanted)

    def _accepted(self, admitted: Admitted, stays: Unfolded) -> tuple[np.ndarray, pd.DataFrame]:
        """Patients of the chunk that pass, in order, and their rows; counts all up to the last one wanted."""
        before = self.ledger.n_drawn
        table = admitted.table
        last = np.iinfo(np.int64).max
        if len(table):
            prepared, _, _ = prepared_table(self.definition, self.schema, table)
            rows = self.ledger.judge(conform(prepared, self.schema), len(self.ids) - self.ledger.n_accepted)
            n_used = self.ledger.n_drawn - before
            last = table["subject_id"].iloc[n_used - 1] if n_used < len(table) else last
        else:
            rows = table[self.schema.names]
        for title, patients in admitted.excluded.items():
            self.kept_out[title] += int((patients <= last).sum())
        self.mended.update(stays.mended)
        return table.loc[rows.index, "subject_id"].to_numpy(dtype=np.int64), rows

    def account(self) -> Accounting:
        """What it took: patients that the cohort keeps out stand among the rules that reject."""
        rows, n_drawn = self.ledger.close(), self.n_drawn
        by_rule = {f"cohort[{title}]": n for title, n in self.kept_out.items() if n}
        by_rule |= {key: rejection.n_rejected for key, rejection in rows.rules.items()}
        return replace(
            rows,
            total=Rejection(n_drawn=n_drawn, n_rejected=n_drawn - rows.n_accepted),
            rules={key: Rejection(n_drawn=n_drawn, n_rejected=n) for key, n in by_rule.items()},
            mended=dict(self.mended),
        )

    def _refusal(self) -> str:
        account = self.account()
        worst = sorted(((one.n_rejected, key) for key, one in account.rules.items()), reverse=True)[:3]
        named = ", ".join(f"{key} ({n / account.n_drawn:.1%})" for n, key in worst if n)
        return (
            f"only {account.n_accepted:,} of {len(self.ids):,} patients were accepted after {account.n_drawn:,} draws; "
            f"most are rejected by {named}: train longer, take another generator, or a larger budget where there is one"
        )


def _stays(drawn: pd.DataFrame, kind: StayKind) -> Unfolded:
    """Drawn events as stays in which nothing contradicts that can be set right, and what was."""
    unfolded = unfold(pa.Table.from_pandas(drawn, preserve_index=False), kind)
    events, mended = pressures_in_order(unfolded.events)
    return Unfolded(events, unfolded.mended | mended)


def _renumbered(events: pa.Table, patients: np.ndarray, ids: np.ndarray) -> pa.Table:
    """The events of `patients` (sorted), with their numbers and those made of them new."""
    events = events.filter(pc.is_in(events["subject_id"], value_set=pa.array(patients)))
    old = events["subject_id"].to_numpy()
    moved = pa.array(ids[np.searchsorted(patients, old)] - old)
    columns = {"subject_id": pc.add(events["subject_id"], moved)}
    for name in ("hadm_id", "stay_id"):  # a hundred times the patient's number, and the rest
        columns[name] = pc.add(events[name], pc.multiply(moved, 100))
    for name, column in columns.items():
        events = events.set_column(events.schema.get_field_index(name), EVENT_SCHEMA.field(name), column)
    return events
