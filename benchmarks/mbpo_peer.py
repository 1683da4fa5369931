"""Seconds of 1,000 learning steps of MBPO on half_cheetah: mbrl 0.2.0's, and diffmaac's at the same settings.

    python benchmarks/mbpo_peer.py [peer=PYTHON] [threads=1] [learning_steps=1000]

`peer` is the interpreter of an environment of its own, for mbrl pins old packages:

    python -m venv PEER && PEER/bin/pip install torch==2.13.0 mbrl==0.2.0 mujoco==2.3.7 "numpy<2"
    PEER/bin/pip install hydra-core==1.3.2        # against mbrl's own pin: 1.0.3 does not import on Python 3.11

Settings are mbrl's own for HalfCheetah but for networks of 256 x 256: 7 members of 4 x 200 trained every 250 steps
until the held-out error has not fallen for 5 epochs, 100,000 imagined states for each 250 steps, 10 updates a step; and
1,000 steps of random actions before the learning. The two are run one after the other. mbrl's model also predicts the
reward, its epochs are single passes over the data (diffmaac's at least 20 gradient steps), and its time in the
environment contains the policy. `peers/mbrl_mbpo.py` is what the peer runs. Writes mbpo_peer.csv.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffmaac
from diffmaac.errors import SettingError
from diffmaac.provenance import machine, versions
from diffmaac.runs.metrics import read_metrics
from diffmaac.settings import setting
from shared import script

AMOUNTS = {"random_steps": 1000, "every": 250, "states": 100_000, "updates": 10, "members": 7, "hidden": 256}
"""Environment steps of random actions; then, every so many, a fit and so many imagined states; updates a step."""
PARTS = ("model", "optimisation", "imagination", "environment")
PEER = Path(__file__).parent / "peers" / "mbrl_mbpo.py"
Measured = Mapping[str, Any]
"""Seconds of each part, `model_epochs`, `updates`, `versions`."""


@dataclass(frozen=True)
class MbpoSettings:
    """What is timed."""

    peer: str = setting("", "Python interpreter of mbrl's environment; empty: diffmaac alone")
    threads: int = setting(1, "torch's threads", 1)
    learning_steps: int = setting(1000, f"environment steps that are timed, a multiple of {AMOUNTS['every']}", 1)
    out: str = setting(script.RESULTS, "directory of mbpo_peer.csv")


def ours(threads: int, steps: int, folder: str) -> Measured:
    """What diffmaac takes at mbrl's settings."""
    random_steps, every, hidden = AMOUNTS["random_steps"], AMOUNTS["every"], AMOUNTS["hidden"]
    settings: dict[str, Any] = {
        "algorithm": "mbpo",
        "preset": "paper",
        "steps": random_steps + steps,
        "random_steps": random_steps,
        "epoch_steps": every,
        "members": AMOUNTS["members"],
        "hidden": [hidden, hidden],
        "model_every": every,
        "model_patience": 5,
        "imagine_every": every,
        "imagined_states": AMOUNTS["states"],
        "updates_per_step": AMOUNTS["updates"],
        "eval_episodes": 1,
        "final_episodes": 1,
        "threads": threads,
        "log": "csv",
    }
    run = diffmaac.train("half_cheetah", progress=False, out=f"{folder}/ours", **settings)
    rows = [row for row in read_metrics(run.path / "metrics.csv") if int(row["step"]) > random_steps]
    seconds = {part: sum(float(row[f"seconds_{part}"]) for row in rows) for part in PARTS}
    epochs = round(sum(float(row["model_epochs"]) for row in rows))  # one fit a row
    updates = AMOUNTS["updates"] * steps
    return {**seconds, "model_epochs": epochs, "updates": updates, "versions": versions("diffmaac", "torch")}


def theirs(python: str, threads: int, steps: int, folder: str) -> Measured:
    """What mbrl takes, under the interpreter `python`. Raises SettingError where it cannot be run."""
    amounts = json.dumps({**AMOUNTS, "threads": threads, "steps": steps, "folder": folder})
    try:
        done = subprocess.run([python, str(PEER), amounts], stdout=subprocess.PIPE, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SettingError(f"peer={python}: {PEER.name} failed ({error}). Is it mbrl's interpreter?") from error
    return json.loads(done.stdout.splitlines()[-1])


def row_of(library: str, measured: Measured, settings: MbpoSettings) -> dict[str, Any]:
    row = {"library": library, "threads": settings.threads, "learning_steps": settings.learning_steps}
    row |= {f"{part}_s": round(measured[part], 1) for part in PARTS}
    row |= {"total_s": round(sum(measured[part] for part in PARTS), 1), "model_epochs": measured["model_epochs"]}
    row |= {"ms_an_update": round(1e3 * measured["optimisation"] / measured["updates"], 2)}
    return row | {"updates": measured["updates"], "versions": measured["versions"]}


def main(settings: MbpoSettings) -> None:
    threads, steps = settings.threads, settings.learning_steps
    if steps % AMOUNTS["every"]:
        raise SettingError(f"learning_steps={steps}: must be a multiple of {AMOUNTS['every']}, one fit each.")
    file = script.output(settings.out, "mbpo_peer.csv")
    with tempfile.TemporaryDirectory() as folder:
        rows = [row_of("diffmaac", ours(threads, steps, folder), settings)]
        if settings.peer:
            rows.append(row_of("mbrl", theirs(settings.peer, threads, steps, folder), settings))
    for row in rows:
        script.show(row)
    script.write(file, rows, {"machine": machine()})


if __name__ == "__main__":
    script.run(main, MbpoSettings)
