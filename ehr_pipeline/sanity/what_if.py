"""What-if cohorts: patients on request (conditions) or by given shares (balance) from a trained model.

What belongs here: the few lines that bring a model, its conditions and the rules together, and the record. What does
not: the ordinary synthetic table (`sample.py`), which a what-if cohort never replaces.

Rows that break a HARD rule are drawn again, and a blocking check leaves no table, as in the ordinary sample. SOFT rules
compare with the whole real cohort, which these patients are not meant to be like: they only inform.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.errors import CheckFailed, OptionError, RejectionCapReached
from ehr_pipeline.generators.balance import Balance, Cost, account, draw_parts, overall_rate, plan_parts
from ehr_pipeline.generators.registry import generator_type
from ehr_pipeline.generators.train import load_model, model_sha256, require_present_data
from ehr_pipeline.progress import Progress, Step, silent
from ehr_pipeline.record import conform
from ehr_pipeline.sanity.accept import DRAWS_PER_ROW, Ledger, arrow_schema
from ehr_pipeline.sanity.binding import bind
from ehr_pipeline.sanity.judge import judge_synthetic
from ehr_pipeline.sanity.real import RealSanity
from ehr_pipeline.sanity.rules import load_rules, rules_hash
from ehr_pipeline.sanity.run import run_file_rules
from ehr_pipeline.sanity.synthetic import rejecting_rules
from ehr_pipeline.sanity.verdict import TableCheck, check_table
from ehr_pipeline.storage import CohortFolder, WhatIfFiles, atomic_file, read_json, require, sha256, write_json

FEWEST_ROWS_OF_CAP = 1_000
"""The cap on draws is that of so many rows at least."""


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """Which patients are asked for.

    Attributes
    ----------
    conditions
        Column name to value, met by every row; an empty text means missing.
    balance
        Columns whose levels get given or equal shares of the rows.
    rows
        Where None as many as the real cohort has, or as many as a private model counted.
    """

    conditions: dict[str, Any] = field(default_factory=dict)
    balance: Balance = field(default_factory=dict)
    rows: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class WhatIfSummary:
    """What was made: plain values to be told."""

    files: WhatIfFiles
    n_rows: int
    acceptance_rate: float
    rejection_rate: float
    parts: list[dict[str, Any]]
    checks: tuple[TableCheck, ...]


def sample_what_if(
    folder: CohortFolder, generator: str, asked: WhatIf, files: WhatIfFiles, progress: Progress = silent
) -> WhatIfSummary:
    """Draw the patients that `asked` describes into `files.table`, with their record beside it.

    Memory holds one chunk of rows. What stood there before stays if this one is refused.

    Raises
    ------
    NotReady
        The cohort is not prepared, or the model not trained on what the cohort holds now.
    OptionError
        A condition or a balance is none that the model can meet.
    CheckFailed
        The cohort's own table, or this one, failed a blocking check.
    RejectionCapReached
        Too few draws meet the conditions, or pass the HARD rules.
    """
    generator_type(generator)
    real = RealSanity.read(folder.sanity)
    if not real.passed:
        raise CheckFailed(f"the prepared table of {folder.root.name} failed its checks: nothing is drawn from it")
    require_present_data(folder, generator)
    model_folder = folder.generator(generator).model
    model = load_model(folder.generator(generator))
    schema, rules = model.schema, load_rules()
    bound = bind(schema, rules)
    card = read_json(model_folder / "model.json")
    is_private = card.get("privacy") is not None
    real_rows = pq.read_metadata(require(folder.prepared_table, "prepare the cohort first")).num_rows
    n = (card["n_patients"] if is_private else real_rows) if asked.rows is None else asked.rows
    if n < 1:
        raise OptionError(f"rows must be 1 or more, not {n}")
    parts = plan_parts(model.codec, n, asked.balance, asked.conditions)
    costs = [Cost() for _ in parts]
    ledger = Ledger(schema, rejecting_rules(bound, real.rules, is_private))
    fixed = list(parts[0].conditions)

    def keep(rows: pd.DataFrame) -> pd.DataFrame:
        if ledger.n_drawn >= DRAWS_PER_ROW * max(n, FEWEST_ROWS_OF_CAP):
            raise RejectionCapReached(ledger.refusal(n, "drop a condition that contradicts these rules"))
        return ledger.judge(conform(rows, schema), len(rows), fixed)

    started, done = time.monotonic(), 0
    with atomic_file(files.table) as temporary:
        with pq.ParquetWriter(temporary, arrow_schema(schema)) as writer:
            for chunk in draw_parts(model.sample, parts, asked.seed, costs, keep=keep):
                writer.write_table(pa.Table.from_pandas(chunk, schema=writer.schema, preserve_index=False))
                done += len(chunk)
                progress(Step(task="what-if", done=done, total=n, unit="rows", elapsed_s=time.monotonic() - started))
        judged = judge_synthetic(run_file_rules(temporary, schema, bound), real.rules, is_private)
        checks = tuple(check_table(temporary, schema, judged, n_expected=n))
        if refused := [check for check in checks if check.blocking]:
            said = "; ".join(f"{check.name} {check.description}" for check in refused)
            raise CheckFailed(f"what-if cohort of {generator} not written: {said}")
        table_sha256 = sha256(temporary)
        files.record.unlink(missing_ok=True)  # the old record must never stand beside the new table
    accounting = ledger.close()
    summary = WhatIfSummary(
        files=files,
        n_rows=n,
        acceptance_rate=overall_rate(costs),
        rejection_rate=accounting.rejection_rate,
        parts=account(parts, costs),
        checks=checks,
    )
    write_json(
        files.record,
        {
            "cohort": folder.root.name,
            "generator": generator,
            "conditions": asked.conditions,
            "balance": {name: dict(shares) for name, shares in asked.balance.items()},
            "rows": n,
            "seed": asked.seed,
            "acceptance_rate": summary.acceptance_rate,
            "parts": summary.parts,
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "model_sha256": model_sha256(folder.generator(generator)),
            "data_fingerprint": card["data_fingerprint"],
            "table_sha256": table_sha256,
            "rules_hash": rules_hash(rules),
            "checks": [check.as_dict() for check in checks],
            "accounting": accounting.as_dict(),
        },
    )
    return summary
