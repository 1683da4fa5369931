"""The Gymnasium environment of a task, stepped without gradients."""

import abc
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import gymnasium
import numpy as np
import torch
from torch import Tensor

from diffmaac.errors import DivergenceError, SettingError, TaskError
from diffmaac.system import AbstractSystem, MujocoSystem
from diffmaac.types import Reward, TransitionReward

Reset: TypeAlias = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""``reset(generator) -> qpos (nq,), qvel (nv,)``: draws a start state."""


@runtime_checkable
class Playable(Protocol):
    """What an environment asks of a task, see `diffmaac.task.Task`."""

    @property
    def name(self) -> str: ...
    @property
    def system(self) -> AbstractSystem: ...
    @property
    def reward(self) -> Reward | None: ...
    @property
    def transition_reward(self) -> TransitionReward | None: ...
    @property
    def reset(self) -> Reset | None: ...
    @property
    def episode_steps(self) -> int: ...
    @property
    def terminated(self) -> Callable[[Tensor], Tensor] | None: ...
    @property
    def obs_size(self) -> int: ...
    @property
    def action_size(self) -> int: ...
    def observe(self, qpos: Tensor, qvel: Tensor) -> Tensor: ...


METADATA: dict[str, Any] = {"render_modes": ["rgb_array"]}
"""What Gymnasium asks for: the modes in which a `TaskEnv` draws itself."""


class AbstractTaskEnv(gymnasium.Env[np.ndarray, np.ndarray], abc.ABC):
    """The Gymnasium environment of a task, which training can leave and take up again."""

    @abc.abstractmethod
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step under an action (action,) in [-1, 1]: observation (obs,), reward, terminated, truncated.

        Raises DivergenceError for an action that is not finite.
        """

    @abc.abstractmethod
    def render(self) -> np.ndarray | None:
        """The picture of the present state (height, width, 3), uint8; None without ``render_mode="rgb_array"``."""

    @abc.abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """What the next step depends on; `restore` is the inverse."""

    @abc.abstractmethod
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes on where `snapshot` was taken."""

    @abc.abstractmethod
    def observation(self) -> np.ndarray:
        """The present observation (obs,)."""

    @abc.abstractmethod
    def picture(self) -> np.ndarray:
        """As `render`. Raises SettingError where the environment was made without ``render_mode="rgb_array"``."""


class TaskEnv(AbstractTaskEnv):
    """`task` as a Gymnasium environment: float64 observations (obs,), actions (action,) in [-1, 1].

    The reward of a step is `task.reward` of its START state, or `task.transition_reward` of both. The episode is
    truncated after `task.episode_steps` steps. With ``render_mode="rgb_array"`` `render` draws it; SettingError where
    that cannot be.
    """

    metadata = METADATA

    def __init__(self, task: Playable, render_mode: str | None = None):
        self.task, self.render_mode, self._renderer = task, render_mode, None
        drawn = METADATA["render_modes"] if isinstance(task.system, MujocoSystem) else []
        self.metadata = {"render_modes": drawn, "render_fps": round(1 / task.system.dt)}
        if render_mode == "rgb_array":
            if not isinstance(task.system, MujocoSystem):
                raise SettingError(f"task '{task.name}' has no MuJoCo model to draw.")
            from diffmaac.render import Renderer  # OpenGL is loaded only where something is drawn

            self._renderer = Renderer(task.system.model)
        elif render_mode is not None:
            raise SettingError(f"render_mode={render_mode!r}: must be None or 'rgb_array'.")
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (task.obs_size,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (task.action_size,), np.float32)
        self._simulator = task.system.simulator()
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Draws a start state from `task.reset`: observation (obs,) and an empty info."""
        super().reset(seed=seed)
        if self.task.reset is None:
            raise TaskError(f"task '{self.task.name}' has no start states. Give it reset=.")
        self._simulator.set_state(*self.task.reset(self.np_random))
        self._steps = 0
        return self._obs().numpy(), {}

    def step(self, action: np.ndarray):
        if not np.isfinite(action).all():
            raise DivergenceError(f"the action {action} is not finite; actions lie in [-1, 1].")
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        before, given = self._obs(), torch.from_numpy(action)
        earned = None if self.task.reward is None else self.task.reward(before, given)
        self._simulator.step(action)
        self._steps += 1
        obs = self._obs()
        if self.task.transition_reward is not None:
            earned = self.task.transition_reward(before, given, obs)
        if earned is None:
            raise TaskError(f"task '{self.task.name}' has no reward. Give it reward= or transition_reward=.")
        reward = float(earned)
        terminated = self.task.terminated is not None and bool(self.task.terminated(obs))
        return obs.numpy(), reward, terminated, self._steps >= self.task.episode_steps, {}

    def render(self) -> np.ndarray | None:
        return self.picture() if self._renderer is not None else None

    def picture(self) -> np.ndarray:
        if self._renderer is None:
            raise SettingError("this environment does not draw. Make it with render_mode='rgb_array'.")
        return self._renderer.frame(*self._simulator.state())

    def close(self) -> None:
        """Frees what was needed to draw."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def snapshot(self) -> dict[str, Any]:
        return {
            "simulator": self._simulator.snapshot(),
            "steps": self._steps,
            "generator": self.np_random.bit_generator.state,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._simulator.restore(np.asarray(snapshot["simulator"]))
        self._steps = snapshot["steps"]
        self.np_random.bit_generator.state = snapshot["generator"]

    def observation(self) -> np.ndarray:
        return self._obs().numpy()

    def _obs(self) -> Tensor:
        qpos, qvel = self._simulator.state()
        return self.task.observe(torch.from_numpy(qpos), torch.from_numpy(qvel))
