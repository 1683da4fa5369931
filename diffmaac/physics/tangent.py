"""Positions and their tangent space: quaternions have four numbers and three degrees of freedom."""

import mujoco
import numpy as np
from jaxtyping import Float, Int


class TangentSpace:
    """The map from displacements (nv) to positions (nq) of a model, batched, and its transposed derivative.

    A displacement of a ball or free joint turns the body about an axis in its own frame, as `mj_integratePos` does.
    """

    def __init__(self, model: mujoco.MjModel):
        self.nq, self.nv = model.nq, model.nv
        quaternions, rotations = [], []
        scalar = np.ones(model.nq, bool), np.ones(model.nv, bool)
        for kind, qpos, dof in zip(model.jnt_type, model.jnt_qposadr, model.jnt_dofadr, strict=True):
            shift = {mujoco.mjtJoint.mjJNT_FREE: 3, mujoco.mjtJoint.mjJNT_BALL: 0}.get(mujoco.mjtJoint(kind))
            if shift is not None:
                quaternions.append(np.arange(4) + qpos + shift)
                rotations.append(np.arange(3) + dof + shift)
                scalar[0][quaternions[-1]], scalar[1][rotations[-1]] = False, False
        self._quaternions: Int[np.ndarray, "rotations 4"] = np.array(quaternions, int).reshape(-1, 4)
        self._rotations: Int[np.ndarray, "rotations 3"] = np.array(rotations, int).reshape(-1, 3)
        self._scalar_qpos, self._scalar_dofs = np.flatnonzero(scalar[0]), np.flatnonzero(scalar[1])

    def displace(
        self, qpos: Float[np.ndarray, "*#batch nq"], displacement: Float[np.ndarray, "*#batch nv"]
    ) -> Float[np.ndarray, "... nq"]:
        """qpos moved by the displacement [m, rad]."""
        moved = np.array(np.broadcast_to(qpos, (*displacement.shape[:-1], self.nq)))
        moved[..., self._scalar_qpos] += displacement[..., self._scalar_dofs]
        angle_axis = displacement[..., self._rotations]
        angle = np.linalg.norm(angle_axis, axis=-1, keepdims=True)
        # sin(x / 2) / x is 1/2 at 0; numpy's sinc is sin(pi x) / (pi x).
        turn = np.concatenate([np.cos(angle / 2), 0.5 * np.sinc(angle / (2 * np.pi)) * angle_axis], axis=-1)
        moved[..., self._quaternions] = _multiply(moved[..., self._quaternions], turn)
        return moved

    def pull_back(
        self, qpos: Float[np.ndarray, "*batch nq"], gradient: Float[np.ndarray, "*batch nv"]
    ) -> Float[np.ndarray, "*batch nq"]:
        """The gradient with respect to qpos of a function whose gradient with respect to displacements is given.

        A quaternion's has no component along the quaternion: the physics does not depend on its length.
        """
        out = np.zeros(qpos.shape)
        out[..., self._scalar_qpos] = gradient[..., self._scalar_dofs]
        quaternion = qpos[..., self._quaternions]
        rotation = gradient[..., self._rotations]
        # q moves by q (0, d/2), of norm |q| |d| / 2: the transposed inverse of that map is 4 / |q|^2 times the map.
        pure = np.concatenate([np.zeros((*rotation.shape[:-1], 1)), 2 * rotation], axis=-1)
        out[..., self._quaternions] = _multiply(quaternion, pure) / (quaternion**2).sum(-1, keepdims=True)
        return out

    def project(
        self, qpos: Float[np.ndarray, "*batch nq"], gradient: Float[np.ndarray, "*batch nq"]
    ) -> Float[np.ndarray, "*batch nv"]:
        """The gradient with respect to displacements of a function whose gradient with respect to qpos is given."""
        out = np.zeros((*qpos.shape[:-1], self.nv))
        out[..., self._scalar_dofs] = gradient[..., self._scalar_qpos]
        conjugate = qpos[..., self._quaternions] * np.array([1.0, -1.0, -1.0, -1.0])
        # The transpose of d -> q (0, d/2).
        out[..., self._rotations] = 0.5 * _multiply(conjugate, gradient[..., self._quaternions])[..., 1:]
        return out


def _multiply(a: Float[np.ndarray, "*batch 4"], b: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
    """The product of quaternions (w, x, y, z)."""
    w, x, y, z = np.moveaxis(a, -1, 0)
    p, q, r, s = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            w * p - x * q - y * r - z * s,
            w * q + x * p + y * s - z * r,
            w * r - x * s + y * p + z * q,
            w * s + x * r - y * q + z * p,
        ],
        axis=-1,
    )
