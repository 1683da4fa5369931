"""Inverse dynamics of the C engine, and its derivatives at states that the engine has stepped from."""

import copy
import dataclasses

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.actuation import ActuationSlopes, actuators_of, is_implicit
from diffmaac.physics.force_slopes import ForceSlopes, SlopesByDifferences, has_acceleration_slopes
from diffmaac.physics.snapshots import Snapshots
from diffmaac.physics.state_differences import StateDifferences
from diffmaac.physics.state_slopes import StateSlopes
from diffmaac.physics.user_inputs import STATE, AppliedForces, UserInputs

FORCES = ("qfrc_inverse", "qfrc_actuator", "qfrc_constraint", "qfrc_bias", "qfrc_passive")
"""The forces that cancel in r, which is the first less the second."""
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

    def of(self, rows: slice) -> "Linearization":
        """Of some of the states."""
        arrays = (self.qpos[rows], self.qvel[rows], self.qacc[rows])
        return Linearization(*arrays, self.actuation.of(rows), self.residual[rows], self.scale[rows])

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
        self._actuators = actuators_of(self.model)
        self._differences = StateDifferences(self.model, data)
        self._closed = None
        if has_acceleration_slopes(self.model):
            self._snapshots = Snapshots(data, (*FORCES, *StateSlopes.FIELDS), StateSlopes.ARENA)
            self._slopes = ForceSlopes(self.model, self._snapshots)
            self._closed = StateSlopes(self.model, self._slopes, self._snapshots)
        else:
            self._snapshots = Snapshots(data, FORCES)
            self._slopes = SlopesByDifferences(self.model)
        self._prepares = model.nu > 0 and is_implicit(self.model)

    @property
    def models(self) -> list[mujoco.MjModel]:
        """The copies of the model in here."""
        return [self.model, *self._slopes.models]

    def linearize(self, *inputs: np.ndarray) -> Linearization:
        """At qpos (n, nq), qvel (n, nv), act (n, na), ctrl (n, nu) and the acceleration (n, nv) of the steps."""
        n, data, slopes, snapshots = len(inputs[0]), self._data, self._slopes, self._snapshots
        self._states, self._accelerations = np.concatenate(inputs[:4], axis=1), inputs[4]
        actuators = self._actuators
        actuators.begin(inputs[2], inputs[3][:, : self.model.nu])
        closed = self._closed if self._closed is not None and self._closed.begin(n) else None
        snapshots.begin(n)
        slopes.begin(n, closed is None)
        self._differences.begin(0 if closed is not None else n)
        if self._applied is not None:
            self._applied.begin(n)
        for row in range(n):
            self._evaluate(row)
            if not actuators.alone:
                mujoco.mj_fwdActuation(self.model, data)
            snapshots.take(row)
            actuators.record(data, row)
            if closed is not None:
                closed.record(data, row)
                slopes.record(data, row)
            else:
                self._prepare()
                slopes.record(data, row)
                self._differences.record(row, not slopes.know_velocity)
            if self._applied is not None:
                self._applied.record(self._states[row], row)
        forces = np.array([snapshots[name] for name in FORCES])
        forces[1] = actuators.on_dofs(forces[1])
        scale = np.abs(forces).max(axis=(0, 2))
        if closed is None:
            qpos, smooth = self._differences.qpos(scale, self._set), None
        else:
            qpos, smooth = closed.derivatives(inputs[1], inputs[4])
            self._fill(qpos, closed.unknown(), scale)
        qacc, qvel = slopes.derivatives(smooth)
        qvel = self._differences.qvel if qvel is None else qvel
        linear = Linearization(qpos, qvel, qacc, actuators.slopes(), forces[0] - forces[1], scale)
        return linear if self._applied is None else linear.less(self._applied)

    def _fill(self, qpos: np.ndarray, rows: np.ndarray, scale: np.ndarray) -> None:
        """Writes the derivatives by positions of those rows, by differences."""
        if len(rows) == 0:
            return
        self._differences.begin(len(rows))
        for place, row in enumerate(rows):
            self._evaluate(int(row))
            self._differences.record(place, False)
        qpos[rows] = self._differences.qpos(scale[rows], lambda place: self._set(int(rows[place])))

    def _evaluate(self, row: int) -> None:
        """The inverse dynamics at that row."""
        self._set(row)
        mujoco.mj_inverseSkip(self.model, self._data, NOTHING, 1)

    def _set(self, row: int) -> None:
        mujoco.mj_setState(self.model, self._data, self._states[row], self._inputs)
        self._qacc[:] = self._accelerations[row]
        if self._prepares:
            mujoco.mj_inverseSkip(self.model, self._data, NOTHING, 1)
            self._prepare()

    def _prepare(self) -> None:
        """Lets the derivatives of forces, which implicit steps have, be those at the inputs: they take the limits and
        rates of actuators from the last call."""
        if self._prepares:
            mujoco.mj_fwdActuation(self.model, self._data)


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
