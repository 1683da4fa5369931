"""Control steps of a model whose parameters are inputs, and their differences by them, in the C engine."""

import copy
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.engine import Arrays, Engine
from diffmaac.physics.parameters import ParameterSpace
from diffmaac.physics.user_inputs import UserInputs

Rows: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""qpos, qvel, act, ctrl, batch first."""
MOST_MODELS = 64
"""Copies of the model that step together, at most."""

LONGER = 10.0
"""By how much a step grows where it changes a state by less than `Step.least`; two of them are extrapolated then."""
NOTHING = 1e-13
"""Change of a state by the longest step that is rounding: the number has no effect."""


class ParameterEngine:
    """(qpos, qvel, act, ctrl, parameters) -> (qpos, qvel, act), batch first: each row has parameters of its own.

    Rows that have the same parameters share a model. Raises as `Engine` does.
    """

    def __init__(self, space: ParameterSpace, frame_skip: int, threads: int, inputs: UserInputs | None = None):
        self.engine, self._space = Engine(space.model, frame_skip, threads, inputs), space
        self._copies: list[mujoco.MjModel] = []

    def trajectory(self, states: Rows, parameters: Float[np.ndarray, "batch size"]) -> Arrays:
        """The states after every time step: (batch, frame_skip, width) each."""
        groups = groups_of(parameters)
        if len(groups) <= 1:
            return self.with_values([values for values, _ in groups], states)
        parts: list[Arrays] = []
        for start in range(0, len(groups), MOST_MODELS):
            some = groups[start : start + MOST_MODELS]
            rows = np.concatenate([rows for _, rows in some])
            counts = [len(rows) for _, rows in some]
            own = (states[0][rows], states[1][rows], states[2][rows], states[3][rows])
            parts.append(self.with_values([v for v, _ in some], own, counts))
        order = np.argsort(np.concatenate([rows for _, rows in groups]), kind="stable")
        qpos, qvel, act = (np.concatenate([part[i] for part in parts])[order] for i in range(3))
        return qpos, qvel, act

    def with_values(self, values: Sequence[np.ndarray], states: Rows, counts: Sequence[int] = ()) -> Arrays:
        """As `trajectory`: the first `counts` of the rows with the first values, and so on; all with a single one."""
        if len(values) <= 1:
            for single in values:
                self._space.assign(self.engine.model, single)
            return self.engine.trajectory(*states)
        while len(self._copies) < len(values):
            self._copies.append(copy.copy(self.engine.model))
        models: list[mujoco.MjModel] = []
        for model, own, count in zip(self._copies, values, counts, strict=False):
            self._space.assign(model, own)
            models += [model] * count
        return self.engine.trajectory(*states, models=models)


def groups_of(parameters: Float[np.ndarray, "batch size"]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The different rows, and the indices of each."""
    n = len(parameters)
    if n == 0 or parameters.strides[0] == 0 or (parameters == parameters[0]).all():
        return [(parameters[0], np.arange(n))] if n else []
    values, owner = np.unique(parameters, axis=0, return_inverse=True)
    return [(value, np.flatnonzero(owner.ravel() == i)) for i, value in enumerate(values)]


@runtime_checkable
class HasValues(Protocol):
    """What depends on parameters: states of len(values) * n rows, n a value -> arrays (rows, steps, width)."""

    def with_values(self, values: list[np.ndarray], states: Any, counts: list[int]) -> tuple[np.ndarray, ...]: ...


class ParameterDifferences:
    """Derivatives of a control step by parameters, as differences of the engine's whole steps.

    Central, and one-sided of the second order for a number that lies at the bound of its domain. The step is relative
    to the number, or `Field.step` for lengths; longer where it changes a state by so little that rounding shows.
    """

    def __init__(self, engine: HasValues, space: ParameterSpace):
        self._engine, self._space = engine, space

    def slopes(
        self, states: tuple[np.ndarray, ...], values: Float[np.ndarray, " size"], entries: np.ndarray
    ) -> Float[np.ndarray, "n entries width"]:
        """Of (qpos, qvel, act) in one with respect to some of the parameters, at (n, width) states."""
        starts = range(0, len(entries), MOST_MODELS // 2)
        parts = [self._clear(states, values, entries[start : start + MOST_MODELS // 2]) for start in starts]
        return np.concatenate(parts, axis=1)

    def _clear(self, states: tuple[np.ndarray, ...], values: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """With a step whose change is no rounding: of each row by its own, so that it does not depend on others."""
        steps, most, least = (x[entries] for x in self._space.steps(values))
        slopes = self._slopes(states, values, entries, steps)
        change = np.abs(slopes).max(2) * steps
        while len(some := np.flatnonzero((steps < most) & ((change > 0) & (change < least)).any(0))):
            weak = ((change > 0) & (change < least))[:, some]
            steps = np.where(np.isin(np.arange(len(steps)), some), np.minimum(LONGER * steps, most), steps)
            whole, half = (self._slopes(states, values, entries[some], x * steps[some]) for x in (1.0, 0.5))
            slopes[:, some] = np.where(weak[..., None], (4 * half - whole) / 3, slopes[:, some])
            change[:, some] = np.where(weak, np.abs(slopes[:, some]).max(2) * steps[some], least[some])
        slopes[change < NOTHING] = 0.0
        return slopes

    def _slopes(
        self, states: tuple[np.ndarray, ...], values: np.ndarray, entries: np.ndarray, steps: np.ndarray
    ) -> np.ndarray:
        inside = values[entries] - steps >= self._space.low[entries]
        offsets = np.stack([steps, np.where(inside, -steps, 2 * steps)], axis=1)
        moved = np.repeat(values[None], 2 * len(entries), axis=0)
        moved[np.arange(2 * len(entries)), np.repeat(entries, 2)] += offsets.ravel()
        after = self._after(states, list(moved)).reshape(len(entries), 2, len(states[0]), -1)
        if inside.all():
            slopes = (after[:, 0] - after[:, 1]) / (2 * steps[:, None, None])
        else:
            here = self._after(states, [values])[0]
            weights = np.where(inside, [[0.5], [-0.5], [0.0]], [[2.0], [-0.5], [-1.5]]) / steps
            slopes = sum(w[:, None, None] * x for w, x in zip(weights, (after[:, 0], after[:, 1], here), strict=True))
        return np.asarray(slopes).swapaxes(0, 1)

    def _after(self, states: tuple[np.ndarray, ...], values: list[np.ndarray]) -> np.ndarray:
        """The next states (len(values), n, width)."""
        n = len(states[0])
        tiled = tuple(np.tile(x, (len(values), 1)) for x in states)
        after = self._engine.with_values(values, tiled, [n] * len(values))
        return np.concatenate([x[:, -1] for x in after], axis=1).reshape(len(values), n, -1)
