"""How the force that a motion of rigid bodies takes depends on their positions and velocities, in closed form."""

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.kinematic_tree import KinematicTree
from diffmaac.physics.spatial import cross, cross_force, inertia_matrix, momentum_matrix, motion_matrix


class MotionSlopes:
    """The derivatives of M a + bias at n states, in which M is the mass matrix.

    A displacement along dof i moves all that it carries as one body, by its axis S. Seen from there, the velocity U and
    the acceleration B of what it does not carry have changed by U x S and B x S; with them all velocities V have by
    U x S, and all accelerations by B x S + (U x S) x (V - U). The forces I A + V x* I V of the bodies are linear in
    these changes, so that the sums over the bodies that a dof moves do for all pairs of dofs.

    Source: Carpentier, Mansard, "Analytical derivatives of rigid body dynamics algorithms" (RSS 2018), whose idea it
    is to differentiate in the moved body's frame.

    Args:
        axes: of the dofs, about the centre of mass of their tree (`MjData.cdof`).
        inertias: of the bodies, likewise (`MjData.cinert`).
        qvel: the velocities.
        gravity: [m/s^2].
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        tree: KinematicTree,
        axes: Float[np.ndarray, "n nv 6"],
        inertias: Float[np.ndarray, "n nbody 10"],
        qvel: Float[np.ndarray, "n nv"],
        gravity: Float[np.ndarray, " 3"],
    ):
        self._tree, self._bodies, self._axes, self._qvel = tree, model.dof_bodyid, axes, qvel
        self._weight = np.concatenate([np.zeros(3), -gravity])
        self._inertia = inertia_matrix(inertias)
        moving = axes * qvel[..., None]
        self._before, self._velocity = tree.follows @ moving, tree.moves @ moving
        self._rate = cross(self._before, axes)
        self._own = cross(tree.precedes @ moving, axes)
        self._momentum = _apply(self._inertia, self._velocity)
        turned = self._inertia @ motion_matrix(self._velocity)
        by_velocity = momentum_matrix(self._momentum) - turned - turned.mT
        self._composite, self._by_velocity = self._composed(self._inertia), self._composed(by_velocity)
        self._inside = _apply(self._composite, axes).mT, _apply(self._by_velocity.mT, axes).mT

    def by_position(self, qacc: Float[np.ndarray, "n nv"]) -> Float[np.ndarray, "n nv nv"]:
        """``[s, i, j]``: the derivative of (M qacc + bias)_j with respect to coordinate i."""
        tree, axes = self._tree, self._axes
        changing = axes * qacc[..., None] + self._rate * self._qvel[..., None]
        acceleration = tree.moves @ changing + self._weight
        change = cross(tree.follows @ changing + self._weight, axes) - cross(self._rate, self._before)
        force = _apply(self._inertia, acceleration) + cross_force(self._velocity, self._momentum)
        outer = cross_force(axes, (tree.holds @ force)[:, self._bodies])
        return self._spread(change, self._rate, outer)

    def by_velocity(self) -> Float[np.ndarray, "n nv nv"]:
        """``[s, i, j]``: the derivative of bias_j with respect to velocity i."""
        return self._spread(self._rate + self._own, self._axes, 0.0)

    def of_mass(self, vector: Float[np.ndarray, "n nv"]) -> Float[np.ndarray, "n nv nv"]:
        """``[s, i, j]``: the derivative of (M vector)_j with respect to coordinate i."""
        tree, axes = self._tree, self._axes
        along = axes * vector[..., None]
        change, force = cross(tree.follows @ along, axes), _apply(self._inertia, tree.moves @ along)
        outer = cross_force(axes, (tree.holds @ force)[:, self._bodies]) + _apply(self._composite, change)
        return tree.carries * (change @ self._inside[0]) + tree.follows * (outer @ axes.mT)

    def _spread(self, acceleration: np.ndarray, velocity: np.ndarray, outer: np.ndarray | float) -> np.ndarray:
        """From the changes of the accelerations and velocities of all that dof i moves to the forces on dofs j."""
        inside = acceleration @ self._inside[0] + velocity @ self._inside[1]
        total = _apply(self._composite, acceleration) + _apply(self._by_velocity, velocity) + outer
        return self._tree.carries * inside + self._tree.follows * (total @ self._axes.mT)

    def _composed(self, matrices: Float[np.ndarray, "n nbody 6 6"]) -> Float[np.ndarray, "n nv 6 6"]:
        """Summed over all bodies that a dof moves."""
        n, bodies = matrices.shape[:2]
        return (self._tree.holds @ matrices.reshape(n, bodies, 36)).reshape(n, bodies, 6, 6)[:, self._bodies]


def _apply(matrices: Float[np.ndarray, "*n 6 6"], vectors: Float[np.ndarray, "*n 6"]) -> Float[np.ndarray, "*n 6"]:
    return np.einsum("...ij,...j->...i", matrices, vectors)
