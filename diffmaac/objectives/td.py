"""Soft temporal differences: the critic's target and loss, and the temperature's loss (Haarnoja et al. 2018)."""

from jaxtyping import Float
from torch import Tensor

from diffmaac.objectives.loop import lower_bound


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


def temperature_loss(
    log_alpha: Float[Tensor, ""], log_prob_t: Float[Tensor, " batch"], target_entropy: float
) -> Float[Tensor, ""]:
    """``-log(alpha) mean(log pi(a_t|s_t) + target_entropy)``: raises alpha while the entropy is below its target."""
    return -log_alpha * (log_prob_t + target_entropy).mean()
