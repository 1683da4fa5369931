"""Joints whose positions have more numbers than degrees of freedom."""

from typing import Any, Protocol, runtime_checkable

import mujoco
import numpy as np


@runtime_checkable
class Joints(Protocol):
    """A model, MuJoCo's or MJX's."""

    jnt_type: Any
    jnt_qposadr: Any
    jnt_dofadr: Any


def rotating_joints(model: Joints) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the n ball and free joints: their indices (n,), their quaternions' into qpos (n, 4), their dofs (n, 3)."""
    kinds = np.asarray(model.jnt_type)
    free = kinds == int(mujoco.mjtJoint.mjJNT_FREE)
    joints = np.flatnonzero(free | (kinds == int(mujoco.mjtJoint.mjJNT_BALL)))
    shift = 3 * free[joints, None]
    quaternions = np.asarray(model.jnt_qposadr)[joints, None] + shift + np.arange(4)
    return joints, quaternions, np.asarray(model.jnt_dofadr)[joints, None] + shift + np.arange(3)
