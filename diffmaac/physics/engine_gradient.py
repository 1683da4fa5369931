"""The implicit gradient of the C engine's own step: nothing is compiled, and no solver runs in a derivative."""

import concurrent.futures
import dataclasses
import functools
import os
import queue
from typing import TypeAlias

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from diffmaac.physics.adjoint import SingleStage, State
from diffmaac.physics.engine import Arrays, Engine, as_alike, as_rows, check_frame_skip
from diffmaac.physics.gradient import AbstractGradient, ControlStep
from diffmaac.physics.inverse import UnexplainedForce
from diffmaac.physics.runge_kutta import RungeKutta
from diffmaac.physics.spot_check import TOLERANCE, directional_errors
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.unsupported import UnsupportedModel

_ADVICE = " Take it out of the model, or differentiate it with gradient=finite_difference."
Rows: TypeAlias = tuple[np.ndarray, ...]
CALLS_BETWEEN_CHECKS = 1000
"""The first backward pass and each thousandth after it is compared with a difference of the engine's steps."""
CHUNK = 32
"""States that one thread pulls back together; a power of two divides most batches."""


@dataclasses.dataclass(frozen=True)
class EngineGradient(AbstractGradient):
    """The C engine's own step, differentiated through its inverse dynamics by the implicit function theorem.

    The inverse dynamics has the constraint forces in closed form, as a function of the acceleration; the engine's
    solution is its root, see `InverseDynamics`. Its derivatives are differences, of functions that run no solver, in
    float64: they err by 1e-8 to 1e-6 where the physics is smooth. It covers contacts of all geoms.

    Two guards look for features that the inverse dynamics lacks, and raise in the backward pass: the residual at each
    state and time step must be rounding, and a few gradients are compared with differences of the engine's steps.
    """

    def control_step(self, model: mujoco.MjModel, frame_skip: int) -> ControlStep:
        from diffmaac.physics.callback import called_back  # which imports JAX

        differentiation = EngineDifferentiation(model, frame_skip, threads=os.cpu_count() or 1)
        return called_back(differentiation.step, differentiation.pull_back)


class EngineDifferentiation:
    """The C engine's step and its vector-Jacobian product, on arrays with any leading axes and in their dtype.

    No JAX. A row's result depends neither on the other rows nor on the number of threads.

    Raises:
        UnsupportedModel: the model has something that the inverse dynamics lacks.
        ValueError: the frame skip is not positive.
    """

    def __init__(self, model: mujoco.MjModel, frame_skip: int, threads: int):
        check_model(model, frame_skip)
        self._engine = Engine(model, frame_skip, threads)
        self._tangent = TangentSpace(model)
        self._threads = threads
        rk4 = model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_RK4)
        self._make = functools.partial(RungeKutta if rk4 else SingleStage, self._engine.model)
        self._calls = 0
        self._idle: queue.SimpleQueue[SingleStage | RungeKutta] = queue.SimpleQueue()

    def step(self, *inputs: ArrayLike) -> Arrays:
        """(qpos, qvel, act, ctrl) -> (qpos, qvel, act)."""
        return self._engine.step_alike(*inputs)

    def pull_back(self, *inputs_and_cotangents: ArrayLike) -> tuple[np.ndarray, ...]:
        """(qpos, qvel, act, ctrl, and cotangents of qpos, qvel, act) -> gradients of the first four.

        Raises UnsupportedModel where the inverse dynamics does not explain a time step.
        """
        arrays = [np.asarray(x) for x in inputs_and_cotangents]
        rows = tuple(as_rows(x).astype(np.float64) for x in arrays)
        gradients = self._pull_back_rows(*self._engine.trajectory(*rows[:4]), *rows)
        if len(rows[0]) and (self._calls % CALLS_BETWEEN_CHECKS or self._spot_check(rows[:4], rows[4:], gradients)):
            self._calls += 1
        return tuple(as_alike(x, arrays[0]) for x in gradients)

    def _pull_back_rows(self, *arrays: np.ndarray) -> Rows:
        """Of the states after every time step, the inputs and the cotangents: chunks of rows, over the threads."""
        starts = range(0, max(len(arrays[0]), 1), CHUNK)

        def pull(start: int) -> Rows:
            return self._pull_back_chunk(start, *(x[start : start + CHUNK] for x in arrays))

        if self._threads == 1 or len(starts) == 1:
            parts = list(map(pull, starts))
        else:
            with concurrent.futures.ThreadPoolExecutor(self._threads) as pool:
                parts = list(pool.map(pull, starts))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def _spot_check(self, inputs: Rows, cotangents: Rows, gradients: Rows) -> bool:
        """Whether there was a state to check at. Raises UnsupportedModel where the gradient is not the engine's."""
        errors = directional_errors(self._engine, inputs, cotangents, gradients)
        errors = errors[~np.isnan(errors)]
        if len(errors) == 0:
            return False
        if np.median(errors) > TOLERANCE:
            raise UnsupportedModel(
                f"gradient=engine is not that of the C engine for this model: along a direction it errs by"
                f" {np.median(errors):.1e} of its size (median of {len(errors)} states). The model has a feature that"
                " mj_inverse treats otherwise than mj_step. Use gradient=finite_difference."
            )
        return True

    def _pull_back_chunk(self, start: int, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        trajectory, (qpos, qvel, act, ctrl), cotangents = arrays[:3], arrays[3:7], arrays[7:]
        steps = trajectory[0].shape[1]
        states = [State(qpos, qvel, act), *(State(*(x[:, k] for x in trajectory)) for k in range(steps))]
        gradient = State(self._tangent.project(states[-1].qpos, cotangents[0]), *cotangents[1:])
        total = np.zeros_like(ctrl)
        adjoint = self._adjoint()
        for k in reversed(range(steps)):
            try:
                pulled = adjoint.pull_back(states[k], ctrl, states[k + 1], gradient)
            except UnexplainedForce as error:
                raise UnsupportedModel(self._describe(error, start, k + 1)) from error
            gradient, total = State(pulled.qpos, pulled.qvel, pulled.act), total + pulled.ctrl
        self._idle.put(adjoint)
        return self._tangent.pull_back(qpos, gradient.qpos), gradient.qvel, gradient.act, total

    def _adjoint(self) -> SingleStage | RungeKutta:
        """One that no other thread uses."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._make()

    def _describe(self, error: UnexplainedForce, start: int, time_step: int) -> str:
        return (
            f"gradient=engine cannot differentiate time step {time_step} of sample {start + error.row}: the inverse"
            f" dynamics of MuJoCo leaves a force of {error.force:.1e} on {describe_dof(self._engine.model, error.dof)}"
            f" unexplained, where forces of {error.scale:.1e} [N, N m] act. The model has a feature that acts in"
            " mj_step and not in mj_inverse. Use gradient=finite_difference."
        )


def describe_dof(model: mujoco.MjModel, dof: int) -> str:
    """'joint <name>' and, where the joint has several, which of its degrees of freedom."""
    joint = int(model.dof_jntid[dof])
    name = mujoco.mj_id2name(model, int(mujoco.mjtObj.mjOBJ_JOINT), joint) or str(joint)
    several = model.jnt_type[joint] in (int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL))
    return f"joint {name}" + (f", degree of freedom {dof - model.jnt_dofadr[joint]}" if several else "")


def check_model(model: mujoco.MjModel, frame_skip: int) -> None:
    """Raises UnsupportedModel where the model has something that inverse dynamics lacks, and ValueError where the frame
    skip is not positive."""
    check_frame_skip(frame_skip)
    kinds = {
        "nothing that moves (nv is 0)": model.nv == 0,
        f"{model.opt.noslip_iterations} noslip iterations (noslip_iterations)": model.opt.noslip_iterations > 0,
    }
    for kind, there in kinds.items():
        if there:
            raise UnsupportedModel(f"gradient=engine: the model has {kind}, which inverse dynamics lacks.{_ADVICE}")
