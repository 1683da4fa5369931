"""Evaluation: the policy's mode on separate environments with fixed seeds."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diffmaac import seeding
from diffmaac.env import AbstractTaskEnv
from diffmaac.errors import SettingError
from diffmaac.render import VideoWriter
from diffmaac.runs.metrics import QUARTILES
from diffmaac.task import Criterion, Task


@dataclass(frozen=True)
class Falls:
    """When bodies fell, and what that cost.

    `first`: the step of each episode's first fall, its length where there was none. `upright` and `fallen`: mean reward
    of a step before the first fall and from it on, over all episodes; NaN where there was no such step.
    """

    first: list[int]
    share: float
    upright: float
    fallen: float

    def metrics(self) -> dict[str, float]:
        """The numbers worth a row of metrics.csv; a reward that there was not is left out."""
        out = {"fall_share": self.share, "fall_step": float(np.mean(self.first)), "fall_earliest": min(self.first)}
        rewards = {"reward_upright": self.upright, "reward_fallen": self.fallen}
        return out | {name: reward for name, reward in rewards.items() if not math.isnan(reward)}

    def line(self) -> str:
        """The same in words."""
        episodes = len(self.first)
        if self.share == 0:
            return f"falls in 0 of {episodes} episodes"
        rewards = f"reward a step {self.upright:.3g} before the first fall, {self.fallen:.3g} from it on"
        return f"falls in {round(self.share * episodes)} of {episodes} episodes, first at {min(self.first)}; {rewards}"


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted return of each episode, and its score by the task's criterion (empty where it has none).

    `falls` is None where the task says of no state that the body has fallen. `spans` are the steps after which each
    episode was or would have been cut off: those of the task where it terminated.
    """

    returns: list[float]
    scores: list[float]
    threshold: float | None
    falls: Falls | None = None
    spans: list[int] = field(default_factory=list)

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile of the returns."""
        low, middle, high = np.quantile(self.returns, (0.25, 0.5, 0.75)).tolist()
        return low, middle, high

    @property
    def solved(self) -> int:
        """Episodes whose score is above the criterion's threshold."""
        return sum(score > self.threshold for score in self.scores) if self.threshold is not None else 0

    def metrics(self) -> dict[str, float]:
        """The numbers worth a row of metrics.csv."""
        out = {"return": float(np.mean(self.returns)), "return_std": float(np.std(self.returns))}
        out |= dict(zip(QUARTILES, self.quartiles, strict=True))
        if self.scores:
            out |= {"score": float(np.mean(self.scores)), "solved": self.solved / len(self.scores)}
        return out | (self.falls.metrics() if self.falls is not None else {})

    def lines(self, criterion: Criterion | None) -> list[str]:
        """The evaluation in words; `criterion` is the task's."""
        numbers = self.metrics()
        mean, std, low, middle, high = (_short(numbers[name]) for name in ("return", "return_std", *QUARTILES))
        spread = f"median {middle}, quartiles {low} and {high}"
        lines = [f"return over {len(self.returns)} episodes: {mean} +- {std}; {spread}"]
        if self.falls is not None:
            lines.append(self.falls.line())
        if criterion is not None:
            solved = f"solved {self.solved} of {len(self.scores)} episodes"
            lines.append(f"{criterion.name}: {numbers['score']:.3f}; {solved}")
        return lines


def _short(value: float) -> str:
    """One digit behind the point, three where the number is small."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


@torch.no_grad()
def run_episodes(
    task: Task,
    act: Callable[[Tensor], Tensor],
    episodes: int,
    seed: int,
    device: torch.device | str = "cpu",
    video: Path | None = None,
) -> Evaluation:
    """Runs `episodes` episodes side by side; `act` maps obs (episodes, obs) to actions, both float32 on `device`.

    Episode i starts from the same state in every evaluation with the same seed. A terminated episode stops counting.
    `video` is an MP4 file for the first episode. Raises SettingError where it cannot be drawn or written, or where
    `episodes` is not positive.
    """
    if episodes < 1:
        raise SettingError(f"episodes={episodes}: must be at least 1.")
    with ExitStack() as stack:
        envs = [task.make_env("rgb_array" if video is not None and i == 0 else None) for i in range(episodes)]
        for env in envs:
            stack.callback(env.close)
        writer = stack.enter_context(VideoWriter(video, task.dt)) if video is not None else None
        return _run(task, envs, act, seed, device, writer)


def _run(
    task: Task,
    envs: list[AbstractTaskEnv],
    act: Callable[[Tensor], Tensor],
    seed: int,
    device: torch.device | str,
    writer: VideoWriter | None,
) -> Evaluation:
    episodes = len(envs)
    obs = np.stack([env.reset(seed=seeding.integer_seed(seed, f"evaluation-{i}"))[0] for i, env in enumerate(envs)])
    returns, running, steps = np.zeros(episodes), np.ones(episodes, bool), np.zeros(episodes, int)
    spans = np.full(episodes, task.episode_steps)
    trajectory, rewards = [], []
    while running.any():
        trajectory.append(obs)
        steps += running
        if writer is not None and running[0]:
            writer.add(envs[0].picture)
        action = act(torch.as_tensor(obs, dtype=torch.float32, device=device)).cpu().numpy()
        obs, earned = obs.copy(), np.zeros(episodes)
        for i in np.flatnonzero(running).tolist():
            obs[i], earned[i], terminated, truncated, _ = envs[i].step(action[i])
            returns[i] += earned[i]
            running[i] = not (terminated or truncated)
            spans[i] = steps[i] if truncated and not terminated else spans[i]
        rewards.append(earned)
    states = torch.as_tensor(np.stack(trajectory))
    falls = None if task.fallen is None else falls_of(task.fallen(states).numpy(), np.stack(rewards), steps)
    criterion = task.criterion
    if criterion is None:
        return Evaluation(returns.tolist(), [], None, falls, spans.tolist())
    scores = [criterion.score(states[:length, i]) for i, length in enumerate(steps.tolist())]
    return Evaluation(returns.tolist(), scores, criterion.threshold, falls, spans.tolist())


def falls_of(
    fallen: Bool[np.ndarray, "time episodes"],
    rewards: Float[np.ndarray, "time episodes"],
    steps: Int[np.ndarray, " episodes"],
) -> Falls:
    """The falls of episodes of `steps` steps each, from the states in which their steps start and what each earned."""
    index = np.arange(len(fallen))[:, None]
    lasting = index < steps
    first = np.where(fallen & lasting, index, steps).min(0)
    upright = index < first
    parts = (rewards[mask] for mask in (upright, lasting & ~upright))
    before, after = (float(part.mean()) if part.size else math.nan for part in parts)
    return Falls(first.tolist(), float((first < steps).mean()), before, after)
