"""Table 2: where the time of 1,000 environment steps goes."""

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffmaac.experiments.aggregates import Rows
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.scales import COMPARED
from diffmaac.result import Table
from diffmaac.runs.metrics import made_with

TIMED = ("model", "optimisation", "imagination", "environment")


def without_random(rows: Sequence[Mapping[str, str]], random: int) -> tuple[Sequence[Mapping[str, str]], int]:
    """The epochs that began after `random` steps, and how many steps they have: their times are those of learning."""
    starts = [0, *(int(row["step"]) for row in rows)]
    first = bisect.bisect_left(starts, random)
    return rows[first:], starts[-1] - starts[min(first, len(rows))]


def seconds_of(run: PlannedRun) -> dict[str, Any] | None:
    """The seconds of each part for 1,000 steps, with what the run was made with; None where it has no times."""
    learning, steps = without_random(run.rows(), run.settings.data.random_steps)
    if not learning or not learning[-1].get("seconds_optimisation"):
        return None
    parts = {name: sum(float(row.get(f"seconds_{name}") or 0) for row in learning) for name in TIMED}
    row: dict[str, Any] = {"env": run.env, "algorithm": run.variant, "seed": run.words["seed"], "steps": steps}
    row |= {f"{name}_s": round(1000 * total / steps, 2) for name, total in parts.items()}
    return row | {"total_s": round(1000 * sum(parts.values()) / steps, 2)} | made_with(run.path)


def table(rows: Rows) -> Table:
    """Medians over the runs of each task and algorithm."""
    header = ["task", "algorithm", "runs", *(f"{name} [s]" for name in (*TIMED, "total"))]
    cells: list[list[str]] = []
    for env, algorithm in dict.fromkeys((row["env"], row["algorithm"]) for row in rows):
        same = [row for row in rows if (row["env"], row["algorithm"]) == (env, algorithm)]
        seconds = [f"{np.median([row[f'{name}_s'] for row in same]):.1f}" for name in (*TIMED, "total")]
        cells.append([env, COMPARED[algorithm].label, str(len(same)), *seconds])
    return Table(header, cells)
