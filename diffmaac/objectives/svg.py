"""SVG(1): the return's gradient through one model step, at transitions that really happened (Heess et al. 2015)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import Noise
from diffmaac.nn import AbstractPolicy
from diffmaac.objectives.loop import ClosedLoop, soft_value
from diffmaac.types import Transition


class SvgNoise(NamedTuple):
    """The model's noise inferred from the transitions, and the policy's fresh noise at the states that followed."""

    dynamics: Noise | None
    policy_tp1: Float[Tensor, "batch action"]


def infer_svg_noise(loop: ClosedLoop, transition: Transition, generator: torch.Generator) -> SvgNoise:
    """The noise with which the dynamics gives the transition that was seen; draws members and a_tp1's noise."""
    obs_t, action_t = transition.obs_t, transition.action_t
    fresh = torch.randn(action_t.shape, generator=generator, device=generator.device)
    with torch.no_grad():
        inferred = loop.dynamics.infer_noise(obs_t, action_t, transition.obs_tp1, generator)
    return SvgNoise(inferred, fresh)


def importance_weights(
    log_prob_t: Float[Tensor, " batch"], behaviour_log_prob_t: Float[Tensor, " batch"], clip: float
) -> Float[Tensor, " batch"]:
    """pi(a_t|s_t) / pi_behaviour(a_t|s_t), truncated at `clip`.

    Not divided by their mean: where the policy has left a batch's actions, nothing is to be learned from it. Divided,
    the one transition that is nearest to the policy has all the weight, its gradient the size of a whole batch's.
    """
    return (log_prob_t - behaviour_log_prob_t).exp().clamp_max(clip)


def svg_loss(
    loop: ClosedLoop,
    frozen_policy: AbstractPolicy,
    transition: Transition,
    noise: SvgNoise,
    alpha: Float[Tensor, ""],
    importance_clip: float,
    adjoint_clip: float = 0.0,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The negative of SVG(1)'s objective with replay (arXiv 1510.09142, algorithm 2), in its soft form:

        J = E[ w (r(s_t, a_t) - alpha log pi(a_t|s_t) + gamma c_t V(f(s_t, a_t, xi))) ]
        V(s) = min_i Q_i(s, a) - alpha log pi'(a|s),   a ~ pi'

    at replayed transitions: a_t is the replayed action as a function of the policy's parameters, with the policy's
    noise inferred from it, xi the model's noise inferred from the state that followed, c_t the probability that the
    episode goes on, and w the importance weight of the action. pi' is `frozen_policy`, the same policy without
    gradients: as in the paper, V is a function of the state that does not move with the policy, so the gradient is that
    of one action and one model step. `pathwise_loss` with H = 1 has the same value (w = 1) and differentiates the
    second action too. `adjoint_clip` is as it is there.

    Returns the loss and {"importance": the mean weight, 1 where the policy would have acted as was acted}.
    """
    policy, critics, world = loop
    obs_t = transition.obs_t
    with torch.no_grad():
        eta = policy.infer_noise(obs_t, transition.action_t)
    action_t, log_prob_t = policy.sample(obs_t, eta)
    weight = importance_weights(log_prob_t.detach(), transition.log_prob_t, importance_clip)
    obs_tp1, reward_t, discount_tp1 = world.step(obs_t, action_t, noise.dynamics, adjoint_clip)
    value_tp1, _ = soft_value(frozen_policy, critics, obs_tp1, noise.policy_tp1, alpha)
    value_t = reward_t - alpha * log_prob_t + discount_tp1 * value_tp1
    return -(weight * value_t).mean(), {"importance": weight.mean()}
