"""Does SAC learn as stable-baselines3's does? The same task, steps and settings, evaluated alike.

    python benchmarks/sac_peer.py [env=half_cheetah] [seeds=3] [steps=20000] [train=true]

Trains stable-baselines3's SAC where it is missing, at the settings of SAC in `diffmaac reproduce figure2`. The runs of
both lie in docs/results/runs. Writes docs/results/sac_peer.csv (every
evaluation of both) and sac_peer.png, and prints interquartile means with bootstrap intervals at the end. Needs the
extra `dev`.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from torch import Tensor

from diffmaac.analysis.plots import comparisons
from diffmaac.analysis.record import (
    EVALUATION,
    METRICS,
    machine,
    made_with,
    read_metrics,
    versions,
    write_json,
    write_table,
)
from diffmaac.analysis.statistics import at_common_steps, bootstrap_interval, interquartile_mean
from diffmaac.config import Settings, parse_words
from diffmaac.errors import SettingError
from diffmaac.experiments import ALGORITHMS, SCALES, Amount, PlannedRun, plan
from diffmaac.task import Task, get_task
from diffmaac.training.evaluate import evaluate

RESULTS = Path("docs/results")
PEER = "stable-baselines3"


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


def train(run: PlannedRun, path: Path) -> None:
    """Writes a metrics.csv with the columns of ours; a run that was stopped begins anew."""
    if path.is_file() and int(read_metrics(path)[-1]["step"]) >= run.steps:
        return
    task, settings = get_task(run.env), run.settings
    model, rows, started = sac_of_stable_baselines(task, settings), [], time.perf_counter()

    def act(obs: Tensor) -> Tensor:
        return torch.as_tensor(model.predict(obs.numpy(), deterministic=True)[0])

    path.parent.mkdir(parents=True, exist_ok=True)
    for step in range(settings.report.epoch_steps, run.steps + 1, settings.report.epoch_steps):
        model.learn(settings.report.epoch_steps, reset_num_timesteps=False)
        found = evaluate(task, act, settings.report.eval_episodes, settings.run.seed).metrics()
        rows.append({"step": step, "seconds": round(time.perf_counter() - started, 1), **found})
        write_table(path, rows)
        print(run.name, step, found["return"], flush=True)
    write_json(path.with_name(EVALUATION), {"versions": versions("torch", PEER, "mujoco"), "machine": machine()})


def main(words: list[str]) -> None:
    given = {"env": "half_cheetah", "seeds": 3, "steps": 20_000, "train": True, **parse_words(words)}
    torch.set_num_threads(1)
    amounts = {given["env"]: Amount(given["steps"], given["seeds"])}
    curves: dict[str, list[list[dict[str, str]]]] = {"diffmaac": [], PEER: []}
    rows: list[dict[str, Any]] = []
    for run in plan({"sac": ALGORITHMS["sac"]}, amounts, SCALES["quick"].changes, RESULTS / "runs"):
        path = run.folder / f"{run.env}-{PEER}-s{run.given['seed']}" / METRICS
        if given["train"]:
            train(run, path)
        if not run.done():
            raise SettingError(f"{run.path} is missing or too short. `diffmaac reproduce figure2` makes it.")
        theirs = [row for row in read_metrics(path) if int(row["step"]) <= run.steps]
        for label, found in (("diffmaac", run.rows()), (PEER, theirs)):
            curves[label].append(found)
            numbers = [{name: row[name] for name in ("step", "seconds", "return", "return_std")} for row in found]
            head = {"env": run.env, "library": label, "seed": run.given["seed"]}
            said = made_with(run.path if label == "diffmaac" else path.parent)
            rows += [{**head, **row, **said} for row in numbers]
    write_table(RESULTS / "sac_peer.csv", rows)
    comparisons({given["env"]: curves}, RESULTS / "sac_peer.png")
    steps, returns = at_common_steps([run for runs in curves.values() for run in runs], "return")
    for label, last in zip(curves, np.split(returns[:, -1], len(curves)), strict=True):
        low, high = bootstrap_interval([last])
        print(f"{label} at {steps[-1]}: {interquartile_mean(last):.0f} [{low:.0f}, {high:.0f}] of {len(last)} runs")


if __name__ == "__main__":
    main(sys.argv[1:])
