"""A foreign environment behind the interface of our own: flat float64 observations, actions in [-1, 1]."""

import logging
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from diffmaac.env import AbstractTaskEnv
from diffmaac.errors import DivergenceError, SettingError, TaskError
from diffmaac.foreign.making import calling
from diffmaac.foreign.spaces import check_spaces

if TYPE_CHECKING:
    from diffmaac.foreign.system import GymnasiumSystem

_LOGGER = logging.getLogger(__name__)
LARGEST = float(np.finfo(np.float32).max)


class ForeignEnv(AbstractTaskEnv):
    """An environment of `system`, truncated after `episode_steps` steps, or earlier by its own TimeLimit.

    Each episode begins with a seed of its own. So a snapshot needs nothing of the environment's inside: seed and
    actions of the episode lead to the same state again, and `restore` walks there. An environment that a seed does not
    determine begins a new episode there instead, which the log says.
    """

    def __init__(self, system: "GymnasiumSystem", episode_steps: int, render_mode: str | None = None):
        self.system, self.episode_steps, self.render_mode = system, episode_steps, render_mode
        self._env = system.make(render_mode)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (system.obs_size,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (system.action_size,), np.float32)
        self._obs, self._seed, self._actions = np.zeros(system.obs_size), 0, list[np.ndarray]()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Begins an episode: observation (obs,) and the environment's info."""
        super().reset(seed=seed)
        self._seed = int(self.np_random.integers(2**31 - 1)) if seed is None else seed
        return self._begin(options)

    def _begin(self, options: dict[str, Any] | None = None):
        self._actions = []
        with calling(self.system.name, "reset"):
            raw, info = self._env.reset(seed=self._seed, options=options)
        spaces = check_spaces(self.system.name, self._env)
        if spaces != self.system.spaces:
            raise TaskError(
                f"environment '{self.system.name}' has changed its spaces from {self.system.spaces} to {spaces}."
                " A policy needs the same ones in every episode."
            )
        self._obs = self._flat(raw)
        return self._obs.copy(), info

    def step(self, action: np.ndarray):
        """One step under an action (action,) in [-1, 1]. Raises DivergenceError for one that is not finite, TaskError
        for an observation or reward that is not, or where the environment raises an error."""
        if not np.isfinite(action).all():
            raise DivergenceError(f"the action {action} is not finite; actions lie in [-1, 1].")
        action = np.array(action, np.float64)
        with calling(self.system.name, f"step{self._when()}"):
            raw, reward, terminated, truncated, info = self._env.step(self.system.scale.outward(action))
        self._actions.append(action)
        self._obs = self._flat(raw)
        earned = self._number(reward)
        if not abs(earned) <= LARGEST:
            raise self._not_finite("the reward", earned)
        over = bool(truncated) or len(self._actions) >= self.episode_steps
        return self._obs.copy(), earned, bool(terminated), over, info

    def render(self) -> np.ndarray | None:
        return self.picture() if self.render_mode is not None else None

    def picture(self) -> np.ndarray:
        if self.render_mode is None:
            raise SettingError("this environment does not draw. Make it with render_mode='rgb_array'.")
        try:
            picture = np.asarray(self._env.render())
        except Exception as error:  # foreign code: a package that draws may be missing
            raise SettingError(f"environment '{self.system.name}' cannot be drawn: {error}") from error
        if picture.ndim != 3 or picture.dtype != np.uint8:
            raise SettingError(f"environment '{self.system.name}' draws no picture (height, width, 3) of bytes.")
        return picture

    def close(self) -> None:
        self._env.close()

    def snapshot(self) -> dict[str, Any]:
        actions = np.array(self._actions).reshape(-1, self.system.action_size)
        generator = self.np_random.bit_generator.state
        return {"seed": self._seed, "actions": actions, "observation": self._obs, "generator": generator}

    def restore(self, snapshot: dict[str, Any]) -> None:
        _ = self.np_random  # of an environment that was never reset
        self.np_random.bit_generator.state = snapshot["generator"]
        self._seed = snapshot["seed"]
        self._begin()
        for action in np.asarray(snapshot["actions"]):
            self.step(action)
        if not np.array_equal(self._obs, np.asarray(snapshot["observation"])):
            _LOGGER.warning(
                "environment '%s': the same seed and actions lead to another state, so that its episode cannot be taken"
                " up. A new one begins; what follows is not what a run that never stopped would have done.",
                self.system.name,
            )
            self.reset()

    def observation(self) -> np.ndarray:
        return self._obs.copy()

    def _flat(self, raw: Any) -> np.ndarray:
        obs = np.asarray(raw, np.float64)
        if obs.shape != self.system.spaces[0].shape:
            raise TaskError(
                f"environment '{self.system.name}' returned an observation of shape {obs.shape}{self._when()}; its"
                f" space says {self.system.spaces[0].shape}."
            )
        flat = obs.ravel()
        bad = np.flatnonzero(~(np.abs(flat) <= LARGEST))
        if len(bad):
            raise self._not_finite(f"observation {bad[0]}", float(flat[bad[0]]))
        return flat

    def _not_finite(self, what: str, value: float) -> TaskError:
        beyond = f", beyond float32, in which all is kept: {LARGEST:.3g} at most" if np.isfinite(value) else ""
        return TaskError(f"environment '{self.system.name}': {what} is {value}{self._when()}{beyond}.")

    def _number(self, reward: Any) -> float:
        """An array of one number is one. Raises TaskError for what is none."""
        try:
            return float(reward.item() if isinstance(reward, np.ndarray) and reward.size == 1 else reward)
        except (RuntimeError, TypeError, ValueError) as error:
            shape = f" of shape {reward.shape}" if hasattr(reward, "shape") else ""
            raise TaskError(
                f"environment '{self.system.name}': the reward is of type {type(reward).__name__}{shape}{self._when()};"
                " a number is needed."
            ) from error

    def _when(self) -> str:
        return f" after {len(self._actions)} steps of the episode with seed {self._seed}"
