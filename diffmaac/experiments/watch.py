"""A live line on runs that train in processes of their own: how many are done, and the time left."""

import contextlib
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from diffmaac.errors import DiffmaacError
from diffmaac.experiments.budget import Budget
from diffmaac.experiments.plan import PlannedRun
from diffmaac.repeating import repeating

EVERY = 5.0
"""Seconds between two looks at the runs' metrics."""
MEMORY = 6 * 3600.0
"""Seconds over which the speed is averaged: a run tells of its progress once an evaluation."""


@contextlib.contextmanager
def watched(runs: Sequence[PlannedRun], planned: Budget) -> Iterator[None]:
    """Shows how far `runs` are, on standard error where that is a terminal, until the block ends."""
    started = {run.name: _step(run) for run in runs}
    console = Console(stderr=True)
    columns = (TextColumn("{task.fields[status]}"), BarColumn(20), TextColumn("left"), TimeRemainingColumn())
    progress = Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=MEMORY)
    with progress:
        task = progress.add_task("", total=sum(planned.seconds.values()), status="")

        def look() -> None:
            shares = {run.name: _share(run, started[run.name]) for run in runs}
            done = sum(share == 1.0 for share in shares.values())
            work = sum(planned.seconds[name] * share for name, share in shares.items())
            progress.update(task, completed=work, status=f"{done} of {len(runs)} runs")

        with repeating(EVERY, look):
            yield


def _share(run: PlannedRun, started: int) -> float:
    """How much of what was missing at step `started` is done."""
    return (_step(run) - started) / (run.steps - started) if run.steps > started else 1.0


def _step(run: PlannedRun) -> int:
    """The step of its last evaluation; 0 where there is none, or while the file is being replaced."""
    try:
        return run.evaluated_step
    except (DiffmaacError, OSError):
        return 0
