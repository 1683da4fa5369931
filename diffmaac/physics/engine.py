"""Batches of control steps in the MuJoCo C engine, over threads. No JAX, no gradients."""

import copy
import math
import operator
import os
import threading
from collections.abc import Sequence
from typing import Any, TypeAlias

import mujoco
import mujoco.rollout
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from diffmaac.errors import DiffmaacError
from diffmaac.mujoco_warnings import log_warnings
from diffmaac.physics.flags import DISABLE, disabled
from diffmaac.physics.names import part
from diffmaac.physics.unsupported import UnsupportedModel
from diffmaac.physics.user_inputs import UserInputs

log_warnings()

Arrays: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]

TOLERANCE = 1e-14
"""Of the constraint solver: rounding. At 0 it would go on to the last iteration, 15 times slower on half_cheetah."""
CONTACT_TOLERANCE = 1e-12
"""Of the search for nearest points of convex geoms [m]; MuJoCo's default is 1e-6."""
CONTACT_ITERATIONS = 200
"""Of that search; of MuJoCo's 35 ellipsoids need more now and then."""
ITERATIONS = 100
"""MuJoCo's default."""


def check_frame_skip(frame_skip: Any) -> None:
    """Raises ValueError for less than one time step, or a part of one."""
    try:
        operator.index(frame_skip)
    except TypeError:
        wrong = f"frame_skip is {frame_skip!r}; it counts the time steps of a control step. Pass an integer."
        raise ValueError(wrong) from None
    if frame_skip < 1:
        raise ValueError(f"frame_skip is {frame_skip}; a control step has at least one time step. Pass 1 or more.")


def as_rows(array: np.ndarray) -> np.ndarray:
    """(*lead, width) -> (n, width)."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def as_alike(rows: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(n, width) with the leading axes and dtype of `like`: the inverse of `as_rows`."""
    return rows.reshape(*like.shape[:-1], rows.shape[-1]).astype(like.dtype)


class Engine:
    """(qpos, qvel, act, ctrl) -> (qpos, qvel, act), batch first: `frame_skip` time steps under a constant control.

    The constraint problem is solved to its optimum, which the model's own solver, tolerance and iterations may stop
    short of: at MuJoCo's default tolerance of 1e-8 now and then by 1e-7 in a velocity, enough to spoil a finite
    difference. It costs nothing that can be measured on Gymnasium's models.

    Every state starts from a zero warm start, so that a row's result does not depend on the other rows. A state that
    diverges stays where it went (MuJoCo's default would silently reset it). The model is copied. With `inputs` rows of
    them are taken for controls.

    Raises:
        ValueError: the frame skip is not positive, or the next state depends on more than (qpos, qvel, act, ctrl): an
            actuator has a delay, a plugin a state.
    """

    def __init__(self, model: mujoco.MjModel, frame_skip: int, threads: int = 1, inputs: UserInputs | None = None):
        check_frame_skip(frame_skip)
        _check_state(model)
        self.model = converged(model)
        self._inputs = (inputs or UserInputs(model)).signature
        self.frame_skip = frame_skip
        self._data = [mujoco.MjData(self.model) for _ in range(threads)]
        self._rest = _full_state(self.model, self._data[0])[1 + model.nq + model.nv + model.na :]
        self._process, self._lock = os.getpid(), threading.Lock()
        self._pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)

    def step(
        self,
        qpos: Float[np.ndarray, "batch nq"],
        qvel: Float[np.ndarray, "batch nv"],
        act: Float[np.ndarray, "batch na"],
        ctrl: Float[np.ndarray, "batch nu"],
    ) -> Arrays:
        """The next states, in float64."""
        qpos, qvel, act = self.trajectory(qpos, qvel, act, ctrl)
        return qpos[:, -1], qvel[:, -1], act[:, -1]

    def step_alike(self, *inputs: ArrayLike) -> Arrays:
        """(qpos, qvel, act, ctrl) -> (qpos, qvel, act), with any leading axes and in the dtype of `inputs`."""
        arrays = [np.asarray(x) for x in inputs]  # JAX hands its own arrays to a callback
        qpos, qvel, act = (as_alike(x, arrays[0]) for x in self.step(*map(as_rows, arrays)))
        return qpos, qvel, act

    def trajectory(
        self,
        qpos: np.ndarray,
        qvel: np.ndarray,
        act: np.ndarray,
        ctrl: np.ndarray,
        *,
        models: Sequence[mujoco.MjModel] | None = None,
    ) -> Arrays:
        """The states after every time step: (batch, frame_skip, width) each.

        `models` are copies of the engine's with other values, one a row.
        """
        controls = np.repeat(ctrl[:, None].astype(np.float64), self.frame_skip, axis=1)
        return self._run(qpos, qvel, act, controls, models)

    def rollout(self, qpos: np.ndarray, qvel: np.ndarray, act: np.ndarray, ctrl: np.ndarray) -> Arrays:
        """The states after every control step: (batch, T, width) each, under controls (batch, T, nu).

        That of chained steps to rounding: within a rollout the constraint solver starts from its last solution.
        """
        controls = np.repeat(ctrl.astype(np.float64), self.frame_skip, axis=1)
        after = self._run(qpos, qvel, act, controls, None)
        qpos, qvel, act = (x[:, self.frame_skip - 1 :: self.frame_skip] for x in after)
        return qpos, qvel, act

    def _run(
        self,
        qpos: np.ndarray,
        qvel: np.ndarray,
        act: np.ndarray,
        controls: np.ndarray,
        models: Sequence[mujoco.MjModel] | None,
    ) -> Arrays:
        """The states after every time step, each with a control of its own."""
        self._check_process()
        nq, nv = self.model.nq, self.model.nv
        if len(qpos) == 0:  # of no states `mujoco.rollout` makes an invalid access to memory
            return tuple(np.zeros((0, controls.shape[1], width)) for width in (nq, nv, self.model.na))  # pyright: ignore
        time = np.zeros((len(qpos), 1))
        rest = np.broadcast_to(self._rest, (len(qpos), len(self._rest)))
        start = np.concatenate([time, qpos, qvel, act, rest], axis=1, dtype=np.float64)  # MuJoCo's full state
        warmstart = np.zeros((len(qpos), nv))
        with self._lock:
            states, _ = self._pool.rollout(
                self.model if models is None else list(models),
                self._data,
                start,
                controls,
                control_spec=self._inputs,
                initial_warmstart=warmstart,
            )
        after = np.asarray(states)[..., 1:]
        self._mark_steps_not_made(np.asarray(states)[..., 0], controls, after)
        return after[..., :nq], after[..., nq : nq + nv], after[..., nq + nv : nq + nv + self.model.na]

    def _mark_steps_not_made(self, time: np.ndarray, controls: np.ndarray, after: np.ndarray) -> None:
        """Writes NaN where there was no step. `mujoco.rollout` repeats the last state, with its time, once a number was
        beyond 1e10; and MuJoCo then takes zeros for all controls."""
        steps, h = time.shape[1], self.model.opt.timestep
        if time[:, -1].min() > (steps - 0.5) * h and np.abs(controls).max(initial=0.0) <= mujoco.mjMAXVAL:
            return  # as good as always, and told quickly
        after[(np.rint(time / h) < np.arange(1, steps + 1)) | self._are_ignored(controls)] = np.nan

    def _are_ignored(self, controls: Float[np.ndarray, "batch T _"]) -> Bool[np.ndarray, "batch T"]:
        model = self.model
        controls = controls[..., : model.nu]
        if not disabled(model, DISABLE.mjDSBL_CLAMPCTRL):
            controls = controls[..., model.actuator_ctrllimited == 0]
        return np.any(np.abs(controls) > mujoco.mjMAXVAL, axis=-1)

    def _check_process(self) -> None:
        """Raises where a fork has left the threads behind, without which the pool would wait for ever."""
        if len(self._data) > 1 and os.getpid() != self._process:
            raise DiffmaacError(
                "This process was forked after the physics had been built, whose threads it has not. Start it by"
                " multiprocessing.get_context('spawn'), or build the physics in the child."
            )


def converged(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy of the model that solves constraints to their optimum, and leaves a diverged state where it went.

    No body sleeps in it: whether one does depends on earlier steps, which are no part of a state.
    """
    model = copy.copy(model)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
    if not model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_IPC):  # which MuJoCo has for its own solver only
        model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    model.opt.tolerance = min(model.opt.tolerance, TOLERANCE)
    model.opt.iterations = max(model.opt.iterations, ITERATIONS)
    model.opt.ccd_tolerance = min(model.opt.ccd_tolerance, CONTACT_TOLERANCE)
    model.opt.ccd_iterations = max(model.opt.ccd_iterations, CONTACT_ITERATIONS)
    return model


def _check_state(model: mujoco.MjModel) -> None:
    """Raises where the next state depends on more than (qpos, qvel, act, ctrl)."""
    delayed = np.flatnonzero(model.actuator_historyadr >= 0)
    if len(delayed):
        raise UnsupportedModel(
            f"{part(model, mujoco.mjtObj.mjOBJ_ACTUATOR, int(delayed[0]))} has a delay: its next state depends on past"
            " controls, which are no part of (qpos, qvel, act). Take delay and nsample out of the MJCF."
        )
    if model.npluginstate:
        raise UnsupportedModel(
            "a plugin of the model keeps a state of its own, which is no part of (qpos, qvel, act). Take it out of the"
            " MJCF."
        )


def _full_state(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """What `mujoco.rollout` starts from: time, qpos, qvel, act, and the history of delayed sensors."""
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    return state
