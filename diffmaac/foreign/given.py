"""A reward and a termination that a user gives in torch for a foreign environment: do they say what it says?"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.env import AbstractTaskEnv
from diffmaac.errors import TaskError
from diffmaac.types import TransitionReward

COMPARED_STEPS = 100
TOLERANCE = 1e-3
"""Absolute and relative: environments compute in their own precision."""


def in_own_units(reward: TransitionReward, low: np.ndarray, high: np.ndarray) -> TransitionReward:
    """`reward` of actions in [-1, 1], from one of actions between `low` and `high`."""
    offset, factor = (torch.as_tensor(x.ravel()) for x in ((high + low) / 2, (high - low) / 2))

    def scaled(obs_t: Tensor, action_t: Tensor, obs_tp1: Tensor) -> Tensor:
        return reward(obs_t, offset.to(action_t) + factor.to(action_t) * action_t, obs_tp1)

    return scaled


def check_given(
    name: str,
    env: AbstractTaskEnv,
    reward: TransitionReward | None,
    terminated: Callable[[Float[Tensor, "*batch obs"]], Tensor] | None,
    never: bool,
) -> None:
    """Raises TaskError where they differ from what `env` pays and does on random steps, with the first such step.

    `never` says that nothing terminates.
    """
    rng, episode = np.random.default_rng(0), 0
    obs, _ = env.reset(seed=0)
    for step in range(COMPARED_STEPS):
        action = rng.uniform(-1, 1, env.action_space.shape)
        after, earned, ended, truncated, _ = env.step(action)
        before, given, next_obs = (torch.as_tensor(np.asarray(x, np.float64)) for x in (obs, action, after))
        where = f"after {step + 1} random steps from seed 0 environment '{name}'"
        if reward is not None:
            ours = float(reward(before, given, next_obs))
            if not np.isclose(ours, earned, rtol=TOLERANCE, atol=TOLERANCE):
                raise TaskError(
                    f"{where} pays {earned:.6g}, and the reward given in torch is {ours:.6g}. It gets (obs_t, action_t,"
                    " obs_tp1), the action in the environment's own units. Leave reward= out, and it is learned."
                )
        says = False if never else None if terminated is None else bool(terminated(next_obs))
        if says is not None and says != ended:
            words = ("goes on", "terminates")
            raise TaskError(
                f"{where} {words[ended]}, and by what is given in torch it {words[says]}. Leave terminated= out, and it"
                " is learned."
            )
        obs = after
        if ended or truncated:
            episode += 1
            obs, _ = env.reset(seed=episode)
