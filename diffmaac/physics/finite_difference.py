"""Central differences of the C engine: the referee, and the way for models that MJX cannot load."""

import dataclasses
import os

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from diffmaac.physics.engine import Arrays, Engine, as_alike, as_rows
from diffmaac.physics.gradient import AbstractGradient, ControlStep
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.user_inputs import UserInputs


@dataclasses.dataclass(frozen=True)
class FiniteDifference(AbstractGradient):
    """The C engine's own step, differentiated by central differences of size `eps`.

    Positions are displaced in their tangent space. The error is O(eps^2) from curvature and O(1e-16 / eps) from
    rounding; near 1e-6 both are about 1e-9 of the derivative where the physics is smooth. Compiles nothing, works for
    every model that MuJoCo loads, and costs 2 (2 nv + na + nu) control steps a state.

    Raises:
        ValueError: `eps` is not positive.
    """

    eps: float = 1e-6

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise ValueError(f"FiniteDifference got eps={self.eps}; it must be positive. 1e-6 suits most models.")

    def control_step(self, model: mujoco.MjModel, frame_skip: int) -> ControlStep:
        from diffmaac.physics.callback import called_back  # which imports JAX

        differences = CentralDifferences(model, frame_skip, self.eps, threads=os.cpu_count() or 1)
        return called_back(differences.step, differences.pull_back)


class CentralDifferences:
    """The C engine's step and its vector-Jacobian product, on arrays with any leading axes and in their dtype.

    With `inputs` rows of them are taken for controls. No JAX. Raises ValueError where the frame skip is not positive.
    """

    def __init__(
        self, model: mujoco.MjModel, frame_skip: int, eps: float, threads: int, inputs: UserInputs | None = None
    ):
        self._engine = Engine(model, frame_skip, threads, inputs)
        self._tangent = TangentSpace(model)
        self._eps = eps

    @property
    def model(self) -> mujoco.MjModel:
        """The engine's copy of the model."""
        return self._engine.model

    def step(self, *inputs: ArrayLike) -> Arrays:
        """(qpos, qvel, act, ctrl) -> (qpos, qvel, act)."""
        return self._engine.step_alike(*inputs)

    def pull_back(self, *inputs_and_cotangents: ArrayLike) -> tuple[np.ndarray, ...]:
        """(qpos, qvel, act, ctrl, and cotangents of qpos, qvel, act) -> gradients of the first four."""
        arrays = [np.asarray(x) for x in inputs_and_cotangents]
        rows = [as_rows(x).astype(np.float64) for x in arrays]
        after = self.displaced(tuple(rows[:4]))
        slopes = (after[0] - after[1]) / (2 * self._eps)
        gradient = np.einsum("bdj,bj->bd", slopes, np.concatenate(rows[4:], axis=1))
        widths = [self._tangent.nv, *(x.shape[1] for x in rows[1:4])]
        position, *rest = np.split(gradient, np.cumsum(widths)[:-1], axis=1)
        gradients = (self._tangent.pull_back(rows[0], position), *rest)
        return tuple(as_alike(x, arrays[0]) for x in gradients)

    def displaced(self, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """The next states (sign, batch, direction, nq + nv + na) after displacing `inputs` (batch, ...) by +-eps in
        every direction: of the tangent space (nv), qvel, act and ctrl."""
        qpos, *others = inputs
        widths = [self._tangent.nv, *(x.shape[1] for x in others)]
        directions = sum(widths)
        signed = self._eps * np.stack([np.eye(directions), -np.eye(directions)])[:, None]
        moves = np.split(signed, np.cumsum(widths)[:-1], axis=-1)  # (2, 1, directions, width)
        batch = (2, len(qpos), directions)
        moved = [self._tangent.displace(qpos[:, None], np.broadcast_to(moves[0], (*batch, widths[0])))]
        moved += [x[:, None] + move for x, move in zip(others, moves[1:], strict=True)]
        after = np.concatenate(self._engine.step(*map(as_rows, moved)), axis=1)
        return after.reshape(*batch, after.shape[-1])
