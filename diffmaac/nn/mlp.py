"""Multilayer perceptrons, initialised from an explicit generator: one, or a batch of independent ones."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def _uniform(shape: Sequence[int], fan_in: int, generator: torch.Generator) -> nn.Parameter:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's own rule for linear layers, without its global generator."""
    bound = 1.0 / math.sqrt(fan_in)
    device = generator.device
    return nn.Parameter(torch.empty(*shape, device=device).uniform_(-bound, bound, generator=generator))


class MLP(nn.Module):
    """``sizes[0] -> ... -> sizes[-1]`` with `activation` between the layers: (*batch, in) -> (*batch, out).

    With `layer_norm` the input of each activation is normalised over its features (Ba et al. 2016), without a gain.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[Tensor], Tensor],
        generator: torch.Generator,
        layer_norm: bool = False,
    ):
        super().__init__()
        self.activation, self.layer_norm = activation, layer_norm
        pairs = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList(_uniform((n_out, n_in), n_in, generator) for n_in, n_out in pairs)
        self.biases = nn.ParameterList(_uniform((n_out,), n_in, generator) for n_in, n_out in pairs)

    def forward(self, x: Float[Tensor, "*batch n_in"]) -> Float[Tensor, "*batch n_out"]:
        *inner, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in inner:
            x = F.linear(x, weight, bias)
            x = self.activation(F.layer_norm(x, x.shape[-1:]) if self.layer_norm else x)
        return F.linear(x, *last)


class BatchedMLP(nn.Module):
    """`members` independent MLPs of the same sizes, batched: (members, batch, in) -> (members, batch, out)."""

    def __init__(
        self, members: int, sizes: Sequence[int], activation: Callable[[Tensor], Tensor], generator: torch.Generator
    ):
        super().__init__()
        self.members = members
        self.activation = activation
        pairs = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList(_uniform((members, n_in, n_out), n_in, generator) for n_in, n_out in pairs)
        self.biases = nn.ParameterList(_uniform((members, 1, n_out), n_in, generator) for n_in, n_out in pairs)

    def forward(self, x: Float[Tensor, "members batch n_in"]) -> Float[Tensor, "members batch n_out"]:
        *inner, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in inner:
            x = self.activation(torch.baddbmm(bias, x, weight))
        weight, bias = last
        return torch.baddbmm(bias, x, weight)
