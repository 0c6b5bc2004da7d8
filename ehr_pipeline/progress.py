"""How long work tells that it goes on: one callback, and the two ways to show it.

What belongs here: the event that work reports, a bar for a terminal, plain lines elsewhere. Library code
only calls the callback it is given; it never prints and never knows who listens.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One report of long work: how far it is, and what it measures on the way (loss, rows per second)."""

    task: str
    done: int
    total: int
    unit: str
    elapsed_s: float
    values: dict[str, float] | None = None

    @property
    def remaining_s(self) -> float | None:
        """Seconds left at the rate so far; None before the first unit is done."""
        return self.elapsed_s / self.done * (self.total - self.done) if self.done else None

    def __str__(self) -> str:
        parts = [f"{self.task}: {self.unit} {self.done:,}/{self.total:,}"]
        parts += [f"{name} {value:,.4g}" for name, value in (self.values or {}).items()]
        if self.remaining_s is not None:
            parts.append(f"{self.remaining_s:,.0f} s left")
        return ", ".join(parts)


Progress = Callable[[Step], None]


def silent(step: Step) -> None:
    """Listen to nothing."""


def lines(write: Callable[[str], object], every_s: float = 5.0) -> Progress:
    """A listener that writes a plain line: the first, the last, and at most one each `every_s` seconds."""
    last_written = 0.0

    def listen(step: Step) -> None:
        nonlocal last_written
        now = time.monotonic()
        if step.done in (1, step.total) or now - last_written >= every_s:
            last_written = now
            write(str(step))

    return listen


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    """A listener for the command line: a bar on a terminal, plain lines elsewhere, both on stderr."""
    if not sys.stderr.isatty():
        yield lines(lambda line: print(line, file=sys.stderr, flush=True))
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[values]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, int] = {}

        def listen(step: Step) -> None:
            if step.task not in tasks:
                tasks[step.task] = bar.add_task(step.task, total=step.total, values="")
            values = " ".join(f"{name} {value:,.4g}" for name, value in (step.values or {}).items())
            bar.update(tasks[step.task], completed=step.done, total=step.total, values=values)

        yield listen
