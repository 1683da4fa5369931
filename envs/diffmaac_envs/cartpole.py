"""cartpole: swing a pole up by moving its cart, and balance it. obs = (x, cos theta, sin theta, x', theta')."""

import numpy as np
from torch import Tensor

from diffmaac.system import MujocoSystem
from diffmaac.task import Task
from diffmaac_envs import presets
from diffmaac_envs._swing_up import ASSETS, balanced


def reward(obs_t: Tensor, action_t: Tensor) -> Tensor:
    """cos(theta), 1 where upright, less small costs of distance [m], angular velocity [rad/s] and control."""
    cost = 0.1 * obs_t[..., 0].square() + 0.005 * obs_t[..., 4].square() + 0.01 * action_t.square().sum(-1)
    return obs_t[..., 1] - cost


def _reset(rng: np.random.Generator):
    qpos = np.array([rng.uniform(-0.2, 0.2), np.pi + rng.uniform(-0.2, 0.2)])
    return qpos, rng.uniform(-0.2, 0.2, 2)


def cartpole() -> Task:
    """obs (5): x [m], cos and sin of the pole's angle from upright, x' [m/s], angular velocity [rad/s].

    action (1): the force on the cart, as a share of 10 N.
    """
    return Task(
        name="cartpole",
        system=MujocoSystem.from_xml(ASSETS / "cartpole.xml", frame_skip=4, angles=(1,)),
        reward=reward,
        reset=_reset,
        episode_steps=250,
        criterion=balanced(cos_index=1),
        reward_text="cos(theta) - 0.1 x^2 - 0.005 theta'^2 - 0.01 a^2",
        reference="own MJCF",
        presets=presets.CARTPOLE,
    )
