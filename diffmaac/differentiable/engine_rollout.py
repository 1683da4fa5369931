"""Many steps of the C engine as one torch function that keeps nothing but its inputs for the backward pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diffmaac import autograd
from diffmaac.differentiable.engine_step import STATES, EngineStep
from diffmaac.errors import DivergenceError


class EngineRollout(autograd.AbstractRowFunction):
    """(qpos, qvel, act, inputs, parameters) -> (qpos, qvel, act) after each of `length` steps, on tensors.

    Inputs are (batch, length * width), and so are the states that come out; parameters, if any, hold for all steps.
    Between the passes the inputs are kept. The backward pass makes the states again, and from each of them, from the
    last to the first, its step and the derivatives of that step: there is one step's at a time.
    """

    def __init__(self, step: EngineStep, length: int):
        self._step, self._length = step, length

    def value(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.flatten(1) for x in self._states(inputs))

    def _states(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """After each step, (batch, length, width)."""
        state, parameters = tuple(inputs[:STATES]), inputs[4:]
        out = tuple(x.new_empty(x.shape[0], self._length, x.shape[1]) for x in state)
        for t, controls in enumerate(self._each(inputs[3])):
            try:
                state = self._step.value(*state, controls, *parameters)
            except DivergenceError as error:
                raise DivergenceError(f"in step {t + 1} of {self._length} of the rollout, {error}") from error
            for target, x in zip(out, state, strict=True):
                target[:, t] = x
        return out

    def pull_back(
        self, kept: tuple[Tensor, ...], wanted: tuple[bool, ...], *inputs_and_cotangents: Tensor
    ) -> tuple[Tensor, ...]:
        inputs, cotangents = inputs_and_cotangents[:-STATES], inputs_and_cotangents[-STATES:]
        start, controls, parameters = inputs[:STATES], self._each(inputs[3]), inputs[4:]
        states, arriving = self._states(inputs), [x.unflatten(1, (self._length, -1)) for x in cotangents]
        to_controls, to_parameters = torch.zeros_like(inputs[3]), [torch.zeros_like(x) for x in parameters]
        gradient = [torch.zeros_like(x) for x in start]
        for t in reversed(range(self._length)):
            total = [x + y[:, t] for x, y in zip(gradient, arriving, strict=True)]
            before = start if t == 0 else [x[:, t - 1] for x in states]
            pulled = self._step.pull_back((), wanted, *before, controls[t], *parameters, *total)
            gradient = list(pulled[:STATES])
            self._each(to_controls)[t].copy_(pulled[3])
            for own, more in zip(to_parameters, pulled[4:], strict=True):
                own += more
        return (*gradient, to_controls, *to_parameters)

    def _each(self, controls: Tensor) -> tuple[Tensor, ...]:
        """The inputs of each step: views."""
        return controls.unflatten(1, (self._length, controls.shape[1] // self._length)).unbind(1)
