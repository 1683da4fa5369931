"""The horizon from measurement: where the members of the ensemble and the critics agree most about the gradient."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import Noise
from diffmaac.errors import DivergenceError
from diffmaac.objectives import ClosedLoop, PathwiseNoise, flat_gradient, pathwise_loss, sample_pathwise_noise
from diffmaac.types import QFunction


def gradient_spread(
    loop: ClosedLoop,
    critics: int,
    obs_t: Float[Tensor, "batch obs"],
    horizons: Sequence[int],
    alpha: Float[Tensor, ""],
    generator: torch.Generator,
    adjoint_clip: float = 0.0,
) -> Float[Tensor, " horizons"]:
    """An estimate of the squared relative error of grad J_H, for each H of `horizons`:

        (V_members / M + V_critics) / |mean g|^2

    with g_mi the gradient through member m and critic i, on common start states, policy noise and model noise.
    V_members is the variance of mean_i g_mi over the M members of the loop's dynamics: an update averages over members,
    which takes the part of their errors that is their own down to 1/M. V_critics is the variance of mean_m g_mi over
    the `critics` Q-functions, which all learn from the same targets. Short horizons inherit the critics' disagreement
    undiscounted, long ones the models' compounded; Lemma 4.1 (arXiv 2005.08068) balances the same two, with constants
    that need the truth. `adjoint_clip` is that of the updates.

    Critics that learn from the same targets resemble each other, so what they share of error is not seen. A horizon on
    whose way the physics diverges is infinitely wrong.
    """
    policy, dynamics = loop.policy, loop.dynamics
    noise = sample_pathwise_noise(dynamics, max(horizons), len(obs_t), policy.action_size, generator)
    loops = [loop._replace(critics=_one_of(loop.critics, i)) for i in range(critics)]
    spreads: list[Tensor] = []
    for horizon in horizons:
        cut = PathwiseNoise(noise.policy[: horizon + 1], noise.dynamics[:horizon])
        try:
            gradients = _gradients(loops, obs_t, cut, dynamics.noise_members if horizon else 1, alpha, adjoint_clip)
        except DivergenceError:
            spreads.append(alpha.new_tensor(torch.inf))
            continue
        error = _variance(gradients.mean(1)) / len(gradients) + _variance(gradients.mean(0))
        spreads.append(error / gradients.mean((0, 1)).square().sum())
    return torch.stack(spreads)


def _gradients(
    loops: Sequence[ClosedLoop],
    obs_t: Float[Tensor, "batch obs"],
    noise: PathwiseNoise,
    members: int,
    alpha: Float[Tensor, ""],
    adjoint_clip: float,
) -> Float[Tensor, "members critics parameters"]:
    """The gradient through each of `members` and each loop's critic."""
    gradients: list[Tensor] = []
    for member in range(members):
        same = noise._replace(dynamics=tuple(_of_member(step, member) for step in noise.dynamics))
        losses = [pathwise_loss(one, obs_t, same, alpha, adjoint_clip)[0] for one in loops]
        gradients.append(torch.stack([flat_gradient(loss, loops[0].policy) for loss in losses]))
    return torch.stack(gradients)


def _variance(vectors: Float[Tensor, "samples parameters"]) -> Float[Tensor, ""]:
    """Of one vector, summed over its components; 0 of a single one."""
    return vectors.var(0, correction=min(1, len(vectors) - 1)).sum()


def _one_of(critics: QFunction, index: int) -> QFunction:
    return lambda obs, action: critics(obs, action)[index : index + 1]


def _of_member(noise: Noise | None, member: int) -> Noise | None:
    """The same Gaussian noise, every sample moved by `member`."""
    return noise and Noise(torch.full_like(noise.member, member), noise.gaussian, len(noise.member))
