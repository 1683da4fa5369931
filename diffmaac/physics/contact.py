"""The contact frame of a capsule on a plane, as the C engine has it."""

from typing import Any

import jax.numpy as jnp
import mujoco
from jax import Array
from jaxtyping import Float
from mujoco import mjx

VERTICAL = 1e-12
"""Length of the capsule's projection on the plane below which it has no direction, and MJX's frame is kept."""


def align_capsule_frames(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Turns the frame of every plane-capsule contact so that its first tangent follows the capsule.

    MJX does so only where the capsule is more than 30 degrees off the normal, the C engine always (upstream issue
    2774). Pyramidal friction cones see the difference. Belongs between `mjx.collision` and `mjx.make_constraint`.
    """
    rows: Any = data._impl
    contact = rows.contact
    if contact.frame.shape[0] == 0:
        return data
    first, second = contact.geom[:, 0], contact.geom[:, 1]
    types = jnp.asarray(model.geom_type)
    # Compared as integers: a JAX array and an enum of MuJoCo are never equal.
    plane, capsule = int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_CAPSULE)
    on_plane = (types[first] == plane) & (types[second] == capsule)
    normal, axis = contact.frame[:, 0], data.geom_xmat[second][:, :, 2]
    tangent, length = _projection(axis, normal)
    aligned = jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=1)
    frame = jnp.where((on_plane & (length > VERTICAL))[:, None, None], aligned, contact.frame)
    return data.tree_replace({"_impl.contact.frame": frame})


def _projection(
    axis: Float[Array, "contacts 3"], normal: Float[Array, "contacts 3"]
) -> tuple[Float[Array, "contacts 3"], Float[Array, " contacts"]]:
    """Direction and length of `axis` projected on the plane; finite, with a finite derivative, where there is none."""
    flat = axis - normal * (normal * axis).sum(1, keepdims=True)
    square = (flat**2).sum(1)
    length = jnp.sqrt(jnp.where(square > VERTICAL**2, square, 1.0))
    return flat / length[:, None], jnp.where(square > VERTICAL**2, length, 0.0)
