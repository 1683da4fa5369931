"""The Gymnasium environment of a task, stepped without gradients."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import gymnasium
import numpy as np
import torch
from torch import Tensor

from diffmaac.errors import DivergenceError, SettingError
from diffmaac.system import AbstractSystem, MujocoSystem
from diffmaac.types import Reward

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
    def reward(self) -> Reward: ...
    @property
    def reset(self) -> Reset: ...
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


class TaskEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """`task` as a Gymnasium environment: float64 observations (obs,), actions (action,) in [-1, 1].

    The reward of a step is that of its START state, as everywhere in this library. The episode is truncated after
    `task.episode_steps` steps. With ``render_mode="rgb_array"`` `render` draws it; SettingError where that cannot be.
    """

    metadata = METADATA

    def __init__(self, task: Playable, render_mode: str | None = None):
        self.task, self.render_mode, self._renderer = task, render_mode, None
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
        self.steps = 0
        """Of the present episode."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Draws a start state from `task.reset`: observation (obs,) and an empty info."""
        super().reset(seed=seed)
        self._simulator.set_state(*self.task.reset(self.np_random))
        self.steps = 0
        return self._obs().numpy(), {}

    def step(self, action: np.ndarray):
        """One control step of `task.dt` seconds. Raises DivergenceError for an action (action,) that is not finite."""
        if not np.isfinite(action).all():
            raise DivergenceError(f"the action {action} is not finite; actions lie in [-1, 1].")
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        reward = float(self.task.reward(self._obs(), torch.from_numpy(action)))
        self._simulator.step(action)
        self.steps += 1
        obs = self._obs()
        terminated = self.task.terminated is not None and bool(self.task.terminated(obs))
        return obs.numpy(), reward, terminated, self.steps >= self.task.episode_steps, {}

    def render(self) -> np.ndarray | None:
        """The picture of the present state (height, width, 3), uint8; None without ``render_mode="rgb_array"``."""
        return self.picture() if self._renderer is not None else None

    def picture(self) -> np.ndarray:
        """As `render`. Raises SettingError where the environment was made without ``render_mode="rgb_array"``."""
        if self._renderer is None:
            raise SettingError("this environment does not draw. Make it with render_mode='rgb_array'.")
        return self._renderer.frame(*self._simulator.state())

    def close(self) -> None:
        """Frees what was needed to draw."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def snapshot(self) -> dict[str, Any]:
        """Everything the next step depends on; `restore` is the inverse."""
        return {
            "simulator": self._simulator.snapshot(),
            "steps": self.steps,
            "generator": self.np_random.bit_generator.state,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._simulator.restore(np.asarray(snapshot["simulator"]))
        self.steps = snapshot["steps"]
        self.np_random.bit_generator.state = snapshot["generator"]

    def observation(self) -> np.ndarray:
        """The present observation (obs,)."""
        return self._obs().numpy()

    def _obs(self) -> Tensor:
        qpos, qvel = self._simulator.state()
        return self.task.observe(torch.from_numpy(qpos), torch.from_numpy(qvel))
