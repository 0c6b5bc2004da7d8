"""What does not depend on the generator: encodings, floors, nulls, people under attack.

What belongs here: everything of an evaluation that the real tables alone decide, computed once for a cohort
and passed to each of its generators' evaluations.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.attacks.inference import quasi_identifiers
from ehr_pipeline.evaluate.attacks.panel import Panel
from ehr_pipeline.evaluate.dependence import Dependence
from ehr_pipeline.evaluate.effects import Effects, Estimate
from ehr_pipeline.evaluate.encoding import Encoded, Encoding, draw, numbered
from ehr_pipeline.evaluate.marginals import Marginals
from ehr_pipeline.evaluate.plan import EvaluationPlan
from ehr_pipeline.evaluate.scoring import Readings, chance
from ehr_pipeline.evaluate.two_sample import TwoSample, two_sample
from ehr_pipeline.evaluate.utility import Predictions, Utility
from ehr_pipeline.record import Schema, conform

MAX_SECRETS = 3


@dataclass(frozen=True)
class References:
    """The real side of an evaluation, for synthetic tables cut to `size` rows.

    `key` says what it was computed from; an evaluation of anything else computes its own.
    """

    key: str
    size: int
    schema: Schema
    encoding: Encoding
    train: Encoded
    holdout: Encoded
    fresh: Encoded
    marginals: Marginals
    dependence: Dependence
    utility: Utility
    effects: Effects | None
    panel: Panel
    floor: Readings
    null: Readings
    two_sample_floor: TwoSample
    trained_on_real: dict[str, Predictions]
    effect_in_holdout: tuple[Estimate, Estimate] | None


def prepare_references(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    schema: Schema,
    plan: EvaluationPlan,
    seed: int,
    *,
    train_subject_id: np.ndarray | None = None,
    holdout_subject_id: np.ndarray | None = None,
    n_synthetic: int | None = None,
) -> References:
    """Floors, nulls and the rest of the real side.

    Parameters
    ----------
    train, holdout
        Real tables that conform to `schema`; text and id columns are passed over.
    n_synthetic
        Rows of the synthetic tables to come; None for at least as many as the smaller real table has.

    Raises
    ------
    DefinitionError
        A table lacks a column of the schema, or cannot be read as it says.
    """
    rng = np.random.default_rng(seed)
    train, holdout = conform(train, schema), conform(holdout, schema)
    encoding = Encoding.learn(train, schema)
    real = encoding.encode(train, numbered(train_subject_id, len(train)))
    held = encoding.encode(holdout, numbered(holdout_subject_id, len(holdout)))
    permuted = real.permuted(rng)
    size = equal_size(len(real), len(held), n_synthetic)
    cut_train, fresh, cut_null = (draw(table, size, rng) for table in (real, held, permuted))
    marginals = Marginals(real, encoding, rng)
    dependence = Dependence(real, encoding, seed, rng)
    utility = Utility(encoding, held, plan.tasks)
    effects = Effects(plan.effect, real, encoding) if plan.effect else None
    two_floor = two_sample(encoding, held, cut_train, "fresh real rows", seed)
    two_null = two_sample(encoding, held, cut_null, "independent columns", seed)
    utility_floor, trained = utility.readings(cut_train)
    floor = marginals.readings(fresh) | dependence.readings(fresh) | utility_floor
    floor["c2st_auc"] = two_floor.reading
    null = marginals.readings(cut_null) | dependence.readings(cut_null) | _chance_of_tasks(utility_floor)
    null["c2st_auc"] = two_null.reading
    effect_in_holdout = effects.estimate(fresh) if effects else None
    if effects:
        floor |= effects.readings(effect_in_holdout)
        null |= effects.readings(effects.estimate(cut_null))
    everyone = Encoding.learn(pd.concat([train, holdout], ignore_index=True), schema, like=encoding)
    panel = Panel(
        everyone,
        train=everyone.encode(train, real.patient),
        holdout=everyone.encode(holdout, held.patient),
        permuted=_translate(permuted, encoding, everyone),
        secrets=_secrets(plan, schema, encoding),
        known=quasi_identifiers(schema, plan.sensitive, encoding.names),
        sensitive=(*plan.sensitive, *(column.name for column in schema.with_role("sensitive"))),
        rng=rng,
    )
    return References(
        key=references_key(
            train,
            holdout,
            schema,
            plan,
            seed,
            size=size,
            train_subject_id=train_subject_id,
            holdout_subject_id=holdout_subject_id,
        ),
        size=size,
        schema=schema,
        encoding=encoding,
        train=real,
        holdout=held,
        fresh=fresh,
        marginals=marginals,
        dependence=dependence,
        utility=utility,
        effects=effects,
        panel=panel,
        floor=floor,
        null=null,
        two_sample_floor=two_floor,
        trained_on_real=trained,
        effect_in_holdout=effect_in_holdout,
    )


def equal_size(n_train: int, n_holdout: int, n_synthetic: int | None) -> int:
    """Rows to which value, floor and null are cut, so that they carry the same sampling noise."""
    return min(n_train, n_holdout) if n_synthetic is None else min(n_train, n_holdout, n_synthetic)


def references_key(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    schema: Schema,
    plan: EvaluationPlan,
    seed: int,
    *,
    size: int,
    train_subject_id: np.ndarray | None = None,
    holdout_subject_id: np.ndarray | None = None,
) -> str:
    """Hex digest of all that references are computed from."""
    digest = hashlib.sha256(f"{schema.model_dump_json()} {plan!r} {seed} {size}".encode())
    for table, patient in ((train, train_subject_id), (holdout, holdout_subject_id)):
        digest.update(pd.util.hash_pandas_object(conform(table, schema), index=False).to_numpy().tobytes())
        digest.update(numbered(patient, len(table)).tobytes())
    return digest.hexdigest()


def _chance_of_tasks(readings: Readings) -> Readings:
    """0.5 for each AUROC; nothing for what has no chance level."""
    return chance({name: reading for name, reading in readings.items() if name.startswith(("tstr_hgb", "tstr_lr"))})


def _secrets(plan: EvaluationPlan, schema: Schema, encoding: Encoding) -> tuple[str, ...]:
    """Columns that an attacker would want to learn: sensitive ones, outcomes, else the first with levels."""
    wanted = [*plan.sensitive, *(task.target for task in plan.tasks)]
    wanted += [column.name for column in schema.columns if column.role in ("sensitive", "outcome")]
    wanted += list(encoding.categorical[:1] or encoding.continuous[:1]) if not wanted else []
    return tuple(dict.fromkeys(name for name in wanted if name in encoding.names))[:MAX_SECRETS]


def _translate(table: Encoded, source: Encoding, target: Encoding) -> Encoded:
    """The same rows in another encoding's codes."""
    codes = np.empty_like(table.codes)
    for place, (old, new) in enumerate(zip(source.levels, target.levels, strict=True)):
        codebook = np.append(new.get_indexer(old), [len(new), len(new) + 1])
        codes[:, place] = codebook[table.codes[:, place]]
    return Encoded(table.numbers, codes, table.patient)
