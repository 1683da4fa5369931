"""Positions and their tangent space: quaternions have four numbers and three degrees of freedom."""

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.joints import rotating_joints
from diffmaac.physics.quaternion import multiply
from diffmaac.physics.spatial import cross3

SMALL_ANGLE = 0.1
"""Rotations [rad] below which (x - sin x) / x^3 is taken from its series: the error is below 1e-12 on both sides."""


class TangentSpace:
    """The map from displacements (nv) to positions (nq) of a model, batched, and its transposed derivative.

    A displacement of a ball or free joint turns the body about an axis in its own frame, as `mj_integratePos` does.
    """

    def __init__(self, model: mujoco.MjModel):
        self.nq, self.nv = model.nq, model.nv
        _, self._quaternions, self._rotations = rotating_joints(model)
        self._scalar_qpos = np.setdiff1d(np.arange(model.nq), self._quaternions)
        self._scalar_dofs = np.setdiff1d(np.arange(model.nv), self._rotations)

    def displace(
        self, qpos: Float[np.ndarray, "*#batch nq"], displacement: Float[np.ndarray, "*#batch nv"]
    ) -> Float[np.ndarray, "... nq"]:
        """qpos moved by the displacement [m, rad]."""
        if len(self._rotations) == 0:
            return qpos + displacement
        moved = np.array(np.broadcast_to(qpos, (*displacement.shape[:-1], self.nq)))
        moved[..., self._scalar_qpos] += displacement[..., self._scalar_dofs]
        angle_axis = displacement[..., self._rotations]
        angle = np.linalg.norm(angle_axis, axis=-1, keepdims=True)
        # sin(x / 2) / x is 1/2 at 0; numpy's sinc is sin(pi x) / (pi x).
        turn = np.concatenate([np.cos(angle / 2), 0.5 * np.sinc(angle / (2 * np.pi)) * angle_axis], axis=-1)
        moved[..., self._quaternions] = multiply(moved[..., self._quaternions], turn)
        return moved

    def transport(
        self, displacement: Float[np.ndarray, "*batch nv"], gradient: Float[np.ndarray, "*batch nv"]
    ) -> tuple[Float[np.ndarray, "*batch nv"], Float[np.ndarray, "*batch nv"]]:
        """The gradients with respect to the position before and to the displacement, from that with respect to the
        position after it; all in the tangent space.

        With w the rotation, R = exp [w], x = |w|: they are R g and J' g with the right Jacobian J of SO(3),
        J' = 1 + (1 - cos x) / x^2 [w] + (x - sin x) / x^3 [w]^2 (Sola et al., "A micro Lie theory", 2018, eq. 143).
        """
        if len(self._rotations) == 0:
            return gradient, gradient
        before, moved = gradient.copy(), gradient.copy()
        w, g = displacement[..., self._rotations], gradient[..., self._rotations]
        x = np.linalg.norm(w, axis=-1, keepdims=True)
        sine, cosine = np.sinc(x / np.pi), 0.5 * np.sinc(x / (2 * np.pi)) ** 2  # sin x / x, (1 - cos x) / x^2
        series: np.ndarray = (1 - x**2 / 20 * (1 - x**2 / 42)) / 6
        cubic: np.ndarray = np.where(x < SMALL_ANGLE, series, (1 - sine) / np.maximum(x, SMALL_ANGLE) ** 2)
        once = cross3(w, g)
        twice = cross3(w, once)
        before[..., self._rotations] = g + sine * once + cosine * twice
        moved[..., self._rotations] = g + cosine * once + cubic * twice
        return before, moved

    def pull_back(
        self, qpos: Float[np.ndarray, "*batch nq"], gradient: Float[np.ndarray, "*batch nv"]
    ) -> Float[np.ndarray, "*batch nq"]:
        """The gradient with respect to qpos of a function whose gradient with respect to displacements is given.

        A quaternion's has no component along the quaternion: the physics does not depend on its length.
        """
        if len(self._rotations) == 0:
            return gradient.copy()
        out = np.zeros(qpos.shape)
        out[..., self._scalar_qpos] = gradient[..., self._scalar_dofs]
        quaternion = qpos[..., self._quaternions]
        rotation = gradient[..., self._rotations]
        # q moves by q (0, d/2), of norm |q| |d| / 2: the transposed inverse of that map is 4 / |q|^2 times the map.
        pure = np.concatenate([np.zeros((*rotation.shape[:-1], 1)), 2 * rotation], axis=-1)
        out[..., self._quaternions] = multiply(quaternion, pure) / (quaternion**2).sum(-1, keepdims=True)
        return out

    def velocity(
        self, qpos: Float[np.ndarray, "*batch nq"], change: Float[np.ndarray, "*batch nq"]
    ) -> Float[np.ndarray, "*batch nv"]:
        """The displacement of which a small change of qpos is: the inverse of the derivative of `displace`."""
        out = self.project(qpos, change)
        # Of a quaternion q (0, d/2) = dq: the transposed map, which `project` is, times 4 / |q|^2.
        quaternion = qpos[..., self._quaternions]
        out[..., self._rotations] *= 4 / (quaternion**2).sum(-1, keepdims=True)
        return out

    def difference(
        self, start: Float[np.ndarray, "*batch nq"], end: Float[np.ndarray, "*batch nq"]
    ) -> Float[np.ndarray, "*batch nv"]:
        """The displacement that leads from `start` to `end`, the shorter way round."""
        out = np.zeros((*start.shape[:-1], self.nv))
        out[..., self._scalar_dofs] = (end - start)[..., self._scalar_qpos]
        conjugate = start[..., self._quaternions] * np.array([1.0, -1.0, -1.0, -1.0])
        turn = multiply(conjugate, end[..., self._quaternions])
        turn *= np.where(turn[..., :1] < 0, -1.0, 1.0)
        sine = np.linalg.norm(turn[..., 1:], axis=-1, keepdims=True)
        angle = 2 * np.arctan2(sine, turn[..., :1])
        out[..., self._rotations] = turn[..., 1:] * np.where(sine > 0, angle / np.maximum(sine, 1e-300), 2.0)
        return out

    def project(
        self, qpos: Float[np.ndarray, "*batch nq"], gradient: Float[np.ndarray, "*batch nq"]
    ) -> Float[np.ndarray, "*batch nv"]:
        """The gradient with respect to displacements of a function whose gradient with respect to qpos is given."""
        if len(self._rotations) == 0:
            return gradient.copy()
        out = np.zeros((*qpos.shape[:-1], self.nv))
        out[..., self._scalar_dofs] = gradient[..., self._scalar_qpos]
        conjugate = qpos[..., self._quaternions] * np.array([1.0, -1.0, -1.0, -1.0])
        # The transpose of d -> q (0, d/2).
        out[..., self._rotations] = 0.5 * multiply(conjugate, gradient[..., self._quaternions])[..., 1:]
        return out
