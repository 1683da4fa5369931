"""The learning results of docs/results/: trains what is missing, resumes what stopped, writes CSV and figures.

    python benchmarks/learning.py suites=pendulum,cartpole         # these suites, one run after another
    python benchmarks/learning.py suites=half_cheetah seeds=[0]    # one seed of one suite
    python benchmarks/learning.py                                  # tables and figures from the runs at hand

Each run is a process of its own on one thread with a fresh compilation cache: its wall time counts compilation, and
its peak memory is its own. Runs lie under runs/results/ and are never trained twice. Writes learning.csv, curves.csv
and a figure for each task.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import diffmaac
from diffmaac.analysis.lqr import riccati
from diffmaac.analysis.plots import learning_curve
from diffmaac.errors import SettingError
from diffmaac.files import write_table
from diffmaac.provenance import machine, versions
from diffmaac.runs.layout import METRICS
from diffmaac.runs.metrics import read_metrics
from diffmaac.settings import flatten, setting
from diffmaac.tasks import resolve_task
from diffmaac.training.evaluation import run_episodes as rollouts
from diffmaac_envs import double_integrator
from shared import script

RECORD = "record.json"


def equal_updates(env: str) -> dict[str, str]:
    """Learned dynamics with the updates of `dynamics=true`: as many of critic and actor, from as many start states."""
    through_truth = flatten(resolve_task(env, {"dynamics": "true"})[1])
    names = ("steps", "updates_per_step", "samples", "actor_batch_size", "actor_every")
    return {"env": env, "dynamics": "learned", **{name: str(through_truth[name]) for name in names}}


SUITES: dict[str, list[dict[str, str]]] = {
    "double_integrator": [{"dynamics": "learned"}, {"dynamics": "true"}],
    "pendulum": [{"dynamics": "learned"}, {"dynamics": "true"}],
    "cartpole": [{"dynamics": "learned"}, {"dynamics": "true"}],
    "half_cheetah": [{"dynamics": "learned"}],
    "half_cheetah_true": [{"env": "half_cheetah", "dynamics": "true"}],
    "half_cheetah_equal": [equal_updates("half_cheetah")],
    "half_cheetah_long": [{"env": "half_cheetah", "dynamics": "learned", "steps": "50000"}],
    "hopper_true": [{"env": "hopper", "dynamics": "true"}],
    "hopper_equal": [equal_updates("hopper")],
}
VARIANTS = {"equal": "learned, updates as true", "long": "learned, long run"}
"""How the table calls the suites that end so."""


@dataclass(frozen=True)
class LearningSettings:
    """What is trained; then, or where nothing is, the tables and figures are written."""

    suites: list[str] = setting([], "trained; empty: write tables and figures", choices=tuple(SUITES))
    seeds: list[int] = setting([0, 1, 2], "seeds of each", 0)
    collect: bool = setting(False, "write tables and figures after training, too")
    runs: str = setting("runs/results", "directory of the runs")
    out: str = setting(script.RESULTS, "directory of tables and figures")


def words(suite: str, changes: dict[str, str], seed: int) -> list[str]:
    settings = {"env": suite, **changes, "seed": str(seed), "threads": "1"}
    return [f"{name}={value}" for name, value in settings.items()]


def folder(suite: str, changes: dict[str, str], seed: int) -> str:
    """The name of a run's directory: <task>-<dynamics, or the suite's variant>-s<seed>."""
    variant = suite.rpartition("_")[2]
    return f"{changes.get('env', suite)}-{variant if variant in VARIANTS else changes['dynamics']}-s{seed}"


def kind(path: Path) -> tuple[str, str]:
    """The task of a run, and its dynamics or variant: the inverse of `folder`."""
    task, variant, _ = path.name.split("-")
    return task, variant


def go_on(short: Path, path: Path, arguments: list[str]) -> None:
    """Begins the long run in `path` where the finished run `short` of the same settings stands, its time included."""
    record = json.loads((short / RECORD).read_text())
    shutil.copytree(short, path)
    (path / RECORD).write_text(json.dumps({**record, "finished": False, "command": command_line(arguments)}))


def command_line(arguments: list[str]) -> str:
    return " ".join(["diffmaac train", *arguments])


def train(arguments: list[str], path: Path) -> None:
    """Trains or resumes the run in `path`, and keeps its wall time and peak memory beside it.

    Raises SettingError where the training fails.
    """
    fresh = {"wall_s": 0.0, "cpu_s": 0.0, "peak_mb": 0.0, "command": command_line(arguments)}
    record = json.loads((path / RECORD).read_text()) if (path / RECORD).is_file() else {**fresh, "commit": commit()}
    if record.get("finished"):
        return
    started = (path / "config.yaml").is_file()
    steps = [word for word in arguments if word.startswith("steps=")]
    code, wall, cpu, peak = apart([f"resume={path}", *steps] if started else [*arguments, f"out={path}"])
    record["wall_s"] += wall
    record["cpu_s"] += cpu
    record["peak_mb"] = max(record["peak_mb"], peak)
    record["finished"] = code == 0
    if path.is_dir():
        (path / RECORD).write_text(json.dumps(record))
    if code:
        raise SettingError(f"'{path}' was not trained to its end (exit code {code}). The same command goes on.")


def apart(arguments: list[str]) -> tuple[int, float, float, float]:
    """Trains in a process of its own: exit code, wall and processor time [s], peak memory [MB]."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "DIFFMAAC_CACHE": f"{cache}/cache"}
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "diffmaac.cli", "train", *arguments], env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    return os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def evaluate(path: Path) -> dict[str, Any]:
    """One row of the table: ten evaluation episodes of the finished run in `path`."""
    record, agent = json.loads((path / RECORD).read_text()), diffmaac.load(path)
    result, run = agent.evaluate(10), agent.settings.run
    task, variant = kind(path)
    row: dict[str, Any] = {"task": task, "dynamics": VARIANTS.get(variant, variant), "seed": run.seed}
    row |= {"steps": agent.step, **updates(agent)}
    row |= {"return": round(float(np.mean(result.returns)), 2), "return_std": round(float(np.std(result.returns)), 2)}
    row["criterion"] = f"{result.solved}/{len(result.scores)}" if result.scores else ""
    if run.env == "double_integrator":
        row["criterion"] = f"{cost_ratio(agent):.4f} x Riccati"
    row |= {"wall_s": round(record["wall_s"]), "cpu_s": round(record["cpu_s"]), "peak_mb": round(record["peak_mb"])}
    made_with = {"versions": versions("diffmaac", "torch", "mujoco", "jax", "numpy")}
    made_with["machine"] = f"{machine()}, one thread a run"
    return row | {"command": record["command"], "commit": record["commit"]} | made_with


def updates(agent: diffmaac.Agent) -> dict[str, int]:
    """How many updates of critic and actor the run made, and from how many start states each of the actor's."""
    settings = agent.settings.agent
    critic = settings.updates_per_step * (agent.step - agent.settings.data.random_steps)
    return {
        "critic_updates": critic,
        "actor_updates": -(-critic // settings.actor_every),
        "start_states": settings.start_states * settings.samples,
    }


def cost_ratio(agent: diffmaac.Agent) -> float:
    """Undiscounted cost of the policy over 100 evaluation episodes, over that of the Riccati optimum."""
    system, task = double_integrator, agent.task
    K, _ = riccati(system.A, system.B, system.Q, system.R)

    def optimal(obs):
        return -obs @ obs.new_tensor(K.T)

    trained, best = (rollouts(task, act, 100, seed=0).returns for act in (agent.policy.mode, optimal))
    return float(np.sum(trained) / np.sum(best))


def commit() -> str:
    """The commit that ran, with a + where the tree had changes."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=8", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """One line for each task and dynamics: the mean over seeds, and what each seed reached."""
    lines = [
        "| task | dynamics | steps | actor updates | return (mean over seeds; each) | criterion | wall time | memory |",
        "|" + "---|" * 8,
    ]
    for task, dynamics in dict.fromkeys((row["task"], row["dynamics"]) for row in rows):
        same = [row for row in rows if (row["task"], row["dynamics"]) == (task, dynamics)]
        lines.append("| " + " | ".join([task, dynamics, *cells(same)]) + " |")
    return "\n".join(lines)


def cells(seeds: Sequence[dict[str, Any]]) -> list[str]:
    """Of the rows of several seeds: steps, updates, returns, criterion, and the most time and memory that one took."""
    returns = [row["return"] for row in seeds]
    each = ", ".join(f"{value:.4g}" for value in returns)
    wall, memory = (max(row[name] for row in seeds) for name in ("wall_s", "peak_mb"))
    return [
        span([row["steps"] for row in seeds]),
        f"{span([row['actor_updates'] for row in seeds])} x {seeds[0]['start_states']}",
        f"**{np.mean(returns):.4g}** ({each})",
        ", ".join(dict.fromkeys(row["criterion"] for row in seeds if row["criterion"])),
        f"at most {wall / 60:.1f} min",
        f"{memory / 1000:.1f} GB",
    ]


def span(counts: list[int]) -> str:
    """One number where all are equal, the least and the largest otherwise."""
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))


def collect(runs: Path, out: str) -> None:
    """learning.csv and its table, every run's learning curve as CSV, and one figure for each task."""
    table, curves = (script.output(out, name) for name in ("learning.csv", "curves.csv"))
    paths = sorted(path.parent for path in runs.glob(f"*/{RECORD}") if json.loads(path.read_text())["finished"])
    if not paths:
        raise SettingError(f"there are no finished runs under '{runs}'. Give suites= to train some.")
    rows = [evaluate(path) for path in paths]
    write_table(table, rows)
    print(markdown(rows))
    for name in dict.fromkeys(map(figure_name, paths)):
        draw([path for path in paths if figure_name(path) == name], table.with_name(f"{name}.png"))
    names = ("step", "seconds", "return", "return_std")
    write_table(curves, [{"run": p.name, **{n: r[n] for n in names}} for p in paths for r in read_metrics(p / METRICS)])


def draw(paths: Sequence[Path], file: Path) -> None:
    """The learning curves of a task's runs, each under its dynamics or variant."""
    labels = [VARIANTS.get(variant, f"{variant} dynamics") for _, variant in map(kind, paths)]
    learning_curve(paths, file, labels, file.stem)


def figure_name(path: Path) -> str:
    """The figure that a run is drawn in: its task's, but a long run would squeeze the others."""
    task, variant = kind(path)
    return f"{task}_{variant}" if variant == "long" else task


def make(suite: str, seed: int, changes: dict[str, str], runs: Path) -> None:
    """Trains one run of a suite; a long one goes on from the short one of the same seed."""
    settings, path = words(suite, changes, seed), runs / folder(suite, changes, seed)
    short = runs / folder(suite.removesuffix("_long"), changes, seed)
    if short != path and not path.exists() and short.exists():
        go_on(short, path, settings)
    train(settings, path)


def main(settings: LearningSettings) -> None:
    suites, runs = settings.suites, Path(settings.runs)
    for suite in suites:
        for seed in settings.seeds:
            for changes in SUITES[suite]:
                make(suite, seed, changes, runs)
    if settings.collect or not suites:
        collect(runs, settings.out)


if __name__ == "__main__":
    script.run(main, LearningSettings)
