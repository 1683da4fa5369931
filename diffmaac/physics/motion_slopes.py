"""How the force that a motion of rigid bodies takes depends on their positions and velocities, in closed form."""

import numpy as np
from jaxtyping import Float

from diffmaac.physics.bilinear import bilinear
from diffmaac.physics.kinematic_tree import KinematicTree
from diffmaac.physics.spatial import columns, cross, cross3, cross_force, momentum, times_symmetric


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
        tree: KinematicTree,
        axes: Float[np.ndarray, "n nv 6"],
        inertias: Float[np.ndarray, "n nbody 10"],
        qvel: Float[np.ndarray, "n nv"],
        gravity: Float[np.ndarray, " 3"],
    ):
        self._tree, self._axes, self._qvel, self._inertias = tree, axes, qvel, inertias
        self._weight = np.concatenate([np.zeros(3), -gravity])
        moving = axes * qvel[..., None]
        self._before, self._velocity = tree.follows @ moving, tree.moves @ moving
        self._rate = cross(self._before, axes)
        self._own = cross(tree.precedes @ moving, axes)
        self._momentum = momentum(inertias, self._velocity)
        self._composite = tree.holds @ inertias
        self._turning = tree.holds @ np.concatenate([_turning(inertias, self._velocity), self._momentum], axis=-1)
        self._inside = momentum(self._composite, axes)
        turned = self._turn(axes[..., :3], 1.0) + 2 * cross3(self._turning[..., 9:], axes[..., 3:])
        self._both = np.concatenate([self._inside, turned], axis=-1)

    def by_position(self, qacc: Float[np.ndarray, "n nv"]) -> Float[np.ndarray, "n nv nv"]:
        """``[s, i, j]``: the derivative of (M qacc + bias)_j with respect to coordinate i."""
        tree, axes = self._tree, self._axes
        changing = axes * qacc[..., None] + self._rate * self._qvel[..., None]
        acceleration = tree.moves @ changing + self._weight
        change = cross(tree.follows @ changing + self._weight, axes) - cross(self._rate, self._before)
        force = momentum(self._inertias, acceleration) + cross_force(self._velocity, self._momentum)
        return self._spread(change, self._rate, cross_force(axes, tree.holds @ force))

    def by_velocity(self) -> Float[np.ndarray, "n nv nv"]:
        """``[s, i, j]``: the derivative of bias_j with respect to velocity i."""
        return self._spread(self._rate + self._own, self._axes, 0.0)

    def of_mass(self, vector: Float[np.ndarray, "n nv"]) -> Float[np.ndarray, "n nv nv"]:
        """``[s, i, j]``: the derivative of (M vector)_j with respect to coordinate i."""
        tree, axes = self._tree, self._axes
        along = axes * vector[..., None]
        change, force = cross(tree.follows @ along, axes), momentum(self._inertias, tree.moves @ along)
        total = cross_force(axes, tree.holds @ force) + momentum(self._composite, change)
        return tree.carries * (change @ self._inside.mT) + tree.follows * (total @ axes.mT)

    def _spread(self, acceleration: np.ndarray, velocity: np.ndarray, outer: np.ndarray | float) -> np.ndarray:
        """From the changes of the accelerations and velocities of all that dof i moves to the forces on dofs j."""
        spin = velocity[..., :3]
        inside = np.concatenate([acceleration, spin], axis=-1) @ self._both.mT
        total = momentum(self._composite, acceleration) + outer
        total[..., :3] += self._turn(spin, -1.0)
        total[..., 3:] += 2 * cross3(spin, self._turning[..., 9:])
        return self._tree.carries * inside + self._tree.follows * (total @ self._axes.mT)

    def _turn(self, spin: Float[np.ndarray, "n nv 3"], sign: float) -> Float[np.ndarray, "n nv 3"]:
        """T of `_turning`, summed over the bodies of a dof, times spins for the sign -1, and transposed for 1."""
        return times_symmetric(self._turning[..., :6], spin) + sign * cross3(self._turning[..., 6:9], spin)


@bilinear(10, 6)
def _turning(inertias: Float[np.ndarray, "*n 10"], velocity: Float[np.ndarray, "*n 6"]) -> Float[np.ndarray, "*n 6"]:
    """How the force V x* I V of a body changes with its velocity V = (w, u), less the part that its momentum tells.

    The derivative along x is x x* I V - I (V x x) + V x* I x. With the momentum (l, p) that is (T x_w, 2 x_w x p): it
    does not depend on the linear part of x. T is the matrix of x_w -> x_w x l plus a symmetric one, which is
    [w] J + ([w] J)' - [c] [u] - ([c] [u])' with the rotational inertia J and the mass times its centre c. Its six
    numbers are these.
    """
    xx, yy, zz, xy, xz, yz, cx, cy, cz, _ = columns(inertias)
    wx, wy, wz, ux, uy, uz = columns(velocity)
    along_x, along_y, along_z = cx * ux, cy * uy, cz * uz
    sums = (
        2 * (wy * xz - wz * xy + along_y + along_z),
        2 * (wz * xy - wx * yz + along_x + along_z),
        2 * (wx * yz - wy * xz + along_x + along_y),
        wy * yz - wx * xz + wz * (xx - yy) - ux * cy - uy * cx,
        wx * xy - wz * yz + wy * (zz - xx) - ux * cz - uz * cx,
        wz * xz - wy * xy + wx * (yy - zz) - uy * cz - uz * cy,
    )
    return np.stack(sums, -1)
