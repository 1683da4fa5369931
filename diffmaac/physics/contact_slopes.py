"""How contacts of a body with a plane that nothing moves depend on positions, in closed form."""

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int

from diffmaac.physics.kinematic_tree import KinematicTree
from diffmaac.physics.snapshots import Snapshots
from diffmaac.physics.spatial import cross, cross3, cross_matrix, momentum_matrix

_GEOMS = mujoco.mjtGeom
PLANE, CAPSULE = int(_GEOMS.mjGEOM_PLANE), int(_GEOMS.mjGEOM_CAPSULE)
ROUND, POINTED = (int(_GEOMS.mjGEOM_SPHERE), CAPSULE), (int(_GEOMS.mjGEOM_BOX), int(_GEOMS.mjGEOM_MESH))
"""Geoms that meet a plane below a point which does not move in the geom: the centre of a sphere, or a corner."""
UPRIGHT = 1e-6
"""Sine of the angle between a capsule and the plane's normal below which MuJoCo does not turn the contact's frame."""


class Contacts(NamedTuple):
    """Contacts c of several states, those of a state together. `point`, the place of contact, is relative to the centre
    of mass of the body's tree, in the world's directions; `depth` is the distance from there to the point of the geom
    that does not move in it; `axis` a capsule's, zero for other geoms."""

    state: Int[np.ndarray, " c"]
    known: Bool[np.ndarray, " c"]
    """Whether this contact has the closed form."""
    address: Int[np.ndarray, " c"]
    geom: Int[np.ndarray, " c"]
    dim: Int[np.ndarray, " c"]
    point: Float[np.ndarray, "c 3"]
    frame: Float[np.ndarray, "c 3 3"]
    friction: Float[np.ndarray, "c 5"]
    depth: Float[np.ndarray, " c"]
    axis: Float[np.ndarray, "c 3"]


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

    rows: Int[np.ndarray, "c r"]
    """Where the rows are among those of their states; -1 for none."""
    right: Bool[np.ndarray, " c"]
    """Whether the derivatives are those of this contact: others are no contacts with planes and exert a force."""
    force: Float[np.ndarray, "c i j"]
    """Of the force on dof j, at a constant force of the rows."""
    distance: Float[np.ndarray, "c i"]
    pull: Float[np.ndarray, "c r i"]
    """Of the rows' J a + b J v, at constant a and v."""


class PlaneContacts:
    """The contacts of the states of which there are snapshots."""

    FIELDS = ("subtree_com", "geom_xmat")
    ARENA = tuple(f"contact.{name}" for name in ("geom", "efc_address", "dim", "pos", "frame", "friction", "dist"))
    """What it takes from the snapshots."""

    def __init__(self, model: mujoco.MjModel, tree: KinematicTree, snapshots: Snapshots):
        self._snapshots = snapshots
        self._tree, self._elliptic = tree, model.opt.cone == int(mujoco.mjtCone.mjCONE_ELLIPTIC)
        self._model, kinds, fixed = model, model.geom_type, ~tree.moves[model.geom_bodyid].any(1)
        self._known = ((kinds == PLANE) & fixed)[:, None] & np.isin(kinds, ROUND + POINTED)
        self._round = np.isin(kinds, ROUND)
        self._root = model.body_rootid[model.geom_bodyid]

    def contacts(self) -> Contacts | None:
        """All that are in the constraints; None for none."""
        groups = self._snapshots.groups()
        columns = [[np.concatenate(group[name]) for name in self.ARENA] for group in groups]
        states = [np.repeat(group.states, group["contact.dim"].shape[1]) for group in groups]
        if not any(len(x) for x in states):
            return None
        geoms, address, dim, place, frame, friction, distance = map(np.concatenate, zip(*columns, strict=True))
        used = np.flatnonzero(address >= 0)
        if len(used) == 0:
            return None
        state = np.concatenate(states)[used]
        (first, second), model = geoms[used].T, self._model
        radius = np.where(self._round, model.geom_size[:, 0], 0.0)
        centres, turns = (self._snapshots[name] for name in self.FIELDS)
        return Contacts(
            state=state,
            known=self._known[first, second],
            address=address[used],
            geom=second,
            dim=dim[used],
            point=place[used] - centres[state, self._root[second]],
            frame=frame[used].reshape(-1, 3, 3),
            friction=friction[used],
            depth=radius[second] + distance[used] / 2,
            axis=turns[state, second, 2::3] * (model.geom_type[second] == CAPSULE)[:, None],
        )

    def slopes(self, contacts: Contacts, motions: Motions) -> ContactSlopes:
        """The derivatives. Of a contact with the place p and the frame's directions e, row d of J is e_d' (v + w x p)
        with the motion (w, v) of the body, and from the fourth row on e_d' w."""
        state, frame = contacts.state, contacts.frame
        moved = self._tree.moves[self._model.geom_bodyid[contacts.geom]]
        axes = motions.axes[state] * moved[..., None]
        turn = axes[..., :3]
        normal, first = frame[:, 0], frame[:, 1]

        # The place of contact follows the geom's own point, and half of its way along the normal.
        way = axes[..., 3:] + turn @ cross_matrix(contacts.point + contacts.depth[:, None] * normal)
        distance = (way @ normal[..., None])[..., 0]
        place = way - 0.5 * distance[..., None] * normal[:, None]
        # The frame turns about the normal with a capsule's axis = cos normal + sin first.
        cosine, sine = (frame[:, :2] @ contacts.axis[..., None])[..., 0].T
        lean = np.divide(cosine, sine, out=np.zeros_like(sine), where=sine > UPRIGHT)
        angle = (turn @ ((normal - lean[:, None] * first) * (sine > UPRIGHT)[:, None])[..., None])[..., 0]

        mixed, rows = self._mixing(contacts)
        size = np.where(rows >= 0, motions.force[state[:, None], rows], 0.0)
        strength = (size[:, None] @ mixed)[:, 0]
        geometry = _Geometry(contacts.point, frame, axes, place, angle)
        force = geometry.force(strength, self._tree)
        rate = np.where(rows >= 0, motions.rate[state[:, None], rows], 0.0)

        pull = mixed @ self._along(geometry, motions, contacts, rate[:, :1])
        if self._elliptic and (further := (rows >= 0) * (rate - rate[:, :1])).any():
            still = motions._replace(qacc=np.zeros_like(motions.qacc))
            pull += further[..., None] * (mixed @ self._along(geometry, still, contacts, np.ones((len(state), 1))))
        return ContactSlopes(rows, contacts.known | ~size.any(1), force, distance, pull)

    def _along(
        self, geometry: "_Geometry", motions: Motions, contacts: Contacts, rate: np.ndarray
    ) -> Float[np.ndarray, "c d i"]:
        """The derivative of the contact's own velocity along a + rate v, in its frame."""
        state, dim = contacts.state, contacts.dim
        acceleration, velocity = (motions.axes * x[..., None] for x in (motions.qacc, motions.qvel))
        before = [(self._tree.follows @ x)[state] for x in (acceleration, velocity)]
        values = (motions.qacc[state] + rate * motions.qvel[state])[:, None]
        directions = 3 if dim.max() <= 3 else 6
        return geometry.along((values @ geometry.axes)[:, 0], before[0] + rate[..., None] * before[1], directions)

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


class _Geometry(NamedTuple):
    """Of contacts c with the place p and the frame's directions e: the axes of the dofs that move their bodies (zero
    for others), and the derivatives of the place and of the angle about the normal by which the frame turns."""

    point: Float[np.ndarray, "c 3"]
    frame: Float[np.ndarray, "c 3 3"]
    axes: Float[np.ndarray, "c i 6"]
    place: Float[np.ndarray, "c i 3"]
    angle: Float[np.ndarray, "c i"]

    def force(self, strength: Float[np.ndarray, "c d"], tree: KinematicTree) -> Float[np.ndarray, "c i j"]:
        """Of the force on dof j, which the wrench W of the contact exerts: S_j' W. It changes with the wrench, and with
        the axes S_j that dof i carries."""
        push, turned = _in_frame(strength[:, :3], self.frame)
        torque, twisted = _in_frame(strength[:, 3:], self.frame) if strength.shape[1] > 3 else (0.0, 0.0)
        wrench = np.concatenate([cross3(self.point, push) + torque, push], axis=1)
        moves = self.angle[..., None] * np.concatenate([cross3(self.point, turned) + twisted, turned], axis=1)[:, None]
        moves[..., :3] += self.place @ cross_matrix(push)
        carried = self.axes @ momentum_matrix(wrench).mT
        return moves @ self.axes.mT - tree.carries * (carried @ self.axes.mT)

    def along(
        self, whole: Float[np.ndarray, "c 6"], before: Float[np.ndarray, "c i 6"], directions: int
    ) -> Float[np.ndarray, "c d i"]:
        """Of the velocity at the place, and if there are six directions of the spin, as the frame sees them. The body
        has the motion `whole`, and what dof i does not carry of it is `before`."""
        spin, rest = whole[:, :3], cross(self.axes, whole[:, None] - before)
        change = rest[..., 3:] + rest[..., :3] @ cross_matrix(self.point) - self.place @ cross_matrix(spin)
        seen = self._seen(change, whole[:, 3:] + cross3(spin, self.point))
        return seen if directions == 3 else np.concatenate([seen, self._seen(rest[..., :3], spin)], axis=1)

    def _seen(self, change: Float[np.ndarray, "c i 3"], vector: Float[np.ndarray, "c 3"]) -> np.ndarray:
        """Of a vector in the frame, which turns: from how it changes itself."""
        out = self.frame @ change.mT
        along = (self.frame @ vector[..., None])[..., 0]
        out[:, 1] += self.angle * along[:, 2:]
        out[:, 2] -= self.angle * along[:, 1:2]
        return out


def _in_frame(
    strength: Float[np.ndarray, "c 3"], frame: Float[np.ndarray, "c 3 3"]
) -> tuple[Float[np.ndarray, "c 3"], Float[np.ndarray, "c 3"]]:
    """The vector of these strengths along the frame's directions, and how it changes with the frame's angle."""
    turned = np.stack([np.zeros(len(strength)), -strength[:, 2], strength[:, 1]], axis=1)
    along, turning = (x[:, None] @ frame for x in (strength, turned))
    return along[:, 0], turning[:, 0]
