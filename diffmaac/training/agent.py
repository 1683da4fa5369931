"""A trained policy, loaded from its run and ready to act."""

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffmaac import seeding
from diffmaac.errors import CheckpointError, SettingError, unknown
from diffmaac.foreign import GymnasiumSystem
from diffmaac.nn import SquashedGaussianPolicy
from diffmaac.runs import checkpoint
from diffmaac.runs.layout import BEST, POLICIES
from diffmaac.runs.settings import read_settings
from diffmaac.settings import Settings
from diffmaac.task import Task
from diffmaac.training.best import FEWEST
from diffmaac.training.evaluation import Evaluation, run_episodes
from diffmaac.typed import single_precision


def check_task(task: Task, state: dict[str, Any], path: Path) -> None:
    """Raises CheckpointError where the checkpoint's task is not `task` as it is now."""
    now = task.fingerprint()
    if state.get("task", now) != now:
        raise CheckpointError(
            f"task '{task.name}' has changed since the run in '{path}' was made: its motion, reward or episode is"
            " another. Restore the task as it was, or train anew."
        )


@dataclass(frozen=True)
class Agent:
    """A trained policy, ready to act."""

    task: Task
    policy: SquashedGaussianPolicy
    settings: Settings
    step: int
    _generator: torch.Generator = field(
        default_factory=lambda: seeding.torch_generator(0, "predict"), repr=False, compare=False
    )

    @torch.no_grad()
    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, None]:
        """As the models of stable-baselines3 have it: the action as the ENVIRONMENT takes it, and no state.

        `observation` is one of the environment, or a batch of them, in its shape; the action is scaled to its bounds
        and has its shape. `deterministic=False` draws from the policy. `state` and `episode_start` are of no use here.

        Raises ValueError where the shape of `observation` is not the environment's.
        """
        system, obs = self.task.system, np.asarray(observation)
        own = system.spaces[0].shape if isinstance(system, GymnasiumSystem) else (self.task.obs_size,)
        batch = obs.shape[: obs.ndim - len(own)]
        if obs.shape != (*batch, *own) or len(batch) > 1:
            raise ValueError(f"observation has shape {obs.shape}; it must be {own}, or a batch of such.")
        flat = torch.as_tensor(obs.reshape(*batch, -1), dtype=torch.float32)
        if deterministic:
            action = self.policy.mode(flat)
        else:
            noise = torch.randn(*batch, self.task.action_size, generator=self._generator)
            action, _ = self.policy.sample(flat, noise)
        return (system.scale.outward(action.numpy()) if isinstance(system, GymnasiumSystem) else action.numpy()), None

    @torch.no_grad()
    def act(self, obs: np.ndarray | torch.Tensor) -> np.ndarray:
        """The action of the policy's mode: (*batch, obs) -> (*batch, action), in [-1, 1] whatever the environment's.

        Raises ValueError where the last dimension of `obs` is not the task's observation size.
        """
        obs = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
        if obs.shape[-1:] != (self.task.obs_size,):
            raise ValueError(f"obs has shape {tuple(obs.shape)}; the last dimension must be {self.task.obs_size}.")
        return self.policy.mode(obs).numpy()

    def evaluate(self, episodes: int, seed: int | None = None) -> Evaluation:
        """Returns over `episodes` episodes with fixed start states (those of training's own evaluation by default).

        Raises SettingError where `episodes` is not positive.
        """
        return run_episodes(self.task, self.policy.mode, episodes, self.settings.run.seed if seed is None else seed)


@single_precision()
def load(path: str | PathLike[str], env: str | Task | None = None, which: str = "last") -> Agent:
    """The agent of the run in `path`. `env` gives the task where it is the user's own and not registered.

    `which` is "last", the policy of the last checkpoint, or "best", that of the evaluation with the highest lower
    quartile of returns; its `step` tells when it was.

    Raises CheckpointError where the run or its checkpoint is missing, damaged or from another version, or where it has
    no best policy; SettingError for another `which`.
    """
    path = Path(path)
    if which not in POLICIES:
        raise SettingError(unknown("which", which, POLICIES))
    task, settings = read_settings(path, {}, env)
    if which == "best" and not (path / BEST).is_dir():
        raise CheckpointError(
            f"the run in '{path}' has no best policy: its evaluations had {settings.report.eval_episodes} episodes, and"
            f" at least {FEWEST} choose one, or it was not evaluated yet. Say which=last."
        )
    step, state = checkpoint.load(path / POLICIES[which])
    check_task(task, state, path)
    policy = SquashedGaussianPolicy(
        task.obs_size, task.action_size, settings.agent.hidden, seeding.torch_generator(0, "load")
    )
    try:
        parts = state["agent"]
        policy.load_state_dict(parts.get("evaluated_policy", parts["policy"]))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"the {which} policy of '{path}' does not fit task '{task.name}'. Has the task changed?"
        ) from error
    return Agent(task, policy.requires_grad_(False), settings, step)
