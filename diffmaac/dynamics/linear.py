"""True dynamics of a linear system, in closed form."""

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise
from diffmaac.system import LinearSystem


class LinearDynamics(AbstractDynamics):
    """``s_tp1 = A s_t + B a_t``, deterministic. Closed-form check: its Jacobians are A and B."""

    def __init__(self, system: LinearSystem):
        self._A = torch.from_numpy(system.A.copy())
        self._B = torch.from_numpy(system.B.copy())

    @property
    def members(self) -> int:
        return 1

    @property
    def stochastic(self) -> bool:
        return False

    def sample_noise(self, batch: int, generator: torch.Generator) -> None:
        return None

    def step(
        self, obs: Float[Tensor, "*batch obs"], action: Float[Tensor, "*batch action"], noise: Noise | None = None
    ) -> Float[Tensor, "*batch obs"]:
        return obs @ self._A.to(obs).T + action @ self._B.to(obs).T

    def step_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None = None) -> Tensor:
        return self.step(obs, action)
