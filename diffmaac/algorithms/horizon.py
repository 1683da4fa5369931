"""The horizon from measurement: where the members of the ensemble and the critics agree most about the gradient."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise
from diffmaac.nn import AbstractPolicy, Critics
from diffmaac.objectives import PathwiseNoise, pathwise_loss, sample_pathwise_noise
from diffmaac.types import Reward


def gradient_spread(
    policy: AbstractPolicy,
    critics: Critics,
    dynamics: AbstractDynamics,
    reward: Reward,
    discount: Callable[[Tensor], Tensor],
    obs_t: Float[Tensor, "batch obs"],
    horizons: Sequence[int],
    alpha: Float[Tensor, ""],
    generator: torch.Generator,
) -> Float[Tensor, " horizons"]:
    """An estimate of the squared relative error of grad J_H, for each H of `horizons`:

        sum_k |g_k - mean g|^2 / (n |mean g|^2),    g_k = grad J_H with one member and one critic, k = 1..n

    on common start states, policy noise and model noise, so that members differ by their models alone. Short horizons
    inherit the critics' disagreement undiscounted, long ones the models' compounded. Lemma 4.1 (arXiv 2005.08068)
    balances the same two; its own constants need the truth.

    Critics that learn from the same targets resemble each other, so what they share of error is not seen.
    """
    longest = max(horizons)
    noise = sample_pathwise_noise(dynamics, longest, len(obs_t), policy.action_size, generator)
    parameters = list(policy.parameters())
    spreads = []
    for horizon in horizons:
        gradients = []
        for member in range(dynamics.members if horizon else 1):
            steps = tuple(_of_member(step, member) for step in noise.dynamics[:horizon])
            cut = PathwiseNoise(noise.policy[: horizon + 1], steps)
            for net in range(len(critics.nets)):
                loss, _ = pathwise_loss(
                    policy,
                    lambda obs, action, net=net: critics(obs, action)[net : net + 1],
                    dynamics,
                    reward,
                    discount,
                    obs_t,
                    cut,
                    alpha,
                )
                gradients.append(torch.cat([x.flatten() for x in torch.autograd.grad(loss, parameters)]))
        found = torch.stack(gradients)
        mean = found.mean(0)
        spreads.append((found - mean).square().sum(1).mean() / mean.square().sum())
    return torch.stack(spreads)


def _of_member(noise: Noise | None, member: int) -> Noise | None:
    """The same Gaussian noise, every sample moved by `member`."""
    return None if noise is None else Noise(torch.full_like(noise.member, member), noise.gaussian)
