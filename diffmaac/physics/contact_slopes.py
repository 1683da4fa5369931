"""How the constraint rows of contacts, and their forces on the dofs, depend on positions, in closed form."""

import functools
import operator
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float, Int

from diffmaac.physics.contact_geometry import (
    CAPSULE,
    CYLINDER,
    ON_PLANES,
    PLANE,
    ROUND,
    ContactMotion,
    Contacts,
    Side,
    are_regular,
    between_cores,
    on_plane,
)
from diffmaac.physics.kinematic_tree import KinematicTree
from diffmaac.physics.snapshots import Snapshots
from diffmaac.physics.spatial import cross, cross3, cross_matrix, momentum_matrix


class Motions(NamedTuple):
    """Of n states: the dofs' axes, velocities and continuous accelerations, and the constraints' forces and rates b
    (see `Rows`)."""

    axes: Float[np.ndarray, "n nv 6"]
    qvel: Float[np.ndarray, "n nv"]
    qacc: Float[np.ndarray, "n nv"]
    force: Float[np.ndarray, "n r"]
    rate: Float[np.ndarray, "n r"]


class ContactSlopes(NamedTuple):
    """Derivatives with respect to coordinate i, of contacts c and their constraint rows r."""

    state: Int[np.ndarray, " c"]
    rows: Int[np.ndarray, "c r"]
    """Where the rows are among those of their states; -1 for none."""
    force: Float[np.ndarray, "c i j"]
    """Of the force on dof j, at a constant force of the rows."""
    distance: Float[np.ndarray, "c i"]
    pull: Float[np.ndarray, "c r i"]
    """Of the rows' J a + b J v, at constant a and v."""


class SmoothContacts:
    """The contacts of the states of which there are snapshots.

    Those with closed forms are contacts of `ON_PLANES` with a plane that nothing moves, and of `ROUND` with each other.
    """

    FIELDS = ("subtree_com", "geom_xpos", "geom_xmat")
    ARENA = tuple(f"contact.{name}" for name in ("geom", "efc_address", "dim", "pos", "frame", "friction", "dist"))
    """What it takes from the snapshots."""

    def __init__(self, model: mujoco.MjModel, tree: KinematicTree, snapshots: Snapshots):
        self._model, self._tree, self._snapshots = model, tree, snapshots
        self._elliptic = model.opt.cone == int(mujoco.mjtCone.mjCONE_ELLIPTIC)
        kinds, fixed = model.geom_type, ~tree.moves[model.geom_bodyid].any(1)
        self._on_plane = ((kinds == PLANE) & fixed)[:, None] & np.isin(kinds, ON_PLANES)
        self._round = np.isin(kinds, ROUND)
        self._capsule, self._cylinder = kinds == CAPSULE, kinds == CYLINDER
        self._root = model.body_rootid[model.geom_bodyid]

    def slopes(self, motions: Motions) -> tuple[list[ContactSlopes], Int[np.ndarray, " states"]]:
        """The derivatives of contacts with closed forms, and the states in which another one exerts a force."""
        contacts = self._contacts()
        if contacts is None:
            return [], np.zeros(0, int)
        first, second = contacts.geoms.T
        flat = self._on_plane[first, second]
        cores = self._round[first] & self._round[second]
        out: list[ContactSlopes] = []
        if flat.any():
            out.append(self._of_planes(contacts.of(flat), motions))
        if cores.any():
            pairs = contacts.of(cores)
            sides = self._side(pairs, 0, motions), self._side(pairs, 1, motions)
            regular = are_regular(pairs, sides)
            cores[cores] = regular
            if regular.any():
                one, other = (Side(*(x[regular] for x in side)) for side in sides)
                out.append(self._of_pairs(pairs.of(regular), (one, other), motions))
        others = contacts.of(~(flat | cores))
        if len(others.state) == 0:
            return out, np.zeros(0, int)
        pushes = self._forces(others, motions, self._mixing(others)[1]).any(1)
        return out, np.unique(others.state[pushes])

    def _contacts(self) -> Contacts | None:
        """All that are in the constraints; None for none."""
        groups = self._snapshots.groups()
        columns = [[np.concatenate(group[name]) for name in self.ARENA] for group in groups]
        states = [np.repeat(group.states, group["contact.dim"].shape[1]) for group in groups]
        if not any(len(x) for x in states):
            return None
        geoms, address, dim, place, frame, friction, distance = map(np.concatenate, zip(*columns, strict=True))
        used = address >= 0
        if not used.any():
            return None
        frame = frame.reshape(-1, 3, 3)
        return Contacts(np.concatenate(states), address, geoms, dim, place, frame, friction, distance).of(used)

    def _side(self, contacts: Contacts, number: int, motions: Motions) -> Side:
        """That of the first or second geoms."""
        geom, state, model = contacts.geoms[:, number], contacts.state, self._model
        origins, centres, turns = (self._snapshots[name] for name in self.FIELDS)
        core, capsule, cylinder = self._round[geom], self._capsule[geom], self._cylinder[geom]
        moved = self._tree.moves[model.geom_bodyid[geom]]
        return Side(
            centre=centres[state, geom],
            axis=turns[state, geom, 2::3] * (capsule | cylinder)[:, None],
            radius=np.where(core, model.geom_size[geom, 0], 0.0),
            half=np.where(capsule, model.geom_size[geom, 1], 0.0),
            turns=capsule,
            rolls=cylinder,
            origin=origins[state, self._root[geom]],
            axes=motions.axes[state] * moved[..., None],
        )

    def _of_planes(self, contacts: Contacts, motions: Motions) -> ContactSlopes:
        side = self._side(contacts, 1, motions)
        return self._assemble(contacts, motions, on_plane(contacts, side), [(1.0, side)])

    def _of_pairs(self, contacts: Contacts, sides: tuple[Side, Side], motions: Motions) -> ContactSlopes:
        return self._assemble(contacts, motions, between_cores(contacts, sides), [(-1.0, sides[0]), (1.0, sides[1])])

    def _assemble(
        self, contacts: Contacts, motions: Motions, motion: ContactMotion, sides: list[tuple[float, Side]]
    ) -> ContactSlopes:
        """Of a contact with the place p and the frame's directions e, row d of J is e_d' (v + w x p) with the motion
        (w, v) of the second body less the first one's, and from the fourth row on e_d' w."""
        state, geometry = contacts.state, _Geometry(contacts, motion, sides)
        mixed, rows = self._mixing(contacts)
        force = geometry.force((self._forces(contacts, motions, rows)[:, None] @ mixed)[:, 0], self._tree)
        rate = np.where(rows >= 0, motions.rate[state[:, None], rows], 0.0)

        pull = mixed @ self._along(geometry, motions, contacts, rate[:, :1])
        if self._elliptic and (further := (rows >= 0) * (rate - rate[:, :1])).any():
            still = motions._replace(qacc=np.zeros_like(motions.qacc))
            pull += further[..., None] * (mixed @ self._along(geometry, still, contacts, np.ones((len(state), 1))))
        return ContactSlopes(state, rows, force, motion.distance, pull)

    def _forces(self, contacts: Contacts, motions: Motions, rows: np.ndarray) -> Float[np.ndarray, "c r"]:
        """Of the rows."""
        return np.where(rows >= 0, motions.force[contacts.state[:, None], rows], 0.0)

    def _along(
        self, geometry: "_Geometry", motions: Motions, contacts: Contacts, rate: np.ndarray
    ) -> Float[np.ndarray, "c d i"]:
        """The derivative of the contact's own velocity along a + rate v, in its frame."""
        state, dim = contacts.state, contacts.dim
        acceleration, velocity = (motions.axes * x[..., None] for x in (motions.qacc, motions.qvel))
        before = [(self._tree.follows @ x)[state] for x in (acceleration, velocity)]
        values = motions.qacc[state] + rate * motions.qvel[state]
        directions = 3 if dim.max() <= 3 else 6
        return geometry.along(values, before[0] + rate[..., None] * before[1], directions)

    def _mixing(self, contacts: Contacts) -> tuple[Float[np.ndarray, "c r d"], Int[np.ndarray, "c r"]]:
        """How rows are made of the frame's directions, three or six; and the rows among those of the states."""
        dim = contacts.dim
        counts = dim if self._elliptic else np.maximum(1, 2 * (dim - 1))
        most = int(counts.max())
        index = np.arange(most)
        rows = np.where(index < counts[:, None], contacts.address[:, None] + index, -1)
        mixed = np.zeros((len(counts), most, 3 if dim.max() <= 3 else 6))
        if self._elliptic:
            mixed[:, index, index] = 1.0
        else:
            # A pyramid's edges: normal +- friction times direction.
            mixed[:, :, 0] = 1.0
            pairs = np.arange(most // 2)
            edges = contacts.friction[:, pairs] * (dim[:, None] > 1)
            mixed[:, 2 * pairs, 1 + pairs], mixed[:, 2 * pairs + 1, 1 + pairs] = edges, -edges
        return mixed * (rows >= 0)[..., None], rows


class _Geometry:
    """Of contacts c: their frames, how they move, and the sides, each with the sign of its part in a row of J."""

    def __init__(self, contacts: Contacts, motion: ContactMotion, sides: list[tuple[float, Side]]):
        self._motion, self._frame = motion, contacts.frame
        self._sides = [(sign, contacts.place - side.origin, side.axes) for sign, side in sides]

    def force(self, strength: Float[np.ndarray, "c d"], tree: KinematicTree) -> Float[np.ndarray, "c i j"]:
        """Of the force on dof j, which the wrench W of the contact exerts: S_j' W. It changes with the wrench, and with
        the axes S_j that dof i carries."""
        push, torque = (self._in_world(strength[:, own]) for own in (slice(0, 3), slice(3, 6)))
        turned = self._motion.rotation @ cross_matrix(push)
        moved = self._motion.place @ cross_matrix(push) + self._motion.rotation @ cross_matrix(torque)
        parts: list[np.ndarray] = []
        for sign, point, axes in self._sides:
            wrench = np.concatenate([cross3(point, push) + torque, push], axis=1)
            moves = np.concatenate([moved - turned @ cross_matrix(point), turned], axis=2)
            carried = axes @ momentum_matrix(wrench).mT
            parts.append(sign * (moves @ axes.mT - tree.carries * (carried @ axes.mT)))
        return functools.reduce(operator.add, parts)

    def along(
        self, values: Float[np.ndarray, "c nv"], before: Float[np.ndarray, "c i 6"], directions: int
    ) -> Float[np.ndarray, "c d i"]:
        """Of the velocity of the second body at the place less the first one's, and if there are six directions of the
        spin, as the frame sees them. The dofs move at `values`, of which `before` is what dof i does not carry."""
        parts: list[list[np.ndarray]] = []
        for sign, point, axes in self._sides:
            whole = (values[:, None] @ axes)[:, 0]
            spin, rest = whole[:, :3], cross(axes, whole[:, None] - before)
            change = rest[..., 3:] + rest[..., :3] @ cross_matrix(point) - self._motion.place @ cross_matrix(spin)
            velocity = whole[:, 3:] + cross3(spin, point)
            parts.append([sign * x for x in (change, velocity, rest[..., :3], spin)])
        change, velocity, turned, spin = (functools.reduce(operator.add, part) for part in zip(*parts, strict=True))
        seen = self._seen(change, velocity)
        return seen if directions == 3 else np.concatenate([seen, self._seen(turned, spin)], axis=1)

    def _seen(self, change: Float[np.ndarray, "c i 3"], vector: Float[np.ndarray, "c 3"]) -> np.ndarray:
        """Of a vector in the frame, which turns: from how it changes itself."""
        return self._frame @ change.mT + cross3(self._frame, vector[:, None]) @ self._motion.rotation.mT

    def _in_world(self, strength: Float[np.ndarray, "c _"]) -> Float[np.ndarray, "c 3"]:
        """The vector with these strengths along the frame's directions; zero of none."""
        return (strength[:, None] @ self._frame[:, : strength.shape[1]])[:, 0]
