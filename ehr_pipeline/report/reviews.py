"""What reviewers say of single synthetic patients: read from a file, stored beside them, and summed up.

What belongs here: verdicts, their checks and their summary. What does not: which patients are shown (`viewer.py`), the
form in the page (`page/patients.html`, `page/review.js`).

A file of verdicts is what the page saves, JSON: `{"format", "cohort", "generator", "events_sha256", "reviewer",
"verdicts": [{"patient", "realistic", "why"}]}`. Whatever a reviewer wrote is text and shown as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ehr_pipeline import storage
from ehr_pipeline.errors import OptionError, ReviewRefused
from ehr_pipeline.report.code_titles import LEFT_OUT
from ehr_pipeline.report.lint import claims
from ehr_pipeline.report.viewer import N_PATIENTS, choose_patients
from ehr_pipeline.sanity.accept import wilson_interval

FORMAT = "ehr-pipeline review 1"
MAX_BYTES = 1_000_000
N_ERRORS = 20


class Verdict(BaseModel):
    """One reviewer's word on one synthetic patient."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    patient: int
    realistic: bool
    why: str = Field("", max_length=2_000)

    @field_validator("why")
    @classmethod
    def _is_plain(cls, why: str) -> str:
        return one_line(why)


class Review(BaseModel):
    """All that one reviewer says at once of the patients that one page shows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["ehr-pipeline review 1"]
    cohort: str
    generator: str
    events_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the synthetic events that were looked at")
    reviewer: str = Field(min_length=1, max_length=80)
    verdicts: list[Verdict] = Field(min_length=1, max_length=N_PATIENTS)

    @field_validator("reviewer")
    @classmethod
    def _is_named(cls, reviewer: str) -> str:
        if not one_line(reviewer):
            raise ValueError("a name or initials are needed")
        return one_line(reviewer)


class StoredReview(Review):
    """A review, and when it was stored."""

    stored_at: str


def one_line(text: str) -> str:
    r"""The text as one line, without signs that do not show.

    >>> one_line("odd\n\tpotassium\u202e ")
    'odd potassium'
    """
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def store_review(data: storage.DataFolder, cohort: str, generator: str, path: Path) -> Review:
    """Check a file of verdicts and append it to what is stored of this generator; the same file twice is stored once.

    Raises
    ------
    ReviewRefused
        The file does not say valid verdicts about the patients that stand there now; one reason per fault.
    OptionError
        There is no such file, or it is too large.
    NotReady
        The generator has made no events for the cohort.
    """
    files = data.cohort(cohort).generator(generator)
    mend = f"run `ehr-pipeline run --cohort {cohort} --generator {generator}` with a generator of timelines first"
    storage.require(files.events, mend)
    review = _read(path)
    reasons = []
    if (review.cohort, review.generator) != (cohort, generator):
        reasons.append(f"{path.name} is about another cohort or generator than --cohort and --generator say")
    elif review.events_sha256 != storage.sha256(files.events):
        reasons.append(f"{path.name} is about other synthetic events than stand there now; review the present page")
    else:
        reasons += _faults(review, set(choose_patients(files.events)[1]))
    if reasons:
        raise ReviewRefused(reasons)
    with storage.exclusive(files.reviews_lock, on_wait=lambda: None):
        stored = read_reviews(files)
        if not any(Review(**one.model_dump(exclude={"stored_at"})) == review for one in stored):
            new = StoredReview(**review.model_dump(), stored_at=datetime.now(UTC).isoformat(timespec="seconds"))
            storage.write_json(files.reviews, [one.model_dump() for one in (*stored, new)])
    return review


def read_reviews(files: storage.GeneratorFolder) -> list[StoredReview]:
    """What is stored, in the order in which it came; none where nothing is.

    Raises
    ------
    ReviewRefused
        The stored file has another shape than was written.
    """
    if not files.reviews.exists():
        return []
    try:
        return [StoredReview.model_validate(one) for one in storage.read_json(files.reviews)]
    except (ValidationError, ValueError, TypeError):
        raise ReviewRefused([f"{files.reviews} does not hold reviews; move it away and store them again"]) from None


def _read(path: Path) -> Review:
    if not path.is_file():
        raise OptionError(f"there is no file {path}; save the verdicts from the page first")
    if path.stat().st_size > MAX_BYTES:
        raise OptionError(f"{path} is larger than {MAX_BYTES:,} bytes, which no file of verdicts is")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        raise ReviewRefused([f"{path.name} is no JSON; save the verdicts from the page again"]) from None
    try:
        return Review.model_validate(content)
    except ValidationError as error:
        raise ReviewRefused([f"{path.name}: {_said(fault)}" for fault in error.errors()[:N_ERRORS]]) from None


def _said(fault: dict) -> str:
    """A fault by its place, without the words that stood there."""
    place = ".".join(str(part + 1) if isinstance(part, int) else part[:40] for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"{place} is not a field of verdicts; take it out"
    return f"{place}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _faults(review: Review, shown: set[int]) -> list[str]:
    found = []
    seen: set[int] = set()
    for place, verdict in enumerate(review.verdicts, 1):
        if verdict.patient not in shown:
            found.append(f"verdicts.{place}: the page shows no patient of that number")
        elif verdict.patient in seen:
            found.append(f"verdicts.{place}: a second verdict on the same patient; keep one")
        seen.add(verdict.patient)
    return found


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many of something were called realistic, with Wilson's 95 % interval; `who` is a reviewer or a group."""

    who: str
    n: int
    n_realistic: int

    @property
    def share(self) -> float | None:
        """Share called realistic."""
        return self.n_realistic / self.n if self.n else None

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the interval."""
        return wilson_interval(self.n_realistic, self.n)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How often two reviewers said the same of the patients that both judged; kappa is Cohen's (1960)."""

    reviewers: tuple[str, str]
    n: int
    share: float
    kappa: float | None


@dataclass(frozen=True, kw_only=True)
class ReviewSummary:
    """What the reviewers said of one generator's patients; a reviewer's latest verdict on a patient counts.

    `patients` counts each patient once, by most of its reviewers (a tie counts as not realistic). `reasons` are
    reviewer, patient, whether realistic, and why. `n_outdated` reviews are about events that are no more.
    """

    patients: Count
    reviewers: tuple[Count, ...]
    agreements: tuple[Agreement, ...]
    reasons: tuple[tuple[str, int, bool, str], ...]
    n_outdated: int


def sum_up(reviews: Sequence[StoredReview], events_sha256: str) -> ReviewSummary:
    """Sum up the reviews that are about the events with this hash."""
    present = [review for review in reviews if review.events_sha256 == events_sha256]
    said: dict[str, dict[int, Verdict]] = {}
    for review in present:
        own = said.setdefault(shown_words(review.reviewer), {})
        own.update({verdict.patient: verdict for verdict in review.verdicts})
    by_patient: dict[int, list[bool]] = {}
    for verdicts in said.values():
        for patient, verdict in verdicts.items():
            by_patient.setdefault(patient, []).append(verdict.realistic)
    most = [2 * sum(votes) > len(votes) for votes in by_patient.values()]
    return ReviewSummary(
        patients=Count(who="all reviewers, by patient", n=len(most), n_realistic=sum(most)),
        reviewers=tuple(
            Count(who=who, n=len(own), n_realistic=sum(one.realistic for one in own.values()))
            for who, own in said.items()
        ),
        agreements=tuple(
            _agreement(pair, *(said[who] for who in pair))
            for pair in combinations(said, 2)
            if said[pair[0]].keys() & said[pair[1]].keys()
        ),
        reasons=tuple(
            (who, patient, verdict.realistic, shown_words(verdict.why))
            for who, own in said.items()
            for patient, verdict in sorted(own.items())
            if verdict.why
        ),
        n_outdated=len(reviews) - len(present),
    )


def shown_words(text: str) -> str:
    """What a reviewer wrote, unless it says what no page may say.

    >>> shown_words("potassium of 9"), shown_words("indistinguishable from the ward")
    ('potassium of 9', '(words left out)')
    """
    return LEFT_OUT if claims(text) else text


def _agreement(pair: tuple[str, str], first: dict[int, Verdict], second: dict[int, Verdict]) -> Agreement:
    both = [(first[patient].realistic, second[patient].realistic) for patient in first.keys() & second.keys()]
    n = len(both)
    share = sum(a == b for a, b in both) / n
    p, q = sum(a for a, _ in both) / n, sum(b for _, b in both) / n
    by_chance = p * q + (1 - p) * (1 - q)
    kappa = (share - by_chance) / (1 - by_chance) if by_chance < 1 else None
    return Agreement(reviewers=pair, n=n, share=share, kappa=kappa)
