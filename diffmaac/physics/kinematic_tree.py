"""Which degrees of freedom move which bodies, and which carry which."""

import mujoco
import numpy as np
from jaxtyping import Float

_BALL, _FREE = int(mujoco.mjtJoint.mjJNT_BALL), int(mujoco.mjtJoint.mjJNT_FREE)


class KinematicTree:
    """Relations of the bodies b and dofs i of a model, 1 where they hold and 0 elsewhere.

    Attributes:
        moves: (b, i), dof i moves body b.
        holds: (i, b), the body of the dof is that body or carries it.
        carries: (i, i), the axis of the second dof moves with the first dof, or is the same.
        follows: (i, i), the first dof's body moves with the second dof, whose own axis the first does not move.
        precedes: (i, i), the first dof's body moves with the second dof, and the second does not follow the first.
    """

    moves: Float[np.ndarray, "b i"]
    holds: Float[np.ndarray, "i b"]
    carries: Float[np.ndarray, "i i"]
    follows: Float[np.ndarray, "i i"]
    precedes: Float[np.ndarray, "i i"]

    def __init__(self, model: mujoco.MjModel):
        self.moves, below = moves(model), np.eye(model.nbody)
        for body in range(model.nbody - 1, 0, -1):
            below[model.body_parentid[body]] += below[body]
        self.holds = below[model.dof_bodyid]
        self.carries = _carries(model, self.moves)
        onto = self.moves[model.dof_bodyid]
        self.follows = onto * (1 - self.carries)
        self.precedes = onto * (1 - self.follows.T)


def moves(model: mujoco.MjModel) -> Float[np.ndarray, "b j"]:
    """1 where a dof moves a body, else 0."""
    out = np.zeros((model.nbody, model.nv))
    for body in range(1, model.nbody):
        out[body] = out[model.body_parentid[body]]
        out[body, model.dof_bodyid == body] = 1.0
    return out


def _carries(model: mujoco.MjModel, moved: np.ndarray) -> np.ndarray:
    """A body's joints act one after the other. The three axes of a ball joint, and the turning ones of a free joint,
    are fixed in their body, so that each moves the others; a free joint's translations are along the world's axes."""
    bodies, joints, dofs = model.dof_bodyid, model.dof_jntid, np.arange(model.nv)
    further = moved[bodies].T * (bodies[:, None] != bodies)
    later = (bodies[:, None] == bodies) & (joints[:, None] < joints)
    kinds = model.jnt_type[joints]
    turns = (kinds == _BALL) | ((kinds == _FREE) & (dofs - model.jnt_dofadr[joints] >= 3))
    together = (joints[:, None] == joints) & turns
    return np.where(later | together | np.eye(model.nv, dtype=bool), 1.0, further)
