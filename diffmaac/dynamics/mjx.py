"""True dynamics of a MuJoCo model: MJX where a gradient is asked, the C engine where none is."""

import mujoco
import mujoco.rollout
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac import bridge, physics
from diffmaac.dynamics.base import AbstractDynamics, Noise
from diffmaac.errors import DivergenceError, TaskError
from diffmaac.physics import AbstractGradient, ImplicitGradient
from diffmaac.system import MujocoSystem


class MjxDynamics(AbstractDynamics):
    """The physics itself, deterministic, behind the interface of a learned model.

    A step that needs a gradient runs in MJX, compiled once for each batch size and dtype, and is differentiated by
    `gradient`. Any other runs in the C engine (float64 inside, 7 to 10 times faster on a CPU); both agree to rounding.
    Raises TaskError where MJX cannot differentiate the model.
    """

    def __init__(self, system: MujocoSystem, gradient: AbstractGradient | None = None):
        try:
            physics.enable_compilation_cache()
            step = physics.batched_control_step(system.model, system.frame_skip, gradient or ImplicitGradient())
        except ValueError as error:
            raise TaskError(f"dynamics=true cannot be used here: {error}") from error
        self._system = system
        # XLA runs these small operations on one core; torch's choice of threads says whether others are to be used.
        devices = physics.host_devices() if torch.get_num_threads() > 1 else ()
        self._differentiable_step = bridge.to_torch(step, devices)
        self._engine = _Engine(system)
        offset, factor = system.ctrl_scale
        self._offset, self._factor = torch.from_numpy(offset), torch.from_numpy(factor)

    @property
    def members(self) -> int:
        return 1

    @property
    def stochastic(self) -> bool:
        return False

    def sample_noise(self, batch: int, generator: torch.Generator) -> None:
        return None

    def step(
        self, obs: Float[Tensor, "batch obs"], action: Float[Tensor, "batch action"], noise: Noise | None = None
    ) -> Float[Tensor, "batch obs"]:
        """Raises DivergenceError where the next state of a sample is not finite, with its index."""
        coordinates = self._system.coordinates
        qpos, qvel = coordinates.physics_state(obs)
        ctrl = self._offset.to(action) + self._factor.to(action) * action
        if torch.is_grad_enabled() and (obs.requires_grad or action.requires_grad):
            qpos, qvel, _ = self._differentiable_step(qpos, qvel, obs.new_zeros(len(obs), 0), ctrl)
        else:
            qpos, qvel = self._engine.step(qpos, qvel, ctrl)
        obs_tp1 = coordinates.observe(qpos, qvel)
        finite = torch.isfinite(obs_tp1).all(-1)
        if not finite.all():
            raise DivergenceError(
                f"the physics of sample {int((~finite).nonzero()[0])} of {len(obs)} diverged within one control step. "
                "Try a smaller timestep in the MJCF, or a shorter horizon."
            )
        return obs_tp1

    def step_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None = None) -> Tensor:
        return self.step(obs[0], action[0])[None]


class _Engine:
    """Batches of control steps in the MuJoCo C engine, over as many threads as torch has. No gradients."""

    def __init__(self, system: MujocoSystem):
        self._model = system.engine_model()
        self._frame_skip = system.frame_skip
        self._threads = torch.get_num_threads()
        self._data = [mujoco.MjData(self._model) for _ in range(self._threads)]
        self._pool = mujoco.rollout.Rollout(nthread=self._threads if self._threads > 1 else 0)

    def step(self, qpos: Tensor, qvel: Tensor, ctrl: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, nq), (batch, nv), (batch, nu) -> the same after one control step, in the dtype of the input."""
        batch, nq = qpos.shape
        start = np.zeros((batch, 1 + nq + qvel.shape[1]))  # MuJoCo's full state: time, qpos, qvel
        start[:, 1 : 1 + nq], start[:, 1 + nq :] = qpos.detach().cpu().numpy(), qvel.detach().cpu().numpy()
        controls = np.repeat(ctrl.detach().cpu().numpy().astype(np.float64)[:, None], self._frame_skip, 1)
        states, _ = self._pool.rollout(self._model, self._data, start, controls)
        end = torch.as_tensor(np.asarray(states)[:, -1], dtype=qpos.dtype, device=qpos.device)
        return end[:, 1 : 1 + nq], end[:, 1 + nq :]
