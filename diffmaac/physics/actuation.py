"""How forces of actuators and rates of activations depend on activations and controls, in the C engine."""

import abc
import dataclasses

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.flags import DISABLE, disabled
from diffmaac.physics.velocity_forces import affine_bias

DIFFERENCE = 1e-6
"""Step of the central differences, in units of the control or activation, times its size where that is above 1."""


@dataclasses.dataclass(frozen=True)
class ActuationSlopes:
    """Derivatives at n states: ``force_ctrl[s, i, j]`` is that of the force of actuators on dof j [N, N m] with respect
    to control i of state s, and so on. `rate` is the time derivative of the activations."""

    force_act: Float[np.ndarray, "n na nv"]
    force_ctrl: Float[np.ndarray, "n nu nv"]
    rate: Float[np.ndarray, "n na"]
    rate_act: Float[np.ndarray, "n na na"]
    rate_ctrl: Float[np.ndarray, "n nu na"]
    rate_qpos: Float[np.ndarray, "n nv na"]
    rate_qvel: Float[np.ndarray, "n nv na"]

    def widened(self, force: Float[np.ndarray, "n extra nv"]) -> "ActuationSlopes":
        """With more columns behind the controls, which act on the dofs and on no rate."""
        rate = np.zeros((*force.shape[:2], self.rate.shape[1]))
        return dataclasses.replace(
            self,
            force_ctrl=np.concatenate([self.force_ctrl, force], axis=1),
            rate_ctrl=np.concatenate([self.rate_ctrl, rate], axis=1),
        )

    def of(self, rows: slice) -> "ActuationSlopes":
        """Of some of the states."""
        return ActuationSlopes(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    @classmethod
    def zeros(cls, n: int, model: mujoco.MjModel) -> "ActuationSlopes":
        nv, na, nu = model.nv, model.na, model.nu
        shapes = ((na, nv), (nu, nv), (na,), (na, na), (nu, na), (nv, na), (nv, na))
        return cls(*(np.zeros((n, *shape)) for shape in shapes))


class Moments:
    """How the force of each actuator acts on each dof, at n states, recorded one after the other."""

    def __init__(self, model: mujoco.MjModel):
        self._model, self._bounded = model, np.flatnonzero(model.jnt_actfrclimited)
        self.constant = moments_are_constant(model)
        """Whether they are those of the first row in all."""
        self.begin(0)

    def begin(self, n: int) -> None:
        """Forgets what is recorded, and makes room for n states."""
        nu, nv = self._model.nu, self._model.nv
        self._values, self._force = np.zeros((n, nu, nv)), np.zeros((n, nv))

    def record(self, data: mujoco.MjData, row: int) -> None:
        """Of `data`, at state `row` with all stages done."""
        self._force[row] = data.qfrc_actuator
        if row == 0 or not self.constant:
            rows = (data.moment_rownnz, data.moment_rowadr, data.moment_colind)
            mujoco.mju_sparse2dense(self._values[row], data.actuator_moment, *rows)

    def apply(self, force: Float[np.ndarray, "n nu"]) -> Float[np.ndarray, "n nv"]:
        """These forces of the actuators on the dofs, instead of those recorded."""
        self._force = (force[:, None] @ self.all())[:, 0]
        if len(self._bounded):
            dofs, low, high = self._bounds()
            self._force[:, dofs] = np.clip(self._force[:, dofs], low, high)
        return self._force

    def all(self) -> Float[np.ndarray, "n nu nv"]:
        """Those of all rows."""
        if self.constant:
            self._values[1:] = self._values[:1]
        return self._values

    def free(self) -> Float[np.ndarray, "n nu nv"]:
        """Those of all rows; zero on the dofs whose joint bounds the force, which does not move there."""
        if len(self._bounded) == 0:
            return self.all()
        dofs, low, high = self._bounds()
        inside = np.ones(self._force.shape)
        inside[:, dofs] = (low < self._force[:, dofs]) & (self._force[:, dofs] < high)
        return self.all() * inside[:, None]

    def _bounds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The dofs whose joints bound the force of actuators, and its least and its greatest value."""
        low, high = self._model.jnt_actfrcrange[self._bounded].T
        return self._model.jnt_dofadr[self._bounded], low, high


def unbounded_actuators(model: mujoco.MjModel, force: Float[np.ndarray, "n nu"]) -> Float[np.ndarray, "n nu"]:
    """1, and 0 where the force of an actuator is at its bound."""
    low, high = model.actuator_forcerange.T
    return np.where(model.actuator_forcelimited, (low < force) & (force < high), 1.0)


class AbstractActuators(abc.ABC):
    """The slopes of n states, recorded one after the other."""

    alone = False
    """Whether the forces depend on the controls alone: they are then known without the engine."""

    @abc.abstractmethod
    def begin(self, act: Float[np.ndarray, "n na"], ctrl: Float[np.ndarray, "n nu"]) -> None:
        """Forgets what is recorded, and makes room for n states with these inputs."""

    @abc.abstractmethod
    def record(self, data: mujoco.MjData, row: int) -> None:
        """Of `data`, at state `row` with all stages done, and with its actuators unless they are `alone`."""

    @abc.abstractmethod
    def slopes(self) -> ActuationSlopes:
        """Of all rows recorded."""

    def on_dofs(self, recorded: Float[np.ndarray, "n nv"]) -> Float[np.ndarray, "n nv"]:
        """Their forces on the dofs: those that the engine recorded, unless they are `alone`."""
        return recorded


class ActuatorsApart(AbstractActuators):
    """Slopes of n states where each actuator has one control, one force and at most one activation, and nothing
    couples them: all are moved at once, and the moments tell their forces on the dofs apart."""

    def __init__(self, model: mujoco.MjModel):
        self._model, self._moments = model, Moments(model)

    def begin(self, act: Float[np.ndarray, "n na"], ctrl: Float[np.ndarray, "n nu"]) -> None:
        n, model = len(ctrl), self._model
        self._steps = tuple(DIFFERENCE * np.maximum(1.0, np.abs(values)) for values in (act, ctrl))
        self._moved = tuple((x, x + step, x - step) for x, step in zip((act, ctrl), self._steps, strict=True))
        self._forces, self._rates = np.zeros((2, 2, n, model.nu)), np.zeros((2, 2, n, model.na))
        self._rate = np.zeros((n, model.na))
        self._moments.begin(n)

    def record(self, data: mujoco.MjData, row: int) -> None:
        """Moves activations and controls of `data`, and puts them back."""
        if self._model.nu == 0:
            return
        self._rate[row] = data.act_dot
        self._moments.record(data, row)
        kinds = ((1, data.ctrl),) if self._model.na == 0 else ((0, data.act), (1, data.ctrl))
        for kind, target in kinds:
            here, above, below = self._moved[kind]
            for side, values in ((0, above), (1, below)):
                target[:] = values[row]
                mujoco.mj_fwdActuation(self._model, data)
                self._forces[kind, side, row], self._rates[kind, side, row] = data.actuator_force, data.act_dot
            target[:] = here[row]

    def slopes(self) -> ActuationSlopes:
        model, out = self._model, ActuationSlopes.zeros(len(self._rate), self._model)
        moments = self._moments.free()
        owners, acts = owners_of_activations(model), np.arange(model.na)
        out.rate[:] = self._rate
        (force_act, force_ctrl), (rate_act, rate_ctrl) = (x[:, 0] - x[:, 1] for x in (self._forces, self._rates))
        step_act, step_ctrl = (2 * step for step in self._steps)
        out.force_ctrl[:] = moments * (force_ctrl / step_ctrl)[..., None]
        out.force_act[:] = moments[:, owners] * (force_act[:, owners] / step_act)[..., None]
        out.rate_ctrl[:, owners, acts] = rate_ctrl / step_ctrl[:, owners]
        out.rate_act[:, acts, acts] = rate_act / step_act
        return out


class MotorsApart(AbstractActuators):
    """Slopes of n states where each actuator has one control, a fixed gain and no activation: its force rises with its
    control by the gain, unless control, force or joint are at their bounds."""

    def __init__(self, model: mujoco.MjModel):
        self._model, self._moments = model, Moments(model)

    def begin(self, act: Float[np.ndarray, "n na"], ctrl: Float[np.ndarray, "n nu"]) -> None:
        self._ctrl = ctrl
        self._moments.begin(len(ctrl))
        self.alone = _depend_on_controls_alone(self._model)
        self._forces = self._driven() if self.alone else np.zeros(ctrl.shape)

    def record(self, data: mujoco.MjData, row: int) -> None:
        if not self.alone:
            self._forces[row] = data.actuator_force
        if not self.alone or row == 0 or not self._moments.constant:
            self._moments.record(data, row)

    def on_dofs(self, recorded: Float[np.ndarray, "n nv"]) -> Float[np.ndarray, "n nv"]:
        return self._moments.apply(self._forces) if self.alone else recorded

    def _driven(self) -> np.ndarray:
        model, ctrl = self._model, self._ctrl
        if not disabled(model, DISABLE.mjDSBL_CLAMPCTRL):
            ctrl = np.where(model.actuator_ctrllimited, np.clip(ctrl, *model.actuator_ctrlrange.T), ctrl)
        force = model.actuator_gainprm[:, 0] * ctrl
        return np.where(model.actuator_forcelimited, np.clip(force, *model.actuator_forcerange.T), force)

    def slopes(self) -> ActuationSlopes:
        model, out = self._model, ActuationSlopes.zeros(len(self._ctrl), self._model)
        free = unbounded_actuators(model, self._forces)
        if not disabled(model, DISABLE.mjDSBL_CLAMPCTRL):
            low, high = model.actuator_ctrlrange.T
            # Of a control at its bound the mean of both sides, as central differences have it.
            bound = (self._ctrl == low) | (self._ctrl == high)
            inside = (low < self._ctrl) & (self._ctrl < high)
            free *= np.where(model.actuator_ctrllimited, inside + 0.5 * bound, 1.0)
        out.force_ctrl[:] = self._moments.free() * (model.actuator_gainprm[:, 0] * free)[..., None]
        return out


class ActuatorsTogether(AbstractActuators):
    """Slopes of n states for any actuators: one activation or control is moved after the other, and for rates that
    depend on the motion (of controllers with a memory, electric motors) one position and velocity after the other."""

    def __init__(self, model: mujoco.MjModel):
        self._model = model
        self._implicit = is_implicit(model)
        own = ~np.isin(model.actuator_dyntype, _SIMPLE_DYNAMICS) | (model.actuator_plugin >= 0)
        self._in_motion = bool(model.na > 0 and own.any())

    def begin(self, act: Float[np.ndarray, "n na"], ctrl: Float[np.ndarray, "n nu"]) -> None:
        self._slopes = ActuationSlopes.zeros(len(ctrl), self._model)

    def record(self, data: mujoco.MjData, row: int) -> None:
        """Moves the inputs of `data`, and puts them back."""
        slopes = self._slopes
        slopes.rate[row] = data.act_dot
        self._move_each(data, data.act, slopes.force_act[row], slopes.rate_act[row])
        self._move_each(data, data.ctrl, slopes.force_ctrl[row], slopes.rate_ctrl[row])
        if self._in_motion:
            self._move_body(data, slopes.rate_qpos[row], slopes.rate_qvel[row])

    def slopes(self) -> ActuationSlopes:
        return self._slopes

    def _move_each(self, data: mujoco.MjData, moved: np.ndarray, force: np.ndarray, rate: np.ndarray) -> None:
        for i, here in enumerate(moved.copy()):
            step = DIFFERENCE * max(1.0, abs(here))
            for sign in (1, -1):
                moved[i] = here + sign * step
                force[i] += self._force(data) * (sign / (2 * step))
                rate[i] += data.act_dot * (sign / (2 * step))
            moved[i] = here

    def _force(self, data: mujoco.MjData) -> np.ndarray:
        mujoco.mj_fwdActuation(self._model, data)
        if not self._implicit:
            return data.qfrc_actuator
        # An implicit step depends on the derivatives of these forces as well, and so does its inverse.
        mujoco.mj_inverseSkip(self._model, data, int(mujoco.mjtStage.mjSTAGE_VEL), 1)
        return data.qfrc_actuator - data.qfrc_inverse

    def _move_body(self, data: mujoco.MjData, rate_qpos: np.ndarray, rate_qvel: np.ndarray) -> None:
        qpos, qvel = data.qpos.copy(), data.qvel.copy()
        for i, direction in enumerate(np.eye(self._model.nv)):
            for step in (DIFFERENCE, -DIFFERENCE):
                data.qvel[i] += step
                rate_qvel[i] += self._rate(data) / (2 * step)
                data.qvel[:] = qvel
                mujoco.mj_integratePos(self._model, data.qpos, direction, step)
                rate_qpos[i] += self._rate(data) / (2 * step)
                data.qpos[:] = qpos
        self._rate(data)

    def _rate(self, data: mujoco.MjData) -> np.ndarray:
        mujoco.mj_inverseSkip(self._model, data, int(mujoco.mjtStage.mjSTAGE_NONE), 1)
        mujoco.mj_fwdActuation(self._model, data)
        return data.act_dot


def actuators_of(model: mujoco.MjModel) -> AbstractActuators:
    """The fastest of them that may be used."""
    kind = MotorsApart if are_motors(model) else ActuatorsApart if are_apart(model) else ActuatorsTogether
    return kind(model)


def is_implicit(model: mujoco.MjModel) -> bool:
    """Whether a time step depends on how forces, those of actuators included, change with the velocity."""
    kinds = mujoco.mjtIntegrator
    implicit = (kinds.mjINT_IMPLICIT, kinds.mjINT_IMPLICITFAST, kinds.mjINT_DISCRETE)
    return model.opt.integrator in map(int, implicit)


def owners_of_activations(model: mujoco.MjModel) -> np.ndarray:
    """The actuator of each activation, (na,)."""
    owners = np.zeros(model.na, int)
    for actuator, (first, count) in enumerate(zip(model.actuator_actadr, model.actuator_actnum, strict=True)):
        owners[first : first + count] = actuator if count > 0 else owners[first : first + count]
    return owners


def moments_are_constant(model: mujoco.MjModel) -> bool:
    """Whether all actuators act on hinges and slides."""
    joint = model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT)
    scalar = [int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE)]
    return bool(joint.all()) and bool(np.isin(model.jnt_type[model.actuator_trnid[:, 0]], scalar).all())


_DYNAMICS, _GAINS, _BIASES = mujoco.mjtDyn, mujoco.mjtGain, mujoco.mjtBias
_SIMPLE_DYNAMICS = [
    int(x)
    for x in (
        _DYNAMICS.mjDYN_NONE,
        _DYNAMICS.mjDYN_INTEGRATOR,
        _DYNAMICS.mjDYN_FILTER,
        _DYNAMICS.mjDYN_FILTEREXACT,
        _DYNAMICS.mjDYN_MUSCLE,
    )
]
_SIMPLE_GAINS = [int(x) for x in (_GAINS.mjGAIN_FIXED, _GAINS.mjGAIN_AFFINE, _GAINS.mjGAIN_MUSCLE)]
_SIMPLE_BIASES = [int(x) for x in (_BIASES.mjBIAS_NONE, _BIASES.mjBIAS_AFFINE, _BIASES.mjBIAS_MUSCLE)]


def are_apart(model: mujoco.MjModel) -> bool:
    """Whether `ActuatorsApart` may be used."""
    single = model.nu == model.nactuator == model.nout and bool((model.actuator_actnum <= 1).all())
    simple = (
        np.isin(model.actuator_dyntype, _SIMPLE_DYNAMICS).all()
        and np.isin(model.actuator_gaintype, _SIMPLE_GAINS).all()
        and np.isin(model.actuator_biastype, _SIMPLE_BIASES).all()
    )
    coupled = (model.actuator_plugin >= 0).any() or model.tendon_actfrclimited.any()
    # The derivative with respect to the velocity, which an implicit step has, depends on the control where gains do.
    bilinear = is_implicit(model) and (model.actuator_gaintype != int(_GAINS.mjGAIN_FIXED)).any()
    return bool(single and simple and not coupled and not bilinear)


def are_motors(model: mujoco.MjModel) -> bool:
    """Whether `MotorsApart` may be used."""
    off = int(mujoco.mjtDisableBit.mjDSBL_ACTUATION) & model.opt.disableflags or model.opt.disableactuator
    fixed = (model.actuator_gaintype == int(_GAINS.mjGAIN_FIXED)).all()
    return bool(are_apart(model) and model.na == 0 and fixed and not off)


def _depend_on_controls_alone(model: mujoco.MjModel) -> bool:
    """Whether that holds for the forces of actuators of which `are_motors` holds."""
    others = (affine_bias(model), model.jnt_actgravcomp, model.actuator_damping, model.actuator_dampingpoly)
    return not any(field.any() for field in others)
