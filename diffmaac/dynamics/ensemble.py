"""A probabilistic ensemble as one batched network: M Gaussians with diagonal covariance over the change of state.

Where a task does not say what a step earns or when an episode ends, it has a head for each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffmaac.nn.mlp import BatchedMLP

LOG_VAR_RANGE = (-10.0, 0.5)
"""Where the learned bounds of the log variance start (Chua et al. 2018, PETS, reference code)."""
BETA = 0.5
"""Exponent of the variance that weighs each term of the likelihood (Seitzer et al. 2022, arXiv 2203.09168)."""
ROUNDINGS = 4
"""Roundings of the largest number of a column over which its values may spread and still be one value."""
BOUND_PENALTY = 0.01
"""Weight with which the bounds of the log variance are drawn together (same source)."""


class Heads(NamedTuple):
    """What an ensemble learns beside the change of state."""

    reward: bool = False
    """r ~ N(mean_m(s, a), var_m(s, a)), another Gaussian output."""
    end: bool = False
    """P(the episode terminates after the step | s, a) = sigmoid(logit_m(s, a))."""


class Prediction(NamedTuple):
    """What each member says of its batch, in the data's own units; None where there is no such head."""

    change: Float[Tensor, "members batch obs"]
    reward: Float[Tensor, "members batch"] | None
    continues: Float[Tensor, "members batch"] | None


class GaussianEnsemble(nn.Module):
    """p_m(s' - s, r | s, a) = N(mean_m, diag(var_m)), all in normalised units; the normaliser is part of the state.

    Architecture and soft bounds of the log variance follow PETS (Chua et al. 2018, arXiv 1805.12114). The columns of
    its data y are the change of state, then the reward and 1 where the episode terminated, as far as it has the heads.
    """

    x_mean: Tensor
    x_std: Tensor
    y_mean: Tensor
    y_std: Tensor
    end_share: Tensor
    """Share of the training data after which an episode terminated; only of an ensemble with that head."""

    def __init__(
        self,
        obs_size: int,
        action_size: int,
        members: int,
        hidden: Sequence[int],
        generator: torch.Generator,
        heads: Heads = Heads(),
    ):
        super().__init__()
        self.members, self.obs_size, self.heads = members, obs_size, heads
        gaussians = obs_size + heads.reward
        self.net = BatchedMLP(members, [obs_size + action_size, *hidden, 2 * gaussians + heads.end], F.silu, generator)
        device = generator.device
        self.min_log_var = nn.Parameter(torch.full((gaussians,), LOG_VAR_RANGE[0], device=device))
        self.max_log_var = nn.Parameter(torch.full((gaussians,), LOG_VAR_RANGE[1], device=device))
        self.register_buffer("x_mean", torch.zeros(obs_size + action_size, device=device))
        self.register_buffer("x_std", torch.ones(obs_size + action_size, device=device))
        self.register_buffer("y_mean", torch.zeros(gaussians, device=device))
        self.register_buffer("y_std", torch.ones(gaussians, device=device))
        if heads.end:
            self.register_buffer("end_share", torch.zeros((), device=device))

    def columns(
        self,
        obs_t: Float[Tensor, "n obs"],
        obs_tp1: Float[Tensor, "n obs"],
        reward_t: Float[Tensor, " n"],
        ended: Float[Tensor, " n"],
    ) -> Float[Tensor, "n columns"]:
        """The data y of transitions: the change of state, and what there are heads for."""
        others = [x[:, None] for x, wanted in zip((reward_t, ended), self.heads, strict=True) if wanted]
        return torch.cat([obs_tp1 - obs_t, *others], -1)

    def fit_normaliser(self, x: Float[Tensor, "n in"], y: Float[Tensor, "n columns"]) -> None:
        """Sets means and standard deviations to those of the data, in any unit; a constant column keeps unit scale.

        A change of state is rounded as the states are of which it is the difference.
        """
        if self.heads.end:
            self.end_share.copy_(y[:, -1].mean())
        y = self._gaussians(y)
        x_size, y_size = (data.abs().amax(0) for data in (x, y))
        y_size[: self.obs_size] = x_size[: self.obs_size]
        for name, data, size in (("x", x, x_size), ("y", y, y_size)):
            std, info = data.std(0), torch.finfo(data.dtype)
            varies = data.amax(0) - data.amin(0) > ROUNDINGS * info.eps * size
            varies &= std > info.tiny**0.5  # below it squares underflow
            getattr(self, f"{name}_mean").copy_(data.mean(0))
            getattr(self, f"{name}_std").copy_(torch.where(varies, std, 1.0))

    def forward(self, x: Float[Tensor, "members batch in"]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean and log variance of the Gaussian outputs, normalised, each (members, batch, obs), or one more with a
        reward; and the logit of termination (members, batch), None without that head."""
        out = self.net((x - self.x_mean) / self.x_std)
        logit = out[..., -1] if self.heads.end else None
        mean, log_var = self._gaussians(out).chunk(2, -1)
        log_var = self.max_log_var - F.softplus(self.max_log_var - log_var)
        log_var = self.min_log_var + F.softplus(log_var - self.min_log_var)
        return mean, log_var, logit

    def predict(
        self, x: Float[Tensor, "members batch in"], gaussian: Float[Tensor, "members batch obs"] | None
    ) -> Prediction:
        """A sample of the change of state, or its mean where `gaussian` is None; the mean reward; P(going on).

        As long as no episode in the data has terminated, every one goes on.
        """
        mean, log_var, logit = self(x)
        reward = mean[..., -1] * self.y_std[-1] + self.y_mean[-1] if self.heads.reward else None
        (mean, log_var), (y_mean, y_std) = self._motion(mean, log_var), self._motion(self.y_mean, self.y_std)
        if gaussian is not None:
            mean = torch.addcmul(mean, (0.5 * log_var).exp(), gaussian)
        return Prediction(torch.addcmul(y_mean, mean, y_std), reward, None if logit is None else self._going_on(logit))

    def noise(
        self, x: Float[Tensor, "members batch in"], change: Float[Tensor, "members batch obs"]
    ) -> Float[Tensor, "members batch obs"]:
        """The inverse of `predict`: the noise with which the change of state is this."""
        mean, log_var, _ = self(x)
        (mean, log_var), (y_mean, y_std) = self._motion(mean, log_var), self._motion(self.y_mean, self.y_std)
        return ((change - y_mean) / y_std - mean) * (-0.5 * log_var).exp()

    def squared_error(
        self, x: Float[Tensor, "members batch in"], y: Float[Tensor, "batch columns"]
    ) -> Float[Tensor, " members"]:
        """Mean squared error of each member in normalised units; of terminations it is the Brier score, likewise."""
        mean, _, logit = self(x)
        error = (mean - (self._gaussians(y) - self.y_mean) / self.y_std).square()
        if logit is not None:
            variance = self.end_share * (1 - self.end_share)
            brier = (1 - self._going_on(logit) - y[:, -1]).square() / torch.where(variance > 0, variance, 1.0)
            error = torch.cat([error, brier[..., None]], -1)
        return error.mean((1, 2))

    def loss(self, x: Float[Tensor, "members batch in"], y: Float[Tensor, "members batch columns"]) -> Tensor:
        """The beta-NLL of y, summed over members (without constants), plus the pull on the bounds:

            stop_gradient(var^beta) ((y - mean)^2 / var + log var)

        Of terminations it is the likelihood of the Bernoulli distribution: the cross entropy.

        The plain likelihood (beta = 0) explains hard regions away by a large variance, whose inverse then switches the
        mean's gradient off just there: on pendulum data it stops at a held-out error of 0.27, beta = 0.5 at 2e-4.
        """
        mean, log_var, logit = self(x)
        target = (self._gaussians(y) - self.y_mean) / self.y_std
        weight = (BETA * log_var.detach()).exp()
        nll = (weight * ((target - mean).square() * (-log_var).exp() + log_var)).mean((1, 2)).sum()
        if logit is not None:
            nll = nll + len(y) * F.binary_cross_entropy_with_logits(logit, y[..., -1])
        return nll + BOUND_PENALTY * (self.max_log_var.sum() - self.min_log_var.sum())

    def _gaussians(self, columns: Tensor) -> Tensor:
        """Without the last column, where that is the termination's."""
        return columns[..., :-1] if self.heads.end else columns

    def _motion(self, *outputs: Tensor) -> Sequence[Tensor]:
        """Of Gaussian outputs those of the change of state."""
        return [x[..., : self.obs_size] for x in outputs] if self.heads.reward else outputs

    def _going_on(self, logit: Tensor) -> Tensor:
        return torch.where(self.end_share > 0, torch.sigmoid(-logit), 1.0)
