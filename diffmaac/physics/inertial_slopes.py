"""How the inverse dynamics depends on masses, inertias and gravity: its regressor, which is linear in them."""

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.flags import DISABLE, disabled, gravity
from diffmaac.physics.kinematic_tree import moves

INERTIAL = ("body_mass", "body_inertia", "body_ipos", "opt.gravity")
"""Fields that `BodyMotions` has the slopes of."""


class Slopes(NamedTuple):
    """``[s, i, j]``: of the force on dof j at state s with respect to number i of a field.

    `explicit` is that of r_c = M a + bias - passive - actuators - J' f at a constant continuous acceleration a, and
    `implicit` that of M u at a constant u = a - a'.
    """

    explicit: Float[np.ndarray, "n size nv"]
    implicit: Float[np.ndarray, "n size nv"]


class BodyMotions:
    """Motions of all bodies at n states, recorded one after the other, and what masses and inertias change there.

    A body with the mass m, the inertia I in its principal axes and the centre of mass c adds to r_c

        V' m (c'' - g) + W' (I alpha + omega x I omega),

    where V and W map velocities of the dofs to those of c and to the angular velocity.
    """

    def __init__(self, model: mujoco.MjModel):
        self._model = model
        self._moves = moves(model)
        self.begin(0)

    def begin(self, n: int) -> None:
        """Forgets what is recorded, and makes room for n states."""
        nb, nv = self._model.nbody, self._model.nv
        self._cdof, self._u = np.zeros((n, nv, 6)), np.zeros((n, nv))
        self._cvel, self._cacc = np.zeros((2, n, nb, 6))
        self._arm = np.zeros((n, nb, 3))
        self._axes, self._frame = np.zeros((2, n, nb, 3, 3))

    def record(self, data: mujoco.MjData, row: int, u: Float[np.ndarray, " nv"]) -> None:
        """Of `data`, at whose state the inverse dynamics has run, with the continuous acceleration in qacc."""
        mujoco.mj_rnePostConstraint(self._model, data)
        self._cdof[row], self._u[row] = data.cdof, u
        self._cvel[row], self._cacc[row] = data.cvel, data.cacc
        self._arm[row] = data.xipos - data.subtree_com[self._model.body_rootid]
        self._axes[row].reshape(-1, 9)[:], self._frame[row].reshape(-1, 9)[:] = data.ximat, data.xmat

    def slopes(self, names: list[str]) -> dict[str, Slopes]:
        """Of the fields that are wanted, at all states recorded."""
        arm = self._arm
        rotation = self._cdof[:, None, :, :3] * self._moves[..., None]  # W
        velocity = self._cdof[:, None, :, 3:] * self._moves[..., None] + np.cross(rotation, arm[:, :, None])  # V
        omega, alpha = self._cvel[..., :3], self._cacc[..., :3]
        moving = self._cvel[..., 3:] + np.cross(omega, arm)
        falling = self._cacc[..., 3:] + np.cross(alpha, arm) + np.cross(omega, moving)  # c'' - g
        motion = Motion(
            rotation, velocity, omega, alpha, falling + self._model.body_gravcomp[:, None] * gravity(self._model)
        )
        makers = {"body_mass": self._mass, "body_inertia": self._inertia, "body_ipos": self._centre}
        out = {name: makers[name](motion) for name in names if name in makers}
        if "opt.gravity" in names:
            falls = not disabled(self._model, DISABLE.mjDSBL_GRAVITY)
            weight = self._model.body_mass * (1 - self._model.body_gravcomp) * falls
            explicit = -np.einsum("b,nbjc->ncj", weight, velocity)
            out["opt.gravity"] = Slopes(explicit, np.zeros_like(explicit))
        return out

    def _mass(self, motion: "Motion") -> Slopes:
        along = motion.velocity @ motion.falling[..., None]
        pushed = np.einsum("nbjc,nj->nbc", motion.velocity, self._u)
        return Slopes(along[..., 0], (motion.velocity @ pushed[..., None])[..., 0])

    def _inertia(self, motion: "Motion") -> Slopes:
        local = motion.rotation @ self._axes
        omega, alpha = ((x[:, :, None] @ self._axes)[:, :, 0] for x in (motion.omega, motion.alpha))
        explicit = local * alpha[:, :, None] + np.cross(local, omega[:, :, None]) * omega[:, :, None]
        pushed = np.einsum("nbjc,nj->nbc", local, self._u)
        return Slopes(_entries(explicit), _entries(local * pushed[:, :, None]))

    def _centre(self, motion: "Motion") -> Slopes:
        omega, alpha, falling = (x[:, :, None] for x in (motion.omega, motion.alpha, motion.falling))
        turning = np.cross(np.cross(motion.velocity, omega), omega)
        explicit = np.cross(motion.velocity, alpha) + turning + np.cross(falling, motion.rotation)
        pushed = np.einsum("nbjc,nj->nbc", motion.velocity, self._u)[:, :, None]
        turned = np.einsum("nbjc,nj->nbc", motion.rotation, self._u)[:, :, None]
        implicit = np.cross(motion.velocity, turned) + np.cross(pushed, motion.rotation)
        mass = self._model.body_mass[:, None, None]
        return Slopes(*(_entries(mass * (x @ self._frame)) for x in (explicit, implicit)))


class Motion(NamedTuple):
    """Of bodies b at states n: maps from dofs j, and motions, in the world's axes."""

    rotation: Float[np.ndarray, "n b j 3"]
    velocity: Float[np.ndarray, "n b j 3"]
    omega: Float[np.ndarray, "n b 3"]
    alpha: Float[np.ndarray, "n b 3"]
    falling: Float[np.ndarray, "n b 3"]


def _entries(slopes: Float[np.ndarray, "n b j 3"]) -> Float[np.ndarray, "n size j"]:
    """With the numbers of a field (b, 3) in a row."""
    n, bodies, dofs, width = slopes.shape
    return slopes.swapaxes(2, 3).reshape(n, bodies * width, dofs)
