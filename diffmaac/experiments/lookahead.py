"""Table 1: a run's policy alone, and looking ahead by the cross-entropy method, from the same start states."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from diffmaac.analysis.evaluate import evaluate
from diffmaac.errors import SettingError
from diffmaac.experiments.aggregates import Rows, mean_std
from diffmaac.experiments.plan import PlannedRun
from diffmaac.files import read_json, write_json
from diffmaac.planning.cem import REVISION
from diffmaac.provenance import circumstances
from diffmaac.runs.metrics import EVALUATED
from diffmaac.settings import PlanSettings

RECORD = "planning.json"
"""What was measured of a run, in its directory."""
PLANNER = {**dataclasses.asdict(PlanSettings()), "revision": REVISION}
MEASURED = ("return", "return_std", "plan_ms", "plan_together_ms", "diverged", "versions", "machine")
LABELS = {"none": "MAAC", "cem": "MAAC + MPC"}


def with_and_without(run: PlannedRun, episodes: int) -> Rows:
    """A row for the run's policy and one for its planner; measured once, then read.

    Raises SettingError where the run's checkpoint is at another step than the one wanted.
    """
    rows = read_json(run.path / RECORD, list, *EVALUATED[1:], "diverged") or []
    whole = [row.get("planner") for row in rows] == list(LABELS)
    if not whole or not all(_is_wanted(row, run.steps, episodes) for row in rows):
        rows = [_measure(run, "none", episodes), _measure(run, "cem", episodes)]
        write_json(run.path / RECORD, rows)
    names = ("planner", "step", "episodes", *MEASURED, *PLANNER)  # not every task has a criterion: these all have
    return [{"env": run.env, "seed": run.words["seed"], **{name: row.get(name, "") for name in names}} for row in rows]


def _is_wanted(row: Mapping[str, Any], step: int, episodes: int) -> bool:
    wanted = {"step": step, "episodes": episodes, **(PLANNER if row["planner"] == "cem" else {})}
    return wanted.items() <= row.items()


def _measure(run: PlannedRun, planner: Literal["none", "cem"], episodes: int) -> dict[str, Any]:
    measured = evaluate(run.path, planner=planner, episodes=episodes).value
    if measured.step != run.steps:
        raise SettingError(
            f"'{run.path}' has its checkpoint at step {measured.step}; it cannot be evaluated at step {run.steps}."
            f" Give steps={measured.step}, or another runs=."
        )
    row = {"planner": planner, "step": measured.step, "episodes": episodes, **measured.evaluation.metrics()}
    if (planning := measured.planning) is not None:
        row |= {"plan_ms": round(planning.ms, 1), "plan_together_ms": round(planning.together_ms, 1)}
    row["diverged"] = planning.diverged if planning is not None else 0
    return row | (PLANNER if planner == "cem" else {}) | circumstances()


def lines(rows: Rows, episodes: int) -> tuple[list[str], list[list[str]]]:
    """The table's header, and a line for each task with and without planning."""
    header = ["task", "", "runs", "return: mean +- std over runs", "gain of a run: mean +- std"]
    header += ["planning [ms a step]", f"of {episodes} episodes at once", "diverged"]
    cells = []
    for env in dict.fromkeys(row["env"] for row in rows):
        alone, ahead = ([row for row in rows if (row["env"], row["planner"]) == (env, name)] for name in LABELS)
        gains = [b["return"] - a["return"] for a, b in zip(alone, ahead, strict=True)]
        for same, label, gain in ((alone, LABELS["none"], ""), (ahead, LABELS["cem"], mean_std(gains))):
            times = [_median([row[name] for row in same]) for name in ("plan_ms", "plan_together_ms")]
            diverged = str(sum(row["diverged"] for row in same))
            returns = mean_std([row["return"] for row in same])
            cells.append([env, label, str(len(same)), returns, gain, *times, diverged])
    return header, cells


def _median(values: Sequence[float | str]) -> str:
    """Of those that are known."""
    known = [value for value in values if not isinstance(value, str)]
    return f"{np.median(known):.1f}" if known else ""
