"""True dynamics of a MuJoCo model: the C engine's step, and its gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.differentiable import DifferentiablePhysics
from diffmaac.dynamics.base import AbstractDynamics, Noise
from diffmaac.errors import TaskError
from diffmaac.physics import AbstractGradient
from diffmaac.system import MujocoSystem


class MujocoDynamics(AbstractDynamics):
    """The physics itself, deterministic, behind the interface of a learned model.

    On a CPU the C engine steps (float64 inside), and `gradient` differentiates at its state: see
    `DifferentiablePhysics`.

    Raises TaskError where it cannot.
    """

    def __init__(self, system: MujocoSystem, gradient: str | AbstractGradient = "auto"):
        try:
            self._physics = DifferentiablePhysics(system.model, system.frame_skip, gradient)
        except ValueError as error:
            raise TaskError(f"dynamics=true cannot be used here: {error}") from error
        self._coordinates = system.coordinates
        offset, factor = system.ctrl_scale
        self._offset, self._factor = torch.as_tensor(offset), torch.as_tensor(factor)

    @property
    def members(self) -> int:
        return 1

    @property
    def stochastic(self) -> bool:
        return False

    @property
    def recordable(self) -> bool:
        """The step is made outside of torch."""
        return False

    def sample_noise(self, batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> None:
        return None

    def infer_noise(self, obs: Tensor, action: Tensor, obs_tp1: Tensor, generator: torch.Generator) -> None:
        return None

    def step(
        self, obs: Float[Tensor, "batch obs"], action: Float[Tensor, "batch action"], noise: Noise | None = None
    ) -> Float[Tensor, "batch obs"]:
        """Raises DivergenceError where the next state of a sample is not finite, with its index and time step."""
        qpos, qvel = self._coordinates.physics_state(obs)
        ctrl = self._offset.to(action) + self._factor.to(action) * action
        return self._coordinates.observe(*self._physics(qpos, qvel, ctrl))

    def step_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None = None) -> Tensor:
        return self.step(obs[0], action[0])[None]
