"""What bfloat16 does to learning where no gradient is asked: in the critics' targets and in imagined data.

    python docs/results/inquiries/bfloat16.py [envs=pendulum,cartpole] [seeds=3]

MAAC at the settings of `diffmaac reproduce figure2`, with torch's autocast around those two; the runs in float32 are
those of docs/results/runs. Trains what is missing under runs/bfloat16/, resumes what stopped, and writes bfloat16.csv
(every evaluation of both) and bfloat16.png.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffmaac.analysis.plots import comparisons
from diffmaac.errors import exit_on_error
from diffmaac.experiments.plan import PlannedRun, plan
from diffmaac.experiments.scales import MAAC, SCALES, Amount
from diffmaac.files import write_table
from diffmaac.runs.layout import create_directory
from diffmaac.runs.metrics import made_with
from diffmaac.session import complete
from diffmaac.settings import parse_command, setting
from diffmaac.tasks import resolve_task
from diffmaac.training.trainer import Trainer


@dataclass(frozen=True)
class Bfloat16Settings:
    """What is trained."""

    envs: list[str] = setting(["pendulum", "cartpole"], "tasks of figure 2")
    seeds: int = setting(3, "runs of each, seeds 0, 1, ...", 1)
    float32: str = setting("docs/results/runs", "directory of figure 2's runs")
    bfloat16: str = setting("runs/bfloat16", "directory of the runs that are made")
    out: str = setting("docs/results/inquiries", "directory of the table and the figure")


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
    trainer = Trainer(*resolve_task(run.env, {**run.words, "out": str(run.path)}))
    trainer.agent._critic_target = in_bfloat16(trainer.agent._critic_target)
    trainer.experience.imagine = in_bfloat16(trainer.experience.imagine)
    if run.path.exists():
        trainer.restore(run.path)
    else:
        trainer.begin(create_directory(trainer.settings.run))
    complete(trainer)


def main(settings: Bfloat16Settings) -> None:
    scale, out = SCALES["quick"], Path(settings.out)
    amounts = {env: Amount(scale.comparison[env].steps, settings.seeds) for env in settings.envs}
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[str, list[list[dict[str, str]]]]] = {env: {} for env in amounts}
    for precision, folder in (("float32", settings.float32), ("bfloat16", settings.bfloat16)):
        for run in plan({"maac": MAAC}, amounts, scale.changes, Path(folder)):
            if precision == "bfloat16":
                train(run)
            curves[run.env].setdefault(precision, []).append(run.rows())
            head = {"env": run.env, "precision": precision, "seed": run.words["seed"]}
            names = ("step", "seconds", "return", "return_std", "solved")
            rows += [{**head, **{name: row[name] for name in names}, **made_with(run.path)} for row in run.rows()]
    write_table(out / "bfloat16.csv", rows)
    comparisons(curves, out / "bfloat16.png")


if __name__ == "__main__":
    with exit_on_error():
        main(parse_command(Bfloat16Settings, sys.argv[1:]))
