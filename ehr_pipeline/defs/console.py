"""The command line's view of a run: what assets say, line by line, and none of Dagster's own events."""

from __future__ import annotations

import logging
import sys

import dagster as dg

PLAIN = "plain"


class _AssetLines(logging.Handler):
    """Writes what an asset logged to stderr, indented, without Dagster's prefix."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, unless Dagster itself speaks."""
        meta = getattr(record, "dagster_meta", {})
        if meta.get("dagster_event") is None:
            sys.stderr.write(f"  {meta.get('orig_message', record.getMessage())}\n")
            sys.stderr.flush()


@dg.logger(description="What assets say, as plain lines on stderr.")
def plain_console(_: dg.InitLoggerContext) -> logging.Logger:
    """A logger for runs that a person follows on the command line."""
    logger = logging.Logger("ehr_pipeline.console", level=logging.INFO)
    logger.addHandler(_AssetLines())
    return logger
