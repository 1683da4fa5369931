"""Contacts as the C engine has them, where MJX places them a little otherwise.

A capsule's frame on a plane, the corners of a box on a plane, and the nearest points of spheres and capsules.
"""

from typing import Any

import jax.numpy as jnp
import mujoco
import numpy as np
from jax import Array
from jaxtyping import Bool, Float
from mujoco import mjx

PLANE, SPHERE, CAPSULE, BOX = (
    int(getattr(mujoco.mjtGeom, f"mjGEOM_{name}")) for name in ("PLANE", "SPHERE", "CAPSULE", "BOX")
)
"""As integers: a JAX array and an enum of MuJoCo are never equal."""
CORNERS = np.array([[(1 if i & bit else -1) for bit in (1, 2, 4)] for i in range(8)], float)
"""The corners of a box of half size 1, in the order in which the C engine tries them."""
FAR = 1.0
"""Distance [m] given to a contact that there is not."""
NOTHING = 1e-12
"""Length [m] below which a vector has no direction, and MJX's contact is kept."""
PARALLEL = 100.0
"""Axes count as parallel where the squared sine between them is below so many roundings."""


def correct_contacts(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """All corrections of this file. Belongs between `mjx.collision` and `mjx.make_constraint`."""
    for correct in (align_capsule_frames, take_box_corners, meet_capsules):
        data = correct(model, data)
    return data


def align_capsule_frames(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Turns the frame of every plane-capsule contact so that its first tangent follows the capsule.

    MJX does so only where the capsule is more than 30 degrees off the normal, the C engine always (upstream issue
    2774). Pyramidal friction cones see the difference.
    """
    rows: Any = data._impl
    contact = rows.contact
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
    rows: Any = data._impl
    contact = rows.contact
    if not _may_touch(model, contact, PLANE, BOX):
        return data
    plane, box = contact.geom[:, 0], contact.geom[:, 1]
    same_pair = (contact.geom[:, None] == contact.geom[None]).all(-1)
    slot = jnp.tril(same_pair, -1).sum(1)  # which of its pair's contacts a row is
    normal = data.geom_xmat[plane][:, :, 2]
    size = jnp.asarray(model.geom_size)[box]
    corners = jnp.einsum("cij,ckj->cki", data.geom_xmat[box], CORNERS.astype(size.dtype) * size[:, None])
    depth = jnp.einsum("cki,ci->ck", corners, normal)
    centre = ((data.geom_xpos[box] - data.geom_xpos[plane]) * normal).sum(1)
    below = (centre[:, None] + depth <= contact.includemargin[:, None]) & (depth <= 0)
    chosen = below & (jnp.cumsum(below, axis=1) - 1 == slot[:, None])
    found, pick = chosen.any(1), chosen.argmax(1)
    corner = jnp.take_along_axis(corners, pick[:, None, None], axis=1)[:, 0]
    distance = centre + jnp.take_along_axis(depth, pick[:, None], axis=1)[:, 0]
    position = data.geom_xpos[box] + corner - 0.5 * distance[:, None] * normal
    on_plane = _between(model, contact, PLANE, BOX)
    return data.tree_replace(
        {
            "_impl.contact.dist": jnp.where(on_plane, jnp.where(found, distance, FAR), contact.dist),
            "_impl.contact.pos": jnp.where((on_plane & found)[:, None], position, contact.pos),
        }
    )


def meet_capsules(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Places the contacts of capsules with capsules and spheres between their nearest points.

    MJX adds 1e-6 to the denominators of the projections, which moves these contacts by about 1e-6 m. The nearest points
    of two segments: those of their lines, each in turn clipped to its segment and the other's projected anew (Ericson,
    "Real-Time Collision Detection", 5.1.9). Of parallel capsules, which the C engine gives up to two contacts, MJX's
    single one is kept.
    """
    rows: Any = data._impl
    contact = rows.contact
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
    parallel = sine_squared < PARALLEL * jnp.finfo(apart.dtype).eps
    on_lines = (along_1 + cosine * along_2) / jnp.where(parallel, 1.0, sine_squared)
    point_2 = jnp.clip(along_2 + cosine * jnp.clip(on_lines, -half_1, half_1), -half_2, half_2)
    point_1 = jnp.clip(along_1 + cosine * point_2, -half_1, half_1)
    nearest_1 = data.geom_xpos[first] + point_1[:, None] * axis_1
    difference = data.geom_xpos[second] + point_2[:, None] * axis_2 - nearest_1
    square = (difference**2).sum(1)
    mended = (square > NOTHING**2) & _between(model, contact, CAPSULE, CAPSULE) & ~parallel
    mended |= (square > NOTHING**2) & _between(model, contact, SPHERE, CAPSULE)
    length = jnp.sqrt(jnp.where(mended, square, 1.0))
    normal = difference / length[:, None]
    distance = length - size[first, 0] - size[second, 0]
    position = nearest_1 + (size[first, 0] + 0.5 * distance)[:, None] * normal
    return data.tree_replace(
        {
            "_impl.contact.dist": jnp.where(mended, distance, contact.dist),
            "_impl.contact.pos": jnp.where(mended[:, None], position, contact.pos),
            "_impl.contact.frame": jnp.where(mended[:, None, None], _frame(normal), contact.frame),
        }
    )


def _frame(normal: Float[Array, "contacts 3"]) -> Float[Array, "contacts 3 3"]:
    """MuJoCo's frame of a contact without a direction of its own: the y axis, or z where y is too near the normal."""
    y, z = jnp.eye(3, dtype=normal.dtype)[1:]
    upright = jnp.abs(normal[:, 1:2]) < 0.5
    tangent, _ = _projection(jnp.where(upright, y, z), normal)
    return jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=1)


def _may_touch(model: mjx.Model, contact: Any, one: int, other: int) -> bool:
    types = np.asarray(model.geom_type)
    return contact.frame.shape[0] > 0 and bool((types == one).any() and (types == other).any())


def _between(model: mjx.Model, contact: Any, one: int, other: int) -> Bool[Array, " contacts"]:
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
