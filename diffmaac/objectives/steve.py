"""STEVE: critic targets that look several model steps ahead, weighted by their uncertainty (Buckman et al. 2018)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics
from diffmaac.objectives.loop import ClosedLoop, lower_bound
from diffmaac.types import Transition

LEAST_VARIANCE = 1e-30
"""Where a single estimate has no variance at any horizon, the sum of the inverses is still finite."""


class SteveNoise(NamedTuple):
    """Policy noise, common to all members so that members differ by their models alone, and each member's own noise."""

    policy: Float[Tensor, "horizon_plus_1 batch action"]
    model: Float[Tensor, "horizon members batch obs"]

    def split(self, rows: int) -> list["SteveNoise"]:
        """The same in chunks of `rows` samples, the last as long as it comes."""
        return [SteveNoise(*chunk) for chunk in zip(*(torch.split(noise, rows, -2) for noise in self), strict=True)]


def sample_steve_noise(
    dynamics: AbstractDynamics,
    horizon: int,
    batch: int,
    sizes: tuple[int, int],
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> SteveNoise:
    """Noise for `steve_candidates`, drawn in float32 and then converted; sizes = (obs size, action size)."""
    policy = torch.randn(horizon + 1, batch, sizes[1], generator=generator, device=generator.device).to(dtype)
    shape = (horizon, dynamics.members, batch, sizes[0])
    if not dynamics.stochastic:
        return SteveNoise(policy, torch.zeros(shape, device=generator.device, dtype=dtype))
    return SteveNoise(policy, torch.randn(shape, generator=generator, device=generator.device).to(dtype))


def steve_candidates(
    loop: ClosedLoop,
    transition: Transition,
    noise: SteveNoise,
    alpha: Float[Tensor, ""],
) -> Float[Tensor, "horizon_plus_1 members critics batch"]:
    """Targets after h = 0..horizon model steps, for every member and every critic (arXiv 1807.01675, eq. 9):

        T_h = r_t + sum_{i=1..h} D_i (r(s_i, a_i) - alpha log pi(a_i|s_i))
                  + D_{h+1} (Q(s_{h+1}, a_{h+1}) - alpha log pi(a_{h+1}|s_{h+1}))

    s_1 is the state that followed in the data, s_2... are the member's, and D_i is the product of discounts up to s_i,
    each of them gamma times the probability that the episode goes on (learned: by the same member, as are rewards).
    `loop.critics` are the target critics.
    """
    policy, target_critics, world = loop
    members = world.dynamics.members
    obs = transition.obs_tp1.expand(members, -1, -1)
    value = transition.reward_t.expand(members, -1)
    weight = transition.discount_tp1.expand(members, -1)
    candidates: list[Tensor] = []
    horizon = noise.model.shape[0]
    for h in range(horizon + 1):
        distinct = obs[:1] if h == 0 else obs  # before the first step all members share one state
        action, log_prob = policy.sample(distinct, noise.policy[h].expand(distinct.shape[0], -1, -1))
        q = target_critics(distinct, action).transpose(0, 1)
        candidates.append(value[:, None] + weight[:, None] * (q - alpha * log_prob[:, None]))
        if h == horizon:
            break
        action = action.expand(members, -1, -1)
        obs, reward, discount = world.step_members(obs, action, noise.model[h])
        value = value + weight * (reward - alpha * log_prob)
        weight = weight * discount
    return torch.stack(candidates)


def steve_target(
    candidates: Float[Tensor, "horizons members critics batch"], floor: float
) -> tuple[Float[Tensor, " batch"], dict[str, Tensor]]:
    """``sum_h w_h mean_m min_i T_h`` (`lower_bound` over the critics), with w_h proportional to
    1 / (variance of T_h + floor * mean variance).

    The variance is taken over the models AND the critics. Over the models alone the one-step target has none, and all
    the weight; over so few estimates a variance is also often zero by chance, and the floor (in units of the mean
    variance over horizons and batch) keeps such a chance from deciding. With one horizon this is the soft TD target.

    Returns the target and the mean weight of each horizon.
    """
    horizons, members, critics, batch = candidates.shape
    variance = candidates.reshape(horizons, members * critics, batch).var(1, correction=0)
    inverse = 1.0 / (variance + floor * variance.mean() + LEAST_VARIANCE)
    weights = inverse / inverse.sum(0)
    target = (weights * lower_bound(candidates.transpose(0, 2)).mean(0)).sum(0)
    return target, {f"steve_weight_{h}": weights[h].mean() for h in range(horizons)}
