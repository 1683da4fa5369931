"""Does SAC learn as stable-baselines3's does? The same task, steps and settings, evaluated alike.

    python benchmarks/sac_peer.py [env=half_cheetah] [seeds=3] [steps=20000] [train=true]

Trains stable-baselines3's SAC where it is missing, at the settings of SAC in `diffmaac reproduce figure2`. The runs of
both lie in docs/results/runs. Writes sac_peer.csv (every evaluation of both) and sac_peer.png, and prints interquartile
means with bootstrap intervals at the end. Needs the extra `dev`.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from torch import Tensor

from diffmaac.analysis.plots import comparisons
from diffmaac.analysis.statistics import at_common_steps, bootstrap_interval, interquartile_mean
from diffmaac.errors import SettingError
from diffmaac.experiments.plan import PlannedRun, plan
from diffmaac.experiments.scales import COMPARED, SCALES, Amount
from diffmaac.files import write_json, write_table
from diffmaac.provenance import machine, versions
from diffmaac.runs.layout import EVALUATION, METRICS
from diffmaac.runs.metrics import made_with, read_metrics
from diffmaac.settings import Settings, setting
from diffmaac.task import Task
from diffmaac.tasks import get_task
from diffmaac.training.evaluation import run_episodes
from shared import script

OURS, PEER = "diffmaac", "stable-baselines3"
Curve = list[dict[str, str]]
"""The rows of one run's metrics.csv."""


@dataclass(frozen=True)
class SacSettings:
    """What is trained and compared."""

    env: str = setting("half_cheetah", "task")
    seeds: int = setting(3, "runs of each library, seeds 0, 1, ...", 1)
    steps: int = setting(20_000, "environment steps of a run", 1)
    train: bool = setting(True, "train stable-baselines3's runs where they are missing")
    runs: str = setting(f"{script.RESULTS}/runs", "directory of the runs of both")
    out: str = setting(script.RESULTS, "directory of the table and the figure")


def sac_of_stable_baselines(task: Task, settings: Settings) -> SAC:
    """Its SAC with the settings of ours, on training episodes of the same length."""
    agent, data = settings.agent, settings.data
    episode_steps = min(task.episode_steps, data.reset_every or task.episode_steps)
    assert agent.actor_lr == agent.critic_lr == agent.alpha_lr, "stable-baselines3 has one learning rate"
    return SAC(
        "MlpPolicy",
        dataclasses.replace(task, episode_steps=episode_steps).make_env(),
        learning_rate=agent.actor_lr,
        buffer_size=settings.run.steps,
        learning_starts=data.random_steps,
        batch_size=agent.batch_size,
        tau=agent.tau,
        gamma=agent.gamma,
        gradient_steps=agent.updates_per_step,
        ent_coef=f"auto_{agent.initial_alpha}",
        target_entropy=agent.target_entropy * task.action_size,
        policy_kwargs={"net_arch": list(agent.hidden)},
        seed=settings.run.seed,
        device="cpu",
    )


def peer_path(run: PlannedRun) -> Path:
    """The metrics.csv of stable-baselines3's run beside ours."""
    return run.folder / f"{run.env}-{PEER}-s{run.words['seed']}" / METRICS


def train(run: PlannedRun) -> None:
    """Writes a metrics.csv with the columns of ours; a run that was stopped begins anew."""
    path = peer_path(run)
    if path.is_file() and int(read_metrics(path)[-1]["step"]) >= run.steps:
        return
    task, report = get_task(run.env), run.settings.report
    model, rows, started = sac_of_stable_baselines(task, run.settings), [], time.perf_counter()

    def act(obs: Tensor) -> Tensor:
        return torch.as_tensor(model.predict(obs.numpy(), deterministic=True)[0])

    path.parent.mkdir(parents=True, exist_ok=True)
    for step in range(report.epoch_steps, run.steps + 1, report.epoch_steps):
        model.learn(report.epoch_steps, reset_num_timesteps=False)
        numbers = run_episodes(task, act, report.eval_episodes, run.settings.run.seed).metrics()
        rows.append({"step": step, "seconds": round(time.perf_counter() - started, 1), **numbers})
        write_table(path, rows)
        script.show({"run": path.parent.name, **rows[-1]})
    write_json(path.with_name(EVALUATION), {"versions": versions("torch", PEER, "mujoco"), "machine": machine()})


def both(run: PlannedRun) -> dict[str, tuple[Curve, Path]]:
    """The evaluations of both libraries up to the run's steps, and the directories of their runs.

    Raises SettingError where ours is not there.
    """
    if not run.done():
        raise SettingError(f"{run.path} is missing or too short. `diffmaac reproduce figure2` makes it.")
    theirs = [row for row in read_metrics(peer_path(run)) if int(row["step"]) <= run.steps]
    return {OURS: (run.rows(), run.path), PEER: (theirs, peer_path(run).parent)}


def records(run: PlannedRun, library: str, curve: Curve, path: Path) -> list[dict[str, Any]]:
    """The rows of the table of one run."""
    head = {"env": run.env, "library": library, "seed": run.words["seed"]}
    names = ("step", "seconds", "return", "return_std")
    return [{**head, **{name: row[name] for name in names}, **made_with(path)} for row in curve]


def summary(curves: Mapping[str, Sequence[Curve]]) -> None:
    """Prints the interquartile mean of each library at the last step that all runs have."""
    steps, returns = at_common_steps([run for runs in curves.values() for run in runs], "return")
    for label, last in zip(curves, np.split(returns[:, -1], len(curves)), strict=True):
        low, high = bootstrap_interval([last])
        print(f"{label} at {steps[-1]}: {interquartile_mean(last):.0f} [{low:.0f}, {high:.0f}] of {len(last)} runs")


def main(settings: SacSettings) -> None:
    torch.set_num_threads(1)
    table = script.output(settings.out, "sac_peer.csv")
    amounts = {settings.env: Amount(settings.steps, settings.seeds)}
    curves: dict[str, list[Curve]] = {OURS: [], PEER: []}
    rows: list[dict[str, Any]] = []
    for run in plan({"sac": COMPARED["sac"]}, amounts, SCALES["quick"].changes, Path(settings.runs)):
        if settings.train:
            train(run)
        for library, (curve, path) in both(run).items():
            curves[library].append(curve)
            rows += records(run, library, curve, path)
    write_table(table, rows)
    comparisons({settings.env: curves}, table.with_suffix(".png"))
    summary(curves)


if __name__ == "__main__":
    script.run(main, SacSettings)
