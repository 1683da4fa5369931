"""Evaluation: the policy's mode on separate environments with fixed seeds."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffmaac import seeding
from diffmaac.env import TaskEnv
from diffmaac.errors import SettingError
from diffmaac.render import VideoWriter
from diffmaac.task import Criterion, Task


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted return of each episode, and its score by the task's criterion (empty where it has none)."""

    returns: list[float]
    scores: list[float]
    threshold: float | None

    @property
    def solved(self) -> int:
        """Episodes whose score is above the criterion's threshold."""
        return sum(score > self.threshold for score in self.scores) if self.threshold is not None else 0

    def metrics(self) -> dict[str, float]:
        """The numbers worth a row of metrics.csv."""
        out = {"return": float(np.mean(self.returns)), "return_std": float(np.std(self.returns))}
        if self.scores:
            out |= {"score": float(np.mean(self.scores)), "solved": self.solved / len(self.scores)}
        return out

    def lines(self, criterion: Criterion | None) -> list[str]:
        """The evaluation in words; `criterion` is the task's."""
        numbers = self.metrics()
        lines = [f"return over {len(self.returns)} episodes: {numbers['return']:.1f} +- {numbers['return_std']:.1f}"]
        if criterion is not None:
            solved = f"solved {self.solved} of {len(self.scores)} episodes"
            lines.append(f"{criterion.name}: {numbers['score']:.3f}; {solved}")
        return lines


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
    envs: list[TaskEnv],
    act: Callable[[Tensor], Tensor],
    seed: int,
    device: torch.device | str,
    writer: VideoWriter | None,
) -> Evaluation:
    episodes = len(envs)
    obs = np.stack([env.reset(seed=seeding.integer_seed(seed, f"evaluation-{i}"))[0] for i, env in enumerate(envs)])
    returns, running, steps = np.zeros(episodes), np.ones(episodes, bool), np.zeros(episodes, int)
    trajectory = []
    while running.any():
        trajectory.append(obs)
        steps += running
        if writer is not None and running[0]:
            writer.add(envs[0].picture)
        action = act(torch.as_tensor(obs, dtype=torch.float32, device=device)).cpu().numpy()
        obs = obs.copy()
        for i in np.flatnonzero(running).tolist():
            obs[i], reward, terminated, truncated, _ = envs[i].step(action[i])
            returns[i] += reward
            running[i] = not (terminated or truncated)
    criterion = task.criterion
    if criterion is None:
        return Evaluation(returns.tolist(), [], None)
    states = torch.as_tensor(np.stack(trajectory))
    scores = [criterion.score(states[:length, i]) for i, length in enumerate(steps.tolist())]
    return Evaluation(returns.tolist(), scores, criterion.threshold)
