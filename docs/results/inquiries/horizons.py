"""Which horizon: MAAC with H fixed and with H from measurement, on one task.

    python docs/results/inquiries/horizons.py [env=half_cheetah] [horizons=0,1,2,4,8,auto] [seeds=[0]] [train=true]

Trains what is missing under runs/horizons/ (preset quick, one thread), resumes what stopped, and writes horizons.csv
(every evaluation; for `auto` the horizon chosen and the estimated errors) and horizons.png; train=false draws the
figure from the table as it is.
"""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffmaac
from diffmaac.analysis.plots import comparison
from diffmaac.errors import exit_on_error
from diffmaac.files import read_table, write_table
from diffmaac.runs.metrics import made_with, read_metrics
from diffmaac.settings import parse_command, read_file, setting

ESTIMATED = "gradient_error_"


@dataclass(frozen=True)
class HorizonSettings:
    """What is trained."""

    env: str = setting("half_cheetah", "task")
    horizons: list[str] = setting(["0", "1", "2", "4", "8", "auto"], "horizons")
    seeds: list[int] = setting([0], "seeds", 0)
    train: bool = setting(True, "train what is missing; false: draw the table as it is")
    runs: str = setting("runs/horizons", "directory of the runs")
    out: str = setting("docs/results/inquiries", "directory of the table and the figure")


def train(env: str, horizon: str, seed: int, path: Path) -> Path:
    """Makes the run in `path`, or takes it up where it stopped."""
    done = read_metrics(path / "metrics.csv")
    if (path / "config.yaml").is_file():
        if not done or int(done[-1]["step"]) < int(read_file(path / "config.yaml")["steps"]):
            diffmaac.train(resume=str(path))
    else:
        choice: dict[str, Any] = {"horizon": horizon if horizon == "auto" else int(horizon), "seed": seed}
        diffmaac.train(env, **choice, threads=1, log="csv", out=str(path))
    return path


def rows(env: str, horizon: str, seed: int, path: Path) -> list[dict[str, Any]]:
    """The evaluations of a run."""
    head, made = {"env": env, "horizon": horizon, "seed": seed}, made_with(path)
    command = {"command": " ".join(["python", *sys.argv])}
    table = []
    for row in read_metrics(path / "metrics.csv"):
        numbers = {name: row[name] for name in ("step", "seconds", "return", "return_std")}
        estimates = {name: row.get(name, "") for name in (f"{ESTIMATED}{h}" for h in (0, 1, 2, 4, 8))}
        table.append({**head, **numbers, "chosen": row.get("horizon", ""), **estimates, **made, **command})
    return table


def main(settings: HorizonSettings) -> None:
    file, table = Path(settings.out) / "horizons.csv", []
    if settings.train:
        for horizon, seed in itertools.product(settings.horizons, settings.seeds):
            path = Path(settings.runs) / f"{settings.env}-h{horizon}-s{seed}"
            table += rows(settings.env, horizon, seed, train(settings.env, horizon, seed, path))
        write_table(file, table)
    groups: dict[str, list[list[dict[str, str]]]] = {}
    written = read_table(file)
    for horizon, seed in dict.fromkeys((row["horizon"], row["seed"]) for row in written):
        run = [row for row in written if (row["horizon"], row["seed"]) == (horizon, seed)]
        groups.setdefault(f"H = {horizon}", []).append(run)
    comparison(groups, file.with_suffix(".png"), title=f"{settings.env}, learned dynamics, preset quick")


if __name__ == "__main__":
    with exit_on_error():
        main(parse_command(HorizonSettings, sys.argv[1:]))
