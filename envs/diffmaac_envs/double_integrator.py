"""double_integrator: a unit mass on a line, pushed to the origin. Linear dynamics and quadratic cost: a closed form.

The Riccati optimum of this task is the referee of whole training runs (`diffmaac.analysis.lqr`).
"""

import numpy as np
from torch import Tensor

from diffmaac.system import LinearSystem
from diffmaac.task import Task
from diffmaac_envs import presets

DT = 0.1
"""Seconds of one control step."""
A = np.array([[1.0, DT], [0.0, 1.0]])
B = np.array([[0.5 * DT**2], [DT]])
Q = np.diag([1.0, 0.1])
"""Cost of state: position, velocity."""
R = np.array([[0.1]])
"""Cost of control. From every start the optimal action stays inside [-1, 1], so the optimum is linear."""
START = np.array([0.2, 0.15])
"""Half-widths of the uniform start states: position [m], velocity [m/s]."""


def reward(obs_t: Tensor, action_t: Tensor) -> Tensor:
    """The negative quadratic cost -(s^T Q s + a^T R a)."""
    state_cost = Q[0, 0] * obs_t[..., 0].square() + Q[1, 1] * obs_t[..., 1].square()
    return -state_cost - R[0, 0] * action_t.square().sum(-1)


def _reset(rng: np.random.Generator):
    qpos, qvel = np.split(rng.uniform(-START, START), 2)
    return qpos, qvel


def double_integrator() -> Task:
    """obs (2): position [m], velocity [m/s]. action (1): acceleration [m/s^2]."""
    return Task(
        name="double_integrator",
        system=LinearSystem(A, B, DT),
        reward=reward,
        reset=_reset,
        episode_steps=30,  # four time constants of the optimum; longer ones let random actions drift far away
        reward_text="-(x^2 + 0.1 v^2 + 0.1 a^2)",
        reference="closed form (Riccati)",
        presets=presets.DOUBLE_INTEGRATOR,
    )
