"""How long the runs of an experiment will take: from what they took so far, or from a rehearsal on this machine."""

import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diffmaac.errors import DiffmaacError, SettingError
from diffmaac.experiments.plan import PlannedRun
from diffmaac.task import Task
from diffmaac.tasks import resolve_task
from diffmaac.training.trainer import Trainer

REHEARSED = 20
"""Environment steps whose updates are timed."""
FEWEST = 2
"""Evaluations of a run, at least, between which its rate is taken."""


@dataclass(frozen=True)
class Budget:
    """The seconds that each run will take, in the order in which they are trained, `jobs` at a time."""

    seconds: Mapping[str, float]
    jobs: int

    @property
    def hours(self) -> float:
        """Wall time until the last run is done."""
        ends = [0.0] * min(self.jobs, len(self.seconds))
        for seconds in self.seconds.values():
            heapq.heapreplace(ends, ends[0] + seconds)
        return max(ends, default=0.0) / 3600

    def line(self) -> str:
        """In words: runs and hours altogether, and the run that takes longest."""
        name, longest = max(self.seconds.items(), key=lambda item: item[1])
        together = f"{len(self.seconds)} runs to train, {self.jobs} at a time: about {duration(self.hours)}"
        return f"{together} (the longest, {name}, {duration(longest / 3600)})"

    def check(self, hours: float) -> None:
        """Raises SettingError where it takes more than `hours`; 0 is no bound."""
        if 0 < hours < self.hours:
            raise SettingError(
                f"hours={hours:g}: {self.line()}. Allow as many, or give fewer envs=, variants= or seeds=, or smaller"
                " steps=."
            )


def duration(hours: float) -> str:
    """In the unit that suits it."""
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"


def budget(missing: Sequence[PlannedRun], all_runs: Sequence[PlannedRun], jobs: int) -> Budget:
    """What is left to train of `missing`, at the rate of the runs of the same curve and task among `all_runs`.

    Where there is none yet, a few steps are rehearsed, which takes a second or two for each curve and task.
    """
    rates: dict[tuple[str, str], float] = {}
    for curve, run in {run.curve: run for run in missing}.items():
        rates[curve] = _measured([other for other in all_runs if other.curve == curve]) or rehearsed(run)
    return Budget({run.name: rates[run.curve] * (run.steps - run.evaluated_step) for run in missing}, jobs)


def _measured(runs: Sequence[PlannedRun]) -> float:
    """Seconds a step of the longest of `runs`, its random steps left out; 0 where none is long enough."""
    rates = {0: 0.0}
    for run in runs:
        learning = [row for row in run.rows() if int(row["step"]) > run.settings.data.random_steps]
        if len(learning) >= FEWEST:
            steps, seconds = (float(learning[-1][name]) - float(learning[0][name]) for name in ("step", "seconds"))
            rates[int(steps)] = seconds / steps
    return rates[max(rates)]


def rehearsed(run: PlannedRun) -> float:
    """Seconds a step, from a first fit, a first imagination, `REHEARSED` steps with updates, and an evaluation.

    0 where that fails: the run will say why, and soon.
    """
    try:
        return seconds_a_step(run.env, run.words, run.settings.data.random_steps)
    except DiffmaacError:
        return 0.0


def seconds_a_step(env: str | Task, words: Mapping[str, Any], random_steps: int) -> float:
    """As `rehearsed`, of a run with these words. Raises DiffmaacError where it fails."""
    task, settings = resolve_task(env, {**words, "steps": random_steps + REHEARSED})
    trainer, threads = Trainer(task, settings), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = trainer.rehearse(REHEARSED)
        start = time.perf_counter()
        trainer.evaluate(settings.report.eval_episodes)
        evaluation = time.perf_counter() - start
    finally:
        torch.set_num_threads(threads)
    every = {"model": settings.model.model_every, "imagination": settings.data.imagine_every}
    total = sum(part / every.get(name, REHEARSED) for name, part in seconds.items())
    return total + evaluation / settings.report.epoch_steps
