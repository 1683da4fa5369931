"""Do learned rewards work? Four environments of Gymnasium, reward and termination learned or given, beside SAC.

    python benchmarks/gymnasium_curves.py                                # trains what is missing, then writes
    python benchmarks/gymnasium_curves.py envs=Reacher-v5 seeds=1        # one seed of one environment, then writes
    python benchmarks/gymnasium_curves.py train=false                    # table and figure from the runs at hand

One run after another in one process on one thread: the first seed of every environment before the second of any. A run
of ours that was stopped is resumed, one of stable-baselines3's SAC (at its own defaults) begins anew. Writes
gymnasium.csv (every evaluation) and gymnasium.png. Needs the extras `gymnasium` and `dev`.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
from stable_baselines3 import SAC
from torch import Tensor

import diffmaac
from diffmaac.analysis.plots import comparisons
from diffmaac.errors import SettingError
from diffmaac.files import write_json, write_table
from diffmaac.provenance import circumstances
from diffmaac.runs.layout import CONFIG, EVALUATION, METRICS
from diffmaac.runs.metrics import made_with, read_evaluation, read_metrics
from diffmaac.settings import setting
from diffmaac.settings.field import shown
from diffmaac.settings.presets import FEW_ACTIONS, FEW_OBSERVATIONS, presets_for
from diffmaac.task import Task
from diffmaac.training.evaluation import run_episodes
from shared import script

LEARNED, GIVEN, PEER = "learned reward", "given reward", "SAC of stable-baselines3"
Reward = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Given:
    """Reward and termination of an environment in torch, and what it must show of its state for them."""

    reward: Reward
    terminated: Callable[[Tensor], Tensor] | None = None
    options: Mapping[str, Any] | None = None


def pendulum(obs_t: Tensor, action_t: Tensor, obs_tp1: Tensor) -> Tensor:
    """-(angle^2 + 0.1 velocity^2 + 0.001 torque^2) of where a step starts."""
    angle = torch.atan2(obs_t[..., 1], obs_t[..., 0])
    return -(angle.square() + 0.1 * obs_t[..., 2].square() + 0.001 * action_t.square().sum(-1))


def inverted_pendulum(obs_t: Tensor, action_t: Tensor, obs_tp1: Tensor) -> Tensor:
    """1 for each step that does not end the episode: no gradient passes."""
    return (~tilted(obs_tp1)).to(obs_tp1)


def tilted(obs_tp1: Tensor) -> Tensor:
    return obs_tp1[..., 1].abs() > 0.2


def reacher(obs_t: Tensor, action_t: Tensor, obs_tp1: Tensor) -> Tensor:
    """Minus the distance of fingertip and target after the step, minus the squared torques."""
    return -torch.linalg.vector_norm(obs_tp1[..., 8:10], dim=-1) - action_t.square().sum(-1)


HOPPER_DT = 0.008


def hopper(obs_t: Tensor, action_t: Tensor, obs_tp1: Tensor) -> Tensor:
    """The distance covered in a second, 1 for being upright, minus 0.001 of the squared torques."""
    forward = (obs_tp1[..., 0] - obs_t[..., 0]) / HOPPER_DT
    return forward + (~fallen(obs_tp1)).to(obs_tp1) - 1e-3 * action_t.square().sum(-1)


def fallen(obs_tp1: Tensor) -> Tensor:
    """Too low, bent too far, or an angle beyond any bound (velocities are shown clipped)."""
    upright = (obs_tp1[..., 1] > 0.7) & (obs_tp1[..., 2].abs() < 0.2)
    return ~upright | (obs_tp1[..., 2:].abs() >= 100).any(-1)


GIVEN_OF: dict[str, Given] = {
    "Pendulum-v1": Given(pendulum),
    "InvertedPendulum-v5": Given(inverted_pendulum, tilted),
    "Reacher-v5": Given(reacher),
    "Hopper-v5": Given(hopper, fallen, {"exclude_current_positions_from_observation": False}),
}
SMALL: dict[str, Any] = {**presets_for(FEW_OBSERVATIONS, FEW_ACTIONS)["quick"], "model_steps": 0, "policy_tau": 1.0}
"""Preset `quick` of small tasks, for larger ones: a quarter of the time of their own."""
SETTINGS: dict[str, dict[str, Any]] = {
    "Pendulum-v1": {"steps": 3000, "epoch_steps": 500},
    "InvertedPendulum-v5": {"steps": 2000, "epoch_steps": 500},
    "Reacher-v5": {**SMALL, "steps": 2000, "epoch_steps": 500},
    "Hopper-v5": {
        **SMALL,
        **{"hidden": [128, 128], "model_hidden": [128, 128], "layer_norm": True},
        **{"critic_target": "td", "n_step": 10, "rollout_length": [10, 10]},
        **{"steps": 4000, "epoch_steps": 500},
    },
}
"""What differs from preset `quick`: steps that two cores allow, and for the last what keeps a hopper upright."""


@dataclass(frozen=True)
class CurvesSettings:
    """What is trained; then table and figure are written of all that is there."""

    envs: list[str] = setting(list(SETTINGS), "environments", choices=tuple(SETTINGS))
    seeds: int = setting(3, "runs of each curve, seeds 0, 1, ...", 1)
    train: bool = setting(True, "train the runs that are missing")
    runs: str = setting("runs/gymnasium", "directory of the runs")
    out: str = setting(script.RESULTS, "directory of the table and the figure")


@dataclass(frozen=True)
class CurveRun:
    """One run of one curve, and where it lies."""

    folder: Path
    env: str
    curve: str
    seed: int

    @property
    def path(self) -> Path:
        return self.folder / f"{self.env}-{self.curve.partition(' ')[0]}-s{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        return {**SETTINGS[self.env], "seed": self.seed}

    @property
    def rows(self) -> list[dict[str, str]]:
        """Its evaluations so far."""
        return [row for row in read_metrics(self.path / METRICS) if int(row["step"]) <= self.settings["steps"]]

    @property
    def done(self) -> bool:
        return (read_evaluation(self.path, "step") or {"step": 0})["step"] >= self.settings["steps"]

    @property
    def command(self) -> str:
        """What makes the run alone."""
        if self.curve == LEARNED:
            words = {"env": self.env, **self.settings}
            return " ".join(["diffmaac train", *(f"{name}={shown(value)}" for name, value in words.items())])
        return f"python benchmarks/gymnasium_curves.py envs={self.env} seeds={self.seed + 1}"


def task_of(env: str, curve: str) -> Task:
    """The task of a curve; stable-baselines3 has that of the learned reward, which is the environment as it is."""
    if curve != GIVEN:
        return Task.from_gymnasium(env)
    given = GIVEN_OF[env]
    source = gymnasium.make(env, **given.options) if given.options else env
    return Task.from_gymnasium(source, reward=given.reward, terminated=given.terminated or False)


def train(run: CurveRun) -> None:
    """Trains a run to its last step."""
    if run.curve == PEER:
        train_peer(run)
        return
    task, words = task_of(run.env, run.curve), {**run.settings, "threads": 1, "log": ["csv"]}
    if (run.path / CONFIG).is_file():
        diffmaac.train(task, resume=str(run.path), steps=run.settings["steps"], progress=False)
    else:
        diffmaac.train(task, out=str(run.path), **words, progress=False)


def train_peer(run: CurveRun) -> None:
    """stable-baselines3's SAC at its defaults; writes a metrics.csv with the columns of ours."""
    task, rows, started = task_of(run.env, run.curve), [], time.perf_counter()
    model = SAC("MlpPolicy", task.make_env(), seed=run.seed, device="cpu")

    def act(obs: Tensor) -> Tensor:
        return torch.as_tensor(model.predict(obs.numpy(), deterministic=True)[0])

    run.path.mkdir(parents=True, exist_ok=True)
    epoch, last = run.settings["epoch_steps"], run.settings["steps"]
    for step in range(epoch, last + 1, epoch):
        model.learn(epoch, reset_num_timesteps=False)
        numbers = run_episodes(task, act, 5, run.seed).metrics()
        rows.append({"step": step, "seconds": round(time.perf_counter() - started, 1), **numbers})
        write_table(run.path / METRICS, rows)
    write_json(run.path / EVALUATION, {"step": last, **circumstances("stable-baselines3", "gymnasium")})


def records(run: CurveRun) -> list[dict[str, Any]]:
    """The rows of the table of one run."""
    head = {"env": run.env, "curve": run.curve, "seed": run.seed}
    names = ("step", "seconds", "return", "return_std", "return_median")
    last = {**made_with(run.path), "command": run.command}
    return [{**head, **{name: row[name] for name in names}, **last} for row in run.rows]


def collect(runs: list[CurveRun], out: str) -> None:
    """Table and figure of the runs that are done: a panel for each environment, a line for each curve."""
    done = [run for run in runs if run.done]
    if not done:
        raise SettingError(f"there is no finished run in '{runs[0].folder}'. Leave train= out, and some are trained.")
    table = script.output(out, "gymnasium.csv")
    write_table(table, [row for run in done for row in records(run)])
    panels: dict[str, dict[str, list[list[dict[str, str]]]]] = {}
    for run in done:
        panels.setdefault(run.env, {}).setdefault(run.curve, []).append(run.rows)
    comparisons(panels, table.with_suffix(".png"))


def main(settings: CurvesSettings) -> None:
    torch.set_num_threads(1)
    every = itertools.product(range(settings.seeds), SETTINGS, (LEARNED, GIVEN, PEER))
    runs = [CurveRun(Path(settings.runs), env, curve, seed) for seed, env, curve in every]
    for run in runs:
        if settings.train and run.env in settings.envs and not run.done:
            train(run)
            script.show({"run": run.path.name, **{name: run.rows[-1][name] for name in ("step", "return")}})
    collect(sorted(runs, key=lambda run: (list(SETTINGS).index(run.env), run.seed)), settings.out)


if __name__ == "__main__":
    script.run(main, CurvesSettings)
