"""The control step: MJX's public stages, composed so that only what the next state needs is computed."""

import copy
import functools
from typing import TypeAlias

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax import Array
from jaxtyping import Float

from diffmaac.physics._import import mjx
from diffmaac.physics.contact import collide, correct_contacts
from diffmaac.physics.elimination import solve as solve_linear
from diffmaac.physics.engine import check_frame_skip
from diffmaac.physics.host import check_process
from diffmaac.physics.integrator import Carry, Stage, euler, implicit_fast, one_stage, rk4
from diffmaac.physics.joints import rotating_joints
from diffmaac.physics.rotation import rotational_springs
from diffmaac.physics.signatures import ControlStep, PhysicsState
from diffmaac.physics.supported import check_supported
from diffmaac.physics.unsupported import UnsupportedModel

Solve: TypeAlias = Stage
"""Adds qacc and qfrc_constraint to data that has all the terms of the constraint problem."""

_POSITION = (mjx.kinematics, mjx.com_pos, mjx.tendon, mjx.crb, mjx.tendon_armature)
_CONSTRAINTS = (collide, correct_contacts, mjx.make_constraint, mjx.transmission)


def _smooth_acceleration(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """`mjx.fwd_acceleration` without LAPACK, and without forces applied from outside, which there are none of."""
    force = data.qfrc_passive - data.qfrc_bias + data.qfrc_actuator
    acceleration = solve_linear(mjx.full_m(model, data), force, symmetric=True)
    return data.replace(qfrc_smooth=force, qacc_smooth=acceleration)


def _stages(model: mujoco.MjModel) -> tuple[Stage, ...]:
    """`mjx.forward` up to the solver without LAPACK and what no force depends on (cameras, lights, sensors)."""
    springs = functools.partial(rotational_springs, model.jnt_stiffness)
    return (*_POSITION, *_CONSTRAINTS, mjx.fwd_velocity, springs, mjx.fwd_actuation, _smooth_acceleration)


def control_step(model: mujoco.MjModel, frame_skip: int, solve: Solve) -> ControlStep:
    """`frame_skip` time steps of `model` under a constant control, the constraints solved by `solve`.

    The precision follows the inputs, float32 or float64, and so does the model's.

    Raises:
        UnsupportedModel: MJX cannot simulate the model as the C engine does.
        ValueError: the frame skip is not positive.
    """
    check_frame_skip(frame_skip)
    check_supported(model)
    model = _prepared(model)
    single, double, stages = _load(model, np.float32), _load(model, np.float64), _stages(model)

    def step(
        qpos: Float[Array, " nq"], qvel: Float[Array, " nv"], act: Float[Array, " na"], ctrl: Float[Array, " nu"]
    ) -> PhysicsState:
        mjx_model, blank = double if qpos.dtype == np.float64 else single
        blank = blank.replace(ctrl=ctrl)
        forward = functools.partial(_forward, mjx_model, stages, blank, solve)

        def time_step(carry: Carry, _: None) -> tuple[Carry, None]:
            if model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4:
                return rk4(mjx_model, blank, forward, carry), None
            advance = implicit_fast if model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST else euler
            return one_stage(advance, mjx_model, forward, carry), None

        # The solver finds the same optimum from every start; zeros make the step a function of the state alone.
        start = (qpos, qvel, act, jnp.zeros_like(qvel))
        (qpos, qvel, act, _), _ = jax.lax.scan(time_step, start, length=frame_skip)
        return qpos, qvel, act

    return step


def _forward(
    model: mjx.Model,
    stages: tuple[Stage, ...],
    blank: mjx.Data,
    solve: Solve,
    qpos: Array,
    qvel: Array,
    act: Array,
    warmstart: Array,
) -> mjx.Data:
    data = blank.replace(qpos=qpos, qvel=qvel, act=act, qacc_warmstart=warmstart)
    for stage in stages:
        data = stage(model, data)
    if data._impl.efc_J.shape[0] == 0:
        return data.replace(qacc=data.qacc_smooth)
    return solve(model, data)


def _prepared(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy that moves in the same way, and that MJX does not take for something else."""
    model = copy.copy(model)
    # The constraint problem is solved here, whatever algorithm the model names; MJX would refuse PGS.
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    model.opt.enableflags = 0  # those that motion depends on are refused, the others MJX may refuse
    # One of these flags means both to MJX. Of both, the engine leaves out all passive forces, as MJX does.
    springs, dampers = mujoco.mjtDisableBit.mjDSBL_SPRING, mujoco.mjtDisableBit.mjDSBL_DAMPER
    disabled = model.opt.disableflags & (int(springs) | int(dampers))
    if disabled == int(springs):
        model.jnt_stiffness[:] = model.tendon_stiffness[:] = 0.0
    if disabled == int(dampers):
        model.dof_damping[:] = model.tendon_damping[:] = 0.0
    if disabled in (int(springs), int(dampers)):
        model.opt.disableflags &= ~disabled
    return model


def _load(model: mujoco.MjModel, dtype: type[np.floating]) -> tuple[mjx.Model, mjx.Data]:
    check_process()
    model = copy.copy(model)
    model.jnt_stiffness[rotating_joints(model)[0]] = 0.0  # `rotational_springs` has them
    # Outside of any trace, even where the caller is inside one: these are constants.
    with jax.enable_x64(dtype is np.float64), jax.ensure_compile_time_eval():
        try:
            return mjx.put_model(model, impl="jax"), mjx.make_data(model, impl="jax")
        except (NotImplementedError, ValueError) as error:
            raise UnsupportedModel(
                f"MJX cannot load this model: {error}. Change the model, or let gradient=auto differentiate the C"
                " engine's step."
            ) from error
