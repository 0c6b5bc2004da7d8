"""The section of single synthetic patients: pictures, facts, and what reviewers said, as the template shows them.

What belongs here: patients and reviews to rows and pictures. What does not: reading or judging them.
"""

from __future__ import annotations

from typing import Any

from ehr_pipeline.report.inputs import GeneratorFacts, ReportInputs
from ehr_pipeline.report.numbers import count, number, percent
from ehr_pipeline.report.pictures.patient import patient_picture
from ehr_pipeline.report.reviews import FORMAT, Count, ReviewSummary
from ehr_pipeline.report.tables import Table


def patients_view(inputs: ReportInputs) -> dict[str, Any]:
    """What `patients.html` shows."""
    shown = [
        {
            "place": place,
            "generator": one.name,
            "title": one.title,
            "cohort": inputs.cohort.name,
            "format": FORMAT,
            "events_sha256": one.viewer.events_sha256,
            "n_patients": count(one.viewer.n_patients),
            "patients": [(patient, patient_picture(patient)) for patient in one.viewer.patients],
            "summary": _summary(one),
            "agreement": _agreement(one.reviews) if one.reviews else None,
            "reasons": _reasons(one.reviews) if one.reviews else [],
            "n_outdated": one.reviews.n_outdated if one.reviews else 0,
        }
        for place, one in enumerate(inputs.generators)
        if one.viewer is not None
    ]
    return {"viewers": shown}


def _summary(one: GeneratorFacts) -> Table | None:
    if one.reviews is None or not one.reviews.reviewers:
        return None
    rows = tuple(_counted(line) for line in (one.reviews.patients, *one.reviews.reviewers))
    return Table(heads=("", "Patients judged", "Realistic", "Share", "95 % interval"), rows=rows)


def _counted(line: Count) -> tuple[str, ...]:
    low, high = line.bounds
    bounds = f"{percent(low)} to {percent(high)}"
    return (line.who, count(line.n), count(line.n_realistic), percent(line.share), bounds)


def _agreement(reviews: ReviewSummary) -> Table | None:
    rows = tuple(
        (
            f"{one.reviewers[0]} and {one.reviewers[1]}",
            count(one.n),
            percent(one.share),
            number(one.kappa, 2),
        )
        for one in reviews.agreements
    )
    return Table(heads=("", "Patients both judged", "Same verdict", "Cohen's kappa"), rows=rows) if rows else None


def _reasons(reviews: ReviewSummary) -> list[tuple[str, int, str, str]]:
    return [
        (who, patient, "realistic" if realistic else "not realistic", why)
        for who, patient, realistic, why in reviews.reasons
    ]
