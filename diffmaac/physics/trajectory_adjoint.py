"""The vector-Jacobian product of a control step of the C engine, back along the trajectory that it made."""

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
CHUNK = 32
"""States that are pulled back together; a power of two divides most batches."""


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
        starts = range(0, max(len(arrays[0]), 1), CHUNK)
        parts = [self._pull_back(first + start, *(x[start : start + CHUNK] for x in arrays)) for start in starts]
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def _pull_back(self, first: int, *arrays: np.ndarray) -> Rows:
        trajectory, (qpos, qvel, act, ctrl), cotangents = arrays[:3], arrays[3:7], arrays[7:]
        steps = trajectory[0].shape[1]
        states = [State(qpos, qvel, act), *(State(*(x[:, k] for x in trajectory)) for k in range(steps))]
        gradient = State(self._tangent.project(states[-1].qpos, cotangents[0]), *cotangents[1:])
        total, parameters = np.zeros_like(ctrl), np.zeros((len(ctrl), self._size))
        for k in reversed(range(steps)):
            try:
                pulled = self._stage.pull_back(states[k], ctrl, states[k + 1], gradient)
            except UnexplainedForce as error:
                raise UnsupportedModel(self._describe(error, first, k + 1)) from error
            gradient, total = State(pulled.qpos, pulled.qvel, pulled.act), total + pulled.ctrl
            parameters += pulled.parameters
        gradients = (self._tangent.pull_back(qpos, gradient.qpos), gradient.qvel, gradient.act, total)
        return (*gradients, parameters) if self._size else gradients

    def _describe(self, error: UnexplainedForce, first: int, time_step: int) -> str:
        return (
            f"gradient=engine cannot differentiate time step {time_step} of sample {first + error.row}: the inverse"
            f" dynamics of MuJoCo leaves a force of {error.force:.1e} on {describe_dof(self._model, error.dof)}"
            f" unexplained, where forces of {error.scale:.1e} [N, N m] act. The model has a feature that acts in"
            " mj_step and not in mj_inverse. Use gradient=finite_difference."
        )


def describe_dof(model: mujoco.MjModel, dof: int) -> str:
    """'joint <name>' and, where the joint has several, which of its degrees of freedom."""
    joint = int(model.dof_jntid[dof])
    name = mujoco.mj_id2name(model, int(mujoco.mjtObj.mjOBJ_JOINT), joint) or str(joint)
    several = model.jnt_type[joint] in (int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL))
    return f"joint {name}" + (f", degree of freedom {dof - model.jnt_dofadr[joint]}" if several else "")
