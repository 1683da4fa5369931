"""Runs made, resumed or reused, each in a process of its own."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from diffmaac.errors import DiffmaacError, SettingError
from diffmaac.experiments.budget import Budget, budget, duration
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.watch import watched

_LOGGER = logging.getLogger(__name__)


@runtime_checkable
class Child(Protocol):
    """A process that trains."""

    def wait(self) -> int: ...
    def terminate(self) -> None: ...


def make(runs: Sequence[PlannedRun], jobs: int, hours: float = 0.0) -> tuple[list[PlannedRun], list[str]]:
    """Trains what is missing or has stopped, `jobs` at a time, each in a process of its own on one thread.

    Returns the runs that can be used, and one line for each that cannot. With jobs=0 nothing is trained: a run that has
    stopped is used as far as it went, and one of other settings as it is, if all runs of its curve have the same.

    The log tells how long it will take, and what is left after each run.

    Raises SettingError where it would take more than `hours`; 0 is no bound.
    """
    missing: list[tuple[PlannedRun, list[str]]] = []
    errors: dict[str, str] = {}
    for run in runs:
        try:
            if jobs and not run.done():
                missing.append((run, run.arguments()))
            elif not run.path.exists():
                errors[run.name] = f"there is no run '{run.path}'."
            elif not run.rows():
                errors[run.name] = f"'{run.path}' has no evaluation up to step {run.steps:,}."
            elif not jobs and (difference := run.difference()):
                if not _agree(run, runs):
                    raise SettingError(f"{difference} Other runs of its curve were not.")
                _LOGGER.warning("%s It is used as it is.", difference)
        except DiffmaacError as error:
            errors[run.name] = str(error)
    if missing:
        known = [run for run in runs if run.name not in errors]
        if not hours:  # else a refusal is to be the only line
            _LOGGER.info("estimating how long %d runs will take, which may itself take a minute", len(missing))
        planned = budget([run for run, _ in missing], known, jobs)
        planned.check(hours)
        _LOGGER.info("%s", planned.line())
        errors |= _train_all(missing, planned)
    return [run for run in runs if run.name not in errors], list(errors.values())


def _agree(run: PlannedRun, runs: Sequence[PlannedRun]) -> bool:
    """Whether all runs of a curve that lie there were made with the same settings."""
    same = [x for x in runs if x.curve == run.curve and x.path.is_dir()]
    return all(other.experiment() == run.experiment() for other in same)


def _train_all(missing: Sequence[tuple[PlannedRun, list[str]]], planned: Budget) -> dict[str, str]:
    """Trains the runs with the words of each, and says of each that stopped why. None outlives this process."""
    children: set[Child] = set()
    left = dict(planned.seconds)

    def train(both: tuple[PlannedRun, list[str]]) -> str:
        run, words = both
        error = _train(run, words, children)
        left.pop(run.name)
        _LOGGER.info("%s%s", error or _told(run), f"; about {_hours(left, planned.jobs)} left" if left else "")
        return error

    runs = [run for run, _ in missing]
    with watched(runs, planned), ThreadPoolExecutor(planned.jobs) as pool:
        try:
            reasons = list(pool.map(train, missing))
        except BaseException:  # stopped: no training goes on without the process that asked for it
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):
                child.terminate()
            raise
    return {run.name: reason for run, reason in zip(runs, reasons, strict=True) if reason}


def _hours(left: Mapping[str, float], jobs: int) -> str:
    return duration(Budget(left, jobs).hours)


def _told(run: PlannedRun) -> str:
    last = run.rows()[-1]
    return f"{run.name}: trained in {duration(float(last['seconds']) / 3600)}, return {float(last['return']):.4g}"


def _train(run: PlannedRun, words: Iterable[str], children: set[Child]) -> str:
    """Trains one run; its output goes to <run>.log, its process into `children` while it lives.

    Returns what went wrong in one line, empty where nothing did.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    output = run.folder / f"{run.name}.log"
    command = [sys.executable, "-m", "diffmaac.cli", "train", *words]
    with output.open("a") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        children.add(child)
        status = child.wait()
        children.remove(child)
    if status:
        lines = output.read_text().strip().splitlines()
        last = lines[-1] if lines else "it wrote nothing"
        return f"{run.name} stopped with exit code {status}: {last} (see {output})"
    return ""
