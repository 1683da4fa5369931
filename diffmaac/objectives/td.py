"""Soft temporal differences: the losses of critic, actor and temperature (Haarnoja et al. 2018), without dynamics."""

from jaxtyping import Float
from torch import Tensor

from diffmaac.nn import AbstractPolicy
from diffmaac.objectives.loop import lower_bound, soft_value
from diffmaac.types import QFunction


def soft_td_target(
    reward_t: Float[Tensor, " batch"],
    discount_tp1: Float[Tensor, " batch"],
    q_tp1: Float[Tensor, "critics batch"],
    log_prob_tp1: Float[Tensor, " batch"],
    alpha: Float[Tensor, ""],
) -> Float[Tensor, " batch"]:
    """``r_t + discount_tp1 (min_i Q_i(s_tp1, a_tp1) - alpha log pi(a_tp1|s_tp1))`` (arXiv 1812.05905, eq. 3 and 5)."""
    return reward_t + discount_tp1 * (lower_bound(q_tp1) - alpha * log_prob_tp1)


def critic_loss(
    q_t: Float[Tensor, "critics batch"], target_t: Float[Tensor, " batch"]
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """``1/2 sum_i mean (Q_i(s_t, a_t) - target_t)^2``: each critic's own regression, added up."""
    loss = 0.5 * (q_t - target_t).square().mean(1).sum()
    return loss, {"q": q_t.detach().mean()}


def soft_actor_loss(
    policy: AbstractPolicy,
    critics: QFunction,
    obs_t: Float[Tensor, "batch obs"],
    noise_t: Float[Tensor, "batch action"],
    alpha: Float[Tensor, ""],
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """``mean(alpha log pi(a_t|s_t) - min_i Q_i(s_t, a_t))``, SAC's (arXiv 1812.05905, eq. 9).

    Returns the loss and {"log_prob_t": (batch) log density of the action, detached}, as `pathwise_loss` does.
    """
    value_t, log_prob_t = soft_value(policy, critics, obs_t, noise_t, alpha)
    return -value_t.mean(), {"log_prob_t": log_prob_t.detach()}


def temperature_loss(
    log_alpha: Float[Tensor, ""], log_prob_t: Float[Tensor, " batch"], target_entropy: float
) -> Float[Tensor, ""]:
    """``-log(alpha) mean(log pi(a_t|s_t) + target_entropy)``: raises alpha while the entropy is below its target."""
    return -log_alpha * (log_prob_t + target_entropy).mean()
