"""Contacts as the C engine has them, where MJX places them a little otherwise.

A capsule's frame on a plane, the corners of a box on a plane, and the nearest points of spheres, capsules and of a
capsule and a cylinder.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from diffmaac.physics._import import mjx
from diffmaac.physics.typed import einsum, jvp, repeat

PLANE = int(mujoco.mjtGeom.mjGEOM_PLANE)
SPHERE = int(mujoco.mjtGeom.mjGEOM_SPHERE)
CAPSULE = int(mujoco.mjtGeom.mjGEOM_CAPSULE)
ELLIPSOID = int(mujoco.mjtGeom.mjGEOM_ELLIPSOID)
CYLINDER = int(mujoco.mjtGeom.mjGEOM_CYLINDER)
BOX = int(mujoco.mjtGeom.mjGEOM_BOX)
"""Types of geoms as integers: a JAX array and an enum of MuJoCo are never equal."""
CORNERS = np.array([[(1 if i & bit else -1) for bit in (1, 2, 4)] for i in range(8)], float)
"""The corners of a box of half size 1, in the order in which the C engine tries them."""
AWAY = 1e3
"""Distance [m] to which geoms are moved whose contacts are not wanted."""
FAR = 1.0
"""Distance [m] given to a contact that there is not."""
NOTHING = 1e-12
"""Length [m] below which a vector has no direction, and MJX's contact is kept."""
ENDS = 1e-9
"""Share of a segment at its ends within which its nearest point counts as the end itself."""
HALVINGS = 60
"""Of the interval in which the nearest point of a segment lies: to the last bit of float64."""
PARALLEL = 100.0
"""Axes count as parallel where the squared sine between them is below so many roundings."""


def correct_contacts(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """All corrections of this file. Belongs between `collide` and `mjx.make_constraint`."""
    for correct in (align_capsule_frames, take_box_corners, meet_capsules, meet_cylinders):
        data = correct(model, data)
    return data


def align_capsule_frames(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Turns the frame of every plane-capsule contact so that its first tangent follows the capsule.

    MJX does so only where the capsule is more than 30 degrees off the normal, the C engine always (upstream issue
    2774). Pyramidal friction cones see the difference.
    """
    contact = data._impl.contact
    if not _may_touch(model, contact, PLANE, CAPSULE):
        return data
    on_plane = _between(model, contact, PLANE, CAPSULE)
    normal, axis = contact.frame[:, 0], data.geom_xmat[contact.geom[:, 1]][:, :, 2]
    tangent, length = _projection(axis, normal)
    aligned = jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=1)
    frame = jnp.where((on_plane & (length > NOTHING))[:, None, None], aligned, contact.frame)
    return data.tree_replace({"_impl.contact.frame": frame})


def take_box_corners(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Gives plane-box contacts the corners that the C engine takes: the first four that lie below the margin.

    MJX treats the box as a convex mesh and picks four of its vertices by the area that they span, which drops some that
    do touch (one of an edge's two).
    """
    contact = data._impl.contact
    if not _may_touch(model, contact, PLANE, BOX):
        return data
    plane, box = contact.geom[:, 0], contact.geom[:, 1]
    slot = _slot(contact)
    normal = data.geom_xmat[plane][:, :, 2]
    size = jnp.asarray(model.geom_size)[box]
    corners = einsum("cij,ckj->cki", data.geom_xmat[box], jnp.asarray(CORNERS, size.dtype) * size[:, None])
    depth = einsum("cki,ci->ck", corners, normal)
    centre = ((data.geom_xpos[box] - data.geom_xpos[plane]) * normal).sum(1)
    below = (centre[:, None] + depth <= contact.includemargin[:, None]) & (depth <= 0)
    chosen = below & (jnp.cumsum(below, axis=1) - 1 == slot[:, None])
    filled, pick = chosen.any(1), chosen.argmax(1)
    corner = jnp.take_along_axis(corners, pick[:, None, None], axis=1)[:, 0]
    distance = centre + jnp.take_along_axis(depth, pick[:, None], axis=1)[:, 0]
    position = data.geom_xpos[box] + corner - 0.5 * distance[:, None] * normal
    on_plane = _between(model, contact, PLANE, BOX)
    return data.tree_replace(
        {
            "_impl.contact.dist": jnp.where(on_plane, jnp.where(filled, distance, FAR), contact.dist),
            "_impl.contact.pos": jnp.where((on_plane & filled)[:, None], position, contact.pos),
        }
    )


def meet_capsules(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Places the contacts of capsules with capsules and spheres between their nearest points.

    MJX adds 1e-6 to the denominators of the projections, which moves these contacts by about 1e-6 m. The nearest points
    of two segments: those of their lines, each in turn clipped to its segment and the other's projected anew (Ericson,
    "Real-Time Collision Detection", 5.1.9). Of parallel capsules, which the C engine gives up to two contacts, MJX's
    single one is kept.
    """
    contact = data._impl.contact
    if not (_may_touch(model, contact, SPHERE, CAPSULE) or _may_touch(model, contact, CAPSULE, CAPSULE)):
        return data
    first, second = contact.geom[:, 0], contact.geom[:, 1]
    size, is_capsule = jnp.asarray(model.geom_size), jnp.asarray(model.geom_type) == CAPSULE
    half_1, half_2 = (jnp.where(is_capsule[geom], size[geom, 1], 0.0) for geom in (first, second))
    axis_1, axis_2 = (data.geom_xmat[geom][:, :, 2] for geom in (first, second))
    apart = data.geom_xpos[first] - data.geom_xpos[second]
    cosine = (axis_1 * axis_2).sum(1)
    along_1, along_2 = -(axis_1 * apart).sum(1), (axis_2 * apart).sum(1)
    sine_squared = 1 - cosine**2
    parallel = sine_squared < PARALLEL * np.finfo(apart.dtype).eps
    on_lines = (along_1 + cosine * along_2) / jnp.where(parallel, 1.0, sine_squared)
    point_2 = jnp.clip(along_2 + cosine * jnp.clip(on_lines, -half_1, half_1), -half_2, half_2)
    point_1 = jnp.clip(along_1 + cosine * point_2, -half_1, half_1)
    nearest_1 = data.geom_xpos[first] + point_1[:, None] * axis_1
    difference = data.geom_xpos[second] + point_2[:, None] * axis_2 - nearest_1
    square = (difference**2).sum(1)
    moved = (square > NOTHING**2) & _between(model, contact, CAPSULE, CAPSULE) & ~parallel
    moved |= (square > NOTHING**2) & _between(model, contact, SPHERE, CAPSULE)
    return _placed(data, moved, nearest_1, difference, (size[first, 0], size[second, 0]))


def meet_cylinders(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Places the contact of a capsule with a cylinder between the nearest points of the axis of one and the other.

    MJX takes gradient steps on signed distances from two starts, stops up to a millimetre short, and counts both ends,
    where the C engine has one contact. The square of the distance from a point of a segment to a convex body is convex
    along the segment, so its minimum is found by halving; that point's derivative is the implicit function theorem's.
    Where the axis itself is inside the cylinder, MJX's contacts are kept.
    """
    contact = data._impl.contact
    if not _may_touch(model, contact, CAPSULE, CYLINDER):
        return data
    capsule, cylinder = contact.geom[:, 0], contact.geom[:, 1]
    size = jnp.asarray(model.geom_size)
    radius, half = size[cylinder, 0], size[cylinder, 1]
    turn = data.geom_xmat[cylinder]
    centre = einsum("cji,cj->ci", turn, data.geom_xpos[capsule] - data.geom_xpos[cylinder])
    axis = einsum("cji,cj->ci", turn, data.geom_xmat[capsule][:, :, 2])

    def beyond(along: Array) -> Array:
        """From the nearest point of the cylinder to the axis's point there, in the cylinder's frame."""
        point = centre + along[:, None] * axis
        square = (point[:, :2] ** 2).sum(1)
        reach = jnp.sqrt(jnp.where(square > NOTHING**2, square, 1.0))
        outside = jnp.where(square > radius**2, 1 - radius / reach, 0.0)
        height = point[:, 2] - jnp.clip(point[:, 2], -half, half)
        return jnp.concatenate([outside[:, None] * point[:, :2], height[:, None]], axis=1)

    def slope(along: Array) -> Array:
        """Half the derivative of the squared distance along the axis; increasing."""
        return (beyond(along) * axis).sum(1)

    along = _root(slope, size[capsule, 1])
    gap = beyond(along)
    difference = -einsum("cij,cj->ci", turn, gap)
    nearest = data.geom_xpos[capsule] + along[:, None] * data.geom_xmat[capsule][:, :, 2]
    moved = _between(model, contact, CAPSULE, CYLINDER) & ((difference**2).sum(1) > NOTHING**2)
    data = _placed(data, moved, nearest, difference, (size[capsule, 0], jnp.zeros_like(radius)))
    distance = data._impl.contact.dist
    return data.tree_replace({"_impl.contact.dist": jnp.where(moved & (_slot(contact) > 0), FAR, distance)})


def collide(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """`mjx.collision`, without the derivative of its search for the nearest points of capsules and cylinders.

    That derivative is not finite where they touch, and not a number times the zero that `meet_cylinders` leaves for it
    is not a number. So the others are found while the cylinders are far away, and again while the capsules are, and
    those two types together without a derivative.
    """
    collided = mjx.collision(model, data)
    contact = collided._impl.contact
    if not _may_touch(model, contact, CAPSULE, CYLINDER):
        return collided
    types = jnp.asarray(model.geom_type)
    has_cylinder = (types[contact.geom] == CYLINDER).any(1)
    both = _between(model, contact, CAPSULE, CYLINDER)
    without_cylinders, without_capsules = (
        mjx.collision(model, data.replace(geom_xpos=data.geom_xpos + jnp.where(types == kind, AWAY, 0.0)[:, None]))
        for kind in (CYLINDER, CAPSULE)
    )

    def chosen(name: str) -> Array:
        one, two = (getattr(x._impl.contact, name) for x in (without_cylinders, without_capsules))
        fixed = jax.lax.stop_gradient(getattr(contact, name))
        shape = (-1,) + (1,) * (fixed.ndim - 1)
        return jnp.where(both.reshape(shape), fixed, jnp.where(has_cylinder.reshape(shape), two, one))

    return collided.tree_replace({f"_impl.contact.{name}": chosen(name) for name in ("dist", "pos", "frame")})


def _root(function: Callable[[Array], Array], half: Float[Array, " contacts"]) -> Float[Array, " contacts"]:
    """Where an increasing function is zero between -half and half, else the nearer end; differentiable."""

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = 0.5 * (low + high)
        below = function(middle) < 0
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = repeat(HALVINGS, halve, (-half, half))
    root = jax.lax.stop_gradient(0.5 * (low + high))
    value, rise = jvp(function, root, jnp.ones_like(root))
    rise = jax.lax.stop_gradient(rise)
    inside = (jnp.abs(root) < half * (1 - ENDS)) & (rise > NOTHING)
    return root - jnp.where(inside, (value - jax.lax.stop_gradient(value)) / jnp.where(inside, rise, 1.0), 0.0)


def _placed(
    data: mjx.Data,
    moved: Bool[Array, " contacts"],
    nearest: Float[Array, "contacts 3"],
    difference: Float[Array, "contacts 3"],
    radii: tuple[Float[Array, " contacts"], Float[Array, " contacts"]],
) -> mjx.Data:
    """The contacts that are `moved` lie between `nearest`, on the first geom's core, and a point of the second's."""
    contact = data._impl.contact
    length = jnp.sqrt(jnp.where(moved, (difference**2).sum(1), 1.0))
    normal = difference / length[:, None]
    distance = length - radii[0] - radii[1]
    position = nearest + (radii[0] + 0.5 * distance)[:, None] * normal
    return data.tree_replace(
        {
            "_impl.contact.dist": jnp.where(moved, distance, contact.dist),
            "_impl.contact.pos": jnp.where(moved[:, None], position, contact.pos),
            "_impl.contact.frame": jnp.where(moved[:, None, None], _frame(normal), contact.frame),
        }
    )


def _frame(normal: Float[Array, "contacts 3"]) -> Float[Array, "contacts 3 3"]:
    """MuJoCo's frame of a contact without a direction of its own: the y axis, or z where y is too near the normal."""
    y, z = jnp.eye(3, dtype=normal.dtype)[1:]
    upright = jnp.abs(normal[:, 1:2]) < 0.5
    tangent, _ = _projection(jnp.where(upright, y, z), normal)
    return jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=1)


def _slot(contact: mjx.Contact) -> Int[Array, " contacts"]:
    """Which of its pair's contacts a row is."""
    same_pair = (contact.geom[:, None] == contact.geom[None]).all(-1)
    return jnp.tril(same_pair, -1).sum(1)


def _may_touch(model: mjx.Model, contact: mjx.Contact, one: int, other: int) -> bool:
    types = np.asarray(model.geom_type)
    return contact.frame.shape[0] > 0 and bool((types == one).any() and (types == other).any())


def _between(model: mjx.Model, contact: mjx.Contact, one: int, other: int) -> Bool[Array, " contacts"]:
    """The contacts of these types of geom, which MuJoCo keeps in ascending order."""
    types = jnp.asarray(model.geom_type)
    return (types[contact.geom[:, 0]] == one) & (types[contact.geom[:, 1]] == other)


def _projection(
    axis: Float[Array, "contacts 3"], normal: Float[Array, "contacts 3"]
) -> tuple[Float[Array, "contacts 3"], Float[Array, " contacts"]]:
    """Direction and length of `axis` projected on the plane of the normal; finite derivatives everywhere."""
    flat = axis - normal * (normal * axis).sum(1, keepdims=True)
    square = (flat**2).sum(1)
    length = jnp.sqrt(jnp.where(square > NOTHING**2, square, 1.0))
    return flat / length[:, None], jnp.where(square > NOTHING**2, length, 0.0)
