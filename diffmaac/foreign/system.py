"""A Gymnasium environment as a system: its sizes, its time step, and its physics, where these can be known."""

import copy
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium import spaces

from diffmaac.errors import TaskError
from diffmaac.foreign.making import Make, Source, calling, check, maker
from diffmaac.foreign.spaces import ActionScale, check_spaces
from diffmaac.system import AbstractSimulator, AbstractSystem, Coordinates, MujocoSystem

EPISODE_STEPS = 1000
"""Steps of an episode where the environment has no time limit of its own."""
SECONDS = 1 / 30
"""Of a step, where the environment does not say."""
TRIED_STEPS = 50
"""Random steps on which an environment is compared with the model that it carries."""
TOLERANCE = 1e-5
"""Largest difference there, absolute and relative: solvers that start elsewhere differ by less."""


@dataclass(frozen=True, eq=False)
class GymnasiumSystem(AbstractSystem):
    """What moves inside of an environment that others made. Its state is not known, only what it shows.

    `make(render_mode)` gives a new environment; `spaces` are its observation and action space; `spec` tells one
    environment from another; `episode_steps` is that of its TimeLimit.
    """

    name: str
    make: Make
    spaces: tuple[spaces.Box, spaces.Box]
    seconds: float
    episode_steps: int
    spec: str

    @classmethod
    def of(cls, source: Source) -> "GymnasiumSystem":
        """Makes an environment and has Gymnasium check it.

        Raises TaskError where it cannot be made, its spaces are no bounded Boxes, or it breaks Gymnasium's contract.
        """
        name, make = maker(source)
        env = make(None)
        try:
            boxes = check_spaces(name, env)
            check(name, env)
            spec = env.unwrapped.spec
            words = "" if spec is None else f"{spec.id} {sorted(map(str, spec.kwargs.items()))}"
            return cls(name, make, boxes, _seconds(env), _episode_steps(env), words)
        finally:
            env.close()

    @property
    def obs_size(self) -> int:
        return int(np.prod(self.spaces[0].shape))

    @property
    def action_size(self) -> int:
        return self.scale.size

    @cached_property
    def scale(self) -> ActionScale:
        return ActionScale(self.spaces[1])

    @property
    def dt(self) -> float:
        return self.seconds

    @property
    def coordinates(self) -> Coordinates:
        return self.physics().coordinates

    def simulator(self) -> AbstractSimulator:
        return self.physics().simulator()

    def constants(self) -> list[np.ndarray]:
        return [np.asarray(bound, float) for bound in (self.spaces[1].low, self.spaces[1].high)]

    def physics(self) -> MujocoSystem:
        return self._physics

    @cached_property
    def _physics(self) -> MujocoSystem:
        env = self.make(None)
        try:
            return _physics_of(self, env)
        finally:
            env.close()


def _seconds(env: gymnasium.Env[Any, Any]) -> float:
    dt = getattr(env.unwrapped, "dt", None)
    if isinstance(dt, int | float) and dt > 0:
        return float(dt)
    rate = env.metadata.get("render_fps")
    return 1 / rate if isinstance(rate, int | float) and rate > 0 else SECONDS


def _episode_steps(env: gymnasium.Env[Any, Any]) -> int:
    """The shortest time limit among the wrappers."""
    limits: list[int] = []
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            limits.append(layer._max_episode_steps)
        layer = layer.env
    return min(limits, default=EPISODE_STEPS)


def _physics_of(system: GymnasiumSystem, env: gymnasium.Env[Any, Any]) -> MujocoSystem:
    """The environment's MuJoCo model, tried on random steps. Raises TaskError, saying what is hidden or other."""
    inner: Any = env.unwrapped
    model, data, skip = (getattr(inner, name, None) for name in ("model", "data", "frame_skip"))
    if not isinstance(model, mujoco.MjModel) or not isinstance(data, mujoco.MjData) or not isinstance(skip, int):
        raise TaskError(f"environment '{system.name}' has no MuJoCo model (`model`, `data`, `frame_skip`)")
    hidden = model.nq + model.nv - system.obs_size
    visited = list(_random_steps(system, env, data))
    if not 0 <= hidden <= model.nq or not _shown(visited, hidden):
        raise TaskError(f"the observation of '{system.name}' does not determine the state: {_hidden(visited, model)}")
    physics = MujocoSystem(copy.copy(model), skip, hidden)
    simulator, coordinates = physics.simulator(), physics.coordinates
    for (obs, action, _), (after, _, _) in itertools.pairwise(visited):
        simulator.set_state(*(x.numpy() for x in coordinates.physics_state(torch.from_numpy(obs))))
        simulator.step(action)
        ours = coordinates.observe(*map(torch.from_numpy, simulator.state())).numpy()
        if (off := ~np.isclose(ours, after, rtol=TOLERANCE, atol=TOLERANCE)).any():
            i = int(np.flatnonzero(off)[0])
            raise TaskError(
                f"'{system.name}' does not move as its MuJoCo model: observation {i} becomes {after[i]:.6g}, and"
                f" {ours[i]:.6g} by the model, so that something else moves or hides it"
            )
    return physics


def _random_steps(system: GymnasiumSystem, env: gymnasium.Env[Any, Any], data: mujoco.MjData):
    """Observations, the action after each, and the state (qpos, qvel) of an episode of random actions."""
    rng = np.random.default_rng(0)
    with calling(system.name, "reset"):
        obs, over = env.reset(seed=0)[0], False
    for _ in range(TRIED_STEPS):
        action = rng.uniform(-1, 1, system.action_size)
        yield np.array(obs, float).ravel(), action, np.concatenate([data.qpos, data.qvel])
        if over:
            return
        with calling(system.name, "step"):
            obs, _, terminated, truncated, _ = env.step(system.scale.outward(action))
        over = terminated or truncated


def _shown(visited: list[Any], hidden: int) -> bool:
    return all(np.allclose(obs, state[hidden:], rtol=TOLERANCE, atol=TOLERANCE) for obs, _, state in visited)


def _hidden(visited: list[Any], model: mujoco.MjModel) -> str:
    """Which coordinates no entry of the observation shows as they are."""
    obs, states = (np.stack([row[i] for row in visited]) for i in (0, 2))
    names = [*(f"qpos[{i}]" for i in range(model.nq)), *(f"qvel[{i}]" for i in range(model.nv))]
    equal = np.asarray(np.isclose(obs[:, :, None], states[:, None, :], rtol=TOLERANCE, atol=TOLERANCE))
    missing = [names[i] for i in np.flatnonzero(~equal.all(0).any(0)).tolist()]
    if not missing:
        return "it is in another order than qpos, qvel, or has more than these"
    return f"hidden, or shown otherwise than as it is, is {', '.join(missing)}"
