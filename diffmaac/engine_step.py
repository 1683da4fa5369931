"""The C engine's step on tensors, with the derivative that a gradient gives it; what is not finite is named."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from diffmaac import autograd
from diffmaac.errors import DivergenceError

INPUTS = ("qpos", "qvel", "act", "ctrl", "parameters")
"""Of a step; the last where the model has parameters."""
STATES = 3
"""Of qpos, qvel and act there are cotangents."""


@runtime_checkable
class HasPullBack(Protocol):
    """A gradient: (the inputs, and cotangents of qpos, qvel, act) -> gradients of the inputs."""

    def pull_back(self, *inputs_and_cotangents: np.ndarray) -> tuple[np.ndarray, ...]: ...


@runtime_checkable
class HasSteps(Protocol):
    """Steps without a gradient: inputs (batch, width) -> qpos, qvel, act, after the step or after every time step."""

    @property
    def step(self) -> Callable[..., tuple[np.ndarray, ...]]: ...

    @property
    def trajectory(self) -> Callable[..., tuple[np.ndarray, ...]]: ...


class EngineStep(autograd.AbstractRowFunction):
    """The C engine's step with the vector-Jacobian product of `gradient`, on tensors; names what is not finite."""

    def __init__(self, engine: HasSteps, gradient: HasPullBack):
        self._engine = engine
        self._gradient = gradient

    def value(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        check_inputs(inputs)
        outputs = _tensors(self._engine.step(*_arrays(inputs)), inputs[0])
        check_outputs(self._engine, inputs, outputs)
        return outputs

    def pull_back(self, *inputs_and_cotangents: Tensor) -> tuple[Tensor, ...]:
        inputs, cotangents = inputs_and_cotangents[:-STATES], inputs_and_cotangents[-STATES:]
        gradients = _tensors(self._gradient.pull_back(*_arrays(inputs_and_cotangents)), inputs[0])
        check_gradients(gradients, cotangents)
        return gradients


def check_inputs(inputs: Sequence[Tensor]) -> None:
    """Raises DivergenceError where a state or a control is not finite, with its row."""
    for name, x in zip(INPUTS[:4], inputs, strict=False):
        if (row := _not_finite(x)) is not None:
            raise DivergenceError(f"{name} is not finite in row {row} of {len(x)}. Look at what produced it.")


def check_outputs(engine: HasSteps, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Raises DivergenceError where a state after the step is not finite, with its row and time step."""
    row = _not_finite(torch.cat(list(outputs), 1))
    if row is None:
        return
    states = engine.trajectory(*_arrays([x[row : row + 1] for x in inputs]))
    bad = np.flatnonzero(~np.isfinite(np.concatenate(states, axis=2)[0]).all(1))
    where = f"at time step {bad[0] + 1} of {len(states[0][0])}" if len(bad) else "in MJX, but not in the C engine"
    raise DivergenceError(
        f"the simulation of sample {row} of {len(outputs[0])} diverged {where}. Try a smaller timestep in the"
        " MJCF, stronger damping, a smaller control, or a shorter horizon."
    )


def check_gradients(gradients: Sequence[Tensor], cotangents: Sequence[Tensor]) -> None:
    """Raises DivergenceError where a gradient is not finite, with its row: that of the step, or that which arrives."""
    row = _not_finite(torch.cat(list(cotangents), 1))
    if row is not None:
        raise DivergenceError(
            f"the gradient that arrives at the step's result is not finite in row {row} of {len(cotangents[0])}: look"
            " at what was computed from the result."
        )
    for name, x in zip(INPUTS, gradients, strict=False):
        if (row := _not_finite(x)) is not None:
            raise DivergenceError(
                f"the gradient of the step with respect to {name} is not finite in row {row} of {len(x)}, though the"
                " step is. Differentiate the model with gradient=finite_difference, and please report it with the MJCF"
                " and that row's state."
            )


def _not_finite(x: Tensor) -> int | None:
    """The first row with a number that is not finite."""
    finite = torch.isfinite(x)
    return None if finite.all() else int((~finite).any(1).nonzero()[0])


def _arrays(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    return [x.detach().cpu().numpy() for x in tensors]


def _tensors(arrays: Sequence[np.ndarray], like: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in arrays)
