"""Findings made by hand, of any size, for the report's tests: no stage is run."""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.result import (
    Attack,
    ColumnComparison,
    CorrelationComparison,
    Curve,
    Effect,
    EffectEstimate,
    EpidemiologyRow,
    Evaluation,
    Score,
    Subgroup,
    TaskComparison,
)
from ehr_pipeline.record import Column, Schema
from ehr_pipeline.report.inputs import CohortFacts, FlowStep, GeneratorFacts, Lineage, ReportInputs

N_TRAIN, N_HOLDOUT = 4000, 1000

# name: value, low, high, floor, null, threshold, verdict, dimension, better
SCORES = {
    "c2st_auc": (0.58, 0.56, 0.60, 0.501, 0.73, 0.667, "passed", "fidelity", "lower"),
    "ks_mean": (0.021, 0.018, 0.025, 0.017, None, None, "diagnostic", "fidelity", "lower"),
    "correlation_error": (0.031, 0.027, 0.036, 0.017, 0.114, 0.066, "passed", "fidelity", "lower"),
    "tstr_hgb[cvd]": (0.701, 0.671, 0.731, 0.719, 0.5, 0.669, "passed", "utility", "higher"),
    "causal_log_odds_error": (0.21, 0.02, 0.44, 0.03, 0.82, None, "diagnostic", "causal", "lower"),
    "membership_auc[all]": (0.507, 0.491, 0.523, 0.502, None, 0.53, "passed", "privacy", "lower"),
    "membership_auc[isolated]": (0.52, 0.46, 0.58, 0.49, None, None, "diagnostic", "privacy", "lower"),
    "exact_copies_train": (0.0, 0.0, 0.0009, 0.0, None, 0.0007, "passed", "privacy", "lower"),
    "dcr_share": (0.502, 0.49, 0.514, 0.5, None, None, "diagnostic", "privacy", "near_half"),
}


def score(name: str, worse: float = 0.0) -> Score:
    """One score of `SCORES`; `worse` moves it towards the null, and past its threshold at 1."""
    value, low, high, floor, null, threshold, verdict, dimension, better = SCORES[name]
    normalised = None
    if null is not None:
        step = worse * (null - value)
        value, low, high = value + step, low + step, high + step
        normalised = (value - floor) / (null - floor)
    if threshold is not None:
        passed = value <= threshold if better == "lower" else value >= threshold
        verdict = "passed" if passed else "failed"
    return Score(
        name=name, dimension=dimension, value=value, low=low, high=high, floor=floor, null=null,
        normalised=normalised, threshold=threshold, verdict=verdict, better=better,
    )  # fmt: skip


def number_column(name: str, rng: np.random.Generator, spread: float = 1.0) -> ColumnComparison:
    """Counts of 30 bins of a normal column."""
    bins = np.linspace(18, 95, 31)

    def counts(n: int, sd: float) -> list[int | None]:
        found = np.histogram(rng.normal(55, sd, n).clip(18, 95), bins)[0]
        return [int(k) if k >= 11 else None for k in found]

    return ColumnComparison(
        name=name, kind="continuous", unit="years", bins=[float(b) for b in bins], train=counts(N_TRAIN, 15),
        holdout=counts(N_HOLDOUT, 15), synthetic=counts(N_TRAIN, 15 * spread),
        missing_share={"train": 0.12, "holdout": 0.11, "synthetic": 0.13}, distance=0.021, distance_floor=0.017,
    )  # fmt: skip


def level_column(name: str, levels: tuple[str, ...], rng: np.random.Generator) -> ColumnComparison:
    """Counts of the levels of a category."""
    shares = rng.dirichlet(np.full(len(levels), 2.0))

    def counts(n: int) -> list[int | None]:
        return [int(k) if k >= 11 else None for k in rng.multinomial(n, shares)]

    return ColumnComparison(
        name=name, kind="categorical", levels=list(levels), train=counts(N_TRAIN), holdout=counts(N_HOLDOUT),
        synthetic=counts(N_TRAIN), missing_share={"train": 0.0, "holdout": 0.0, "synthetic": 0.0},
        distance=0.012, distance_floor=0.009,
    )  # fmt: skip


def correlation(names: list[str], rng: np.random.Generator, kept: float = 0.8) -> CorrelationComparison:
    """Correlations of a random factor model; the synthetic ones keep a part of them."""
    loading = rng.normal(size=(len(names), 3))
    covariance = loading @ loading.T + 2 * np.eye(len(names))
    sd = np.sqrt(np.diag(covariance))
    real = covariance / np.outer(sd, sd)
    synthetic = np.where(np.eye(len(names), dtype=bool), 1.0, kept * real)
    return CorrelationComparison(names=names, train=real.tolist(), holdout=real.tolist(), synthetic=synthetic.tolist())


def curve(label: str, power: float) -> Curve:
    """A smooth ROC curve; a power of 1 is chance."""
    x = np.linspace(0, 1, 60)
    return Curve(
        label=label, false_positive_rate=x.tolist(), true_positive_rate=(x ** (1 / power)).tolist(),
        auc=power / (power + 1),
    )  # fmt: skip


def roc_pair(power: float) -> list[Curve]:
    """What models of real and of synthetic rows reach."""
    return [curve("trained on real", 2.6), curve("trained on synthetic", power)]


def effect(bias: float = 0.2) -> Effect:
    """The case study's effect, recovered with a bias."""
    estimates = [
        EffectEstimate(table=table, measure=measure, value=truth + shift, low=truth + shift - w, high=truth + shift + w)
        for measure, truth, w in (("log_odds", -0.8, 0.12), ("risk_difference", -0.163, 0.02))
        for table, shift in (("train", 0.02), ("holdout", -0.03), ("synthetic", bias * abs(truth)))
    ]
    return Effect(
        treatment="treatment", outcome="adverse_event", confounders=["age", "diabetes", "cvd"],
        true_log_odds=-0.8, true_risk_difference=-0.163, estimates=estimates,
    )  # fmt: skip


def attack(found_plant: bool = True) -> Attack:
    """The membership attack."""
    return Attack(
        name="membership", question="Was this patient among those the generator learned from?",
        score_names=["membership_auc[all]", "membership_auc[isolated]"], planted_share=0.05,
        planted_value=0.74, planted_score="membership_auc[all]", found_plant=found_plant,
    )  # fmt: skip


def evaluation(schema: Schema, seed: int = 0, worse: float = 0.0, found_plant: bool = True) -> Evaluation:
    """A whole evaluation of a table with the schema's columns."""
    rng = np.random.default_rng(seed)
    names = [c.name for c in schema.columns]
    return Evaluation(
        scores={name: score(name, worse) for name in SCORES},
        columns=[
            level_column(c.name, c.levels or ("0", "1"), rng) if c.levels or c.kind == "binary"
            else number_column(c.name, rng, 1 - 0.2 * worse)
            for c in schema.columns
        ],
        correlation=correlation(names, np.random.default_rng(5), 1 - 0.9 * worse - 0.1),
        two_sample=[curve("synthetic", 1.4 + worse), curve("fresh real rows", 1.0)],
        tasks=[
            TaskComparison(target="cvd", level=None, model=model, curves=roc_pair(2.4 - worse))
            for model in ("boosted", "linear")
        ],
        attacks=[attack(found_plant)],
        subgroups=[
            Subgroup(column="sex", level="F", n_real=2090, n_synthetic=2101, share_ratio=1.0, scores={"ks_mean": 0.03}),
            Subgroup(column="age", level="90 and over", n_real=None, n_synthetic=None, share_ratio=None),
        ],
        epidemiology=[
            EpidemiologyRow(label="Mean age", unit="years", real=55.2, synthetic=55.0, difference=-0.2),
            EpidemiologyRow(label="Diabetes", unit="%", real=27.1, synthetic=25.9, difference=-1.2),
        ],
        effect=effect(0.2 + worse),
        n_rows={"train": N_TRAIN, "holdout": N_HOLDOUT, "synthetic": N_TRAIN, "compared": N_HOLDOUT},
        warnings=["Holdout patients are few for the rate at 0.1 % false alarms."],
        provenance={"seed": 7, "table_sha256": "a" * 64},
    )  # fmt: skip


MEDICORE = Schema(
    columns=(
        *(Column(name=n, kind="continuous", unit=u, minimum=low, maximum=high, decimals=1)
          for n, u, low, high in (("age", "years", 18, 95), ("bmi", "kg/m2", 15, 55), ("hba1c", "%", 3.5, 14),
                                  ("systolic_bp", "mmHg", 80, 220), ("creatinine", "mg/dL", 0.4, 5))),
        Column(name="sex", kind="categorical", levels=("F", "M"), role="sensitive"),
        Column(name="admission", kind="categorical", levels=("EW EMER.", "URGENT", "ELECTIVE", "OBSERVATION ADMIT")),
        *(Column(name=n, kind="binary") for n in ("diabetes", "cvd")),
        Column(name="treatment", kind="binary", role="treatment"),
        Column(name="adverse_event", kind="binary", role="outcome"),
    )
)  # fmt: skip

EMPTY_EVALUATION = Evaluation(
    scores={}, columns=[], correlation=None, two_sample=[], tasks=[], attacks=[], subgroups=[], epidemiology=[],
    effect=None, n_rows={},
)  # fmt: skip


def rule(key: str, verdict: str = "passed", n_failed: int | None = 0, sources: tuple[str, ...] = ("mc",)) -> dict:
    """One rule as sanity records have it."""
    counts = {"n_checked": 4000, "n_failed": n_failed, "rate": 0.0, "could_run": True}
    return {
        "key": key, "rule": key, "title": f"what rule {key} says", "columns": ["age"], "check": "vitals",
        "heading": "plausibility", "severity": "hard", "severity_here": "hard", "sources": list(sources),
        "confirmed": "K" not in sources, "verdict": verdict, "note": None, "real": counts, "synthetic": counts,
    }  # fmt: skip


REAL_SANITY = {
    "rules": [
        rule("R32[bmi]", "measured", None),
        rule("R46[creatinine]", "measured"),
        rule("schema-range[age]", sources=("schema",)),
    ]
}
SYNTHETIC_SANITY = {
    "rules": {
        "conformance": [rule("schema-range[age]", sources=("schema",))],
        "plausibility": [rule("R32[bmi]", sources=("K",)), rule("R46[creatinine]"), rule("R64", "not_applicable")],
    },
    "accounting": {
        "rejection": {"n_drawn": 4032, "n_rejected": 32},
        "rules": [{"rule": "R32[bmi]", "n_drawn": 4032, "n_rejected": 32}],
        "subgroups": [
            {"column": "sex", "level": "F", "n_drawn": 2100, "n_rejected": 20},
            {"column": "sex", "level": None, "n_drawn": 12, "n_rejected": 0},
        ],
        "shifts": [
            {"column": "bmi", "quantity": "mean", "level": None, "drawn": 28.1, "accepted": 28.0, "shift_sd": -0.02}
        ],
    },
}  # fmt: skip


def inputs(schema: Schema = MEDICORE, n_generators: int = 2, **changes: object) -> ReportInputs:
    """Inputs with generators that get worse one by one."""
    titles = ("Variational autoencoder", "Independent columns", "Adversarial network", "Marginals")
    names = ("tabular_vae", "independent", "tabular_gan", "marginals")
    generators = tuple(
        GeneratorFacts(
            name=names[i % 4] + ("" if i < 4 else f"_{i}"),
            title=titles[i % 4] + ("" if i < 4 else f" {i}"),
            config={"seed": 0, "epochs": 200, "learning_rate": 0.001},
            evaluation=evaluation(schema, i, i / max(n_generators - 1, 1)),
            history=[]
            if i == 1
            else [{"epoch": e, "loss": 9 / e + 3, "validation_loss": 9 / e + 3.2} for e in range(1, 60)],
            sanity=SYNTHETIC_SANITY,
            facts={"device": "cpu", "trained for": "41 s"},
        )
        for i in range(n_generators)
    )
    content: dict = {
        "cohort": CohortFacts(
            name="medicore", title="MediCore case study",
            description="Adults with the twelve facts of the case study recorded in their first admission.",
            definition="title: MediCore case study\npopulation:\n  age: {minimum: 18}\n", definition_sha256="c" * 64,
            n_patients=N_TRAIN + N_HOLDOUT, n_train=N_TRAIN, n_holdout=N_HOLDOUT,
            flow=(FlowStep(label="all patients", n_left=5400), FlowStep(label="18 years or older", n_left=5120),
                  FlowStep(label="an ICU stay", n_left=5000)),
        ),
        "schema": schema,
        "lineage": Lineage(
            source="simulated hospital", is_simulated=True, made_at="2026-11-22T08:00:00+00:00",
            hashes={"ingest manifest": "a" * 64, "prepared table": "b" * 64}, source_rows={"hosp.patients": 5400},
            versions={"ehr_pipeline": "0.1.0", "python": "3.11.7"}, seeds={"simulation": 1, "sampling": 2},
            dates={"ingest": "2026-11-22T07:50:00"}, settings={"rows": 4000},
        ),
        "generators": generators,
        "real_sanity": REAL_SANITY,
    }  # fmt: skip
    return ReportInputs(**(content | changes))
