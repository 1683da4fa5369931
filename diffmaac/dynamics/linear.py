"""True dynamics of a linear system, in closed form."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise
from diffmaac.system import LinearSystem


class LinearDynamics(AbstractDynamics):
    """``s_tp1 = A s_t + B a_t + std * noise``. Closed-form check: its Jacobians are A and B.

    `std` (obs) is the standard deviation of process noise, independent in each coordinate; without it the system is
    deterministic, as its environment is.
    """

    def __init__(self, system: LinearSystem, std: Float[np.ndarray, " obs"] | None = None):
        self._A = torch.as_tensor(system.A.copy())
        self._B = torch.as_tensor(system.B.copy())
        self._std = None if std is None or not std.any() else torch.as_tensor(std.copy())

    @property
    def members(self) -> int:
        return 1

    @property
    def stochastic(self) -> bool:
        return self._std is not None

    def sample_noise(self, batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Noise | None:
        if self._std is None:
            return None
        gaussian = torch.randn(batch, len(self._A), generator=generator, device=generator.device)
        return Noise(torch.zeros(batch, dtype=torch.long, device=generator.device), gaussian.to(dtype))

    def infer_noise(self, obs: Tensor, action: Tensor, obs_tp1: Tensor, generator: torch.Generator) -> Noise | None:
        drawn = self.sample_noise(len(obs), generator)
        if drawn is None or self._std is None:
            return None
        std = self._std.to(obs)  # a coordinate without noise tells nothing of it
        return drawn._replace(gaussian=torch.where(std > 0, (obs_tp1 - self.step(obs, action)) / std, 0.0))

    def step(
        self, obs: Float[Tensor, "*batch obs"], action: Float[Tensor, "*batch action"], noise: Noise | None = None
    ) -> Float[Tensor, "*batch obs"]:
        after = obs @ self._A.to(obs).T + action @ self._B.to(obs).T
        if self._std is None or noise is None:
            return after
        return after + self._std.to(obs) * noise.gaussian

    def step_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None = None) -> Tensor:
        after = self.step(obs, action)
        return after if self._std is None or gaussian is None else after + self._std.to(obs) * gaussian
