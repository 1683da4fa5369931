"""Spaces: observations as a flat vector, actions in [-1, 1] as the environment takes them."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from diffmaac.errors import TaskError

LARGEST = 10_000
"""Numbers in an observation, at most: a model of states has no use for more, and pictures have more."""


def check_spaces(name: str, env: gymnasium.Env[Any, Any]) -> tuple[spaces.Box, spaces.Box]:
    """The observation and action space, both Boxes. Raises TaskError for others, naming the wrapper that helps."""
    return _observations(name, env.observation_space), _actions(name, env.action_space)


def _observations(name: str, space: spaces.Space[Any]) -> spaces.Box:
    what = f"environment '{name}': its observations are a {type(space).__name__}"
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Dict | spaces.Tuple):
        raise TaskError(f"{what}, and a Box is needed. gymnasium.wrappers.FlattenObservation(env) makes one of it.")
    if not isinstance(space, spaces.Box):
        raise TaskError(f"{what}, and a Box is needed. gymnasium.wrappers.TransformObservation can make one of it.")
    size = int(np.prod(space.shape))
    if size == 0 or size > LARGEST or (space.dtype == np.uint8 and len(space.shape) > 1):
        raise TaskError(
            f"environment '{name}': its observations have shape {space.shape} and type {space.dtype}, and a model"
            " learns vectors of states, not pictures. gymnasium.wrappers.TransformObservation can make a vector of it."
        )
    return space


def _actions(name: str, space: spaces.Space[Any]) -> spaces.Box:
    what = f"environment '{name}': its actions are a {type(space).__name__}"
    if isinstance(space, spaces.Discrete):
        raise TaskError(
            f"{what} of {space.n}, and a gradient needs continuous ones. gymnasium.wrappers.TransformAction(env, lambda"
            f" a: int(a.argmax()) + {space.start}, gymnasium.spaces.Box(-1, 1, ({space.n},))) makes them so."
        )
    if not isinstance(space, spaces.Box):
        raise TaskError(
            f"{what}, and a Box is needed. gymnasium.wrappers.TransformAction(env, function, gymnasium.spaces.Box(...))"
            " takes its actions from one."
        )
    if not np.issubdtype(space.dtype, np.floating) or space.shape == () or 0 in space.shape:
        raise TaskError(
            f"{what} of type {space.dtype} and shape {space.shape}, and floats of at least one dimension are needed."
            " gymnasium.wrappers.TransformAction(env, function, gymnasium.spaces.Box(...)) takes its actions from such."
        )
    if not space.is_bounded():
        raise TaskError(
            f"{what} without bounds, {space.low.min():g} to {space.high.max():g}, and ours lie in [-1, 1] and are"
            " scaled to them. gymnasium.wrappers.TransformAction(env, lambda a: a, gymnasium.spaces.Box(low, high,"
            " shape)) gives it some."
        )
    if (space.low >= space.high).any():
        raise TaskError(f"{what} whose bounds leave no room in one dimension: {space.low} to {space.high}.")
    return space


class ActionScale:
    """Actions in [-1, 1], flat, to and from a bounded Box."""

    def __init__(self, space: spaces.Box):
        self.space, self.size = space, int(np.prod(space.shape))
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._offset, self._factor = (high + low) / 2, (high - low) / 2

    def outward(self, action: Float[np.ndarray, "*batch action"]) -> np.ndarray:
        """As the environment takes it: clipped, scaled, in its shape and type."""
        shaped = np.clip(np.asarray(action, np.float64), -1, 1).reshape(*action.shape[:-1], *self.space.shape)
        scaled = self._offset + self._factor * shaped
        return np.clip(scaled.astype(self.space.dtype), self.space.low, self.space.high)
