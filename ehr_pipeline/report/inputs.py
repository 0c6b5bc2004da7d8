"""What a report is made from: the findings of every earlier stage, as values, without a path.

What belongs here: types. What does not: reading files (the caller does) and showing anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ehr_pipeline.evaluate.result import Evaluation
from ehr_pipeline.privacy.entries import Total
from ehr_pipeline.record import Schema

if TYPE_CHECKING:  # these import how small cells are hidden, which needs the types here
    from ehr_pipeline.report.analyses import AnalysisResult
    from ehr_pipeline.report.reviews import ReviewSummary
    from ehr_pipeline.report.viewer import Viewer


@dataclass(frozen=True, kw_only=True)
class FlowStep:
    """One step of how the cohort came to be: its criterion, and how many patients are left after it."""

    label: str
    n_left: int


@dataclass(frozen=True, kw_only=True)
class CohortFacts:
    """Who is in the cohort.

    Parameters
    ----------
    name, title, description
        As the definition has them.
    definition
        Text of the definition (YAML, defaults left out), shown as it is.
    definition_sha256
        Hex digest of that text.
    n_patients, n_train, n_holdout
        Members, and how the split divides them.
    is_small
        Too few patients for an honest result.
    flow
        Criteria in the order applied; the first step is everyone in the source.
    """

    name: str
    title: str
    description: str
    definition: str
    definition_sha256: str
    n_patients: int
    n_train: int
    n_holdout: int
    is_small: bool = False
    flow: Sequence[FlowStep] = ()


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where the numbers come from, so that somebody else can make them again.

    Parameters
    ----------
    source
        Name of the source, never a path with a person's name in it.
    is_simulated
        Whether the source is the simulated hospital, so that the truth is known.
    made_at
        ISO 8601 time of the report.
    hashes
        What was hashed (`ingest manifest`, `prepared table`, ...) to hex digest.
    source_rows
        Table of the source to its number of rows.
    versions, seeds, dates, settings
        Name to value: packages, random seeds, when each stage ran, options of the run.
    """

    source: str
    is_simulated: bool
    made_at: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    source_rows: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    dates: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GeneratorFacts:
    """One generator: what it is, how it was trained, and what was found out about what it wrote.

    Parameters
    ----------
    history
        One record per epoch; empty where nothing was trained.
    sanity
        Content of the generator's `sanity.json`; None where the rules were not run.
    facts
        Further facts in words or numbers: device, seconds of training, parameters of the network.
    privacy
        What a private fit spent (`PrivacyPlan.record`); None without a budget.
    audit
        What an audit with canaries found, in lines; empty where none was run.
    viewer
        Single synthetic patients to review, of a generator of timelines.
    reviews
        What reviewers said of them; None where nothing is stored.
    """

    name: str
    title: str
    config: Mapping[str, Any]
    evaluation: Evaluation
    history: Sequence[Mapping[str, float]] = ()
    sanity: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    privacy: Mapping[str, Any] | None = None
    audit: Sequence[str] = ()
    viewer: Viewer | None = None
    reviews: ReviewSummary | None = None


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """All that one report is made from.

    Parameters
    ----------
    cohort
        The cohort; for a pair of files, their names and what was asked of them.
    real_sanity
        Content of `prepared/sanity.json`.
    spent
        What the ledger knows of the data folder's patients.
    analyses
        Analyses of MIMIC-IV on the real warehouse and on what the generators of timelines made of it.
    is_of_files
        Whether files were compared: no cohort was built, no rule was run and nothing is known of the generator, so
        that those parts of the page are absent.
    """

    cohort: CohortFacts
    schema: Schema
    lineage: Lineage
    generators: Sequence[GeneratorFacts]
    real_sanity: Mapping[str, Any] | None = None
    spent: Sequence[Total] = ()
    analyses: Sequence[AnalysisResult] | None = None
    is_of_files: bool = False
