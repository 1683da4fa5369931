"""What objectives of a policy are made of: the closed loop of policy and world, and the critics."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics
from diffmaac.nn import AbstractPolicy
from diffmaac.objectives.world import World
from diffmaac.types import QFunction


class ClosedLoop(NamedTuple):
    """A policy that acts in a world, and the value of what comes after."""

    policy: AbstractPolicy
    critics: QFunction
    world: World

    @property
    def dynamics(self) -> AbstractDynamics:
        return self.world.dynamics


def lower_bound(q: Float[Tensor, "critics *batch"]) -> Float[Tensor, "*batch"]:
    """The pessimistic value of several critics: the minimum of each pair (Fujimoto et al. 2018), averaged over pairs.

    Of two critics it is their minimum. The minimum of all would be the more pessimistic the more critics there are. An
    odd critic stands alone.
    """
    critics = q.shape[0]
    if critics <= 2:
        return q.amin(0)
    pairs = [q[i : i + 2].amin(0) for i in range(0, critics, 2)]
    return torch.stack(pairs).mean(0)


def soft_value(
    policy: AbstractPolicy,
    critics: QFunction,
    obs_t: Float[Tensor, "batch obs"],
    noise_t: Float[Tensor, "batch action"],
    alpha: Float[Tensor, ""],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """``min_i Q_i(s_t, a_t) - alpha log pi(a_t|s_t)``, a_t reparameterised by the noise; and that log density."""
    action_t, log_prob_t = policy.sample(obs_t, noise_t)
    return lower_bound(critics(obs_t, action_t)) - alpha * log_prob_t, log_prob_t


def flat_gradient(loss: Float[Tensor, ""], policy: AbstractPolicy) -> Float[Tensor, " parameters"]:
    """The gradient of `loss` with respect to every parameter of `policy`, as one vector."""
    return torch.cat([x.flatten() for x in torch.autograd.grad(loss, list(policy.parameters()))])
