"""Which horizon: MAAC with H fixed and with H from measurement, on one task.

    python benchmarks/horizons.py [env=half_cheetah] [horizons=0,1,2,4,8,auto] [seeds=0] [train=true]

Trains what is missing under runs/horizons/ (preset quick, one thread), resumes what stopped, and writes
docs/results/horizons.csv (every evaluation; for `auto` the horizon chosen and the estimated errors) and horizons.png;
train=false draws the figure from the table as it is.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import diffmaac
from diffmaac.analysis.plots import comparison
from diffmaac.analysis.record import made_with, read_metrics, read_table, write_table
from diffmaac.config import parse_words, read_file

RUNS, RESULTS = Path("runs/horizons"), Path("docs/results")
ESTIMATED = "gradient_error_"


def train(env: str, horizon: str, seed: int) -> Path:
    path = RUNS / f"{env}-h{horizon}-s{seed}"
    done = read_metrics(path / "metrics.csv")
    if (path / "config.yaml").is_file():
        if not done or int(done[-1]["step"]) < int(read_file(path / "config.yaml")["steps"]):
            diffmaac.train(resume=str(path))
    else:
        given: dict[str, Any] = {"horizon": horizon if horizon == "auto" else int(horizon), "seed": seed}
        diffmaac.train(env, **given, threads=1, tensorboard=False, out=str(path))
    return path


def rows(env: str, horizon: str, seed: int, path: Path) -> list[dict[str, Any]]:
    found = []
    for row in read_metrics(path / "metrics.csv"):
        estimates = {name: row.get(name, "") for name in (f"{ESTIMATED}{h}" for h in (0, 1, 2, 4, 8))}
        numbers = {name: row[name] for name in ("step", "seconds", "return", "return_std")}
        found.append({"env": env, "horizon": horizon, "seed": seed, **numbers, "chosen": row.get("horizon", "")})
        found[-1] |= {**estimates, **made_with(path)}
        found[-1] |= {"command": " ".join(["python", *sys.argv])}
    return found


def main() -> None:
    given = {"env": "half_cheetah", "horizons": "0,1,2,4,8,auto", "seeds": "0", "train": True}
    given |= parse_words(sys.argv[1:])
    file = RESULTS / "horizons.csv"
    if given["train"]:
        wanted = itertools.product(str(given["horizons"]).split(","), map(int, str(given["seeds"]).split(",")))
        write_table(
            file, [row for h, seed in wanted for row in rows(given["env"], h, seed, train(given["env"], h, seed))]
        )
    groups: dict[str, list[list[dict[str, str]]]] = {}
    table = read_table(file)
    for horizon, seed in dict.fromkeys((row["horizon"], row["seed"]) for row in table):
        run = [row for row in table if (row["horizon"], row["seed"]) == (horizon, seed)]
        groups.setdefault(f"H = {horizon}", []).append(run)
    comparison(groups, RESULTS / "horizons.png", title=f"{given['env']}, learned dynamics, preset quick")


if __name__ == "__main__":
    main()
