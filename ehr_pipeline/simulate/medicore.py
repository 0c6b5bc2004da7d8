"""The structural equations of the MediCore case study, as data, and the patients that they make.

What belongs here: the twelve columns, their coefficients, and the true effect of treatment that follows
from them. What does not: how a patient becomes hospital records (the other modules of this folder).

Each value is drawn given the unrounded values before it, in the order of `EQUATIONS`; rounding comes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Term:
    """`coefficient * (column - centre)`."""

    column: str
    coefficient: float
    centre: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A quantity: intercept + terms + N(0, noise_sd), clipped to [low, high], reported at `decimals`."""

    name: str
    unit: str
    intercept: float
    noise_sd: float
    low: float
    high: float
    decimals: int
    terms: tuple[Term, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A yes or no: Bernoulli with log-odds intercept + terms."""

    name: str
    intercept: float
    terms: tuple[Term, ...]


FEMALE_SHARE = 0.52

EQUATIONS: tuple[Measurement | Condition, ...] = (
    Measurement(name="age", unit="a", intercept=55, noise_sd=15, low=18, high=95, decimals=1),
    Measurement(name="bmi", unit="kg/m2", intercept=28, noise_sd=6, low=15, high=55, decimals=1),
    Measurement(
        name="hba1c",
        unit="%",
        intercept=4.5,
        terms=(
            Term(column="age", coefficient=0.02, centre=55),
            Term(column="bmi", coefficient=0.04, centre=28),
        ),
        noise_sd=0.8,
        low=3.5,
        high=14,
        decimals=2,
    ),
    Measurement(
        name="cholesterol",
        unit="mg/dL",
        intercept=180,
        terms=(
            Term(column="age", coefficient=0.5, centre=55),
            Term(column="bmi", coefficient=1.2, centre=28),
        ),
        noise_sd=30,
        low=100,
        high=350,
        decimals=0,
    ),
    Measurement(
        name="systolic_bp",
        unit="mmHg",
        intercept=120,
        terms=(
            Term(column="age", coefficient=0.4, centre=55),
            Term(column="bmi", coefficient=0.6, centre=28),
        ),
        noise_sd=15,
        low=80,
        high=220,
        decimals=0,
    ),
    Measurement(
        name="creatinine",
        unit="mg/dL",
        intercept=0.9,
        terms=(Term(column="age", coefficient=0.005, centre=55),),
        noise_sd=0.2,
        low=0.4,
        high=5,
        decimals=2,
    ),
    Condition(
        name="diabetes",
        intercept=-3,
        terms=(
            Term(column="age", coefficient=0.03),
            Term(column="bmi", coefficient=0.05),
            Term(column="hba1c", coefficient=0.3, centre=6.5),
        ),
    ),
    Condition(
        name="hypertension",
        intercept=-2.5,
        terms=(
            Term(column="age", coefficient=0.025),
            Term(column="bmi", coefficient=0.04),
            Term(column="systolic_bp", coefficient=0.02, centre=120),
        ),
    ),
    Condition(
        name="cvd",
        intercept=-4,
        terms=(
            Term(column="age", coefficient=0.04),
            Term(column="bmi", coefficient=0.03),
            Term(column="cholesterol", coefficient=0.005),
            Term(column="diabetes", coefficient=0.5),
            Term(column="hypertension", coefficient=0.4),
        ),
    ),
    Condition(
        name="treatment",
        intercept=-1,
        terms=(
            Term(column="diabetes", coefficient=0.3),
            Term(column="hypertension", coefficient=0.2),
            Term(column="cvd", coefficient=0.4),
            Term(column="hba1c", coefficient=0.01, centre=6),
        ),
    ),
    Condition(
        name="adverse_event",
        intercept=-2,
        terms=(
            Term(column="diabetes", coefficient=0.3),
            Term(column="hypertension", coefficient=0.2),
            Term(column="cvd", coefficient=0.5),
            Term(column="age", coefficient=0.02),
            Term(column="treatment", coefficient=-0.8),
        ),
    ),
)

OUTCOME, TREATMENT = "adverse_event", "treatment"

COLUMNS: tuple[str, ...] = (
    "age",
    "sex",
    "bmi",
    "hba1c",
    "cholesterol",
    "systolic_bp",
    "creatinine",
    "diabetes",
    "hypertension",
    "cvd",
    "treatment",
    "adverse_event",
)


def simulate_medicore(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """`n` patients of the case study, one row per patient, columns `COLUMNS`.

    Quantities are float64 at the case study's decimals, sex is "F" or "M", conditions are int64 0 or 1.

    Examples
    --------
    >>> simulate_medicore(3, np.random.default_rng(7))[["age", "sex", "diabetes"]]
        age sex  diabetes
    0  41.6   M         1
    1  48.2   M         0
    2  40.1   M         1
    """
    drawn = _draw(n, rng)
    columns: dict[str, np.ndarray] = {"sex": np.where(drawn.pop("female"), "F", "M")}
    for equation in EQUATIONS:
        values = drawn[equation.name]
        rounded = values.round(equation.decimals) if isinstance(equation, Measurement) else values.astype("int64")
        columns[equation.name] = rounded
    return pd.DataFrame({name: columns[name] for name in COLUMNS})


@dataclass(frozen=True, kw_only=True)
class TrueEffects:
    """What the treatment truly does to the outcome.

    `log_odds` is conditional on everything else, read off the equation; `risk_difference` is the average
    over the population of P(outcome | treated) - P(outcome | untreated), by Monte Carlo over `n` patients,
    with its standard error.
    """

    log_odds: float
    risk_difference: float
    risk_difference_standard_error: float
    n: int


def true_effects(n: int, rng: np.random.Generator, chunk: int = 500_000) -> TrueEffects:
    """The effect of treatment on the outcome, over `n` patients drawn `chunk` at a time."""
    total = total_of_squares = 0.0
    for size in _sizes(n, chunk):
        patients = _draw(size, rng)
        treated, untreated = (
            _probability(_equation(OUTCOME), {**patients, TREATMENT: np.full(size, float(arm))}) for arm in (1, 0)
        )
        difference = treated - untreated
        total += float(difference.sum())
        total_of_squares += float(np.square(difference).sum())
    mean = total / n
    variance = max(total_of_squares / n - mean**2, 0.0)
    log_odds = next(term.coefficient for term in _equation(OUTCOME).terms if term.column == TREATMENT)
    return TrueEffects(
        log_odds=log_odds, risk_difference=mean, risk_difference_standard_error=(variance / n) ** 0.5, n=n
    )


def coefficients() -> dict[str, Any]:
    """Every number of the equations, as plain JSON: one entry per column."""
    return {"female": {"probability": FEMALE_SHARE}} | {
        equation.name: {key: value for key, value in asdict(equation).items() if key != "name"}
        for equation in EQUATIONS
    }


def _draw(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Unrounded values of `n` patients: float64 arrays of shape (n,), and `female` as booleans."""
    drawn: dict[str, np.ndarray] = {"female": rng.random(n) < FEMALE_SHARE}
    for equation in EQUATIONS:
        if isinstance(equation, Measurement):
            values = _linear(equation, drawn, n) + rng.normal(0, equation.noise_sd, n)
            drawn[equation.name] = values.clip(equation.low, equation.high)
        else:
            drawn[equation.name] = (rng.random(n) < _probability(equation, drawn)).astype("float64")
    return drawn


def _linear(equation: Measurement | Condition, drawn: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    total = np.full(n, float(equation.intercept))
    for term in equation.terms:
        total += term.coefficient * (drawn[term.column] - term.centre)
    return total


def _probability(equation: Condition, drawn: Mapping[str, np.ndarray]) -> np.ndarray:
    return 1 / (1 + np.exp(-_linear(equation, drawn, len(drawn["female"]))))


def _equation(name: str) -> Condition:
    return next(equation for equation in EQUATIONS if equation.name == name and isinstance(equation, Condition))


def _sizes(n: int, chunk: int) -> Iterator[int]:
    """Sizes of the pieces that make up `n`, none above `chunk`."""
    for start in range(0, n, chunk):
        yield min(chunk, n - start)
