"""The limits of a report in plain words: those of every report, and those that these findings add.

What belongs here: sentences. A sentence that depends on findings says on which.
"""

from __future__ import annotations

from ehr_pipeline.record import SMALL_CELL
from ehr_pipeline.report.inputs import ReportInputs
from ehr_pipeline.report.numbers import count
from ehr_pipeline.report.smallcells import HIDDEN, is_small

CONTEXT_OF_USE = (
    "Evidence for people who decide whether a synthetic table is good enough and discloses little enough for a purpose "
    "they have in mind. It was made by software and signed by nobody."
)
PROHIBITED_USES = (
    "Decisions about an individual patient.",
    "Attempts to recognise anyone, or to link records with other sources.",
    "Handing this report outside the institution: it was computed from real patients.",
)


def patients(n: int) -> str:
    """A number of patients, hidden where it is small."""
    return HIDDEN if is_small(n) else count(n)


def limits(inputs: ReportInputs) -> list[str]:
    """Limits in the order in which they matter to a reader."""
    cohort = inputs.cohort
    found = []
    if cohort.is_small:
        what = "real table" if inputs.is_of_files else "cohort"
        found.append(
            f"The {what} is small ({patients(cohort.n_patients)} patients, {patients(cohort.n_holdout)} of them held "
            "out). Intervals are wide, floors are noisy, and attacks may be too weak to find anything. Read no verdict "
            "here as an honest result about the generators."
        )
    found += [
        *_promise_limit(inputs),
        "Attacks show leaks where they find some; finding none shows only that these attacks, of this strength, found "
        "none.",
        "Synthetic does not mean free of personal data: a model that has seen patients can repeat parts of them. "
        "Whether a table is personal data is for the board to decide.",
        "Every number here was computed from real patients and lies outside any privacy budget, so the report itself "
        "is internal.",
        "Synthetic rows are not new patients. Adding more of them makes intervals narrower, not conclusions truer; an "
        "analysis should be repeated on real records before anyone acts on it.",
        f"Counts of fewer than {SMALL_CELL} patients are hidden, with further cells where a hidden one could be "
        "worked out. Rare groups are therefore judged least, and they are the easiest to recognise.",
    ]
    if inputs.is_of_files:
        found.append(
            "The files were taken as they are: how the synthetic one was made, and from which rows, is not known here. "
            + _rules_of_files(inputs)
        )
    else:
        found.append(
            "One training run with one seed stands for each generator; another seed would give somewhat other numbers."
        )
    if not any(
        "link" in attack.name.lower() for generator in inputs.generators for attack in generator.evaluation.attacks
    ):
        found.append("Linking the synthetic table with another data set about the same people was not attacked.")
    if inputs.lineage.is_simulated or any(generator.evaluation.effect for generator in inputs.generators):
        found.append(_truth_limit(inputs))
    found += _left_out(inputs)
    tables = (inputs.real_sanity, *(generator.sanity for generator in inputs.generators))
    if not inputs.is_of_files and any(sanity is None for sanity in tables):
        found.append("The clinical rules were not run on every table; where they were not, sanity counts as failed.")
    return found + _warnings(inputs)


def _rules_of_files(inputs: ReportInputs) -> str:
    """Which clinical rules read files; those of patient tables need a cohort's schema."""
    found = [one.evaluation.timelines for one in inputs.generators if one.evaluation.timelines is not None]
    n_rules = min((one.plausibility.n_rules for one in found), default=0)
    if not n_rules:
        return "No clinical rule was run on them."
    return (
        f"Of the clinical rules, {n_rules} on the order and values of events found something to check in them; those "
        "of patient tables were not run."
    )


def _promise_limit(inputs: ReportInputs) -> list[str]:
    """Who has no formal guarantee."""
    if inputs.is_of_files:
        return ["The synthetic file has no known formal privacy guarantee."]
    without = [one.title for one in inputs.generators if one.privacy is None]
    if len(without) == len(inputs.generators):
        return ["The generators have no formal privacy guarantee."]
    return [f"No formal privacy guarantee stands behind {', '.join(without)}."] if without else []


def _truth_limit(inputs: ReportInputs) -> str:
    if inputs.lineage.is_simulated:
        return (
            "The source is a simulated hospital whose true treatment effect is known. What is shown here is how the "
            "method does on data with known truth; it says nothing about any real hospital."
        )
    return (
        "On real records nobody knows the true treatment effect. An agreement between real and synthetic estimates is "
        "an agreement, not a proof of either."
    )


def _left_out(inputs: ReportInputs) -> list[str]:
    by_columns: dict[tuple[str, ...], list[str]] = {}
    for generator in inputs.generators:
        if generator.evaluation.left_out:
            by_columns.setdefault(tuple(generator.evaluation.left_out), []).append(generator.title)
    return [
        f"{', '.join(names)}: not compared are {', '.join(columns)} (text, identifiers, or columns that the generator "
        "does not write)."
        for columns, names in by_columns.items()
    ]


def _warnings(inputs: ReportInputs) -> list[str]:
    said: dict[str, list[str]] = {}
    for generator in inputs.generators:
        for warning in generator.evaluation.warnings:
            said.setdefault(warning, []).append(generator.title)
    everyone = len(inputs.generators)
    return [warning if len(names) == everyone else f"{', '.join(names)}: {warning}" for warning, names in said.items()]
