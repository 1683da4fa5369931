"""pendulum: swing a rod up with a motor too weak to lift it, and balance it. obs = (cos theta, sin theta, theta')."""

import numpy as np
from torch import Tensor

from diffmaac.system import MujocoSystem
from diffmaac.task import Task
from diffmaac_envs import presets
from diffmaac_envs._swing_up import ASSETS, balanced


def reward(obs_t: Tensor, action_t: Tensor) -> Tensor:
    """cos(theta), 1 where upright, less small costs of velocity [rad/s] and control."""
    return obs_t[..., 0] - 0.01 * obs_t[..., 2].square() - 0.01 * action_t.square().sum(-1)


def _reset(rng: np.random.Generator):
    return np.pi + rng.uniform(-0.5, 0.5, 1), rng.uniform(-0.5, 0.5, 1)


def pendulum() -> Task:
    """obs (3): cos and sin of the angle from upright, its velocity [rad/s].

    action (1): the motor's torque, as a share of 2 Nm.
    """
    return Task(
        name="pendulum",
        system=MujocoSystem.from_xml(ASSETS / "pendulum.xml", frame_skip=5, angles=(0,)),
        reward=reward,
        reset=_reset,
        episode_steps=200,
        criterion=balanced(cos_index=0),
        reward_text="cos(theta) - 0.01 theta'^2 - 0.01 a^2",
        reference="own MJCF",
        presets=presets.PENDULUM,
    )
