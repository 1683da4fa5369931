"""The implicit gradient of the C engine's own step: nothing is compiled, and no solver runs in a derivative."""

import dataclasses
import os
from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from diffmaac.physics.engine import Arrays, Engine, as_alike, as_rows, check_frame_skip
from diffmaac.physics.gradient import AbstractGradient, ControlStep
from diffmaac.physics.mocap_gradient import mocap_gradient
from diffmaac.physics.spot_check import check_along_a_direction, is_due
from diffmaac.physics.trajectory_adjoint import Rows
from diffmaac.physics.unsupported import UnsupportedModel
from diffmaac.physics.user_inputs import UserInputs
from diffmaac.physics.workers import SharedAdjoint

_ADVICE = " Take it out of the model, or differentiate it with gradient=finite_difference."


@dataclasses.dataclass(frozen=True)
class EngineGradient(AbstractGradient):
    """The C engine's own step, differentiated through its inverse dynamics by the implicit function theorem.

    The inverse dynamics has the constraint forces in closed form, as a function of the acceleration; the engine's
    solution is its root, see `InverseDynamics`. Its derivatives are closed forms for the usual robot (`StateSlopes`,
    `ForceSlopes`, `MotorsApart`): any joints, simple actuators, and the contacts of `SmoothContacts`. The others are
    differences of functions that run no solver, in float64, which err by 1e-8 to 1e-6 where the physics is smooth. It
    covers contacts of all geoms. With several threads large batches are shared among as many processes.

    Two guards look for features that the inverse dynamics lacks, and raise in the backward pass: the residual at each
    state and time step must be rounding, and a few gradients are compared with differences of the engine's steps.
    """

    def control_step(self, model: mujoco.MjModel, frame_skip: int) -> ControlStep:
        from diffmaac.physics.callback import called_back  # which imports JAX

        differentiation = EngineDifferentiation(model, frame_skip, threads=os.cpu_count() or 1)
        return called_back(differentiation.step, differentiation.pull_back)


class EngineDifferentiation:
    """The C engine's step and its vector-Jacobian product, on arrays with any leading axes and in their dtype.

    No JAX. A row's result depends neither on the other rows nor on the number of threads. With `inputs` rows of them
    are taken for controls.

    Raises:
        UnsupportedModel: the model has something that the inverse dynamics lacks.
        ValueError: the frame skip is not positive.
    """

    def __init__(self, model: mujoco.MjModel, frame_skip: int, threads: int, inputs: UserInputs | None = None):
        check_model(model, frame_skip)
        self._inputs = inputs or UserInputs(model)
        self._engine = Engine(model, frame_skip, threads, self._inputs)
        self._adjoint = SharedAdjoint(self._engine.model, threads, self._inputs)
        self._calls = 0

    def step(self, *inputs: ArrayLike) -> Arrays:
        """(qpos, qvel, act, ctrl) -> (qpos, qvel, act)."""
        return self._engine.step_alike(*inputs)

    def pull_back(self, *inputs_and_cotangents: ArrayLike) -> tuple[np.ndarray, ...]:
        """(qpos, qvel, act, ctrl, and cotangents of qpos, qvel, act) -> gradients of the first four.

        Raises UnsupportedModel where the inverse dynamics does not explain a time step.
        """
        arrays = [np.asarray(x) for x in inputs_and_cotangents]
        rows = tuple(as_rows(x).astype(np.float64) for x in arrays)
        gradients = self.pull_back_along(self._engine.trajectory(*rows[:4]), *rows)
        return tuple(as_alike(x, arrays[0]) for x in gradients)

    def pull_back_along(self, trajectory: Sequence[np.ndarray], *inputs_and_cotangents: np.ndarray) -> Rows:
        """`pull_back` of arrays (n, width), where the states after the time steps are known: (n, frame_skip, width) of
        qpos, qvel and act, in float64."""
        rows = tuple(x.astype(np.float64, copy=False) for x in inputs_and_cotangents)
        gradients = self._adjoint.pull_back((*trajectory, *rows))
        if len(places := self._inputs.mocap):
            gradients[3][:, places] = mocap_gradient(self._engine, self._inputs, rows[:4], rows[4:])
        inputs, cotangents, calls = rows[:4], rows[4:], self._calls
        if len(rows[0]) and (
            not is_due(calls) or check_along_a_direction(self._engine, inputs, cotangents, gradients, calls)
        ):
            self._calls += 1
        return gradients


def check_model(model: mujoco.MjModel, frame_skip: int) -> None:
    """Raises UnsupportedModel where the model has something that inverse dynamics lacks, and ValueError where the frame
    skip is not positive."""
    check_frame_skip(frame_skip)
    bristles = (model.actuator_dyntype == int(mujoco.mjtDyn.mjDYN_DCMOTOR)) & (model.actuator_dynprm[:, 5] > 0)
    kinds = {
        "a motor with LuGre friction (lugre)": bool(bristles.any()),
        "the flag ipc": bool(model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_IPC)),
        "nothing that moves (nv is 0)": model.nv == 0,
        f"{model.opt.noslip_iterations} noslip iterations (noslip_iterations)": model.opt.noslip_iterations > 0,
    }
    for kind, there in kinds.items():
        if there:
            raise UnsupportedModel(f"gradient=engine: the model has {kind}, which inverse dynamics lacks.{_ADVICE}")
