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
        self._there: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor | None]] = {}

    def _constants(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """A, B and std where `like` is and in its dtype, converted once: a step copies nothing from the host."""
        key = (like.dtype, like.device)
        if key not in self._there:
            self._there[key] = self._A.to(like), self._B.to(like), None if self._std is None else self._std.to(like)
        return self._there[key]

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
        return Noise(torch.zeros(batch, dtype=torch.long, device=generator.device), gaussian.to(dtype), batch)

    def infer_noise(self, obs: Tensor, action: Tensor, obs_tp1: Tensor, generator: torch.Generator) -> Noise | None:
        drawn = self.sample_noise(len(obs), generator)
        _, _, std = self._constants(obs)
        if drawn is None or std is None:
            return None
        # A coordinate without noise tells nothing of it.
        return drawn._replace(gaussian=torch.where(std > 0, (obs_tp1 - self.step(obs, action)) / std, 0.0))

    def step(
        self, obs: Float[Tensor, "*batch obs"], action: Float[Tensor, "*batch action"], noise: Noise | None = None
    ) -> Float[Tensor, "*batch obs"]:
        A, B, std = self._constants(obs)
        after = obs @ A.T + action @ B.T
        return after if std is None or noise is None else after + std * noise.gaussian

    def step_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None = None) -> Tensor:
        after, (_, _, std) = self.step(obs, action), self._constants(obs)
        return after if std is None or gaussian is None else after + std * gaussian
