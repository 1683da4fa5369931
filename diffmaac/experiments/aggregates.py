"""Runs as numbers: every evaluation, aggregates over the runs of a curve, and where a curve ends."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from diffmaac import seeding
from diffmaac.analysis.statistics import at_common_steps, bootstrap_interval, interquartile_mean, mean_over_groups
from diffmaac.errors import SettingError
from diffmaac.experiments.plan import PlannedRun
from diffmaac.runs.metrics import made_with
from diffmaac.tasks import get_task
from diffmaac.training.evaluation import run_episodes

Rows = list[dict[str, Any]]
Groups = Mapping[str, Mapping[str, Sequence[PlannedRun]]]
"""Task -> curve -> its runs."""


def grouped(runs: Sequence[PlannedRun]) -> tuple[Groups, list[str], list[str]]:
    """The runs of every curve that can be averaged, a line for each that cannot, and for each run that cuts its own.

    A curve ends where the first of its runs does.
    """
    groups: dict[str, dict[str, list[PlannedRun]]] = {}
    for run in runs:
        groups.setdefault(run.env, {}).setdefault(run.label, []).append(run)
    broken, cut = [], []
    for env, curves in groups.items():
        for label, same in list(curves.items()):
            rows = [run.rows() for run in same]
            try:
                last = int(at_common_steps(rows)[0][-1])
            except SettingError as error:
                broken.append(f"{label} on {env}: {error}")
                del curves[label]
                continue
            shown = f"; so {label} is shown to step {last:,}." if len(same) > 1 else "."
            for run, evaluated in zip(same, rows, strict=True):
                end = int(evaluated[-1]["step"])
                if end + run.settings.report.epoch_steps <= run.steps:
                    cut.append(f"{run.name} ends at step {end:,} of {run.steps:,}{shown}")
    return {env: curves for env, curves in groups.items() if curves}, broken, cut


def run_rows(run: PlannedRun) -> Rows:
    """Every evaluation of a run, with what it was made with."""
    names = ("step", "seconds", "return", "return_std", "score", "solved")
    head = {"env": run.env, "curve": run.label, "seed": run.words["seed"]}
    made = made_with(run.path)
    return [{**head, **{name: row.get(name, "") for name in names}, **made} for row in run.rows()]


def summary(env: str, label: str, runs: Sequence[PlannedRun]) -> Rows:
    """Aggregates over the runs of a curve at each step that all of them have."""
    steps, returns = at_common_steps([run.rows() for run in runs], "return")
    return _aggregates(env, label, steps.tolist(), [returns])


def overall(groups: Groups) -> tuple[Rows, list[str]]:
    """Aggregates over tasks for the curves that every task has, and a line where there can be none.

    Normalised: on each task 0 is the return of random actions, and 1 the interquartile mean of its best curve, at the
    last step that all runs of the task have. Tasks count alike.
    """
    everywhere = set.intersection(*(set(curves) for curves in groups.values()))
    if not everywhere:
        return [], ["no aggregate over tasks: no curve is on all of them."]
    scores: dict[str, list[np.ndarray]] = {}
    for env, curves in groups.items():
        try:
            steps, returns = at_common_steps([r.rows() for runs in curves.values() for r in runs], "return")
        except SettingError:
            return [], [f"no aggregate over tasks: the curves of {env} have no step in common."]
        ends = np.split(returns[:, -1:], np.cumsum([len(runs) for runs in curves.values()])[:-1])
        start, best = random_return(env), max(float(interquartile_mean(end)[0]) for end in ends)
        if best <= start:
            worse = f"at step {steps[-1]:,} no curve of {env} is above random actions ({start:.4g})"
            return [], [f"no aggregate over tasks: {worse}."]
        for label, end in zip(curves, ends, strict=True):
            if label in everywhere:
                scores.setdefault(label, []).append((end - start) / (best - start))
    return [
        row
        for label, normalised in scores.items()
        for row in _aggregates("all, normalised", label, ["end"], normalised)
    ], []


@functools.cache
def random_return(env: str) -> float:
    """The mean return of ten episodes of uniformly random actions."""
    task, generator = get_task(env), seeding.torch_generator(0, "random actions")

    def act(obs: torch.Tensor) -> torch.Tensor:
        return 2 * torch.rand(len(obs), task.action_size, generator=generator) - 1

    return run_episodes(task, act, episodes=10, seed=0).metrics()["return"]


def _aggregates(env: str, label: str, steps: Sequence[int | str], groups: Sequence[np.ndarray]) -> Rows:
    """Interquartile mean with its interval, mean and standard deviation over the runs of each of `groups` (tasks).

    `groups` are returns, each (runs, steps). Of several the means count alike, and there is no standard deviation. A
    single run says nothing of the spread between runs.
    """
    mean = np.mean([group.mean(0) for group in groups], axis=0)
    least = min(map(len, groups))
    std = groups[0].std(0, ddof=1) if least > 1 and len(groups) == 1 else np.full_like(mean, np.nan)
    low, high = bootstrap_interval(groups) if least > 1 else (np.full_like(mean, np.nan),) * 2
    columns = {"iqm": mean_over_groups(groups), "low": low, "high": high, "mean": mean, "std": std}
    return [
        {"env": env, "curve": label, "runs": sum(map(len, groups)), "step": step}
        | {name: "" if np.isnan(values[i]) else f"{values[i]:.6g}" for name, values in columns.items()}
        for i, step in enumerate(steps)
    ]


def ending(last: Mapping[str, Any], runs: Sequence[PlannedRun]) -> list[str]:
    """One line of the table: where a curve ends, which is at the step of `last`; no `runs` for all tasks together."""
    iqm, mean = (f"{float(last[name]):.4g}" for name in ("iqm", "mean"))
    interval = f" [{float(last['low']):.4g}, {float(last['high']):.4g}]" if last["low"] else ""
    spread = f" +- {rounded(float(last['std']))}" if last["std"] else ""
    cells = [last["env"], last["curve"], str(last["runs"]), f"{last['step']:,}" if runs else last["step"]]
    cells += [iqm + interval, mean + spread]
    if not runs:
        return [*cells, "", ""]
    until = [[row for row in run.rows() if int(row["step"]) <= last["step"]] for run in runs]
    minutes = np.median([float(rows[-1]["seconds"]) / 60 for rows in until])
    return [*cells, _solved(until, last["step"]), f"{minutes:.1f}"]


def _solved(runs: Sequence[Sequence[Mapping[str, str]]], last: int) -> str:
    """The median step of the first evaluation whose every episode met the task's criterion, and in how many runs.

    A run without one counts as later than all others.
    """
    if not runs[0][-1].get("solved"):
        return ""
    first = [next((float(row["step"]) for row in rows if float(row["solved"]) == 1.0), np.inf) for rows in runs]
    middle, count = float(np.median(first)), int(np.isfinite(first).sum())
    return f"{f'{middle:,.0f}' if np.isfinite(middle) else f'> {last:,}'} ({count} of {len(runs)})"


def mean_std(values: Sequence[float]) -> str:
    """Mean and standard deviation; of one value, itself."""
    return f"{np.mean(values):.4g}" + (f" +- {rounded(float(np.std(values, ddof=1)))}" if len(values) > 1 else "")


def rounded(value: float) -> str:
    """Two significant digits, without an exponent below a million."""
    return f"{float(f'{value:.2g}'):g}"
