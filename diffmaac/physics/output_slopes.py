"""How outputs depend on the state that they are read at, and on the inputs there."""

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.output_fields import ACCELERATION, POSITION, VELOCITY
from diffmaac.physics.output_jacobians import CLOSED, pull_back_poses
from diffmaac.physics.outputs import ForwardDynamics, OutputSpace
from diffmaac.physics.state_differences import bends, smooth_side
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.user_inputs import UserInputs

NONE = int(mujoco.mjtStage.mjSTAGE_NONE)
STEP = 1e-6
"""Of differences [m, rad, m/s, rad/s, N, N m and units of controls], times their size where that is above 1."""
SHORT_STEP = 1e-7
"""Of positions where the impedance of a constraint bends, over micrometres."""


class OutputSlopes:
    """The vector-Jacobian product of `ForwardDynamics` at one state after the other. One object a thread.

    By positions it is a closed form for `CLOSED` outputs. All else is central differences of the engine's forward
    dynamics, a column each, from the stage on that the column changes. Where an output jumps within the difference (a
    body hits another one with a velocity), the derivative is that of the side where it does not.
    """

    def __init__(self, model: mujoco.MjModel, space: OutputSpace, inputs: UserInputs):
        self.forward = ForwardDynamics(model, space, inputs)
        self._space, self._tangent = space, TangentSpace(model)
        self._nq, self._nv, self._na = model.nq, model.nv, model.na
        data = self.forward.data
        self._forces = [(data.act, model.nq + model.nv)]
        self._mocap: list[tuple[np.ndarray, int]] = []
        for name, own in inputs.slices.items():
            group = self._mocap if name.startswith("mocap") else self._forces
            group.append((getattr(data, name).reshape(-1), model.nq + model.nv + model.na + own.start))
        self._sides = np.zeros((2, space.size))

    def value(self, states: Float[np.ndarray, "n _"]) -> Float[np.ndarray, "n size"]:
        """The outputs at states (qpos, qvel, act and a row of inputs in one)."""
        out = np.zeros((len(states), self._space.size))
        for state, row in zip(states, out, strict=True):
            self.forward.set(state)
            self.forward.evaluate(row, NONE)
        return out

    def pull_back(
        self, states: Float[np.ndarray, "n width"], cotangents: Float[np.ndarray, "n size"]
    ) -> Float[np.ndarray, "n width"]:
        """The gradients by the states, from those by the outputs."""
        out = np.zeros(states.shape)
        for state, cotangent, row in zip(states, cotangents, out, strict=True):
            if cotangent.any():
                qpos = self._pull_back(state, cotangent.copy(), row)
                row[: self._nq] = self._tangent.pull_back(state[: self._nq], qpos)
        return out

    def _pull_back(self, state: np.ndarray, cotangent: np.ndarray, out: np.ndarray) -> Float[np.ndarray, " nv"]:
        """The gradient by displacements; writes that by all else to its place in `out`."""
        forward, base = self.forward, np.zeros(self._space.size)
        wanted = [name for name, own in self._space.slices.items() if cotangent[own].any()]
        last = max(self._space.stages[name] for name in wanted)
        forward.set(state)
        forward.evaluate(base, NONE, last)
        short = last == ACCELERATION and bends(forward.data)
        if last == ACCELERATION:
            for view, start in self._forces:
                out[start : start + len(view)] = [
                    self._along(view, i, STEP * max(1.0, abs(view[i])), VELOCITY, last) @ cotangent
                    for i in range(len(view))
                ]
        if last >= VELOCITY:
            view = forward.data.qvel
            out[self._nq : self._nq + self._nv] = [
                self._along(view, i, STEP, POSITION, last) @ cotangent for i in range(len(view))
            ]
        qpos = np.zeros(self._nv)
        closed = np.zeros(len(cotangent), bool)
        for name in set(wanted) & CLOSED:
            own = self._space.slices[name]
            shaped = cotangent[own].reshape(self._space.shapes[name])
            qpos += pull_back_poses(forward.model, forward.data, name, shaped)
            closed[own] = True
        step = SHORT_STEP if short else STEP
        for view, start in self._mocap:
            out[start : start + len(view)] = [
                self._along(view, i, step, NONE, last, base) @ cotangent for i in range(len(view))
            ]
        cotangent[closed] = 0.0
        if cotangent.any():
            qpos += self._by_position(cotangent, step, last, base)
        return qpos

    def _along(
        self, view: np.ndarray, i: int, step: float, done: int, last: int, base: np.ndarray | None = None
    ) -> Float[np.ndarray, " size"]:
        """The derivatives of the outputs along a number of the state; with `base`, their values, jumps are left out."""
        here = float(view[i])
        for side, sign in zip(self._sides, (1, -1), strict=True):
            view[i] = here + sign * step
            self.forward.evaluate(side, done, last)
        view[i] = here
        return self._slope(step, base)

    def _by_position(self, cotangent: np.ndarray, step: float, last: int, base: np.ndarray) -> Float[np.ndarray, " nv"]:
        model, data, out = self.forward.model, self.forward.data, np.zeros(self._nv)
        qpos = data.qpos.copy()
        for i, direction in enumerate(np.eye(self._nv)):
            for side, sign in zip(self._sides, (1, -1), strict=True):
                mujoco.mj_integratePos(model, data.qpos, direction, sign * step)
                self.forward.evaluate(side, NONE, last)
                data.qpos[:] = qpos
            out[i] = self._slope(step, base) @ cotangent
        return out

    def _slope(self, step: float, base: np.ndarray | None) -> Float[np.ndarray, " size"]:
        """From the outputs on both sides."""
        above, below = self._sides
        if base is None:
            return (above - below) / (2 * step)
        return smooth_side(((above - base) / step)[:, None], ((base - below) / step)[:, None])[:, 0]
