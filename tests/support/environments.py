"""Gymnasium environments of our own: one that is right in an odd way, and broken ones."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

STEPS = 20
"""After so many steps the environment itself truncates where nothing terminated."""


class Drifting(gymnasium.Env[np.ndarray, np.ndarray]):
    """A point (2, 1) that drifts by its action in [0, 4], right of 3 it terminates; pays -(x - 1)^2 of where it comes.

    Odd, and allowed: a matrix of float32 as observation, bounds that are not symmetric, a matrix as action.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, pace: float = 0.1):
        self.render_mode, self.pace = render_mode, pace
        self.observation_space: spaces.Space[Any] = spaces.Box(-20.0, 20.0, (2, 1), np.float32)
        self.action_space: spaces.Space[Any] = spaces.Box(0.0, 4.0, (1, 1), np.float32)
        self.x, self.steps, self.taken = 0.0, 0, list[np.ndarray]()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.x, self.steps = float(self.np_random.uniform(-0.5, 0.5)), 0
        return self.observed(), {}

    def step(self, action: np.ndarray):
        self.taken.append(action)
        self.x += self.pace * (float(action[0, 0]) - 2.0)
        self.steps += 1
        return self.observed(), -((self.x - 1.0) ** 2), self.x > 3.0, False, {}

    def observed(self) -> np.ndarray:
        return np.array([[self.x], [self.pace]], np.float32)

    def render(self):
        return np.full((64, 96, 3), 200, np.uint8)


class Unseeded(Drifting):
    """Its motion depends on more than seed and actions."""

    noise = np.random.default_rng(0)

    def step(self, action: np.ndarray):
        self.x += 0.01 * self.noise.uniform()
        return super().step(action)


class SuddenlyNaN(Drifting):
    """After some steps its observation is not a number."""

    def observed(self) -> np.ndarray:
        out = super().observed()
        return out if self.steps < 15 else out * np.float32(np.nan)


class Growing(Drifting):
    """Its observation space is another one in the third episode."""

    episodes = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        self.episodes += 1
        if self.episodes > 2 and seed != 123:
            self.observation_space = spaces.Box(-30.0, 30.0, (2, 1), np.float32)
        return super().reset(seed=seed, options=options)


class WrongShape(Drifting):
    """What it returns is not in its space."""

    def observed(self) -> np.ndarray:
        return super().observed().ravel()


class OldStep(Drifting):
    """`step` returns four values, as Gym's did."""

    def step(self, action: np.ndarray):  # pyright: ignore[reportIncompatibleMethodOverride]
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, info


class Failing(Drifting):
    """An error of its own."""

    def step(self, action: np.ndarray):
        raise KeyError("joint_7")


class Mute(Drifting):
    """An error that says nothing."""

    def step(self, action: np.ndarray):
        assert action.shape == (7,)
        return super().step(action)


def with_spaces(observation: Any = None, action: Any = None) -> type[Drifting]:
    """`Drifting` with another observation or action space."""

    class Other(Drifting):
        def __init__(self):
            super().__init__()
            self.observation_space = self.observation_space if observation is None else observation
            self.action_space = self.action_space if action is None else action

    return Other


def register() -> None:
    """Under ids of Gymnasium, once."""
    for name, cls in {"Drifting": Drifting, "Unseeded": Unseeded}.items():
        if (full := f"{name}-v0") not in gymnasium.registry:
            gymnasium.register(full, entry_point=cls, max_episode_steps=STEPS, nondeterministic=cls is Unseeded)


register()
