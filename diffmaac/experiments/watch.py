"""A live table on runs that train in processes of their own: run, step, return, time left."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from diffmaac.errors import DiffmaacError
from diffmaac.experiments.budget import duration
from diffmaac.experiments.plan import PlannedRun
from diffmaac.repeating import repeating

EVERY = 2.0
"""Seconds between two looks at the runs' metrics."""
MOST_LINES = 20
"""Runs that are shown."""
Rows = Sequence[Mapping[str, str]]


@dataclass
class _Line:
    """What is known of one run."""

    step: int = 0
    value: str = ""
    rate: float = 0.0
    """Seconds a step of late; 0 where it is not known."""
    looked: float = 0.0
    """When `step` was met first."""


class Board:
    """How far `runs` are, `parallel` of which are trained at a time.

    `expected` is name -> seconds that a run will take, where somebody knows.
    """

    def __init__(self, runs: Sequence[PlannedRun], parallel: int, expected: Mapping[str, float] | None = None):
        self._parallel, self._total = parallel, len(runs)
        self._left = {run.name: run for run in runs}
        self._lines = {run.name: _Line() for run in runs}
        self._done = self._failed = 0
        self.look()
        missing = {run.name: run.steps - self._lines[run.name].step for run in runs}
        self._expected = {n: s / missing[n] for n, s in (expected or {}).items() if missing.get(n)}

    def add(self, run: PlannedRun) -> None:
        """One more, where not all were known at the beginning."""
        self._left[run.name] = run
        self._lines[run.name] = _Line()
        self._total += 1

    def end(self, run: PlannedRun, failed: bool) -> None:
        """`run` is over."""
        self._left.pop(run.name, None)
        self._done += not failed
        self._failed += failed
        self._read(run)

    def look(self) -> None:
        """Reads how far the runs are that are not over."""
        for run in list(self._left.values()):
            self._read(run)

    def _read(self, run: PlannedRun) -> None:
        try:
            rows = run.rows()
        except (DiffmaacError, OSError):  # while the file is being replaced
            return
        line = self._lines[run.name]
        if rows and int(rows[-1]["step"]) != line.step:
            last = rows[-1]
            line.step, line.value, line.rate = int(last["step"]), f"{float(last['return']):.4g}", rate(rows)
            line.looked = time.monotonic()

    def seconds_left(self, run: PlannedRun) -> float | None:
        """Of one run; None where nothing is known."""
        line, known = self._lines[run.name], [x.rate for x in list(self._lines.values()) if x.rate]
        usual = sum(known) / len(known) if known else 0.0
        pace = line.rate or self._expected.get(run.name, 0.0) or usual
        since = time.monotonic() - line.looked if line.rate else 0.0
        return max(0.0, pace * (run.steps - line.step) - since) if pace else None

    def hours_left(self) -> float | None:
        """Of all; None where nothing is left or nothing is known."""
        left = [self.seconds_left(run) for run in list(self._left.values())]
        known = [seconds for seconds in left if seconds is not None]
        if not known:
            return None
        total = sum(known) * len(left) / len(known)
        return max(max(known), total / min(self._parallel, len(left))) / 3600

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", caption=self.status(), caption_justify="left")
        table.add_column("run", overflow="ellipsis", no_wrap=True)
        for name in ("step", "return", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        begun = [run for run in list(self._left.values()) if run.path.is_dir()]
        for run in begun[:MOST_LINES]:
            line, left = self._lines[run.name], self.seconds_left(run)
            told = "" if left is None else duration(left / 3600)
            table.add_row(run.name.replace("[", "\\["), f"{line.step:,} of {run.steps:,}", line.value, told)
        return table

    def status(self) -> str:
        """One line on all of them."""
        hours, failed = self.hours_left(), f", {self._failed} failed" if self._failed else ""
        left = "" if hours is None else f", about {duration(hours)} left"
        return f"{self._done} of {self._total} runs done{failed}{left}"


def rate(rows: Rows) -> float:
    """Seconds a step between the last two rows, where there are two, else from the start; 0 where there is none."""
    if not rows:
        return 0.0
    before = rows[-2] if len(rows) > 1 else {"step": "0", "seconds": "0"}
    steps, seconds = (float(rows[-1][name]) - float(before[name]) for name in ("step", "seconds"))
    return max(0.0, seconds / steps) if steps > 0 else 0.0


@contextlib.contextmanager
def watched(board: Board) -> Iterator[Board]:
    """Shows `board` on standard error where that is a terminal, or in a notebook, until the block ends."""
    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield board
        return
    with Live(board, console=console, refresh_per_second=1, transient=True), repeating(EVERY, board.look):
        yield board
