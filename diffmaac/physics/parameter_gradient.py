"""The vector-Jacobian product of the C engine's step, with parameters of the model among its inputs."""

import copy
import threading
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.engine import Arrays
from diffmaac.physics.engine_gradient import check_model
from diffmaac.physics.finite_difference import CentralDifferences
from diffmaac.physics.mocap_gradient import mocap_gradient
from diffmaac.physics.parameter_engine import ParameterDifferences, ParameterEngine, Rows, groups_of
from diffmaac.physics.parameter_slopes import ParameterSlopes
from diffmaac.physics.parameters import ParameterSpace
from diffmaac.physics.spot_check import ROWS, TOLERANCE, check_along_a_direction, is_due
from diffmaac.physics.trajectory_adjoint import TrajectoryAdjoint
from diffmaac.physics.unsupported import UnsupportedModel
from diffmaac.physics.user_inputs import UserInputs

_REBUILT = frozenset(
    (
        *("dof_dampingpoly", "dof_frictionloss", "actuator_damping", "actuator_dampingpoly", "tendon_armature"),
        *("actuator_dynprm", "actuator_actrange", "actuator_gainprm", "actuator_biasprm", "actuator_armature"),
        *("tendon_damping", "tendon_dampingpoly"),
    )
)
"""Fields whose values decide how something else is differentiated, or that tables are made from."""


CHECKED = 1e-6
"""Most that a number is moved for the comparison with a difference."""


class Adjoint(NamedTuple):
    """What pulls gradients back for one model, to the states alone without `slopes`; the copies of the model in it."""

    trajectory: TrajectoryAdjoint
    slopes: ParameterSlopes | None
    models: list[mujoco.MjModel]


class ParameterDifferentiation:
    """(qpos, qvel, act, ctrl, parameters) -> (qpos, qvel, act) in the C engine, and its vector-Jacobian product.

    Arrays are of float64, batch first; parameters (batch, size), the values of a `ParameterSpace`. With `eps` states
    are differentiated by central differences, and parameters by those of whole steps; without it by inverse dynamics,
    and the parameters that `ParameterSlopes` knows with them. With `inputs` rows of them are taken for controls.

    Raises:
        UnsupportedModel: the model has something that the inverse dynamics lacks.
        ValueError: the frame skip is not positive.
    """

    def __init__(
        self,
        space: ParameterSpace,
        frame_skip: int,
        eps: float | None,
        threads: int,
        inputs: UserInputs | None = None,
    ):
        if eps is None:
            check_model(space.model, frame_skip)
        self._space, self._inputs = space, inputs or UserInputs(space.model)
        self._engine = ParameterEngine(space, frame_skip, threads, self._inputs)
        self._differences = ParameterDifferences(self._engine, space)
        self._central = None if eps is None else CentralDifferences(space.model, frame_skip, eps, threads, self._inputs)
        self._adjoints: dict[bool, Adjoint] = {}
        self._calls, self._lock = 0, threading.Lock()

    @property
    def model(self) -> mujoco.MjModel:
        """The engine's, with the values of the last call."""
        return self._engine.engine.model

    def step(self, *inputs: np.ndarray) -> Arrays:
        """The next states."""
        qpos, qvel, act = self.trajectory(*inputs)
        return qpos[:, -1], qvel[:, -1], act[:, -1]

    def trajectory(self, *inputs: np.ndarray) -> Arrays:
        """The states after every time step: (batch, frame_skip, width) each.

        Raises DiffmaacError where a parameter is out of its domain.
        """
        qpos, qvel, act, ctrl, parameters = (np.asarray(x, np.float64) for x in inputs)
        self._space.check(parameters)
        with self._lock:
            return self._engine.trajectory((qpos, qvel, act, ctrl), parameters)

    def pull_back(self, *inputs_and_cotangents: np.ndarray, by_parameters: bool = True) -> tuple[np.ndarray, ...]:
        """(the five inputs, and cotangents of qpos, qvel, act) -> gradients of the inputs; zeros for parameters unless
        they are asked for.

        Raises UnsupportedModel where the inverse dynamics does not explain a time step.
        """
        rows = tuple(np.asarray(x, np.float64) for x in inputs_and_cotangents)
        out = tuple(np.zeros(x.shape) for x in rows[:5])
        with self._lock:
            for values, own in groups_of(rows[4]):
                whole = len(own) == len(rows[0])
                qpos, qvel, act, ctrl, _, *cotangents = rows if whole else tuple(x[own] for x in rows)
                gradients = self._pull_back(values, (qpos, qvel, act, ctrl), tuple(cotangents), by_parameters)
                for target, gradient in zip(out, gradients, strict=True):
                    target[own] = gradient
        return out

    def known(self, values: Float[np.ndarray, " size"]) -> np.ndarray:
        """Which parameters have slopes of the inverse dynamics, (size,); the others are differences of whole steps."""
        slopes = None if self._central is not None else self._at(values, by_parameters=True).slopes
        return np.zeros(self._space.size, bool) if slopes is None else slopes.known

    def _pull_back(
        self, values: np.ndarray, states: Rows, cotangents: tuple[np.ndarray, ...], by_parameters: bool
    ) -> tuple[np.ndarray, ...]:
        """The gradients of rows that share the values."""
        own, known = np.zeros((len(states[0]), self._space.size)), np.zeros(self._space.size, bool)
        if self._central is not None:
            self._space.assign(self._central.model, values)
            gradients = self._central.pull_back(*states, *cotangents)
        else:
            adjoint = self._at(values, by_parameters)
            trajectory = self._engine.with_values([values], states)
            *gradients, last = adjoint.trajectory.pull_back((*trajectory, *states, *cotangents))
            if adjoint.slopes is None:
                gradients.append(last)
            else:
                own, known = last, adjoint.slopes.known
            if len(places := self._inputs.mocap):
                gradients[3][:, places] = mocap_gradient(self._engine.engine, self._inputs, states, cotangents)
            if is_due(self._calls):
                check_along_a_direction(self._engine.engine, states, cotangents, tuple(gradients), self._calls)
                if by_parameters:
                    self._check(values, states, cotangents, own, known)
            self._calls += 1
        missing = np.flatnonzero(~known)
        if by_parameters and len(missing):
            slopes = self._differences.slopes(states, values, missing)
            own[:, missing] = (slopes @ np.concatenate(cotangents, axis=1)[..., None])[..., 0]
        return (*gradients, own)

    def _at(self, values: np.ndarray, by_parameters: bool) -> Adjoint:
        """What pulls back where the model has these values."""
        if by_parameters not in self._adjoints or _REBUILT & set(self._space.names):
            model = copy.copy(self.model)
            self._space.assign(model, values)
            slopes = ParameterSlopes(model, self._space, self._inputs) if by_parameters else None
            trajectory = TrajectoryAdjoint(model, slopes, self._inputs)
            models = trajectory.models if slopes is None else [slopes.model, *trajectory.models]
            self._adjoints[by_parameters] = Adjoint(trajectory, slopes, models)
        else:
            for model in self._adjoints[by_parameters].models:
                self._space.assign(model, values)
            if (slopes := self._adjoints[by_parameters].slopes) is not None:
                slopes.refresh()
        return self._adjoints[by_parameters]

    def _check(
        self,
        values: np.ndarray,
        states: Rows,
        cotangents: tuple[np.ndarray, ...],
        gradients: Float[np.ndarray, "n size"],
        known: np.ndarray,
    ) -> None:
        """Compares a few derivatives along one direction with differences of whole steps; raises UnsupportedModel."""
        steps = np.where(known, np.minimum(self._space.steps(values).first, CHECKED), 0.0)
        few = (states[0][:ROWS], states[1][:ROWS], states[2][:ROWS], states[3][:ROWS])
        sides = [self._engine.with_values([moved], few) for moved in (values + steps, values, values - steps)]
        after = [np.concatenate([x[:, -1] for x in side], axis=1) for side in sides]
        arriving = np.concatenate([x[:ROWS] for x in cotangents], axis=1)
        ours = gradients[:ROWS] @ steps
        ahead, behind = ((a * arriving).sum(1) for a in (after[0] - after[1], after[1] - after[2]))
        size = np.abs(gradients[:ROWS]) @ steps + 1e-9 * np.abs(after[1] * arriving).sum(1)
        apart = np.stack([ahead - ours, behind - ours, (ahead + behind) / 2 - ours])
        errors = np.abs(apart).min(0) / np.maximum(size, np.finfo(np.float64).tiny)
        if np.median(errors) > TOLERANCE:
            raise UnsupportedModel(
                f"the gradient by {', '.join(self._space.names)} is not that of the C engine for this model: along a"
                f" direction it errs by {np.median(errors):.1e} of its size (median of {len(errors)} states). Use"
                " gradient=finite_difference, and please report it with the MJCF."
            )
