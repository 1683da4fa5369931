"""The derivative of the inverse dynamics with respect to the acceleration, in closed form where it has one."""

import mujoco
import numpy as np
from jaxtyping import Float

ACTIVE = 1
"""MuJoCo's state of a constraint row whose force is quadratic's: -D (J a - aref). Others' forces are constant."""


MANY_DOFS = 20
"""Degrees of freedom from which the closed form is faster than differences."""


HELD = 10.0
"""Damping over a time step, in inertias, from which it counts as holding a joint."""


class EffectiveInertia:
    """M + J' D J over the active rows, recorded state by state, and what Euler's implicit damping makes of it.

    For the discrete acceleration a' of Euler, M a = (M + h B) a' with the damping B of the joints, so that the
    derivative with respect to a' is (M + J' D J) M^-1 (M + h B).
    """

    def __init__(self, model: mujoco.MjModel, n: int):
        self._model = model
        self._mass, self._stiffness = np.zeros((2, n, model.nv, model.nv))

    @staticmethod
    def is_known(model: mujoco.MjModel) -> bool:
        """Whether `model` has this closed form and needs it, for its size or for joints that damping holds.

        There a small discrete acceleration is a large continuous one, and differences cross switches.
        """
        pyramidal = model.opt.cone != int(mujoco.mjtCone.mjCONE_ELLIPTIC)
        euler = model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_EULER)
        curved = model.dof_dampingpoly.any() or model.actuator_damping.any() or model.actuator_dampingpoly.any()
        held = (model.opt.timestep * model.dof_damping > HELD * model.dof_M0).any()
        wanted = model.nv >= MANY_DOFS or held
        return bool(wanted and pyramidal and euler and model.nflex == 0 and not curved)

    def record(self, data: mujoco.MjData, row: int) -> None:
        """Of `data`, at whose state `mj_inverse` has run."""
        mujoco.mj_fullM(self._model, data, self._mass[row])
        active = data.efc_state == ACTIVE
        if active.any():
            jacobian = self._jacobian(data)[active]
            np.matmul((jacobian.T * data.efc_D[active]), jacobian, out=self._stiffness[row])

    def _jacobian(self, data: mujoco.MjData) -> np.ndarray:
        shape = (data.nefc, self._model.nv)
        if not mujoco.mj_isSparse(self._model):
            return data.efc_J.reshape(shape)
        dense = np.zeros(shape)
        rows = (data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind)
        mujoco.mju_sparse2dense(dense, data.efc_J, *rows)
        return dense

    def derivative(self) -> Float[np.ndarray, "n nv nv"]:
        """``[s, i, j]``: of r_j with respect to acceleration i at state s."""
        inertia = self._mass + self._stiffness
        damping = self._model.opt.timestep * self._model.dof_damping
        undamped = int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP) & self._model.opt.disableflags
        continuous = not self._model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_INVDISCRETE)
        if undamped or continuous or not damping.any():
            return inertia
        # Of the transposed product, M and M + J' D J being symmetric: (1 + h B M^-1) (M + J' D J).
        return inertia + damping[:, None] * np.linalg.solve(self._mass, inertia)
