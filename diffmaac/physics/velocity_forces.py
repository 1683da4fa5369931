"""Forces that depend on velocities, and the degrees of freedom on which they act."""

import mujoco
import numpy as np
from jaxtyping import Bool, Float

from diffmaac.physics.kinematic_tree import moves

_WRAPS, _TRANSMISSIONS = mujoco.mjtWrap, mujoco.mjtTrn
_GAINS, _BIASES = mujoco.mjtGain, mujoco.mjtBias
_GEOMS = (int(_WRAPS.mjWRAP_SPHERE), int(_WRAPS.mjWRAP_CYLINDER))
_OF_SITES = (int(_TRANSMISSIONS.mjTRN_SITE), int(_TRANSMISSIONS.mjTRN_SLIDERCRANK))
_OF_JOINTS = (int(_TRANSMISSIONS.mjTRN_JOINT), int(_TRANSMISSIONS.mjTRN_JOINTINPARENT))


def affine_bias(model: mujoco.MjModel) -> Float[np.ndarray, "nu 3"]:
    """Constant, and factors of position and velocity, of the force that an actuator has without its control; zero for
    actuators without such a force, which may have the numbers."""
    return model.actuator_biasprm[:, :3] * (model.actuator_biastype == int(_BIASES.mjBIAS_AFFINE))[:, None]


def couple_branches(model: mujoco.MjModel) -> bool:
    """Whether one of them acts on two dofs of which neither carries the other.

    MuJoCo's derivatives of forces by velocities have no entry for such a pair.
    """
    damped = model.tendon_damping.astype(bool) | model.tendon_dampingpoly.any(1)
    moved = moves(model).astype(bool)
    dofs = [_of_tendon(model, moved, int(tendon)) for tendon in np.flatnonzero(damped)]
    dofs += [_of_actuator(model, moved, int(actuator)) for actuator in np.flatnonzero(_depend_on_velocity(model))]
    return any(_branch(model, those) for those in dofs)


def turn_armature(model: mujoco.MjModel) -> bool:
    """Whether the inertia of a tendon, or of an actuator on something else than a joint, adds a force that depends on
    the velocity, because the directions in which it acts change along the motion."""
    joints = np.isin(model.actuator_trntype, _OF_JOINTS)
    return bool(model.tendon_armature.any() or model.actuator_armature[~joints].any())


def _depend_on_velocity(model: mujoco.MjModel) -> Bool[np.ndarray, " nu"]:
    """The actuators whose force does."""
    gains, biases = model.actuator_gaintype, model.actuator_biastype
    fixed = (gains == int(_GAINS.mjGAIN_FIXED)) | (gains == int(_GAINS.mjGAIN_AFFINE)) & (
        model.actuator_gainprm[:, 2] == 0
    )
    affine = np.isin(biases, [int(_BIASES.mjBIAS_NONE), int(_BIASES.mjBIAS_AFFINE)])
    return ~fixed | ~affine | (affine_bias(model)[:, 2] != 0)


def _of_tendon(model: mujoco.MjModel, moved: Bool[np.ndarray, "nbody nv"], tendon: int) -> Bool[np.ndarray, " nv"]:
    """The dofs that may change its length; `moved` are those of each body."""
    out = np.zeros(model.nv, bool)
    for wrap in range(model.tendon_adr[tendon], model.tendon_adr[tendon] + model.tendon_num[tendon]):
        kind, part = int(model.wrap_type[wrap]), int(model.wrap_objid[wrap])
        if kind == int(_WRAPS.mjWRAP_JOINT):
            out[model.jnt_dofadr[part]] = True
        elif kind == int(_WRAPS.mjWRAP_SITE):
            out |= moved[model.site_bodyid[part]]
        elif kind in _GEOMS:
            out |= moved[model.geom_bodyid[part]]
    return out


def _of_actuator(model: mujoco.MjModel, moved: Bool[np.ndarray, "nbody nv"], actuator: int) -> Bool[np.ndarray, " nv"]:
    """The dofs on which it may act; none for one on a joint, whose dofs carry each other."""
    kind, parts = int(model.actuator_trntype[actuator]), model.actuator_trnid[actuator]
    if kind in _OF_JOINTS:
        return np.zeros(model.nv, bool)
    if kind == int(_TRANSMISSIONS.mjTRN_TENDON):
        return _of_tendon(model, moved, int(parts[0]))
    if kind in _OF_SITES:
        return np.any(moved[model.site_bodyid[parts[parts >= 0]]], axis=0)
    return np.ones(model.nv, bool)


def _branch(model: mujoco.MjModel, dofs: Bool[np.ndarray, " nv"]) -> bool:
    """Whether they lie on more than one way from the root."""
    others = set(np.flatnonzero(dofs).tolist())
    dof = max(others, default=-1)
    while dof >= 0:
        others.discard(dof)
        dof = int(model.dof_parentid[dof])
    return bool(others)
