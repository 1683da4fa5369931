"""Outputs of a step at the state that it reached, and their vector-Jacobian product."""

import threading

import numpy as np
from jaxtyping import Float

from diffmaac.physics.output_slopes import OutputSlopes
from diffmaac.physics.outputs import OutputSpace
from diffmaac.physics.parameter_engine import ParameterDifferences, groups_of
from diffmaac.physics.parameters import ParameterSpace
from diffmaac.physics.user_inputs import UserInputs

States = Float[np.ndarray, "n _"]


class OutputDifferentiation:
    """(qpos, qvel, act, inputs, parameters) -> (outputs,), batch first, as `mj_forward` has them at that state.

    Arrays are of float64; `inputs` are rows of `UserInputs`, and parameters (batch, size) the values of a
    `ParameterSpace`, which may be empty. A row's result does not depend on the others.
    """

    def __init__(self, parameters: ParameterSpace, outputs: OutputSpace, inputs: UserInputs):
        self._parameters, self._outputs = parameters, outputs
        self._slopes = OutputSlopes(parameters.model, outputs, inputs)
        self._lock = threading.Lock()

    def value(self, *arrays: np.ndarray) -> Float[np.ndarray, "batch size"]:
        """Of (qpos, qvel, act, inputs, parameters)."""
        *state, parameters = (np.asarray(x, np.float64) for x in arrays)
        self._parameters.check(parameters)
        states = np.concatenate(state, axis=1)
        out = np.zeros((len(states), self._outputs.size))
        with self._lock:
            for values, own in groups_of(parameters):
                self._assign(values)
                out[own] = self._slopes.value(states[own])
        return out

    def pull_back(self, *arrays: np.ndarray, by_parameters: bool = True) -> tuple[np.ndarray, ...]:
        """(the five, and the cotangent of the outputs) -> the gradients of the five; zeros for parameters unless they
        are asked for."""
        *state, parameters, cotangent = (np.asarray(x, np.float64) for x in arrays)
        states, to_parameters = np.concatenate(state, axis=1), np.zeros(parameters.shape)
        gradient = np.zeros(states.shape)
        with self._lock:
            for values, own in groups_of(parameters):
                self._assign(values)
                gradient[own] = self._slopes.pull_back(states[own], cotangent[own])
                if by_parameters and len(values):
                    to_parameters[own] = self._by_parameters(states[own], values, cotangent[own])
        widths = np.cumsum([x.shape[1] for x in state])
        return (*np.split(gradient, widths[:-1], axis=1), to_parameters)

    def _by_parameters(self, states: States, values: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        """By differences, of outputs divided by their size, so that rounding is told from a change."""
        some = np.flatnonzero(cotangent.any(1))
        out = np.zeros((len(states), len(values)))
        if len(some):
            size = np.maximum(1.0, np.abs(self._slopes.value(states[some])))
            differences = ParameterDifferences(_Scaled(self, size), self._parameters)
            slopes = differences.slopes((states[some],), values, np.arange(len(values)))
            out[some] = (slopes @ (cotangent[some] * size)[..., None])[..., 0]
            self._assign(values)
        return out

    def at(self, values: np.ndarray, states: States) -> Float[np.ndarray, "n size"]:
        """The outputs of rows that share the parameters."""
        self._assign(values)
        return self._slopes.value(states)

    def _assign(self, values: np.ndarray) -> None:
        if len(values):
            self._parameters.assign(self._slopes.forward.model, values)
            self._slopes.forward.reset()


class _Scaled:
    """The outputs divided by `size`, as `ParameterDifferences` takes them."""

    def __init__(self, differentiation: OutputDifferentiation, size: np.ndarray):
        self._differentiation, self._size = differentiation, size

    def with_values(
        self, values: list[np.ndarray], states: tuple[np.ndarray, ...], counts: list[int]
    ) -> tuple[np.ndarray]:
        """(len(values) * n, 1, size) at the states of `counts` rows each."""
        parts, start = list[np.ndarray](), 0
        for own, count in zip(values, counts, strict=True):
            parts.append(self._differentiation.at(own, states[0][start : start + count]) / self._size)
            start += count
        return (np.concatenate(parts)[:, None],)
