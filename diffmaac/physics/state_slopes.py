"""How the inverse dynamics depends on positions and velocities, in closed form where everything that moves has one."""

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int

from diffmaac.physics.actuation import Moments, are_apart, moments_are_constant, unbounded_actuators
from diffmaac.physics.contact_slopes import Motions, SmoothContacts
from diffmaac.physics.flags import DISABLE, disabled, gravity
from diffmaac.physics.force_slopes import ForceSlopes, Rows, adds_forces, has_acceleration_slopes
from diffmaac.physics.kinematic_tree import KinematicTree
from diffmaac.physics.linear import solve
from diffmaac.physics.motion_slopes import MotionSlopes
from diffmaac.physics.snapshots import Snapshots
from diffmaac.physics.velocity_forces import affine_bias

LIMIT = int(mujoco.mjtConstraint.mjCNSTR_LIMIT_JOINT)


class StateSlopes:
    """The derivatives of r with respect to positions and velocities at n states, recorded one state after the other.

    With the continuous acceleration a, of which the integrator makes a' by M a = (M + h B) a',

        r = (M + h B) a' + bias - passive - actuators - J' f,

    of which the force f of the constraints changes with J a - aref, and with its weights where its impedance changes.
    """

    FIELDS = ("cdof", "cinert", "actuator_force", *ForceSlopes.FIELDS, *SmoothContacts.FIELDS)
    ARENA = (*ForceSlopes.ARENA, *SmoothContacts.ARENA)
    """What it and its parts take from snapshots."""

    def __init__(self, model: mujoco.MjModel, forces: ForceSlopes, snapshots: Snapshots):
        self._model, self._forces, self._tree = model, forces, KinematicTree(model)
        self._snapshots, self._contacts = snapshots, SmoothContacts(model, self._tree, snapshots)
        self._servos, self._possible = Servos(model), _have_closed_forms(model)

    def begin(self, n: int) -> bool:
        """Forgets what is recorded, and makes room for n states; False where the model has no closed form."""
        if not (self._possible and _are_simple(self._model)) or adds_forces():
            return False
        self._servos.begin(n)
        self._unknown = np.zeros(0, int)
        return True

    def record(self, data: mujoco.MjData, row: int) -> None:
        """Of `data`, at the state of that row's snapshot."""
        self._servos.record(data, row)

    def unknown(self) -> Int[np.ndarray, " rows"]:
        """The states in which a contact that exerts a force has no closed form, known with the derivatives: those by
        positions are wrong there."""
        return self._unknown

    def derivatives(
        self, qvel: Float[np.ndarray, "n nv"], qacc: Float[np.ndarray, "n nv"]
    ) -> tuple[Float[np.ndarray, "n nv nv"], Float[np.ndarray, "n nv nv"]]:
        """``[s, i, j]``: of r_j with respect to coordinate i at state s; and of passive forces and actuators less the
        bias force with respect to velocity i. `qacc` is a'."""
        model, rows = self._model, self._forces.rows()
        axes, inertias = (self._snapshots[name].copy() for name in ("cdof", "cinert"))
        motion = MotionSlopes(self._tree, axes, inertias, qvel, gravity(model))
        qpos, smooth = motion.by_position(qacc), -motion.by_velocity()
        dofs = np.arange(model.nv)
        if not disabled(model, DISABLE.mjDSBL_SPRING):
            qpos[:, dofs, dofs] += model.jnt_stiffness[model.dof_jntid]
        if not disabled(model, DISABLE.mjDSBL_DAMPER):
            smooth[:, dofs, dofs] -= model.dof_damping
        if self._servos.move:
            by_length, by_rate = self._servos.slopes(self._snapshots["actuator_force"])
            qpos, smooth = qpos - by_length, smooth + by_rate
        if rows.jacobian.shape[1]:
            qpos += self._by_constraints(rows, motion, axes, qvel, qacc)
        return qpos, smooth

    def _by_constraints(
        self, rows: Rows, motion: MotionSlopes, axes: np.ndarray, qvel: np.ndarray, qacc: np.ndarray
    ) -> np.ndarray:
        """Of -J' f."""
        distance = rows.jacobian * (rows.kind[..., None] == LIMIT)
        pull = np.zeros_like(distance)
        damping = self._forces.implicit_damping()
        if damping.any():
            mass = self._forces.mass()
            more = solve(mass, (damping * qacc)[..., None])[..., 0]  # a - a'
            qacc, pull = qacc + more, -rows.jacobian @ solve(mass, motion.of_mass(more).mT)
        weight, out = _relative_bend(rows), np.zeros((len(qvel), *[self._model.nv] * 2))
        contacts, self._unknown = self._contacts.slopes(Motions(axes, qvel, qacc, rows.force, rows.rate))
        for slopes in contacts:
            contact, row = np.nonzero(slopes.rows >= 0)
            state, places = slopes.state[contact], slopes.rows[contact, row]
            distance[state, places] = slopes.distance[contact]
            pull[state, places] += slopes.pull[contact, row]
            weight[state, places] = weight[state, slopes.rows[contact, 0]]
            np.subtract.at(out, slopes.state, slopes.force)
        pull += (rows.stiffness * (rows.impedance + rows.bend * rows.distance))[..., None] * distance
        scaled = (weight * rows.force)[..., None] * rows.jacobian
        return out + pull.mT @ rows.weighted - distance.mT @ scaled


class Servos:
    """How the forces of actuators depend on the positions and velocities of their joints, at n states, recorded one
    after the other."""

    def __init__(self, model: mujoco.MjModel):
        self._model, self._moments = model, Moments(model)
        self.begin(0)

    def begin(self, n: int) -> None:
        """Forgets what is recorded, and makes room for n states."""
        self._by_length, self._by_rate = affine_bias(self._model)[:, 1:].T
        self.move = bool(self._by_length.any() or self._by_rate.any())
        """Whether some depend on them."""
        self._moments.begin(n if self.move else 0)

    def record(self, data: mujoco.MjData, row: int) -> None:
        """Of `data`, at whose state `mj_fwdActuation` has run."""
        if self.move:
            self._moments.record(data, row)

    def slopes(
        self, force: Float[np.ndarray, "n nu"]
    ) -> tuple[Float[np.ndarray, "n nv nv"], Float[np.ndarray, "n nv nv"]]:
        """Of the force on dof j with respect to coordinate and velocity i; none where the force of an actuator is at
        its bound."""
        free, moments = unbounded_actuators(self._model, force), self._moments.free()
        from_joints = self._moments.all().mT
        by_length, by_rate = (
            from_joints @ ((free * bias)[..., None] * moments) for bias in (self._by_length, self._by_rate)
        )
        return by_length, by_rate


def _relative_bend(rows: Rows) -> Float[np.ndarray, "n r"]:
    """How much a row's weight 1 / R grows with the distance, relative to it: R is in proportion to (1 - I) / I."""
    scale = rows.impedance * (1 - rows.impedance)
    return np.divide(rows.bend, scale, out=np.zeros_like(scale), where=scale > 0)


def has_state_slopes(model: mujoco.MjModel) -> bool:
    """Whether the derivatives with respect to positions and velocities have this closed form, contacts apart."""
    return _have_closed_forms(model) and _are_simple(model)


def _have_closed_forms(model: mujoco.MjModel) -> bool:
    """Whether all parts of the model have, as long as their values are simple."""
    others = (model.neq, model.nflex, model.nplugin, model.flg_surfacevel, model.flg_adhesion)
    exact = model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_DIAGEXACT)
    limited = (model.jnt_limited[_turning(model)] != 0).any()
    return not (any(others) or exact or limited) and _has_simple_actuators(model)


def _are_simple(model: mujoco.MjModel) -> bool:
    """Whether nothing acts that the closed forms lack."""
    fluid = model.opt.density > 0 or model.opt.viscosity > 0
    curved = model.body_gravcomp.any() or model.jnt_stiffnesspoly.any() or model.jnt_stiffness[_turning(model)].any()
    return not (fluid or curved or _tendons_pull(model)) and has_acceleration_slopes(model)


def _turning(model: mujoco.MjModel) -> Bool[np.ndarray, " joints"]:
    """The ball and free joints."""
    return model.jnt_type < int(mujoco.mjtJoint.mjJNT_SLIDE)


def _tendons_pull(model: mujoco.MjModel) -> bool:
    """Whether a tendon exerts a force by itself, or has inertia."""
    fields = "stiffness stiffnesspoly damping dampingpoly frictionloss limited armature"
    return any(getattr(model, f"tendon_{name}").any() for name in fields.split())


def _has_simple_actuators(model: mujoco.MjModel) -> bool:
    """Whether actuators act on hinges and slides with a force that is linear in their positions and velocities."""
    if model.nu == 0:
        return True
    fixed = (model.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_FIXED)).all()
    affine = [int(mujoco.mjtBias.mjBIAS_NONE), int(mujoco.mjtBias.mjBIAS_AFFINE)]
    on = not (disabled(model, DISABLE.mjDSBL_ACTUATION) or model.opt.disableactuator)
    simple = fixed and np.isin(model.actuator_biastype, affine).all() and on
    return bool(are_apart(model) and moments_are_constant(model) and simple)
