"""Rotations as quaternions (w, x, y, z), differentiable at rest as everywhere else.

MJX takes a vector shorter than 1e-8 for zero and its derivative for nothing (`mjx._src.math.norm`). A body at rest then
loses the derivative of its attitude with respect to its angular velocity, and a spring of a ball joint at its reference
its stiffness: half the gradient of an ant that has come to lie still.
"""

import jax.numpy as jnp
import mujoco
import numpy as np
from jax import Array
from jaxtyping import Float

from diffmaac.physics._import import mjx
from diffmaac.physics.joints import rotating_joints
from diffmaac.physics.quaternion import multiply
from diffmaac.physics.typed import norm

SMALL = 1e-3
"""Squared half angle below which series of four terms take over: they err by less than 1e-16 of their value."""


def turn(rotation: Float[Array, "*batch 3"]) -> Float[Array, "*batch 4"]:
    """The quaternion that turns by |rotation| [rad] about it: the exponential map."""
    half = 0.5 * rotation
    x = (half**2).sum(-1, keepdims=True)
    small = x < SMALL
    angle = jnp.sqrt(jnp.where(small, 1.0, x))
    cos = jnp.where(small, 1 - x / 2 * (1 - x / 12 * (1 - x / 30 * (1 - x / 56))), jnp.cos(angle))
    sinc = jnp.where(small, 1 - x / 6 * (1 - x / 20 * (1 - x / 42 * (1 - x / 72))), jnp.sin(angle) / angle)
    return jnp.concatenate([cos, sinc * half], axis=-1)


def rotation_between(one: Float[Array, "*batch 4"], other: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3"]:
    """The rotation [rad], at most half a turn, that takes the attitude `one` to `other`, in the frame of `one`."""
    w, *vector = jnp.moveaxis(multiply(one * jnp.array([1.0, -1.0, -1.0, -1.0]), other), -1, 0)
    sign = jnp.where(w < 0, -1.0, 1.0)  # a quaternion and its negative are the same attitude
    w, v = sign * w, sign[..., None] * jnp.stack(vector, axis=-1)
    x = (v**2).sum(-1) / w**2
    small = (v**2).sum(-1) < SMALL * w**2
    y = jnp.where(small, x, 0.0)
    # atan(t) / t in t^2, to the tenth power of t.
    series = 1 - y * (1 / 3 - y * (1 / 5 - y * (1 / 7 - y * (1 / 9 - y / 11))))
    norm = jnp.sqrt(jnp.where(small, 1.0, (v**2).sum(-1)))
    factor = jnp.where(small, series / w, jnp.arctan2(norm, w) / norm)
    return 2 * factor[..., None] * v


def integrate_rotations(model: mjx.Model, before: mjx.Data, after: mjx.Data) -> mjx.Data:
    """`after` one time step of `mjx.euler` from `before`, its quaternions moved along `after.qvel` by `turn`."""
    _, quaternions, dofs = rotating_joints(model)
    if len(dofs) == 0:
        return after
    moved = multiply(before.qpos[quaternions], turn(model.opt.timestep * after.qvel[dofs]))
    moved = moved / norm(moved, axis=-1, keepdims=True)
    return after.replace(qpos=after.qpos.at[quaternions].set(moved))


def rotational_springs(stiffness: Float[np.ndarray, " joints"], model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Adds the forces of springs in ball and free joints to the passive ones; `stiffness` in N m / rad (and N / m)."""
    joints, quaternions, dofs = rotating_joints(model)
    if model.opt.disableflags & mjx.DisableBit.SPRING or not stiffness[joints].any():
        return data
    k = jnp.asarray(stiffness[joints], data.qpos.dtype)[:, None]
    bent = rotation_between(model.qpos_spring[quaternions], data.qpos[quaternions])
    force = data.qfrc_passive.at[dofs].add(-k * bent)
    free = np.asarray(model.jnt_type)[joints] == int(mujoco.mjtJoint.mjJNT_FREE)
    position, velocity = quaternions[free, :3] - 3, dofs[free] - 3
    stretched = data.qpos[position] - model.qpos_spring[position]
    return data.replace(qfrc_passive=force.at[velocity].add(-k[free] * stretched))
