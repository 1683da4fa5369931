"""The C engine's steps, rollouts and outputs as torch functions, made when a call first needs them."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import mujoco
from torch import Tensor

from diffmaac import autograd, physics
from diffmaac.differentiable.engine_outputs import EngineOutputs
from diffmaac.differentiable.engine_rollout import EngineRollout
from diffmaac.differentiable.engine_step import EngineStep, HasPullBack
from diffmaac.errors import DiffmaacError
from diffmaac.physics import AbstractGradient, EngineGradient, FiniteDifference

Function: TypeAlias = Callable[..., tuple[Tensor, ...]]
"""Of (qpos, qvel, act, inputs) and, where they are inputs, parameters; batch first."""


class HostSteps:
    """One function for each set of user inputs, with and without parameters of the model.

    Args:
        space: the parameters that a step may have.
        outputs: what is read at the state that a step reaches.
        plain: the derivative of a step that has controls alone.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        gradient: AbstractGradient,
        space: physics.ParameterSpace,
        outputs: physics.OutputSpace,
        plain: HasPullBack,
        threads: int,
    ):
        self._model, self._frame_skip, self._gradient, self._threads = model, frame_skip, gradient, threads
        self._space, self._outputs = space, outputs
        self.engine = physics.Engine(model, frame_skip, threads)
        first = EngineStep(self.engine, plain, model)
        self._steps: dict[tuple[tuple[str, ...], bool], EngineStep] = {((), False): first}
        self._readers: dict[tuple[str, ...], Function] = {}

    def step(self, inputs: physics.UserInputs, parametric: bool) -> Function:
        """The step."""
        return autograd.to_torch(self._step(inputs, parametric))

    def rollout(self, inputs: physics.UserInputs, parametric: bool, length: int) -> Function:
        """`length` steps, of inputs and states (batch, length * width)."""
        return autograd.to_torch(EngineRollout(self._step(inputs, parametric), length))

    def read(self, inputs: physics.UserInputs) -> Function:
        """The outputs; always with parameters, of which there may be none."""
        if inputs.names not in self._readers:
            self._readers[inputs.names] = autograd.to_torch(EngineOutputs(self._space, self._outputs, inputs))
        return self._readers[inputs.names]

    def _step(self, inputs: physics.UserInputs, parametric: bool) -> EngineStep:
        key = (inputs.names, parametric)
        if key not in self._steps:
            self._steps[key] = self._made(inputs, parametric)
        return self._steps[key]

    def _made(self, inputs: physics.UserInputs, parametric: bool) -> EngineStep:
        eps = self._gradient.eps if isinstance(self._gradient, FiniteDifference) else None
        if eps is None and not isinstance(self._gradient, EngineGradient):
            raise DiffmaacError(
                f"gradient={self._gradient} takes no {', '.join(inputs.names)}; build the step with"
                " gradient=engine or finite_difference."
            )
        if parametric:
            step = physics.ParameterDifferentiation(self._space, self._frame_skip, eps, self._threads, inputs)
            return EngineStep(step, step, self._model, inputs)
        engine = physics.Engine(self._model, self._frame_skip, self._threads, inputs)
        if eps is None:
            differentiation = physics.EngineDifferentiation(self._model, self._frame_skip, self._threads, inputs)
        else:
            differentiation = physics.CentralDifferences(self._model, self._frame_skip, eps, self._threads, inputs)
        return EngineStep(engine, differentiation, self._model, inputs)


def with_parameters(inputs: Sequence[Tensor], parameters: Tensor | None) -> tuple[Tensor, ...]:
    """What a step takes: the parameters as well, where there are some."""
    return tuple(inputs) if parameters is None else (*inputs, parameters)
