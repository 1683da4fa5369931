"""The vector-Jacobian product of a control step of the C engine, back along the trajectory that it made."""

import itertools
import math
from typing import TypeAlias

import mujoco
import numpy as np

from diffmaac.physics.adjoint import SingleStage, State
from diffmaac.physics.inverse import UnexplainedForce
from diffmaac.physics.parameter_slopes import ParameterSlopes
from diffmaac.physics.runge_kutta import RungeKutta
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.unsupported import UnsupportedModel
from diffmaac.physics.user_inputs import UserInputs

Rows: TypeAlias = tuple[np.ndarray, ...]
MOST_NUMBERS, FEWEST = 200_000, 16
"""Numbers of a derivative (stages of time steps, nv, nv) that are held at once, 1.6 MB; and states that are pulled
back together even so."""


class TrajectoryAdjoint:
    """Pulls gradients back through the time steps of `model`, for one thread. A row does not depend on the others.

    With `inputs` controls are rows of them; the gradients by poses of mocap bodies are left zero.
    """

    def __init__(
        self, model: mujoco.MjModel, parameters: ParameterSlopes | None = None, inputs: UserInputs | None = None
    ):
        self._model, self._tangent, self._size = model, TangentSpace(model), 0
        if parameters is not None:
            self._size = parameters.size
        rk4 = model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_RK4)
        self._stage = (RungeKutta if rk4 else SingleStage)(model, parameters, inputs)

    @property
    def models(self) -> list[mujoco.MjModel]:
        """All copies of the model in here, its own object among them."""
        return [self._model, *self._stage.models]

    def pull_back(self, arrays: Rows, first: int = 0) -> Rows:
        """Of trajectories, their inputs and cotangents: the gradients of the inputs, and of parameters if any.

        Args:
            arrays: qpos, qvel, act (n, time steps, width) after each time step; qpos, qvel, act, ctrl (n, width)
                before the first; cotangents of qpos, qvel, act (n, width) after the last. float64.
            first: index of the first row, for messages.

        Raises:
            UnsupportedModel: the inverse dynamics does not explain a time step.
        """
        n, steps = arrays[0].shape[:2]
        most = max(FEWEST, MOST_NUMBERS // (steps * self._stage.stages * self._model.nv**2))
        parts = max(1, math.ceil(n / most))
        bounds = [n * i // parts for i in range(parts + 1)]
        done = [self._pull_back(first + i, *(x[i:j] for x in arrays)) for i, j in itertools.pairwise(bounds)]
        return tuple(np.concatenate(column) for column in zip(*done, strict=True))

    def _pull_back(self, first: int, *arrays: np.ndarray) -> Rows:
        trajectory, start, ctrl, cotangents = arrays[:3], arrays[3:6], arrays[6], arrays[7:]
        n, steps = trajectory[0].shape[:2]
        visited = [np.concatenate([x[None], after.swapaxes(0, 1)]) for x, after in zip(start, trajectory, strict=True)]
        before, after = (
            State(*(x[own].reshape(steps * n, x.shape[2]) for x in visited)) for own in (slice(-1), slice(1, None))
        )
        self._stage.begin(before, np.tile(ctrl, (steps, 1)), after)
        gradient = State(self._tangent.project(trajectory[0][:, -1], cotangents[0]), *cotangents[1:])
        total, parameters = np.zeros_like(ctrl), np.zeros((n, self._size))
        for k in reversed(range(steps)):
            try:
                pulled = self._stage.pull_back(slice(k * n, (k + 1) * n), gradient)
            except UnexplainedForce as error:
                raise UnsupportedModel(self._describe(error, first, k + 1)) from error
            gradient, total = State(pulled.qpos, pulled.qvel, pulled.act), total + pulled.ctrl
            parameters += pulled.parameters
        gradients = (self._tangent.pull_back(start[0], gradient.qpos), gradient.qvel, gradient.act, total)
        return (*gradients, parameters) if self._size else gradients

    def _describe(self, error: UnexplainedForce, first: int, time_step: int) -> str:
        return (
            f"gradient=engine cannot differentiate time step {time_step} of sample {first + error.row}: the inverse"
            f" dynamics of MuJoCo leaves a force of {error.force:.1e} on {describe_dof(self._model, error.dof)}"
            f" unexplained, where forces of {error.scale:.1e} [N, N m] act. Either a feature of the model acts in"
            " mj_step and not in mj_inverse, or the solver of the contacts stops short, as with pyramidal cones whose"
            " friction is near 0 (condim=1 has none). Use gradient=finite_difference."
        )


def describe_dof(model: mujoco.MjModel, dof: int) -> str:
    """'joint <name>' and, where the joint has several, which of its degrees of freedom."""
    joint = int(model.dof_jntid[dof])
    name = mujoco.mj_id2name(model, int(mujoco.mjtObj.mjOBJ_JOINT), joint) or str(joint)
    several = model.jnt_type[joint] in (int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL))
    return f"joint {name}" + (f", degree of freedom {dof - model.jnt_dofadr[joint]}" if several else "")
