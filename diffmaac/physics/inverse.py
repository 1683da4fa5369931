"""Inverse dynamics of the C engine, and its derivatives at states that the engine has stepped from."""

import copy
import dataclasses

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.actuation import (
    ActuationSlopes,
    ActuatorsApart,
    ActuatorsTogether,
    MotorsApart,
    are_apart,
    are_motors,
    is_implicit,
)
from diffmaac.physics.contact_filter import ContactFilter
from diffmaac.physics.force_slopes import ForceSlopes, SlopesByDifferences, has_acceleration_slopes
from diffmaac.physics.user_inputs import STATE, AppliedForces, UserInputs

STATE_DIFFERENCE = 1e-7
"""Of positions (central) and velocities (one-sided) [m, rad and per second]."""
ONE_SIDED_DIFFERENCE = 2e-8
"""Of both where r does not bend over micrometres, as a contact's impedance does: curvature and rounding then cost some
1e-7 of the gradient, and half of the time is saved."""
SMALLER_DIFFERENCE = 1e-9
"""Of positions, where the differences above and below disagree: a constraint switches on or off within the step."""
KINK, ROUNDING = 3e-4, 1e-13
"""Disagreement above which they do, relative to the largest difference and, divided by the step, to the forces: more
than the curvature of stiff contacts, and than rounding."""
JUMP = 0.5
"""Relative disagreement of the smaller differences above which the switch is so close that only one side counts."""
NOTHING = int(mujoco.mjtStage.mjSTAGE_NONE)
"""The stage up to which everything is there already: none."""
RESIDUAL = 1e-6
"""Of r, relative to the terms that cancel in it: what is above is no rounding, nor where the solver stopped."""


@dataclasses.dataclass(frozen=True)
class Linearization:
    """The derivatives of r at n states: ``qpos[s, i, j]`` is that of r_j [N, N m] with respect to coordinate i of
    state s, positions in the tangent space. `residual` is r; `scale` the size of what cancels in it."""

    qpos: Float[np.ndarray, "n nv nv"]
    qvel: Float[np.ndarray, "n nv nv"]
    qacc: Float[np.ndarray, "n nv nv"]
    actuation: ActuationSlopes
    residual: Float[np.ndarray, "n nv"]
    scale: Float[np.ndarray, " n"]

    def less(self, applied: AppliedForces) -> "Linearization":
        """Of r less the applied forces; controls are rows of inputs then."""
        return Linearization(
            self.qpos - applied.by_qpos,
            self.qvel,
            self.qacc,
            self.actuation.widened(applied.by_inputs),
            self.residual - applied.force,
            np.maximum(self.scale, np.abs(applied.force).max(1)),
        )

    def check(self) -> None:
        """Raises `UnexplainedForce` where r is no rounding: then it is not the residual of the engine's step."""
        error = np.abs(self.residual)
        wrong = ~(error.max(1) <= RESIDUAL * self.scale)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            dof = int(error[row].argmax())
            raise UnexplainedForce(row, dof, float(error[row, dof]), float(self.scale[row]))


class UnexplainedForce(Exception):
    """At `row` the inverse dynamics leaves a `force` [N, N m] on `dof`, where terms of the size `scale` cancel."""

    def __init__(self, row: int, dof: int, force: float, scale: float):
        super().__init__(row, dof, force, scale)
        self.row, self.dof, self.force, self.scale = row, dof, force, scale


class InverseDynamics:
    """The residual r of the inverse dynamics, linearized one state after the other; one object a thread.

        r(qpos, qvel, act, ctrl, a) = qfrc_inverse(qpos, qvel, a) - qfrc_actuator(qpos, qvel, act, ctrl)

    less the applied forces, where `inputs` has some, vanishes at the acceleration a of the engine's own step. With
    MuJoCo's flag INVDISCRETE a is that of the discrete step, (qvel' - qvel) / h, and `mj_inverse` undoes what Euler
    (damping), implicit and implicitfast do to the continuous one: r contains the integrator. For RK4 a is the
    continuous acceleration of one of its stages.

    Source: Todorov, "Convex and analytically-invertible dynamics with contacts and constraints" (ICRA 2014).
    """

    def __init__(self, model: mujoco.MjModel, inputs: UserInputs | None = None):
        self.model = inverse_model(model)
        self._inputs = STATE | (inputs or UserInputs(model)).signature
        self._applied = AppliedForces(self.model, inputs) if inputs is not None and inputs.names else None
        self._data = data = mujoco.MjData(self.model)
        self._qacc = data.qacc
        self._recorder = (
            MotorsApart if are_motors(self.model) else ActuatorsApart if are_apart(self.model) else ActuatorsTogether
        )
        self._contacts = ContactFilter(self.model)
        self._slopes = (
            ForceSlopes(self.model) if has_acceleration_slopes(self.model) else SlopesByDifferences(self.model)
        )
        self._prepares = model.nu > 0 and is_implicit(self.model)
        self._forces = (data.qfrc_inverse, data.qfrc_actuator, data.qfrc_constraint, data.qfrc_bias, data.qfrc_passive)

    @property
    def models(self) -> list[mujoco.MjModel]:
        """The copies of the model in here."""
        return [self.model, *self._slopes.models]

    def linearize(self, *inputs: np.ndarray) -> Linearization:
        """At qpos (n, nq), qvel (n, nv), act (n, na), ctrl (n, nu) and the acceleration (n, nv) of the steps."""
        n, nv, data, slopes = len(inputs[0]), self.model.nv, self._data, self._slopes
        above, below, qvel = np.zeros((3, n, nv, nv))
        forces, bent = np.zeros((len(self._forces), n, nv)), np.zeros(n, bool)
        actuators = self._recorder(self.model, inputs[2], inputs[3][:, : self.model.nu])
        if self._applied is not None:
            self._applied.begin(n)
        slopes.begin(n)
        states, accelerations = np.concatenate(inputs[:4], axis=1), inputs[4]
        for row in range(n):
            self._set(states[row], accelerations[row])
            mujoco.mj_inverseSkip(self.model, data, NOTHING, 1)
            mujoco.mj_fwdActuation(self.model, data)
            for target, source in zip(forces, self._forces, strict=True):
                target[row] = source
            actuators.record(data, row)
            self._prepare()
            bent[row] = bends(data)
            slopes.record(data, row)
            self._contacts.narrow(data)
            to_qvel = None if slopes.know_velocity else qvel[row]
            if bent[row]:
                self._difference(STATE_DIFFERENCE, above[row], to_qvel)
                self._difference(-STATE_DIFFERENCE, below[row], None)
            else:
                self._difference(ONE_SIDED_DIFFERENCE, above[row], to_qvel)
            self._contacts.widen()
            if self._applied is not None:
                self._applied.record(states[row], row)
        scale = np.abs(forces).max(axis=(0, 2))
        below[~bent] = above[~bent]
        qpos = self._without_switches(above, below, scale, states, accelerations) if bent.any() else above
        qacc, known = slopes.derivatives()
        residual = forces[0] - forces[1]
        linear = Linearization(qpos, qvel if known is None else known, qacc, actuators.slopes(), residual, scale)
        return linear if self._applied is None else linear.less(self._applied)

    def _without_switches(
        self,
        above: np.ndarray,
        below: np.ndarray,
        scale: np.ndarray,
        states: np.ndarray,
        accelerations: np.ndarray,
    ) -> np.ndarray:
        """The central differences with respect to positions; where a constraint switches, smaller ones."""
        for row in map(int, np.flatnonzero(_switches(above, below, scale))):
            self._set(states[row], accelerations[row])
            self._difference(SMALLER_DIFFERENCE, above[row], None)
            self._difference(-SMALLER_DIFFERENCE, below[row], None)
        return smooth_side(above, below)

    def _set(self, state: np.ndarray, acceleration: np.ndarray) -> None:
        """`state` is (qpos, qvel, act, ctrl) in one."""
        mujoco.mj_setState(self.model, self._data, state, self._inputs)
        self._qacc[:] = acceleration
        if self._prepares:
            mujoco.mj_inverseSkip(self.model, self._data, NOTHING, 1)
            self._prepare()

    def _prepare(self) -> None:
        """Lets the derivatives of forces, which implicit steps have, be those at the inputs: they take the limits and
        rates of actuators from the last call."""
        if self._prepares:
            mujoco.mj_fwdActuation(self.model, self._data)

    def _difference(self, step: float, qpos: np.ndarray, qvel: np.ndarray | None) -> None:
        """Writes the one-sided differences of r, of those that are wanted."""
        mujoco.mjd_inverseFD(self.model, self._data, step, True, qpos, qvel, None, None, None, None, None)


def bends(data: mujoco.MjData) -> bool:
    """Whether the impedance of a constraint that exerts a force changes with the position, over micrometres."""
    return data.nefc > data.nf and bool((data.efc_KBIP[:, 3] * data.efc_force).any())


def _switches(above: np.ndarray, below: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Where the differences above and below disagree by more than curvature and rounding explain, (n,)."""
    apart, size = np.abs(above - below).max(axis=(1, 2)), np.abs(above).max(axis=(1, 2))
    return apart > KINK * size + ROUNDING / STATE_DIFFERENCE * scale


def smooth_side(above: Float[np.ndarray, "*n nv"], below: Float[np.ndarray, "*n nv"]) -> Float[np.ndarray, "*n nv"]:
    """The mean of the differences above and below; where they disagree by more than `JUMP` the smaller one.

    A force that jumps between the two (a limit that is reached with a velocity) makes one of them as large as the
    jump divided by the step, and the derivative is that of the other side.
    """
    sizes = np.linalg.norm(above, axis=-1, keepdims=True), np.linalg.norm(below, axis=-1, keepdims=True)
    apart = np.linalg.norm(above - below, axis=-1, keepdims=True) > JUMP * np.maximum(*sizes)
    smaller = np.where(sizes[0] < sizes[1], above, below)
    return np.where(apart, smaller, (above + below) / 2)


def inverse_model(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy of `model` whose inverse dynamics is that of one time step, or of one stage of RK4."""
    model = copy.copy(model)
    flags = mujoco.mjtEnableBit
    model.opt.noslip_iterations = 0
    model.opt.enableflags &= ~(int(flags.mjENBL_ENERGY) | int(flags.mjENBL_FWDINV) | int(flags.mjENBL_SLEEP))
    if model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_RK4):
        model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER  # `mjd_inverseFD` refuses RK4
        model.opt.enableflags &= ~int(flags.mjENBL_INVDISCRETE)
    else:
        model.opt.enableflags |= int(flags.mjENBL_INVDISCRETE)
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_DAMPER):
        # Euler leaves the damping out then, which `mj_inverse` does not know.
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
    return model
