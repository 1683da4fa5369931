"""Outputs of a step on tensors: what the C engine has in `MjData` at the state that the step reached."""

import collections
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from torch import Tensor

from diffmaac import autograd
from diffmaac.differentiable.engine_step import arrays, first_not_finite, not_finite, parts_of, tensors
from diffmaac.errors import DivergenceError
from diffmaac.physics import OutputDifferentiation, OutputSpace, ParameterSpace, UserInputs

if TYPE_CHECKING:

    class Outputs(tuple[Tensor, ...]):
        """What a step returns: a tuple, whose parts have names where there are `outputs`."""

        _fields: tuple[str, ...]

        def __getattr__(self, name: str) -> Tensor: ...

else:
    Outputs: TypeAlias = tuple[Tensor, ...]


class EngineOutputs(autograd.AbstractRowFunction):
    """(qpos, qvel, act, inputs, parameters) -> (outputs,), on tensors (batch, width); names what is not finite."""

    def __init__(self, parameters: ParameterSpace, outputs: OutputSpace, inputs: UserInputs):
        self._outputs, self._inputs = outputs, inputs
        self._differentiation = OutputDifferentiation(parameters, outputs, inputs)

    def value(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        (out,) = tensors([self._differentiation.value(*arrays(inputs))], inputs[0])
        self._check(out, "the output {} is not finite in row {} of {}, though the state is.")
        return (out,)

    def pull_back(
        self, kept: tuple[Tensor, ...], wanted: tuple[bool, ...], *inputs_and_cotangents: Tensor
    ) -> tuple[Tensor, ...]:
        *inputs, cotangent = inputs_and_cotangents
        self._check(cotangent, "the gradient that arrives at the output {} is not finite in row {} of {}.")
        gradients = tensors(
            self._differentiation.pull_back(*arrays(inputs_and_cotangents), by_parameters=wanted[-1]), inputs[0]
        )
        parts = parts_of(gradients, self._inputs) | {"parameters": gradients[4]}
        if (found := first_not_finite(parts)) is not None:
            name, row = found
            raise DivergenceError(
                f"the gradient of the outputs {', '.join(self._outputs.read)} with respect to {name} is not finite"
                f" in row {row} of {len(cotangent)}, though the outputs are. Please report it with the MJCF."
            )
        return gradients

    def _check(self, x: Tensor, message: str) -> None:
        if (row := not_finite(x)) is not None:
            entry = int((~torch.isfinite(x[row])).nonzero()[0])
            raise DivergenceError(message.format(self._outputs.entry(entry), row, len(x)))


class NamedOutputs:
    """Tuples of an `OutputSpace`'s fields, each with its name and its shape in `MjData`."""

    def __init__(self, space: OutputSpace):
        self._space = space
        self._kind = collections.namedtuple("Outputs", space.names)

    def __call__(self, state: Mapping[str, Tensor], rows: Tensor | None) -> Outputs:
        """From the state (*batch, width) and rows (*batch, size), None where there are none."""
        return cast("Outputs", self._kind(*(self._field(name, state, rows) for name in self._space.names)))

    def _field(self, name: str, state: Mapping[str, Tensor], rows: Tensor | None) -> Tensor:
        if rows is None or name in state:
            return state[name]
        part = rows[..., self._space.slices[name]]
        return part.reshape(*part.shape[:-1], *self._space.shapes[name])
