"""The pathwise objective: the return over H dynamics steps, closed by the critic, as a differentiable function."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise
from diffmaac.objectives.loop import ClosedLoop, soft_value
from diffmaac.typed import as_function, vector_norm


class PathwiseNoise(NamedTuple):
    """Every random number of the objective: one policy noise for each of the H + 1 actions, one noise for each step."""

    policy: Float[Tensor, "horizon_plus_1 batch action"]
    dynamics: tuple[Noise | None, ...]


def sample_pathwise_noise(
    dynamics: AbstractDynamics,
    horizon: int,
    batch: int,
    action_size: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> PathwiseNoise:
    """Noise for `pathwise_loss` over `horizon` steps, drawn in float32 and then converted."""
    policy = torch.randn(horizon + 1, batch, action_size, generator=generator, device=generator.device)
    steps = tuple(dynamics.sample_noise(batch, generator, dtype) for _ in range(horizon))
    return PathwiseNoise(policy.to(dtype), steps)


class _ClipAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, obs: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return obs.view_as(obs)

    @staticmethod
    def backward(ctx: Any, *adjoint: Tensor) -> tuple[Tensor, None]:
        (grad,) = adjoint
        norm = vector_norm(grad, dim=-1, keepdim=True)
        limit = ctx.factor * _median_of_positive(norm.flatten())
        return grad * (limit / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1.0), None


def _median_of_positive(x: Float[Tensor, " batch"]) -> Float[Tensor, " 1"]:
    """The median of the positive entries, of an even number the lower; infinity where there is none.

    Its shapes do not depend on how many there are, so that nothing waits for the device.
    """
    positive = x > 0
    ascending, _ = torch.where(positive, x, torch.inf).sort()
    return ascending.gather(0, ((positive.sum() - 1) // 2).clamp_min(0)[None])


def clip_adjoint(obs: Float[Tensor, "batch obs"], factor: float) -> Float[Tensor, "batch obs"]:
    """`obs` itself; in the backward pass each sample's gradient is shortened to `factor` times the batch's median norm.

    Samples without a gradient (their episode has ended) do not count in the median.

    The derivative of a stiff contact is a hundred times that of free motion, so that a few samples of a batch decide
    the gradient of the mean, and its direction is noise. Clipping trades that variance for a bias.
    """
    return as_function(_ClipAdjoint)(obs, factor)


def pathwise_loss(
    loop: ClosedLoop,
    obs_t: Float[Tensor, "batch obs"],
    noise: PathwiseNoise,
    alpha: Float[Tensor, ""],
    adjoint_clip: float = 0.0,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The negative of MAAC's objective (Clavera, Fu, Abbeel 2020, eq. 1 with the entropy of eq. 4):

        J_H = E[ sum_{h<H} gamma^h (r(s_h, a_h) - alpha log pi(a_h|s_h))
                 + gamma^H (min_i Q_i(s_H, a_H) - alpha log pi(a_H|s_H)) ]

    with s_{h+1} = f(s_h, a_h, noise) and a_h reparameterised, so that its gradient flows through policy, dynamics,
    reward and critic. H is the number of dynamics noises; with H = 0 this is `soft_actor_loss`, bit for bit.
    `loop.discount` is 0 where the episode has terminated. With `adjoint_clip` > 0 the gradient that flows back into
    each s_{h+1} goes through `clip_adjoint`; the value is the same.

    Returns the loss and {"log_prob_t": (batch) log density of the first action, detached}.
    """
    policy, critics, dynamics, reward, discount = loop
    horizon = len(noise.dynamics)
    total = torch.zeros_like(obs_t[..., 0])
    weight = torch.ones_like(total)
    log_probs: list[Tensor] = []
    for h in range(horizon):
        action_t, log_prob = policy.sample(obs_t, noise.policy[h])
        log_probs.append(log_prob)
        total = total + weight * (reward(obs_t, action_t) - alpha * log_prob)
        obs_t = dynamics.step(obs_t, action_t, noise.dynamics[h])
        if adjoint_clip > 0:
            obs_t = clip_adjoint(obs_t, adjoint_clip)
        weight = weight * discount(obs_t)
    value, log_prob = soft_value(policy, critics, obs_t, noise.policy[horizon], alpha)
    log_probs.append(log_prob)
    total = total + weight * value
    return -total.mean(), {"log_prob_t": log_probs[0].detach()}
