"""What has become of a run: running, done, failed or stopped, from what lies in its directory."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from diffmaac.errors import DiffmaacError, one_line
from diffmaac.files import read_json, write_json
from diffmaac.runs.layout import FAILURE, METRICS
from diffmaac.runs.lock import is_claimed
from diffmaac.runs.metrics import read_evaluation, read_metrics
from diffmaac.runs.settings import stored_settings
from diffmaac.settings import Settings

STATES = ("running", "done", "failed", "stopped")


@dataclass(frozen=True)
class RunState:
    """A run as it lies there."""

    path: Path
    settings: Settings
    state: str
    """running: a process has its lock; done: evaluated at its last step; failed: its training ended with an error;
    stopped: none of these, so that `resume=` goes on. On a file system without locks no run is seen running."""
    rows: list[dict[str, str]]
    """Its evaluations so far."""
    reason: str = ""
    """Why it failed, in one line."""

    @property
    def step(self) -> int:
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def value(self) -> float | None:
        """The return of its last evaluation."""
        return float(self.rows[-1]["return"]) if self.rows else None

    @property
    def seconds(self) -> float:
        """Wall time of its training so far."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0


def state_of(path: Path) -> RunState:
    """The state of the run in `path`. Raises CheckpointError where there is none, or its files are damaged."""
    settings, rows = stored_settings(path), read_metrics(path / METRICS)
    failure = read_json(path / FAILURE, dict) or {}
    evaluated = (read_evaluation(path) or {}).get("step")
    if is_claimed(path):
        state = "running"
    elif failure:
        state = "failed"
    else:
        state = "done" if evaluated == settings.run.steps else "stopped"
    return RunState(path, settings, state, rows, str(failure.get("error", "")) if state == "failed" else "")


@contextmanager
def noted(path: Path) -> Iterator[None]:
    """Leaves a note in the run's directory where the block fails; an interruption is no failure."""
    (path / FAILURE).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, DiffmaacError) else f"{type(error).__name__}: "
        with suppress(OSError):  # where the disk is full the error itself has to do
            write_json(path / FAILURE, {"error": kind + one_line(error)})
        raise
