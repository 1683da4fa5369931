"""Jacobians of dynamics, sample by sample, whoever computes the step."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Step = Callable[[Tensor, Tensor], Tensor]
"""(rows, obs), (rows, action) -> (rows, obs), each row by itself."""


def jacobian(
    step: Step, obs: Float[Tensor, "batch obs"], action: Float[Tensor, "batch action"]
) -> Float[Tensor, "batch obs obs_plus_action"]:
    """d s_tp1 / d (s_t, a_t) of every sample: each row is repeated once for each output, and pulled back along it.

    Closed-form check: of linear dynamics it is [A B].
    """
    size = obs.shape[1]
    x = torch.cat([obs, action], 1).detach().repeat_interleave(size, 0).requires_grad_()
    after = step(x[:, :size], x[:, size:])
    directions = torch.eye(size, dtype=x.dtype, device=x.device).repeat(len(obs), 1)
    (rows,) = torch.autograd.grad(after, x, directions)
    return rows.view(len(obs), size, -1)
