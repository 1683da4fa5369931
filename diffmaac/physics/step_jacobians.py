"""Whole derivatives of control steps of the C engine, by states and by parameters of the model."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.engine import Arrays
from diffmaac.physics.engine_gradient import check_model
from diffmaac.physics.inverse import InverseDynamics
from diffmaac.physics.linear import solve
from diffmaac.physics.parameter_engine import ParameterDifferences, ParameterEngine, Rows
from diffmaac.physics.parameter_slopes import ParameterSlopes
from diffmaac.physics.parameters import ParameterSpace
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.unsupported import UnsupportedModel

CHUNK = 64
"""States whose slopes are held at once."""
DIFFERENCE = 1e-6
"""Of states, where they are differenced; central."""


class Jacobians(NamedTuple):
    """Of the states after n control steps, with positions in the tangent space: x = (displacement, qvel, act)."""

    by_state: Float[np.ndarray, "n x x"]
    by_parameters: Float[np.ndarray, "n x entries"]


class StepJacobians:
    """The control step of a model whose parameters are a vector, and its derivatives by all states and some parameters.

    By the inverse dynamics where it can (one stage, no activations), else by central differences.

    Raises:
        ValueError: the frame skip is not positive.
    """

    def __init__(self, space: ParameterSpace, frame_skip: int, entries: np.ndarray, threads: int = 1):
        self.engine, self._space, self._entries = ParameterEngine(space, frame_skip, threads), space, entries
        self._differences = ParameterDifferences(self.engine, space)
        self._tangent = TangentSpace(space.model)
        self._by_inverse = _can_invert(space.model, frame_skip)

    def trajectory(self, states: Rows, values: Float[np.ndarray, " size"]) -> Arrays:
        """The states after every time step, (n, frame_skip, width) each."""
        return self.engine.with_values([values], states)

    def stepper(self, values: Float[np.ndarray, " size"]) -> Callable[..., Arrays]:
        """(qpos, qvel, act, ctrl) -> the states after a control step, until other values are used."""
        self._space.assign(self.engine.engine.model, values)
        return self.engine.engine.step

    def rollout(self, states: Rows, values: Float[np.ndarray, " size"]) -> Arrays:
        """The states after every control step, (n, T, width) each, under controls (n, T, nu)."""
        self._space.assign(self.engine.engine.model, values)
        return self.engine.engine.rollout(*states)

    def __call__(self, states: Rows, values: Float[np.ndarray, " size"]) -> Jacobians:
        """At n states."""
        parts = [
            self._chunk((states[0][own], states[1][own], states[2][own], states[3][own]), values)
            for own in (slice(i, i + CHUNK) for i in range(0, len(states[0]), CHUNK))
        ]
        return Jacobians(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _chunk(self, states: Rows, values: np.ndarray) -> Jacobians:
        trajectory = self.trajectory(states, values)
        known = np.zeros(self._space.size, bool)
        if self._by_inverse:
            out, known = self._inverse(states, trajectory, values)
        else:
            out = Jacobians(
                self._differenced(states, trajectory, values), np.zeros((len(states[0]), self._x, len(self._entries)))
            )
        missing = np.flatnonzero(~known[self._entries])
        if len(missing):
            slopes = self._differences.slopes(states, values, self._entries[missing])
            out.by_parameters[:, :, missing] = self._to_tangent(trajectory[0][:, -1], slopes).mT
        return out

    @property
    def _x(self) -> int:
        return 2 * self._space.model.nv + self._space.model.na

    def _inverse(self, states: Rows, trajectory: Arrays, values: np.ndarray) -> tuple[Jacobians, np.ndarray]:
        """Through the time steps, and which of the parameters are there."""
        model = copy.copy(self.engine.engine.model)
        self._space.assign(model, values)
        inverse, slopes = InverseDynamics(model), ParameterSlopes(model, self._space)
        nv, n = model.nv, len(states[0])
        total = Jacobians(np.tile(np.eye(2 * nv), (n, 1, 1)), np.zeros((n, 2 * nv, len(self._entries))))
        before = (states[0], states[1], states[2])
        for k in range(trajectory[0].shape[1]):
            after = (trajectory[0][:, k], trajectory[1][:, k], trajectory[2][:, k])
            acceleration = (after[1] - before[1]) / model.opt.timestep
            linear = inverse.linearize(*before, states[3], acceleration)
            if slopes.known[self._entries].any():
                ahead = slopes.linearize(*before, states[3], acceleration).push_forward(linear.qacc)[..., self._entries]
            else:
                ahead = np.zeros((n, nv, len(self._entries)))
            by_state = -solve(linear.qacc.mT, np.concatenate([linear.qpos.mT, linear.qvel.mT], axis=2))
            single = self._step(model.opt.timestep, after[1], by_state, ahead)
            total = Jacobians(
                single.by_state @ total.by_state, single.by_state @ total.by_parameters + single.by_parameters
            )
            before = after
        return total, slopes.known

    def _step(self, h: float, qvel: np.ndarray, by_state: np.ndarray, by_parameters: np.ndarray) -> Jacobians:
        """Of one time step, from the derivatives of its acceleration; `qvel` is the velocity after it."""
        nv = qvel.shape[1]
        velocity = h * by_state
        velocity[:, :, nv:] += np.eye(nv)
        identity = np.broadcast_to(np.eye(nv), (len(qvel), nv, nv))
        here, moved = self._tangent.transport(np.broadcast_to(h * qvel[:, None], identity.shape), identity)
        position = h * (moved @ velocity)
        position[:, :, :nv] += here
        return Jacobians(
            np.concatenate([position, velocity], axis=1),
            np.concatenate([h * (moved @ (h * by_parameters)), h * by_parameters], axis=1),
        )

    def _differenced(self, states: Rows, trajectory: Arrays, values: np.ndarray) -> Float[np.ndarray, "n x x"]:
        qpos, qvel, act, ctrl = states
        columns: list[np.ndarray] = []
        for i in range(self._x):
            sides: list[np.ndarray] = []
            for sign in (1, -1):
                move = np.zeros((len(qpos), self._x))
                move[:, i] = sign * DIFFERENCE
                displacement, to_qvel, to_act = np.split(move, [qvel.shape[1], 2 * qvel.shape[1]], axis=1)
                moved = (self._tangent.displace(qpos, displacement), qvel + to_qvel, act + to_act, ctrl)
                sides.append(np.concatenate([x[:, -1] for x in self.trajectory(moved, values)], axis=1))
            columns.append((sides[0] - sides[1]) / (2 * DIFFERENCE))
        return self._to_tangent(trajectory[0][:, -1], np.stack(columns, axis=1)).mT

    def _to_tangent(self, qpos: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Derivatives (n, columns, nq + nv + na) with those of positions in the tangent space at `qpos`."""
        at = np.broadcast_to(qpos[:, None], (*slopes.shape[:2], qpos.shape[1]))
        return np.concatenate(
            [self._tangent.velocity(at, slopes[..., : qpos.shape[1]]), slopes[..., qpos.shape[1] :]], 2
        )


def _can_invert(model: mujoco.MjModel, frame_skip: int) -> bool:
    if model.na or model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_RK4):
        return False
    try:
        check_model(model, frame_skip)
    except UnsupportedModel:
        return False
    return True
