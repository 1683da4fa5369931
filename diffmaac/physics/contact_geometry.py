"""How the place and the frame of a contact move with the geoms that touch, in closed form."""

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int

from diffmaac.physics.spatial import cross3, cross_matrix

_GEOMS = mujoco.mjtGeom
PLANE, CAPSULE, CYLINDER = int(_GEOMS.mjGEOM_PLANE), int(_GEOMS.mjGEOM_CAPSULE), int(_GEOMS.mjGEOM_CYLINDER)
ROUND = (int(_GEOMS.mjGEOM_SPHERE), CAPSULE)
"""Geoms whose points have the same distance, the radius, from a core: a point or a segment."""
ON_PLANES = (*ROUND, CYLINDER, int(_GEOMS.mjGEOM_BOX), int(_GEOMS.mjGEOM_MESH))
"""Geoms that meet a plane in a point of theirs: below the end of a core, in a corner, or on a rim."""
UPRIGHT = 1e-6
"""Sine of the angle between a geom's axis and the plane's normal below which the contact counts as one that does not
turn about the normal with the geom. In MuJoCo it does, faster and faster up to an angle of rounding, where it stops."""
ON_CORE = 1e-8
"""Of its size that a point may be away from a core."""


class Contacts(NamedTuple):
    """Contacts c of several states, those of a state together."""

    state: Int[np.ndarray, " c"]
    address: Int[np.ndarray, " c"]
    geoms: Int[np.ndarray, "c 2"]
    dim: Int[np.ndarray, " c"]
    place: Float[np.ndarray, "c 3"]
    frame: Float[np.ndarray, "c 3 3"]
    friction: Float[np.ndarray, "c 5"]
    distance: Float[np.ndarray, " c"]

    def of(self, those: Bool[np.ndarray, " c"]) -> "Contacts":
        """Some of them."""
        return Contacts(*(x[those] for x in self))


class Side(NamedTuple):
    """The geoms on one side of contacts, in the world."""

    centre: Float[np.ndarray, "c 3"]
    axis: Float[np.ndarray, "c 3"]
    """Of symmetry, of capsules and cylinders; zero for others."""
    radius: Float[np.ndarray, " c"]
    """Around the core; zero for geoms without one."""
    half: Float[np.ndarray, " c"]
    """Of a core's length."""
    turns: Bool[np.ndarray, " c"]
    """Whether it is a capsule, with whose axis the frame of a contact with a plane turns."""
    rolls: Bool[np.ndarray, " c"]
    """Whether it is a cylinder, which touches a plane in points of its rim that move along it."""
    origin: Float[np.ndarray, "c 3"]
    """About which the axes of the dofs are: the centre of mass of the tree."""
    axes: Float[np.ndarray, "c i 6"]
    """Of the dofs; zero for those that do not move the geom."""

    def moved(self, point: Float[np.ndarray, "c 3"]) -> Float[np.ndarray, "c i 3"]:
        """How a point of the geom moves with the dofs."""
        return self.axes[..., 3:] + self.axes[..., :3] @ cross_matrix(point - self.origin)


class ContactMotion(NamedTuple):
    """Derivatives by coordinate i of a contact: of its place, of the distance, and the rotation of its frame."""

    place: Float[np.ndarray, "c i 3"]
    distance: Float[np.ndarray, "c i"]
    rotation: Float[np.ndarray, "c i 3"]


def on_plane(contacts: Contacts, side: Side) -> ContactMotion:
    """Of geoms of `ON_PLANES` with a plane that nothing moves."""
    normal, first, turn = contacts.frame[:, 0], contacts.frame[:, 1], side.axes[..., :3]
    # The place of contact follows the geom's own point, and half of its way along the normal.
    point = contacts.place + (side.radius + contacts.distance / 2)[:, None] * normal
    way = side.moved(point)
    if side.rolls.any():
        way = way + _along_rim(side, point, normal)
    distance = (way @ normal[..., None])[..., 0]
    place = way - 0.5 * distance[..., None] * normal[:, None]
    # The frame turns about the normal with a capsule's axis = cos normal + sin first.
    axis = side.axis * side.turns[:, None]
    cosine, sine = (contacts.frame[:, :2] @ axis[..., None])[..., 0].T
    lean = np.divide(cosine, sine, out=np.zeros_like(sine), where=sine > UPRIGHT)
    angle = turn @ ((normal - lean[:, None] * first) * (sine > UPRIGHT)[:, None])[..., None]
    return ContactMotion(place, distance, angle * normal[:, None])


def _along_rim(
    side: Side, point: Float[np.ndarray, "c 3"], normal: Float[np.ndarray, "c 3"]
) -> Float[np.ndarray, "c i 3"]:
    """How the points of contact of cylinders move in their geoms.

    They keep their places relative to the lowest direction from the axis, which turns about the axis when the cylinder
    rolls.
    """
    axis, offset = side.axis, point - side.centre
    across = normal - (axis * normal).sum(-1, keepdims=True) * axis
    sine = np.linalg.norm(across, axis=-1, keepdims=True)
    down = np.divide(-across, sine, out=np.zeros_like(across), where=(sine > UPRIGHT) & side.rolls[:, None])
    sideways = cross3(axis, down)
    angle = side.axes[..., :3] @ (cross3(normal, sideways) / np.maximum(sine, UPRIGHT))[..., None]
    return angle * cross3(axis, offset)[:, None]


def between_cores(contacts: Contacts, sides: tuple[Side, Side]) -> ContactMotion:
    """Of geoms of `ROUND`, where `are_regular`.

    The contact lies between the nearest points of the two cores, which slide along their segments where they are no
    ends, so that the normal stays at right angles to both. Capsules that MuJoCo takes for parallel touch at ends.
    """
    one, other = sides
    normal, second = contacts.frame[:, 0], contacts.frame[:, 2]
    first_point, second_point = _nearest(contacts, sides)
    apart = (one.radius + other.radius + contacts.distance)[:, None, None]
    ways = one.moved(first_point), other.moved(second_point)
    distance = ((ways[1] - ways[0]) @ normal[..., None])[..., 0]
    lines = _slides(one, first_point), _slides(other, second_point)
    both = (lines[0] * lines[1]).sum(-1)[:, None]
    ahead = [
        ((ways[1] - ways[0]) @ line[..., None] + apart * (side.axes[..., :3] @ cross3(line, normal)[..., None]))[..., 0]
        for side, line in zip(sides, lines, strict=True)
    ]
    slides = (ahead[0] - both * ahead[1]) / (1 - both**2), (both * ahead[0] - ahead[1]) / (1 - both**2)
    ends = [way + slide[..., None] * line[:, None] for way, slide, line in zip(ways, slides, lines, strict=True)]
    bend = (ends[1] - ends[0] - distance[..., None] * normal[:, None]) / apart
    place = (ends[0] + ends[1]) / 2 + bend * ((one.radius - other.radius) / 2)[:, None, None]
    # The frame's second direction is as near as it can be to the y axis, or to z where the normal is near y.
    along = np.where(np.abs(normal[:, 1]) < 0.5, normal[:, 1], normal[:, 2])
    about = (bend @ second[..., None]) * (-along / np.sqrt(1 - along**2))[:, None, None]
    return ContactMotion(place, distance, -bend @ cross_matrix(normal) + about * normal[:, None])


def are_regular(contacts: Contacts, sides: tuple[Side, Side]) -> Bool[np.ndarray, " c"]:
    """Whether the points of two cores from which a contact follows are in the cores, and apart."""
    one, other = sides
    size = one.radius + other.radius + one.half + other.half
    regular = one.radius + other.radius + contacts.distance > ON_CORE * size
    for side, point in zip(sides, _nearest(contacts, sides), strict=True):
        away = point - side.centre
        away -= np.clip((away * side.axis).sum(-1), -side.half, side.half)[:, None] * side.axis
        regular &= np.linalg.norm(away, axis=-1) < ON_CORE * size
    return regular


def _nearest(contacts: Contacts, sides: tuple[Side, Side]) -> tuple[np.ndarray, np.ndarray]:
    """The points of the two cores from the contact between them."""
    normal, half = contacts.frame[:, 0], contacts.distance / 2
    one, other = (
        contacts.place + sign * (side.radius + half)[:, None] * normal
        for sign, side in zip((-1, 1), sides, strict=True)
    )
    return one, other


def _slides(side: Side, point: Float[np.ndarray, "c 3"]) -> Float[np.ndarray, "c 3"]:
    """The axis along which the point may slide; zero where it is an end of the core."""
    along = ((point - side.centre) * side.axis).sum(-1)
    return side.axis * (np.abs(along) < (1 - ON_CORE) * side.half)[:, None]
