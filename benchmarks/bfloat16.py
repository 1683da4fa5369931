"""What bfloat16 does to learning where no gradient is asked: in the critics' targets and in imagined data.

    python benchmarks/bfloat16.py [envs=pendulum,cartpole] [seeds=3]

MAAC at the settings of `diffmaac reproduce figure2`, with torch's autocast around those two; the runs in float32 are
those of docs/results/runs. Trains what is missing under runs/bfloat16/, resumes what stopped, and writes
docs/results/bfloat16.csv (every evaluation of both) and bfloat16.png.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diffmaac.analysis.plots import comparisons
from diffmaac.analysis.record import made_with, write_table
from diffmaac.api import complete
from diffmaac.config import parse_words
from diffmaac.experiments import MAAC, SCALES, Amount, PlannedRun, plan
from diffmaac.presets import resolve
from diffmaac.training import Trainer
from diffmaac.training.run import create_directory

RUNS, RESULTS = Path("runs/bfloat16"), Path("docs/results")


def in_bfloat16(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, its matrix products in bfloat16."""

    def wrapped(*args: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return function(*args)

    return wrapped


def train(run: PlannedRun) -> None:
    """Makes the run, or takes it up where its checkpoint stands."""
    if run.done():
        return
    trainer = Trainer(*resolve(run.env, {**run.given, "out": str(run.path)}))
    trainer.agent._critic_target = in_bfloat16(trainer.agent._critic_target)
    trainer._imagine = in_bfloat16(trainer._imagine)
    if run.path.exists():
        trainer.restore(run.path)
    else:
        trainer.begin(create_directory(trainer.settings))
    complete(trainer)


def main(words: list[str]) -> None:
    given = {"envs": "pendulum,cartpole", "seeds": 3, **parse_words(words)}
    scale = SCALES["quick"]
    amounts = {env: Amount(scale.comparison[env].steps, given["seeds"]) for env in given["envs"].split(",")}
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[str, list[list[dict[str, str]]]]] = {env: {} for env in amounts}
    for precision, folder in (("float32", RESULTS / "runs"), ("bfloat16", RUNS)):
        for run in plan({"maac": MAAC}, amounts, scale.changes, folder):
            if precision == "bfloat16":
                train(run)
            curves[run.env].setdefault(precision, []).append(run.rows())
            for row in run.rows():
                numbers = {name: row[name] for name in ("step", "seconds", "return", "return_std", "solved")}
                rows.append({"env": run.env, "precision": precision, "seed": run.given["seed"], **numbers})
                rows[-1] |= made_with(run.path)
    write_table(RESULTS / "bfloat16.csv", rows)
    comparisons(curves, RESULTS / "bfloat16.png")


if __name__ == "__main__":
    main(sys.argv[1:])
