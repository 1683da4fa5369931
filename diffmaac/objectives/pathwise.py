"""The pathwise objective: the return over H dynamics steps, closed by the critic, as a differentiable function."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise
from diffmaac.objectives.loop import ClosedLoop, soft_value


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

    Episodes that may terminate weigh each step with the probability of coming so far: in the place of gamma^h stands

        W_h = prod_{i<h} gamma c_i,    c_i = P(the episode goes on after step i),

    for the rewards of step h and, as W_H, for the critic. A task that gives its terminations has c_i = 0 or 1, without
    a gradient; learned ones are c(s_i, a_i) in [0, 1], and J_H's gradient flows through them as well: a step that is
    likely to end the episode costs all that would have come after it. Closed-form check: with a constant c, J_H is that
    of the discount gamma c.

    With `adjoint_clip` > 0 the gradient that flows back into each s_{h+1} goes through `clip_adjoint`; the value is the
    same.

    Returns the loss and {"log_prob_t": (batch) log density of the first action, detached}.
    """
    policy, critics, world = loop
    horizon = len(noise.dynamics)
    total = torch.zeros_like(obs_t[..., 0])
    weight = torch.ones_like(total)
    log_probs: list[Tensor] = []
    for h in range(horizon):
        action_t, log_prob = policy.sample(obs_t, noise.policy[h])
        log_probs.append(log_prob)
        obs_t, reward_t, discount_tp1 = world.step(obs_t, action_t, noise.dynamics[h], adjoint_clip)
        total = total + weight * (reward_t - alpha * log_prob)
        weight = weight * discount_tp1
    value, log_prob = soft_value(policy, critics, obs_t, noise.policy[horizon], alpha)
    log_probs.append(log_prob)
    total = total + weight * value
    return -total.mean(), {"log_prob_t": log_probs[0].detach()}
