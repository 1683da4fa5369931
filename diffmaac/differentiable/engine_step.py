"""The C engine's step on tensors, with the derivative that a gradient gives it; what is not finite is named."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import mujoco
import numpy as np
import torch
from torch import Tensor

from diffmaac import autograd
from diffmaac.errors import DivergenceError
from diffmaac.physics import EngineDifferentiation, ParameterDifferentiation, UserInputs
from diffmaac.physics.joints import rotating_joints

INPUTS = ("qpos", "qvel", "act", "ctrl", "parameters")
"""Of a step; the last where the model has parameters. With `ctrl` go the forces and poses that are given."""
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
    """The C engine's step with the vector-Jacobian product of `gradient`, on tensors; names what is not finite.

    `inputs` tells what is in the rows that are taken for controls. The states after the time steps are kept for a
    gradient that is taken along them.
    """

    def __init__(
        self, engine: HasSteps, gradient: HasPullBack, model: mujoco.MjModel, inputs: UserInputs | None = None
    ):
        self._engine = engine
        _, self._quaternions, _ = rotating_joints(model)
        self._gradient = gradient
        self.keeps = STATES if isinstance(gradient, EngineDifferentiation) else 0
        self.inputs = inputs

    def value(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        check_inputs(inputs, self.inputs)
        return self._finite(self._engine.step(*arrays(inputs)), inputs)

    def value_and_kept(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not self.keeps:
            return self.value(*inputs)
        check_inputs(inputs, self.inputs)
        trajectory = self._engine.trajectory(*arrays(inputs))
        outputs = self._finite([x[:, -1] for x in trajectory], inputs)
        return *outputs, *(torch.from_numpy(x) for x in trajectory)

    def pull_back(
        self, kept: tuple[Tensor, ...], wanted: tuple[bool, ...], *inputs_and_cotangents: Tensor
    ) -> tuple[Tensor, ...]:
        self._check_quaternions(inputs_and_cotangents[0])
        given = arrays(inputs_and_cotangents)
        if isinstance(self._gradient, ParameterDifferentiation):
            found = self._gradient.pull_back(*given, by_parameters=wanted[-1])
        elif kept and isinstance(self._gradient, EngineDifferentiation):
            found = self._gradient.pull_back_along(arrays(kept), *given)
        else:
            found = self._gradient.pull_back(*given)
        return _finite_gradients(found, inputs_and_cotangents)

    def _check_quaternions(self, qpos: Tensor) -> None:
        """Raises DivergenceError for zero: the engine takes it for no rotation, however it is approached."""
        if len(self._quaternions) and (found := first_zero(qpos[:, self._quaternions])) is not None:
            row, joint = found
            first, *_, last = self._quaternions[joint]
            raise DivergenceError(
                f"qpos[{first}:{last + 1}], a quaternion, is zero in row {row} of {len(qpos)}. The step takes it for"
                " (1, 0, 0, 0), but has no gradient there. Give a quaternion of any other length."
            )

    def _finite(self, after: Sequence[np.ndarray], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        outputs = tensors(after, inputs[0])
        check_outputs(self._engine, inputs, outputs)
        return outputs


def _finite_gradients(found: Sequence[np.ndarray], inputs_and_cotangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
    gradients = tensors(found, inputs_and_cotangents[0])
    check_gradients(gradients, inputs_and_cotangents[-STATES:])
    return gradients


def check_inputs(inputs: Sequence[Tensor], user: UserInputs | None = None) -> None:
    """Raises DivergenceError where a state or an input is not finite, with its row, and where a quaternion is zero."""
    parts = parts_of(inputs, user)
    if (found := first_not_finite(parts)) is not None:
        name, row = found
        raise DivergenceError(f"{name} is not finite in row {row} of {len(inputs[0])}. Look at what produced it.")
    quaternions = parts.get("mocap_quat")
    if quaternions is not None and (found := first_zero(quaternions.unflatten(1, (-1, 4)))) is not None:
        raise DivergenceError(
            f"mocap_quat is zero in row {found[0]} of {len(quaternions)}, which is no rotation. Give a"
            " quaternion of any other length: (1, 0, 0, 0) turns nothing."
        )


def parts_of(inputs: Sequence[Tensor], user: UserInputs | None = None) -> dict[str, Tensor]:
    """The states and what is in the rows of inputs, by name."""
    qpos, qvel, act, controls = inputs[:4]
    slices = {"ctrl": slice(None)} if user is None else user.slices
    return {"qpos": qpos, "qvel": qvel, "act": act} | {name: controls[:, own] for name, own in slices.items()}


def check_outputs(engine: HasSteps, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Raises DivergenceError where a state after the step is not finite, with its row and time step."""
    row = not_finite(torch.cat(list(outputs), 1))
    if row is None:
        return
    states = engine.trajectory(*arrays([x[row : row + 1] for x in inputs]))
    bad = np.flatnonzero(~np.isfinite(np.concatenate(states, axis=2)[0]).all(1))
    where = f"at time step {bad[0] + 1} of {len(states[0][0])}" if len(bad) else "in MJX, but not in the C engine"
    raise DivergenceError(
        f"the simulation of sample {row} of {len(outputs[0])} diverged {where}. Try a smaller timestep in the"
        " MJCF, stronger damping, a smaller control, or a shorter horizon."
    )


def check_gradients(gradients: Sequence[Tensor], cotangents: Sequence[Tensor]) -> None:
    """Raises DivergenceError where a gradient is not finite, with its row: that of the step, or that which arrives."""
    if (row := not_finite(torch.cat(list(cotangents), 1))) is not None:
        raise DivergenceError(
            f"the gradient that arrives at the step's result is not finite in row {row} of {len(cotangents[0])}: look"
            " at what was computed from the result."
        )
    if (found := first_not_finite(dict(zip(INPUTS, gradients, strict=False)))) is not None:
        name, row = found
        raise DivergenceError(
            f"the gradient of the step with respect to {name} is not finite in row {row} of {len(gradients[0])}, though"
            " the step is. Differentiate the model with gradient=finite_difference, and please report it with the MJCF"
            " and that row's state."
        )


def first_not_finite(parts: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """Name and row of the first part with a number that is not finite. All are looked at in one go: few ever have."""
    if not_finite(torch.cat(list(parts.values()), 1)) is None:
        return None
    return next((name, row) for name, x in parts.items() if (row := not_finite(x)) is not None)


def first_zero(quaternions: Tensor) -> tuple[int, int] | None:
    """Row and place of the first zero among quaternions (n, places, 4)."""
    zero = (quaternions == 0).all(-1)
    return tuple(zero.nonzero()[0].tolist()) if zero.any() else None


def not_finite(x: Tensor) -> int | None:
    """The first row with a number that is not finite."""
    finite = torch.isfinite(x)
    return None if finite.all() else int((~finite).any(1).nonzero()[0])


def arrays(sources: Sequence[Tensor]) -> list[np.ndarray]:
    """The same numbers in NumPy."""
    return [x.detach().cpu().numpy() for x in sources]


def tensors(sources: Sequence[np.ndarray], like: Tensor) -> tuple[Tensor, ...]:
    """The same numbers in torch, of the dtype and on the device of `like`."""
    return tuple(torch.from_numpy(x).to(like.device, like.dtype) for x in sources)
