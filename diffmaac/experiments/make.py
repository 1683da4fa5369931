"""Runs made, resumed or reused, each in a process of its own."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from diffmaac.errors import DiffmaacError
from diffmaac.experiments.plan import PlannedRun

_LOGGER = logging.getLogger(__name__)


@runtime_checkable
class Child(Protocol):
    """A process that trains."""

    def wait(self) -> int: ...
    def terminate(self) -> None: ...


def make(runs: Sequence[PlannedRun], jobs: int) -> tuple[list[PlannedRun], list[str]]:
    """Trains what is missing or has stopped, `jobs` at a time, each in a process of its own on one thread.

    Returns the runs that can be used, and one line for each that cannot. With jobs=0 nothing is trained, and a run that
    has stopped is used as far as it went.
    """
    missing: list[tuple[PlannedRun, list[str]]] = []
    errors: dict[str, str] = {}
    for run in runs:
        try:
            done = run.done()
            if jobs and not done:
                missing.append((run, run.arguments()))
            elif not run.path.exists():
                errors[run.name] = f"there is no run '{run.path}'."
            elif not run.rows():
                errors[run.name] = f"'{run.path}' has no evaluation up to step {run.steps:,}."
        except DiffmaacError as error:
            errors[run.name] = str(error)
    if missing:
        _LOGGER.info("%d of %d runs are to be trained, %d at a time", len(missing), len(runs), jobs)
    children: set[Child] = set()

    def train(both: tuple[PlannedRun, list[str]]) -> str:
        return _train(*both, children)

    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        try:
            for (run, _), error in zip(missing, pool.map(train, missing), strict=True):
                if error:
                    errors[run.name] = error
        except BaseException:  # stopped: no training goes on without the process that asked for it
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):
                child.terminate()
            raise
    return [run for run in runs if run.name not in errors], list(errors.values())


def _train(run: PlannedRun, words: Iterable[str], children: set[Child]) -> str:
    """Trains one run; its output goes to <run>.log, its process into `children` while it lives.

    Returns what went wrong in one line, empty where nothing did.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    output = run.folder / f"{run.name}.log"
    command = [sys.executable, "-m", "diffmaac.cli", "train", *words]
    start = time.perf_counter()
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
    rows = run.rows()
    minutes = (time.perf_counter() - start) / 60
    _LOGGER.info(
        "%s: trained in %.1f min, return %.4g at step %s", run.name, minutes, float(rows[-1]["return"]), run.steps
    )
    return ""
