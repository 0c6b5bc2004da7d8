"""What was promised before anything was attacked: the budget of each model, and what the ledger knows of the patients.

What belongs here: words and tables of promises. What does not: accounting (`privacy/`), attacks (`evaluate/attacks/`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ehr_pipeline.privacy.budget import PrivacyPlan, told
from ehr_pipeline.privacy.entries import Total
from ehr_pipeline.report.inputs import GeneratorFacts
from ehr_pipeline.report.numbers import count, number

PRIVATE = "private: epsilon {epsilon:.4g} at delta {delta:.3g} per {unit}"
NON_PRIVATE, OF_FILES = "non-private: no formal guarantee", "not known: a file does not say how it was made"


def tier(generator: GeneratorFacts, *, is_of_files: bool) -> str:
    """What is promised in advance of one generator's table."""
    if is_of_files:
        return OF_FILES
    if generator.privacy is None:
        return NON_PRIVATE
    plan = PrivacyPlan.of_record(dict(generator.privacy))
    return PRIVATE.format(epsilon=plan.accounted.epsilon, delta=plan.accounted.delta, unit=plan.unit)


def promises(generators: Sequence[GeneratorFacts]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Title and facts of each generator with a budget: parameters, mechanisms, accountants, notes."""
    found = []
    for one in generators:
        if one.privacy is None:
            continue
        plan = PrivacyPlan.of_record(dict(one.privacy))
        spent = plan.accounted
        facts = [
            ("Unit", plan.unit),
            ("Epsilon", f"{spent.epsilon:.4g}, asked for {plan.budget.epsilon:.4g}"),
            ("Delta", f"{spent.delta:.3g}"),
            *(("Mechanism", told(mechanism)) for mechanism in plan.mechanisms),
            ("Accountant", spent.accountant),
            ("Beside it", f"PRV {number(spent.epsilon_prv)} (Gaussian part), Renyi {number(spent.epsilon_rdp)}"),
            *(("Note", note) for note in plan.notes),
        ]
        found.append((one.title, facts))
    return found


SPENT_HEADS = ("Patients", "Epsilon", "Delta", "Private fits", "Internal models", "Releases")


def spent_rows(totals: Sequence[Total]) -> tuple[tuple[str, ...], ...]:
    """What the ledger knows of each universe of patients, under `SPENT_HEADS`."""
    return tuple(
        (
            total.universe,
            "infinity" if math.isinf(total.epsilon) else number(total.epsilon),
            f"{total.delta:.3g}",
            count(total.n_spends),
            count(total.n_internal),
            count(total.n_released),
        )
        for total in totals
    )
