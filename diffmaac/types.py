"""Types that every part shares. Ground floor: torch tensors and nothing else."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

Reward = Callable[[Tensor, Tensor], Tensor]
"""``reward(obs_t, action_t) -> reward_t``: (*batch, obs), (*batch, action) -> (*batch), differentiable."""

TransitionReward = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``reward(obs_t, action_t, obs_tp1) -> reward_t``: likewise, of a reward that depends on where the step leads."""

QFunction = Callable[[Tensor, Tensor], Tensor]
"""``q(obs_t, action_t) -> values``: (*batch, obs), (*batch, action) -> (critics, *batch), differentiable."""


class Transition(NamedTuple):
    """A batch of transitions, time in the names.

    ``discount_tp1`` takes the place of a `done` flag: 0 where the state after the action terminated the
    episode, gamma everywhere else, truncation by the time limit included.
    """

    obs_t: Float[Tensor, "batch obs"]
    action_t: Float[Tensor, "batch action"]
    reward_t: Float[Tensor, " batch"]
    discount_tp1: Float[Tensor, " batch"]
    obs_tp1: Float[Tensor, "batch obs"]
    log_prob_t: Float[Tensor, " batch"]
    """Log density [nats] with which the action was drawn, whatever drew it."""

    def split(self, rows: int) -> list["Transition"]:
        """The same in chunks of `rows`, the last as long as it comes."""
        return [Transition(*chunk) for chunk in zip(*(column.split(rows) for column in self), strict=True)]
