"""Where runs are trained: the interface of an engine, the processes of this machine, and the loop that feeds either."""

import abc
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from diffmaac.experiments.plan import PlannedRun

TRAIN = (sys.executable, "-m", "diffmaac.cli", "train")
POLL = 0.05
"""Seconds between two looks at whether a process has ended."""


class AbstractEngine(abc.ABC):
    """Starts runs and says how they ended. A handle is whatever the engine knows a started run by."""

    slots: int
    """How many runs are started at a time, at most."""
    parallel: int
    """How many are trained at a time, about, for the time that is left."""

    @abc.abstractmethod
    def start(self, run: PlannedRun) -> Any:
        """Starts a run, or lets it wait for its turn, and returns its handle at once."""

    @abc.abstractmethod
    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """Waits until a run has ended; returns those that have."""

    @abc.abstractmethod
    def outcome(self, run: PlannedRun, handle: Any) -> str:
        """What went wrong in a run that has ended, in one line; empty where nothing did."""

    @abc.abstractmethod
    def stop(self, handles: Sequence[Any]) -> None:
        """Stops runs that have not ended."""


def trained(engine: AbstractEngine, runs: Iterable[PlannedRun]) -> Generator[tuple[PlannedRun, str]]:
    """Trains `runs`, which are asked for as places become free; yields each as it ends, with what went wrong.

    None goes on without the process that asked for it: where the generator is closed or interrupted, all are stopped.
    """
    running: dict[Any, PlannedRun] = {}
    waiting = iter(runs)
    try:
        while True:
            while len(running) < engine.slots and (run := next(waiting, None)) is not None:
                running[engine.start(run)] = run
            if not running:
                return
            for handle in engine.ended(list(running)):
                run = running.pop(handle)
                yield run, engine.outcome(run, handle)
    finally:
        engine.stop(list(running))


@runtime_checkable
class Child(Protocol):
    """A process that trains."""

    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...


class LocalEngine(AbstractEngine):
    """Processes of this machine, `jobs` at a time: `command`, followed by the words of a run.

    The output of a run goes to <run>.log beside its directory.
    """

    def __init__(self, jobs: int, command: Sequence[str] = TRAIN):
        self.slots = self.parallel = jobs
        self._command = command

    def start(self, run: PlannedRun) -> Child:
        run.folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": str(run.threads)}
        with run.log.open("a") as file:
            command = [*self._command, *run.arguments()]
            return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)

    def ended(self, handles: Sequence[Child]) -> list[Child]:
        while not (over := [child for child in handles if child.poll() is not None]):
            time.sleep(POLL)
        return over

    def outcome(self, run: PlannedRun, handle: Child) -> str:
        return failure(run, handle.poll() or 0)

    def stop(self, handles: Sequence[Child]) -> None:
        for child in handles:
            child.terminate()


def failure(run: PlannedRun, status: int) -> str:
    """How a run ended whose command line had the exit code `status`, with the last line that it wrote."""
    if not status:
        return ""
    lines = run.log.read_text(errors="replace").strip().splitlines() if run.log.is_file() else []
    return f"{run.name} stopped with exit code {status}: {lines[-1] if lines else 'it wrote nothing'} (see {run.log})"
