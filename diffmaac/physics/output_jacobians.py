"""Gradients of positions and orientations of bodies, geoms and sites, from the engine's own Jacobians: closed forms."""

from collections.abc import Callable
from typing import TypeAlias

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.quaternion import multiply

Jacobian: TypeAlias = Callable[[mujoco.MjModel, mujoco.MjData, np.ndarray | None, np.ndarray | None, int], None]


def _subtree(
    model: mujoco.MjModel, data: mujoco.MjData, jacp: np.ndarray | None, jacr: np.ndarray | None, body: int
) -> None:
    if model.body_subtreemass[body] < mujoco.mjMINVAL:  # then the centre is the body's own, and MuJoCo divides by zero
        mujoco.mj_jacBodyCom(model, data, jacp, jacr, body)
    elif jacp is not None:
        mujoco.mj_jacSubtreeCom(model, data, jacp, body)


POSITIONS: dict[str, Jacobian] = {
    "xpos": mujoco.mj_jacBody,
    "xipos": mujoco.mj_jacBodyCom,
    "geom_xpos": mujoco.mj_jacGeom,
    "site_xpos": mujoco.mj_jacSite,
    "subtree_com": _subtree,
}
ROTATIONS: dict[str, Jacobian] = {
    "xmat": mujoco.mj_jacBody,
    "xquat": mujoco.mj_jacBody,
    "ximat": mujoco.mj_jacBodyCom,
    "geom_xmat": mujoco.mj_jacGeom,
    "site_xmat": mujoco.mj_jacSite,
}
CLOSED = frozenset((*POSITIONS, *ROTATIONS))
"""Outputs whose derivatives by qpos are closed forms."""


def pull_back_poses(
    model: mujoco.MjModel, data: mujoco.MjData, name: str, cotangent: Float[np.ndarray, "n _"]
) -> Float[np.ndarray, " nv"]:
    """The gradient with respect to displacements of a function of one output, with the gradient `cotangent` by it.

    With the Jacobians V and W of a frame, its position moves by V d, and its rotation matrix R by [W d] R.
    """
    out, jacobian = np.zeros(model.nv), np.zeros((3, model.nv))
    for i in map(int, np.flatnonzero(cotangent.any(1))):
        if name in POSITIONS:
            POSITIONS[name](model, data, jacobian, None, i)
            out += cotangent[i] @ jacobian
        else:
            ROTATIONS[name](model, data, None, jacobian, i)
            out += _on_rotation(getattr(data, name)[i], cotangent[i]) @ jacobian
    return out


def _on_rotation(value: np.ndarray, cotangent: np.ndarray) -> Float[np.ndarray, " 3"]:
    """The gradient with respect to the angular displacement w in the world's frame."""
    if len(value) == 4:  # a quaternion q moves by (0, w/2) q
        conjugate = value * np.array([1.0, -1.0, -1.0, -1.0])
        return 0.5 * multiply(cotangent, conjugate)[1:]
    turned = cotangent.reshape(3, 3) @ value.reshape(3, 3).T
    return np.array([turned[2, 1] - turned[1, 2], turned[0, 2] - turned[2, 0], turned[1, 0] - turned[0, 1]])
