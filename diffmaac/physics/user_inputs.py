"""What acts on a model beside its controls: forces on degrees of freedom and bodies, and the poses of mocap bodies."""

from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Float

_STATES = mujoco.mjtState
_BITS = {
    "ctrl": int(_STATES.mjSTATE_CTRL),
    "qfrc_applied": int(_STATES.mjSTATE_QFRC_APPLIED),
    "xfrc_applied": int(_STATES.mjSTATE_XFRC_APPLIED),
    "mocap_pos": int(_STATES.mjSTATE_MOCAP_POS),
    "mocap_quat": int(_STATES.mjSTATE_MOCAP_QUAT),
}
"""In the order that MuJoCo has them in a state."""
USER_INPUTS = ("qfrc_applied", "xfrc_applied", "mocap_pos", "mocap_quat")
"""Fields of `MjData` that may be inputs of a step."""
STATE = int(_STATES.mjSTATE_QPOS | _STATES.mjSTATE_QVEL | _STATES.mjSTATE_ACT)
MOCAP_STEP = 1e-6
"""Of differences by poses of mocap bodies [m, rad]."""


class UserInputs:
    """The controls and some of `USER_INPUTS` in one row, (width,), as MuJoCo lays them out.

    A step takes such a row where it takes controls; of no names it is the controls. What is not named is zero, or the
    pose that the model has. A mocap quaternion is scaled to length one by MuJoCo.
    """

    def __init__(self, model: mujoco.MjModel, names: Sequence[str] = ()):
        self.names = tuple(name for name in USER_INPUTS if name in names)
        self.shapes = user_input_shapes(model)
        self.slices: dict[str, slice] = {}
        self.signature = 0
        """The bits of `mjtState` that a row has."""
        self.width = 0
        for name in ("ctrl", *self.names):
            size = int(np.prod(self.shapes[name]))
            self.slices[name] = slice(self.width, self.width + size)
            self.signature |= _BITS[name]
            self.width += size

    @property
    def mocap(self) -> np.ndarray:
        """The entries of a row that are poses of mocap bodies."""
        places = [np.arange(self.width)[own] for name, own in self.slices.items() if name.startswith("mocap")]
        return np.concatenate([np.zeros(0, int), *places])


def user_input_shapes(model: mujoco.MjModel) -> dict[str, tuple[int, ...]]:
    """Of the controls and all `USER_INPUTS`, as in `MjData`."""
    return {
        "ctrl": (model.nu,),
        "qfrc_applied": (model.nv,),
        "xfrc_applied": (model.nbody, 6),
        "mocap_pos": (model.nmocap, 3),
        "mocap_quat": (model.nmocap, 4),
    }


class AppliedForces:
    """Applied forces of n states, recorded one after the other, and what they depend on. One object a thread.

    The force on the dofs is f = qfrc_applied + sum over the bodies of V' F + W' T, with the force F and the torque T on
    a body, and V and W, which map velocities of the dofs to those of its centre of mass and to its angular velocity.
    """

    def __init__(self, model: mujoco.MjModel, inputs: UserInputs):
        self._model, self._data, self._inputs = model, mujoco.MjData(model), inputs
        self._extra = inputs.width - model.nu
        self._qfrc, self._xfrc = (inputs.slices.get(name) for name in USER_INPUTS[:2])
        self.begin(0)

    def begin(self, n: int) -> None:
        """Forgets what is recorded, and makes room for n states."""
        nv = self._model.nv
        self.force: Float[np.ndarray, "n nv"] = np.zeros((n, nv))
        self.by_qpos: Float[np.ndarray, "n nv nv"] = np.zeros((n, nv, nv))
        """``[s, i, j]``: of the force on dof j with respect to coordinate i, in the tangent space."""
        self.by_inputs: Float[np.ndarray, "n extra nv"] = np.zeros((n, self._extra, nv))
        """Of the force on the dofs with respect to what a row has beside controls; zero for poses."""

    def record(self, state: np.ndarray, row: int) -> None:
        """At a state (qpos, qvel, act and a row of inputs in one)."""
        model, data, nu = self._model, self._data, self._model.nu
        mujoco.mj_setState(model, data, state, STATE | self._inputs.signature)
        if self._qfrc is not None:
            self.force[row] += data.qfrc_applied
            own = self.by_inputs[row, self._qfrc.start - nu : self._qfrc.stop - nu]
            own[np.diag_indices(model.nv)] = 1.0
        if self._xfrc is None:
            return
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        own = self.by_inputs[row, self._xfrc.start - nu : self._xfrc.stop - nu].reshape(model.nbody, 2, 3, model.nv)
        for body in range(1, model.nbody):
            mujoco.mj_jacBodyCom(model, data, own[body, 0], own[body, 1], body)
        if data.xfrc_applied.any():
            self.force[row] += self._on_dofs()
            self._move(self.by_qpos[row])

    def _on_dofs(self) -> np.ndarray:
        data, out = self._data, np.zeros(self._model.nv)
        for body in map(int, np.flatnonzero(data.xfrc_applied.any(1))):
            force, torque = data.xfrc_applied[body].reshape(2, 3)
            mujoco.mj_applyFT(self._model, data, force, torque, data.xipos[body], body, out)
        return out

    def _move(self, out: np.ndarray) -> None:
        """Writes the central differences by positions; kinematics alone, in which nothing switches."""
        model, data, qpos = self._model, self._data, self._data.qpos.copy()
        for i, direction in enumerate(np.eye(model.nv)):
            for step in (MOCAP_STEP, -MOCAP_STEP):
                mujoco.mj_integratePos(model, data.qpos, direction, step)
                mujoco.mj_kinematics(model, data)
                mujoco.mj_comPos(model, data)
                out[i] += self._on_dofs() / (2 * step)
                data.qpos[:] = qpos
