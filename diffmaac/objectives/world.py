"""The world that a policy acts in: dynamics, what a step earns, and how much what follows it counts.

Everything that looks ahead (J_H, STEVE, SVG, imagined data, planning, measurements) takes its steps here, so that a
reward or a termination that the task gives in torch and one that the model learned serve it alike.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise, Outcome
from diffmaac.typed import as_function, vector_norm
from diffmaac.types import Reward, TransitionReward


class Step(NamedTuple):
    """One step in a world."""

    obs_tp1: Float[Tensor, "*batch obs"]
    reward_t: Float[Tensor, "*batch"]
    discount_tp1: Float[Tensor, "*batch"]
    """gamma times the probability that the episode goes on: 0 or 1 where the task gives terminations, and any number
    between them, with a gradient in state and action, where they are learned."""


class World(NamedTuple):
    """Dynamics, with the reward and the discount of a task.

    The reward of a step is `reward(obs_t, action_t)`, or `transition_reward(obs_t, action_t, obs_tp1)`, or, where both
    are None, the one that the dynamics learned, whose expectation over obs_tp1 is a function of obs_t and action_t.
    """

    dynamics: AbstractDynamics
    reward: Reward | None
    discount: Callable[[Tensor], Tensor]
    """``discount(obs_tp1)``: gamma, or 0 where the task says that the episode has terminated."""
    transition_reward: TransitionReward | None = None

    def step(
        self,
        obs_t: Float[Tensor, "batch obs"],
        action_t: Float[Tensor, "batch action"],
        noise: Noise | None,
        adjoint_clip: float = 0.0,
    ) -> Step:
        """One step of each sample. With `adjoint_clip` > 0 the gradient into obs_tp1 goes through `clip_adjoint`."""
        earned = None if self.reward is None else self.reward(obs_t, action_t)
        outcome = self.dynamics.outcome(obs_t, action_t, noise)
        if adjoint_clip > 0:
            outcome = outcome._replace(obs_tp1=clip_adjoint(outcome.obs_tp1, adjoint_clip))
        return self._step(obs_t, action_t, earned, outcome)

    def step_members(
        self,
        obs_t: Float[Tensor, "members batch obs"],
        action_t: Float[Tensor, "members batch action"],
        gaussian: Float[Tensor, "members batch obs"] | None,
    ) -> Step:
        """One step, each member moving its own batch."""
        earned = None if self.reward is None else self.reward(obs_t, action_t)
        return self._step(obs_t, action_t, earned, self.dynamics.outcome_members(obs_t, action_t, gaussian))

    def _step(self, obs_t: Tensor, action_t: Tensor, earned: Tensor | None, outcome: Outcome) -> Step:
        obs_tp1, learned, continues = outcome
        if self.transition_reward is not None:
            earned = self.transition_reward(obs_t, action_t, obs_tp1)
        earned = learned if earned is None else earned
        if earned is None:
            raise ValueError("no reward is given, and these dynamics have learned none. Give one of the two.")
        discount_tp1 = self.discount(obs_tp1)
        return Step(obs_tp1, earned, discount_tp1 if continues is None else discount_tp1 * continues)


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
