"""What the four locomotion tasks share: Gymnasium's v5 models and its start states"""

from pathlib import Path

import gymnasium
import numpy as np
from torch import Tensor

from diffmaac.system import MujocoSystem
from diffmaac.task import Reset
from diffmaac.types import Reward

REFERENCE = "Wang et al. 2019, Benchmarking Model-Based RL"


def gymnasium_system(asset: str, frame_skip: int, hidden: int) -> MujocoSystem:
    """The MuJoCo model that Gymnasium ships as `asset`."""
    path = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / asset
    return MujocoSystem.from_xml(path, frame_skip, hidden)


def near_initial(system: MujocoSystem, position: float, velocity: float, gaussian: bool) -> Reset:
    """Start states about the model's own qpos0: uniform within +-position; velocities uniform or Gaussian."""
    qpos0 = system.model.qpos0.copy()

    def reset(rng: np.random.Generator):
        qpos = qpos0 + rng.uniform(-position, position, system.model.nq)
        draw = rng.standard_normal(system.model.nv) if gaussian else rng.uniform(-1, 1, system.model.nv)
        return qpos, velocity * draw

    return reset


def upright_walk(velocity: int, height: float) -> Reward:
    """Forward velocity obs[velocity] [m/s], less the cost of leaving `height` [m] and of control, plus one a step."""

    def reward(obs_t: Tensor, action_t: Tensor) -> Tensor:
        height_cost = 3.0 * (obs_t[..., 0] - height).square()
        return obs_t[..., velocity] - height_cost - 0.1 * action_t.square().sum(-1) + 1.0

    return reward
