"""Policies: the interface, a Gaussian squashed into [-1, 1] by tanh, and a linear one for closed forms."""

import abc
import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffmaac.nn.mlp import MLP

LOG_STD_RANGE = (-20.0, 2.0)
"""Range of the log standard deviation before squashing (Haarnoja et al. 2018, reference code)."""


class AbstractPolicy(nn.Module, abc.ABC):
    """A reparameterised policy: the action is a differentiable function of state, parameters and noise ~ N(0, I)."""

    action_size: int

    @abc.abstractmethod
    def sample(
        self, obs: Float[Tensor, "*batch obs"], noise: Float[Tensor, "*batch action"]
    ) -> tuple[Float[Tensor, "*batch action"], Float[Tensor, "*batch"]]:
        """The action that `noise` gives, and its log density [nats]."""

    @abc.abstractmethod
    def infer_noise(
        self, obs: Float[Tensor, "*batch obs"], action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "*batch action"]:
        """The noise with which `sample` gives `action`."""

    def log_prob(
        self, obs: Float[Tensor, "*batch obs"], action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "*batch"]:
        """The log density of `action` [nats], as `sample` tells it for the noise inferred."""
        return self.sample(obs, self.infer_noise(obs, action))[1]

    @abc.abstractmethod
    def mode(self, obs: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch action"]:
        """The action without noise, used in evaluation."""


class SquashedGaussianPolicy(AbstractPolicy):
    """``a = tanh(mean(s) + std(s) * noise)`` with noise ~ N(0, I), reparameterised; the noise is an argument."""

    def __init__(self, obs_size: int, action_size: int, hidden: Sequence[int], generator: torch.Generator):
        super().__init__()
        self.action_size = action_size
        self.net = MLP([obs_size, *hidden, 2 * action_size], torch.relu_, generator)

    def forward(self, obs: Float[Tensor, "*batch obs"]) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before squashing, each (*batch, action)."""
        mean, log_std = self.net(obs).chunk(2, dim=-1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def sample(
        self, obs: Float[Tensor, "*batch obs"], noise: Float[Tensor, "*batch action"]
    ) -> tuple[Float[Tensor, "*batch action"], Float[Tensor, "*batch"]]:
        """The action that `noise` gives, and its log density [nats].

        log pi(a|s) = log N(u; mean, std) - sum_i log(1 - tanh(u_i)^2), the last term in the form
        2 (log 2 - u - softplus(-2u)), which does not overflow (Haarnoja et al. 2018, appendix C).
        """
        mean, log_std = self(obs)
        u = torch.addcmul(mean, log_std.exp(), noise)
        log_normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        log_squash = 2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))
        return torch.tanh(u), (log_normal - log_squash).sum(-1)

    def infer_noise(
        self, obs: Float[Tensor, "*batch obs"], action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "*batch action"]:
        """(atanh(a) - mean) / std; actions that rounding has put onto the border count as just inside it."""
        mean, log_std = self(obs)
        border = 1.0 - torch.finfo(action.dtype).eps
        return (torch.atanh(action.clamp(-border, border)) - mean) * (-log_std).exp()

    def mode(self, obs: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch action"]:
        """tanh of the mean."""
        return torch.tanh(self(obs)[0])


class LinearGaussianPolicy(AbstractPolicy):
    """``a = -K s + std * noise``, not squashed: with linear dynamics and quadratic cost its return is a closed form."""

    def __init__(self, gain: Float[Tensor, "action obs"], std: Float[Tensor, " action"]):
        super().__init__()
        self.action_size = gain.shape[0]
        self.gain = nn.Parameter(gain.clone())
        self.register_buffer("std", std.clone())

    std: Tensor

    def sample(
        self, obs: Float[Tensor, "*batch obs"], noise: Float[Tensor, "*batch action"]
    ) -> tuple[Float[Tensor, "*batch action"], Float[Tensor, "*batch"]]:
        """The action, and its log density; the density's gradient is zero, since the noise does not depend on K."""
        log_normal = -0.5 * noise.square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        return torch.addcmul(self.mode(obs), self.std, noise), log_normal.sum(-1)

    def infer_noise(
        self, obs: Float[Tensor, "*batch obs"], action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "*batch action"]:
        return (action - self.mode(obs)) / self.std

    def mode(self, obs: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch action"]:
        return -obs @ self.gain.T


def frozen(policy: AbstractPolicy) -> AbstractPolicy:
    """The same policy without gradients: its parameters are the memory of `policy`'s, and change with them in place."""
    twin = copy.deepcopy(policy).requires_grad_(False)
    for mine, theirs in zip(twin.parameters(), policy.parameters(), strict=True):
        mine.data = theirs.data
    return twin
