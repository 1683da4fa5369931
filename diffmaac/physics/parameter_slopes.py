"""How the inverse dynamics depends on the parameters that have a closed form, or nearly one."""

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.actuation import is_implicit
from diffmaac.physics.flags import DISABLE, disabled
from diffmaac.physics.friction_slopes import FrictionSlopes, by_friction_loss, dense_jacobian
from diffmaac.physics.inertial_slopes import INERTIAL, BodyMotions
from diffmaac.physics.inverse import NOTHING, inverse_model
from diffmaac.physics.joints import rotating_joints
from diffmaac.physics.linear import solve
from diffmaac.physics.parameters import ParameterSpace
from diffmaac.physics.user_inputs import STATE, UserInputs
from diffmaac.physics.weight_slopes import WeighedConstraints, WeightSlopes

_INTEGRATORS = mujoco.mjtIntegrator
WEIGHING = ("body_mass", "body_inertia", "body_ipos", "dof_armature")
"""Fields that the constraints' regularisation depends on, too."""
FRICTIONAL = {"geom_friction": False, "pair_friction": True}
"""Fields of friction coefficients: whether they are those of pairs."""


class StageSlopes(NamedTuple):
    """``[s, i, j]``: the derivative of the force on dof j at state s with respect to parameter i.

    The acceleration a' of a time step is that of a = a' + u, M u = (M' - M) a', where r_c(a) = 0 and M' is the inertia
    of an implicit step: M + h B for Euler with the damping B. With e and i the slopes of r_c and of M u - h B a',

        da' = M'^-1 i - (dr/da')^-1 e.
    """

    explicit: Float[np.ndarray, "n size nv"]
    implicit: Float[np.ndarray, "n size nv"]
    inertia: Float[np.ndarray, "n nv nv"] | None
    """M'; None where it is M, and `implicit` zero."""

    def pull_back(
        self, force: Float[np.ndarray, "n nv"], acceleration: Float[np.ndarray, "n nv"]
    ) -> Float[np.ndarray, "n size"]:
        """From the gradient with respect to a', and (dr/da')'^-1 times it."""
        gradient = -(self.explicit @ force[..., None])[..., 0]
        if self.inertia is None:
            return gradient
        return gradient + (self.implicit @ solve(self.inertia, acceleration[..., None]))[..., 0]

    def push_forward(self, qacc: Float[np.ndarray, "n nv nv"]) -> Float[np.ndarray, "n nv size"]:
        """da'; `qacc` is the transposed dr/da'."""
        ahead = -solve(qacc.mT, self.explicit.mT)
        return ahead if self.inertia is None else ahead + solve(self.inertia, self.implicit.mT)


class ParameterSlopes:
    """The derivatives of r with respect to parameters at n states. One object a thread.

    `known` tells of each parameter whether it is here; the others are zero. Closed forms: masses, inertias, centres of
    mass, gravity, armature, damping, stiffness and rest positions of joints, friction loss. Friction coefficients are
    differences of contact forces at a constant acceleration, those of all contacts at once.
    """

    def __init__(self, model: mujoco.MjModel, space: ParameterSpace, inputs: UserInputs | None = None):
        self.model, self._space = inverse_model(model), space
        inputs = inputs or UserInputs(model)
        self._inputs = STATE | inputs.signature
        self._data = mujoco.MjData(self.model)
        self._bodies, self._constraints = BodyMotions(self.model), WeighedConstraints(self.model)
        self.known = known_parameters(self.model, space)
        if "xfrc_applied" in inputs.names and "body_ipos" in space.names:
            self.known[space.slices["body_ipos"]] = False  # forces act at centres of mass
        self._names = [name for name in space.names if self.known[space.slices[name]].any()]
        self._weighing = [name for name in self._names if name in WEIGHING]
        self._inertial = [name for name in self._names if name in INERTIAL]
        self._friction = {n: FrictionSlopes(self.model, FRICTIONAL[n]) for n in self._names if n in FRICTIONAL}
        self._loss = space.slices["dof_frictionloss"] if "dof_frictionloss" in self._names else None
        self._prepares = model.nu > 0 and is_implicit(self.model)
        self._implicit = model.opt.integrator != int(_INTEGRATORS.mjINT_RK4)
        self.refresh()

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self._space.size

    def refresh(self) -> None:
        """To be called when the model's values have changed."""
        self._weights = WeightSlopes(self.model, self._space, self._weighing) if self._weighing else None

    def linearize(self, *inputs: np.ndarray) -> StageSlopes:
        """At qpos (n, nq), qvel (n, nv), act (n, na), ctrl (n, nu) and the acceleration (n, nv) of the steps."""
        n, nv = inputs[4].shape
        explicit, implicit = np.zeros((2, n, self._space.size, nv))
        out = StageSlopes(explicit, implicit, np.zeros((n, nv, nv)) if self._implicit else None)
        self._begin(n)
        states, continuous = np.concatenate(inputs[:4], axis=1), np.zeros((n, nv))
        for row in range(n):
            continuous[row] = self._evaluate(states[row], inputs[4][row], out, row)
            self._record_constraints(row, out.explicit[row], continuous[row])
        self._masses(out)
        for name, friction in self._friction.items():
            friction.add(out.explicit[:, self._space.slices[name]])
        self._joints(out, inputs[0], inputs[1], inputs[4], continuous)
        return out

    def _evaluate(self, state: np.ndarray, acceleration: np.ndarray, out: StageSlopes, row: int) -> np.ndarray:
        """The continuous acceleration at a state; records what is needed there."""
        model, data = self.model, self._data
        mujoco.mj_setState(model, data, state, self._inputs)
        data.qacc[:] = acceleration
        if self._prepares:  # the derivatives of actuators' forces are those of the last call
            mujoco.mj_inverseSkip(model, data, NOTHING, 1)
            mujoco.mj_fwdActuation(model, data)
        mujoco.mj_inverseSkip(model, data, NOTHING, 1)
        force = data.qfrc_inverse - data.qfrc_bias + data.qfrc_passive + data.qfrc_constraint
        continuous = np.zeros((1, model.nv))
        mujoco.mj_solveM(model, data, continuous, force[None])
        if out.inertia is not None:
            self._inertia(out.inertia[row])
        if self._inertial:
            data.qacc[:] = continuous[0]
            self._bodies.record(data, row, continuous[0] - acceleration)
        return continuous[0]

    def _inertia(self, out: np.ndarray) -> None:
        """M' of the state that `data` is at."""
        model, data = self.model, self._data
        mujoco.mj_fullM(model, data, out)
        if is_implicit(model):
            rows = np.repeat(np.arange(model.nv), model.D_rownnz)
            change = np.zeros_like(out)
            change[rows, model.D_colind] = model.opt.timestep * data.qDeriv
            lower = np.tril(change)
            out -= lower + np.tril(change, -1).T
        elif _damps_implicitly(model):
            out[np.diag_indices(model.nv)] += model.opt.timestep * model.dof_damping

    def _begin(self, n: int) -> None:
        self._bodies.begin(n)
        self._constraints.begin(n)
        for friction in self._friction.values():
            friction.begin()

    def _record_constraints(self, row: int, explicit: np.ndarray, acceleration: np.ndarray) -> None:
        """Of the state that `data` is at; adds the slopes with respect to friction losses."""
        data = self._data
        if data.nefc and (self._weights is not None or self._loss is not None):
            jacobian = dense_jacobian(self.model, data).copy()
            if self._weights is not None:
                self._constraints.record(data, row, jacobian)
            if self._loss is not None:
                explicit[self._loss] += by_friction_loss(data, jacobian)
        if data.ncon and data.nefc > data.nf:
            for friction in self._friction.values():
                friction.record(data, row, acceleration)

    def _masses(self, out: StageSlopes) -> None:
        """Adds the slopes with respect to masses and inertias."""
        slices = self._space.slices
        for name, slopes in self._bodies.slopes(self._inertial).items() if self._inertial else ():
            out.explicit[:, slices[name]] += slopes.explicit
            out.implicit[:, slices[name]] += slopes.implicit
        if self._weights is not None:
            places = np.concatenate([np.arange(self.size)[slices[name]] for name in self._weighing])
            out.explicit[:, places] += self._constraints.slopes(self._weights)

    def _joints(
        self, out: StageSlopes, qpos: np.ndarray, qvel: np.ndarray, acceleration: np.ndarray, continuous: np.ndarray
    ) -> None:
        """Adds those of armature, damping, stiffness and rest positions."""
        model, slices = self.model, self._space.slices
        dofs = np.arange(model.nv)
        if "dof_armature" in self._names:
            own = slices["dof_armature"].start + dofs
            out.explicit[:, own, dofs] += continuous
            out.implicit[:, own, dofs] += continuous - acceleration
        if "dof_damping" in self._names and not disabled(model, DISABLE.mjDSBL_DAMPER):
            own = slices["dof_damping"].start + dofs
            out.explicit[:, own, dofs] += qvel
            if _damps_implicitly(model):
                out.implicit[:, own, dofs] -= model.opt.timestep * acceleration
        if disabled(model, DISABLE.mjDSBL_SPRING):
            return
        joints = _scalar_joints(model)
        places, moved = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        if "jnt_stiffness" in self._names:
            own = slices["jnt_stiffness"].start + joints
            out.explicit[:, own, moved] += qpos[:, places] - model.qpos_spring[places]
        if "qpos_spring" in self._names:
            out.explicit[:, slices["qpos_spring"].start + places, moved] -= model.jnt_stiffness[joints]


def known_parameters(model: mujoco.MjModel, space: ParameterSpace) -> np.ndarray:
    """Which numbers of the parameters have slopes here, (size,)."""
    known = np.zeros(space.size, bool)
    rotating = is_implicit(model) and len(rotating_joints(model)[0]) > 0
    kinds = (_INTEGRATORS.mjINT_EULER, _INTEGRATORS.mjINT_RK4, _INTEGRATORS.mjINT_IMPLICITFAST)
    if model.opt.integrator not in map(int, kinds) or model.nflex or _curved(model, space):
        return known
    joints = _scalar_joints(model)
    weighed = not model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_DIAGEXACT)  # by invweight0
    for name, own in space.slices.items():
        if name in (*INERTIAL, "dof_armature"):
            # gyroscopic forces are implicit, too
            known[own] = _is_regular(model, space) and not rotating and weighed
        elif name == "dof_damping":
            known[own] = not rotating
        elif name in FRICTIONAL:
            known[own] = True
        elif name == "dof_frictionloss":
            known[own] = model.dof_frictionloss > 0  # the others have no constraint yet
        elif name == "jnt_stiffness":
            known[own.start + joints] = True
        elif name == "qpos_spring" and not (model.jnt_stiffnesspoly.any() or "jnt_stiffnesspoly" in space.names):
            known[own.start + model.jnt_qposadr[joints]] = True
    if model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_OVERRIDE):
        for name in set(FRICTIONAL) & set(space.names):
            known[space.slices[name]] = False
    return known


def _is_regular(model: mujoco.MjModel, space: ParameterSpace) -> bool:
    """Whether masses and inertias act through M, the bias and the constraints alone."""
    fluid = model.opt.density or model.opt.viscosity or {"opt.density", "opt.viscosity"} & set(space.names)
    muscles = (model.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_MUSCLE)).any()
    muscles |= (model.actuator_biastype == int(mujoco.mjtBias.mjBIAS_MUSCLE)).any()
    return not (fluid or muscles or model.jnt_actgravcomp.any() or model.nplugin)


def _curved(model: mujoco.MjModel, space: ParameterSpace) -> bool:
    """Whether damping is more than linear, which Euler takes otherwise."""
    fields = ("dof_dampingpoly", "actuator_damping", "actuator_dampingpoly")
    return any(getattr(model, field).any() or field in space.names for field in fields)


def _damps_implicitly(model: mujoco.MjModel) -> bool:
    if model.opt.integrator == int(_INTEGRATORS.mjINT_EULER):
        discrete = model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_INVDISCRETE)
        return bool(discrete) and not disabled(model, DISABLE.mjDSBL_EULERDAMP)
    return is_implicit(model)


def _scalar_joints(model: mujoco.MjModel) -> np.ndarray:
    """Hinges and slides."""
    scalar = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    return np.flatnonzero(np.isin(model.jnt_type, scalar))
