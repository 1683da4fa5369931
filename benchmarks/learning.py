"""The learning results of docs/results/: trains what is missing, resumes what stopped, writes CSV and figures.

    python benchmarks/learning.py pendulum cartpole                # these suites, one run after another
    python benchmarks/learning.py --seeds 0 half_cheetah           # one seed of one suite
    python benchmarks/learning.py --collect                        # tables and figures from the runs at hand

Each run is a process of its own on one thread with a fresh compilation cache: its wall time counts compilation, and
its peak memory is its own. Runs lie under runs/results/ and are never trained twice.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import diffmaac
from diffmaac.analysis.lqr import riccati
from diffmaac.analysis.plots import learning_curve
from diffmaac.analysis.record import machine, read_metrics, versions, write_between, write_table
from diffmaac.config import flatten
from diffmaac.presets import resolve
from diffmaac.training.evaluate import evaluate as rollouts
from diffmaac_envs import double_integrator

RUNS, RESULTS = Path("runs/results"), Path("docs/results")
RECORD = "record.json"
MARKERS = ("<!-- results -->", "<!-- /results -->")
"""Between these two the README's table is written."""


def equal_updates(env: str) -> dict[str, str]:
    """Learned dynamics with the updates of `dynamics=true`: as many of critic and actor, from as many start states."""
    through_truth = flatten(resolve(env, {"dynamics": "true"})[1])
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


def words(suite: str, changes: dict[str, str], seed: int) -> list[str]:
    settings = {"env": suite, **changes, "seed": str(seed), "threads": "1"}
    return [f"{name}={value}" for name, value in settings.items()]


def folder(suite: str, changes: dict[str, str], seed: int) -> Path:
    """runs/results/<task>-<dynamics, or the suite's variant>-s<seed>."""
    variant = suite.rpartition("_")[2]
    return RUNS / f"{changes.get('env', suite)}-{variant if variant in VARIANTS else changes['dynamics']}-s{seed}"


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
    """Trains or resumes the run in `path`, and keeps its wall time and peak memory beside it."""
    fresh = {"wall_s": 0.0, "cpu_s": 0.0, "peak_mb": 0.0, "command": command_line(arguments)}
    record = json.loads((path / RECORD).read_text()) if (path / RECORD).is_file() else {**fresh, "commit": commit()}
    if record.get("finished"):
        return
    started = (path / "config.yaml").is_file()
    steps = [word for word in arguments if word.startswith("steps=")]
    command = ["train", f"resume={path}", *steps] if started else ["train", *arguments, f"out={path}"]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "DIFFMAAC_CACHE": f"{cache}/cache"}
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "diffmaac.cli", *command], env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    record["wall_s"] += wall
    record["cpu_s"] += usage.ru_utime + usage.ru_stime
    record["peak_mb"] = max(record["peak_mb"], usage.ru_maxrss / 1024)
    record["finished"] = status == 0
    if path.is_dir():
        (path / RECORD).write_text(json.dumps(record))
    if status:
        raise SystemExit(f"{path}: training failed")


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
    return row | {"command": record["command"], "commit": record["commit"]} | circumstances()


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


def circumstances() -> dict[str, str]:
    """What a run was made with."""
    packages = versions("diffmaac", "torch", "mujoco", "jax", "numpy")
    return {"versions": packages, "machine": f"{machine()}, one thread a run"}


def markdown(rows: list[dict[str, Any]]) -> str:
    """One line for each task and dynamics: the mean over seeds, and what each seed reached."""
    lines = [
        "| task | dynamics | steps | actor updates | return (mean over seeds; each) | criterion | wall time | memory |",
        "|" + "---|" * 8,
    ]
    for task, dynamics in dict.fromkeys((row["task"], row["dynamics"]) for row in rows):
        same = [row for row in rows if (row["task"], row["dynamics"]) == (task, dynamics)]
        returns = [row["return"] for row in same]
        each = ", ".join(f"{value:.4g}" for value in returns)
        criterion = ", ".join(dict.fromkeys(row["criterion"] for row in same if row["criterion"]))
        wall, memory = max(row["wall_s"] for row in same), max(row["peak_mb"] for row in same)
        steps, actor_updates = (_span([row[name] for row in same]) for name in ("steps", "actor_updates"))
        cells = [
            task,
            dynamics,
            steps,
            f"{actor_updates} x {same[0]['start_states']}",
            f"**{np.mean(returns):.4g}** ({each})",
            criterion,
        ]
        lines.append("| " + " | ".join([*cells, f"at most {wall / 60:.1f} min", f"{memory / 1000:.1f} GB"]) + " |")
    return "\n".join(lines)


def _span(counts: list[int]) -> str:
    """One number where all are equal, the least and the largest otherwise."""
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))


def collect() -> None:
    """docs/results/learning.csv, every run's learning curve as CSV, and one figure for each task."""
    paths = sorted(path.parent for path in RUNS.glob(f"*/{RECORD}") if json.loads(path.read_text())["finished"])
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows = [evaluate(path) for path in paths]
    if not rows:
        raise SystemExit(f"there are no finished runs under {RUNS}")
    write_table(RESULTS / "learning.csv", rows)
    table = markdown(rows)
    print(table)
    write_between(Path("README.md"), MARKERS, table)
    for name in dict.fromkeys(map(figure_name, paths)):
        chosen = [path for path in paths if figure_name(path) == name]
        labels = [VARIANTS.get(variant, f"{variant} dynamics") for _, variant in map(kind, chosen)]
        learning_curve(chosen, RESULTS / f"{name}.png", labels, name)
    with (RESULTS / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "step", "seconds", "return", "return_std"])
        for path in paths:
            for row in read_metrics(path / "metrics.csv"):
                writer.writerow([path.name, *(row[name] for name in ("step", "seconds", "return", "return_std"))])


def figure_name(path: Path) -> str:
    """The figure that a run is drawn in: its task's, but a long run would squeeze the others."""
    task, variant = kind(path)
    return f"{task}_{variant}" if variant == "long" else task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="what to train")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--collect", action="store_true", help="write docs/results/ from the finished runs")
    arguments = parser.parse_args()
    for suite in arguments.suites:
        for seed in arguments.seeds:
            for changes in SUITES[suite]:
                settings, path = words(suite, changes, seed), folder(suite, changes, seed)
                short = folder(suite.removesuffix("_long"), changes, seed)
                if short != path and not path.exists() and short.exists():
                    go_on(short, path, settings)
                train(settings, path)
    if arguments.collect or not arguments.suites:
        collect()


if __name__ == "__main__":
    main()
