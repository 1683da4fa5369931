"""Runs made, resumed or reused by an engine: what experiments and sweeps have in common."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence

from diffmaac.errors import DiffmaacError, SettingError
from diffmaac.experiments.budget import budget, duration
from diffmaac.experiments.engine import AbstractEngine, LocalEngine, trained
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.settings import EngineSettings
from diffmaac.experiments.watch import Board, watched

_LOGGER = logging.getLogger(__name__)


def engine_of(settings: EngineSettings) -> AbstractEngine:
    """What `engine=` names. Raises SettingError where it is not installed, or does not answer."""
    settings.check()
    if settings.engine == "ray":
        from diffmaac.experiments.cluster import RayEngine  # Ray is loaded only where it is asked for

        return RayEngine(settings)
    return LocalEngine(settings.jobs or os.cpu_count() or 1)


def make(runs: Sequence[PlannedRun], engine: AbstractEngine, hours: float = 0.0) -> tuple[list[PlannedRun], list[str]]:
    """Trains what is missing or has stopped, and returns the runs that can be used, and a line for each that cannot.

    The log tells how long it will take, and what is left after each run.

    Raises SettingError where it would take more than `hours`; 0 is no bound.
    """
    missing, errors = sort_out(runs)
    if missing:
        known = [run for run in runs if run.name not in errors]
        if not hours:  # else a refusal is to be the only line
            _LOGGER.info("estimating how long %d runs will take, which may itself take a minute", len(missing))
        planned = budget(missing, known, engine.parallel)
        planned.check(hours)
        _LOGGER.info("%s", planned.line())
        errors |= train(missing, engine, planned.seconds)
    return [run for run in runs if run.name not in errors], list(errors.values())


def sort_out(runs: Sequence[PlannedRun]) -> tuple[list[PlannedRun], dict[str, str]]:
    """The runs of which something is left to train, and name -> reason of those that cannot be used."""
    missing: list[PlannedRun] = []

    def look(run: PlannedRun) -> None:
        if not run.done():
            run.arguments()
            missing.append(run)
        elif not run.rows():
            raise SettingError(f"'{run.path}' has no evaluation up to step {run.steps:,}.")

    errors = _reasons(runs, look)
    return missing, errors


def as_they_are(runs: Sequence[PlannedRun]) -> tuple[list[PlannedRun], list[str]]:
    """As `make`, with nothing trained: a run that has stopped is used as far as it went.

    One of other settings is used as it is, if all runs of its curve have the same.
    """

    def look(run: PlannedRun) -> None:
        if not run.path.exists():
            raise SettingError(f"there is no run '{run.path}'.")
        if not run.rows():
            raise SettingError(f"'{run.path}' has no evaluation up to step {run.steps:,}.")
        if difference := run.difference():
            if not _agree(run, runs):
                raise SettingError(f"{difference} Other runs of its curve were not.")
            _LOGGER.warning("%s It is used as it is.", difference)

    errors = _reasons(runs, look)
    return [run for run in runs if run.name not in errors], list(errors.values())


def _reasons(runs: Sequence[PlannedRun], look: Callable[[PlannedRun], None]) -> dict[str, str]:
    """Name -> what `look` says of the runs that it refuses."""
    errors: dict[str, str] = {}
    for run in runs:
        try:
            look(run)
        except DiffmaacError as error:
            errors[run.name] = str(error)
    return errors


def _agree(run: PlannedRun, runs: Sequence[PlannedRun]) -> bool:
    """Whether all runs of a curve that lie there were made with the same settings."""
    same = [x for x in runs if x.curve == run.curve and x.path.is_dir()]
    return all(other.experiment() == run.experiment() for other in same)


def train(
    missing: Sequence[PlannedRun], engine: AbstractEngine, expected: Mapping[str, float] | None = None
) -> dict[str, str]:
    """Trains the runs, and says of each that stopped why. None outlives this process.

    `expected` is name -> seconds that a run will take, where that is known.
    """
    errors: dict[str, str] = {}
    with watched(Board(missing, engine.parallel, expected)) as board:
        for run, error in trained(engine, missing):
            if error:
                errors[run.name] = error
            board.end(run, bool(error))
            report(run, error, board)
    return errors


def report(run: PlannedRun, error: str, board: Board) -> None:
    """Tells the log how a run ended, and what is left."""
    left = board.hours_left()
    _LOGGER.info("%s%s", error or _told(run), "" if left is None else f"; about {duration(left)} left")


def _told(run: PlannedRun) -> str:
    last = run.rows()[-1]
    return f"{run.name}: trained in {duration(float(last['seconds']) / 3600)}, return {float(last['return']):.4g}"
