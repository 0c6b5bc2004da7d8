"""The errors a user can meet, each one line that names the file, row, column or option and the mend.

What belongs here: exception classes and nothing else. A message may carry names and counts; it never
carries a patient's value.

    EhrPipelineError          exit 1   something said no
    ├── InputError            exit 2   the user's input is wrong and the message says how to mend it
    │   ├── SourceError                a source folder, file, column or row
    │   ├── DefinitionError            a cohort's YAML, a schema file, a generator's config
    │   ├── OptionError                a command-line option or argument
    │   └── ReviewRefused              a file of reviewers' verdicts; it knows every fault
    ├── CheckFailed           exit 1   a check or a gate refused
    │   ├── RejectionCapReached        too few drawn records pass the HARD rules
    │   ├── ReleaseRefused             the release gate said no; it knows every reason
    │   ├── BudgetExceeded             a private run would pass the cap of its patients
    │   └── LedgerBroken               the ledger of what was spent does not verify
    ├── NotReady              exit 2   an earlier stage has not been run
    └── ResourceShort         exit 1   memory or disk ran out; what was there before is whole
"""

from __future__ import annotations

from collections.abc import Sequence


class EhrPipelineError(Exception):
    """Base of every error that a user is meant to read: one line, whatever name stands in it."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        # A name from a hostile file could else move the cursor of a terminal or begin a line of its own.
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


class InputError(EhrPipelineError):
    """The input was wrong; nothing was changed."""

    exit_code = 2


class SourceError(InputError):
    """A source folder or file cannot be read as what it should be."""


class DefinitionError(InputError):
    """A definition written by a user (cohort, schema, config) does not say something valid."""


class OptionError(InputError):
    """A command-line option has a value that cannot be used."""


class ReviewRefused(InputError):
    """A file of reviewers' verdicts does not say valid verdicts.

    Parameters
    ----------
    reasons
        Each one line that says what is wrong, and where.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(str(EhrPipelineError(reason)) for reason in reasons)


class CheckFailed(EhrPipelineError):
    """A check or gate said no."""


class RejectionCapReached(CheckFailed):
    """The generator draws too many records that break HARD rules."""


class ReleaseRefused(CheckFailed):
    """The release gate said no.

    Parameters
    ----------
    reasons
        Each one line that says what is missing or wrong, and the mend.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(str(EhrPipelineError(reason)) for reason in reasons)


class BudgetExceeded(CheckFailed):
    """A private run would spend more than the policy's cap leaves for its patients."""


class LedgerBroken(CheckFailed):
    """The ledger was altered, cut off or taken away."""


class NotReady(EhrPipelineError):
    """A stage was asked for before the stage that it reads."""

    exit_code = 2


class ResourceShort(EhrPipelineError):
    """Memory or disk ran out."""
