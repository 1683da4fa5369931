"""Runs as numbers: every evaluation, aggregates over the runs of a curve, and where a curve ends."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffmaac.analysis.statistics import at_common_steps, bootstrap_interval, interquartile_mean
from diffmaac.experiments import PlannedRun

Rows = list[dict[str, Any]]


def grouped(runs: Sequence[PlannedRun]) -> dict[str, dict[str, list[PlannedRun]]]:
    """Task -> curve -> its runs."""
    groups: dict[str, dict[str, list[PlannedRun]]] = {}
    for run in runs:
        groups.setdefault(run.env, {}).setdefault(run.label, []).append(run)
    return groups


def evaluations(run: PlannedRun) -> Rows:
    """Every evaluation of a run, with what it was made with."""
    names = ("step", "seconds", "return", "return_std", "score", "solved")
    head = {"env": run.env, "curve": run.label, "seed": run.given["seed"]}
    return [{**head, **{name: row.get(name, "") for name in names}} for row in run.rows()]


def summary(env: str, label: str, runs: Sequence[PlannedRun]) -> Rows:
    """Aggregates over the runs of a curve at each step that all of them have."""
    steps, returns = at_common_steps([run.rows() for run in runs], "return")
    return _aggregates(env, label, steps.tolist(), [returns])


def overall(groups: Mapping[str, Mapping[str, Sequence[PlannedRun]]]) -> Rows:
    """Aggregates over all runs of a curve on all tasks, where they end, for the curves that every task has.

    Normalised: on each task 0 is the mean return of the first evaluations, before learning, and 1 the interquartile
    mean of the best curve.
    """
    scores: dict[str, list[np.ndarray]] = {}
    for curves in groups.values():
        last = {label: np.array([[float(run.rows()[-1]["return"])] for run in runs]) for label, runs in curves.items()}
        start = np.mean([float(run.rows()[0]["return"]) for runs in curves.values() for run in runs])
        best = max(float(interquartile_mean(returns)[0]) for returns in last.values())
        for label, returns in last.items():
            scores.setdefault(label, []).append((returns - start) / (best - start))
    everywhere = {label: found for label, found in scores.items() if len(found) == len(groups)}
    return [row for label, found in everywhere.items() for row in _aggregates("all, normalised", label, ["end"], found)]


def _aggregates(env: str, label: str, steps: Sequence[int | str], groups: Sequence[np.ndarray]) -> Rows:
    """Interquartile mean with its interval, mean and standard deviation over all runs of all `groups` (tasks).

    `groups` are returns, each (runs, steps).
    """
    found = np.concatenate(groups)
    columns = (interquartile_mean(found), *bootstrap_interval(groups), found.mean(0), found.std(0))
    rows: Rows = []
    for step, *numbers in zip(steps, *columns, strict=True):
        texts = dict(zip(("iqm", "low", "high", "mean", "std"), (f"{x:.6g}" for x in numbers), strict=True))
        if len(found) == 1:  # one run says nothing of the spread between runs
            texts |= {"low": "", "high": "", "std": ""}
        rows.append({"env": env, "curve": label, "runs": len(found), "step": step, **texts})
    return rows


def ending(last: Mapping[str, Any], runs: Sequence[PlannedRun]) -> list[str]:
    """One line of the table: where a curve ends."""
    several = last["runs"] > 1
    low, high = (f"{float(last[name]):.4g}" if several else "" for name in ("low", "high"))
    iqm, mean = (f"{float(last[name]):.4g}" for name in ("iqm", "mean"))
    cells = [last["env"], last["curve"], str(last["runs"]), f"{last['step']:,}" if runs else last["step"]]
    cells += [f"{iqm} [{low}, {high}]" if several else iqm, f"{mean} +- {float(last['std']):.2g}" if several else mean]
    minutes = [float(run.rows()[-1]["seconds"]) / 60 for run in runs]
    return [*cells, _solved(runs) if runs else "", f"{np.median(minutes):.1f}" if runs else ""]


def _solved(runs: Sequence[PlannedRun]) -> str:
    """The median step of the first evaluation whose every episode met the task's criterion, and in how many runs."""
    rows = [run.rows() for run in runs]
    if not rows[0][-1].get("solved"):
        return ""
    first = [next((int(row["step"]) for row in x if float(row["solved"]) == 1.0), None) for x in rows]
    found = [step for step in first if step is not None]
    return f"{np.median(found):,.0f} ({len(found)} of {len(runs)})" if found else f"none of {len(runs)}"


def mean_std(values: Sequence[float]) -> str:
    """Mean and standard deviation; of one value, itself."""
    return f"{np.mean(values):.4g}" + (f" +- {np.std(values):.2g}" if len(values) > 1 else "")
