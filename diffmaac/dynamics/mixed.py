"""Mixed dynamics: forward through one dynamics, backward through another."""

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise
from diffmaac.typed import as_function


class MixedDynamics(AbstractDynamics):
    """The next state of `values`, with the derivative of `derivatives` at the same state, action and noise.

    A model errs in two ways: it leads to wrong states, and it has wrong derivatives at them. True values with learned
    derivatives have the second error alone, learned values with true derivatives the first. The backward pass
    multiplies by the Jacobian of `derivatives` where the trajectory of `values` passes. Closed-form check: of two
    linear systems, A_1 s + B_1 a with the Jacobians A_2 and B_2.

    Noise is drawn by whichever part is stochastic; both get it, and a deterministic one has no use for it.
    """

    def __init__(self, values: AbstractDynamics, derivatives: AbstractDynamics):
        self.values, self.derivatives = values, derivatives

    @property
    def members(self) -> int:
        """Those of `values`: it moves the states."""
        return self.values.members

    @property
    def noise_members(self) -> int:
        return max(self.values.members, self.derivatives.members)

    @property
    def stochastic(self) -> bool:
        return self.values.stochastic or self.derivatives.stochastic

    @property
    def recordable(self) -> bool:
        return self.values.recordable and self.derivatives.recordable

    def sample_noise(self, batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Noise | None:
        parts = (part for part in (self.values, self.derivatives) if part.stochastic)
        return next((part.sample_noise(batch, generator, dtype) for part in parts), None)

    def infer_noise(self, obs: Tensor, action: Tensor, obs_tp1: Tensor, generator: torch.Generator) -> Noise | None:
        """That of the part that draws noise: it tells at which of its derivatives the transition was seen."""
        parts = (part for part in (self.values, self.derivatives) if part.stochastic)
        return next((part.infer_noise(obs, action, obs_tp1, generator) for part in parts), None)

    def step(
        self, obs: Float[Tensor, "batch obs"], action: Float[Tensor, "batch action"], noise: Noise | None
    ) -> Float[Tensor, "batch obs"]:
        with torch.no_grad():
            value = self.values.step(obs, action, noise)
        if not torch.is_grad_enabled():
            return value
        return _with_derivative(value, self.derivatives.step(obs, action, noise))

    def step_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None) -> Tensor:
        """Each member of `values` moves its batch. Differentiable where both parts have as many members."""
        with torch.no_grad():
            value = self.values.step_members(obs, action, gaussian)
        if not torch.is_grad_enabled():
            return value
        if self.derivatives.members != self.members:
            raise ValueError(
                f"values have {self.members} members, derivatives {self.derivatives.members}: step_members has no"
                " derivative here. Call it without gradients, or step."
            )
        return _with_derivative(value, self.derivatives.step_members(obs, action, gaussian))


def _with_derivative(value: Tensor, source: Tensor) -> Tensor:
    """`value` exactly, where value + (source - source) would round."""
    return as_function(_Substitute)(value, source)


class _Substitute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, value: Tensor, source: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: object, *cotangents: Tensor) -> tuple[None, Tensor]:
        return None, cotangents[0]
