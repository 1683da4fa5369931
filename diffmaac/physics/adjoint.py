"""The vector-Jacobian product of one time step of the C engine, from the derivatives of its inverse dynamics."""

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.activation import Activations
from diffmaac.physics.inverse import InverseDynamics, Linearization
from diffmaac.physics.linear import solve
from diffmaac.physics.parameter_slopes import ParameterSlopes, StageSlopes
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.user_inputs import UserInputs


class State(NamedTuple):
    """States, or gradients with respect to them; a gradient's `qpos` is in the tangent space, (n, nv)."""

    qpos: Float[np.ndarray, "n _"]
    qvel: Float[np.ndarray, "n nv"]
    act: Float[np.ndarray, "n na"]

    def of(self, rows: slice) -> "State":
        """Some of them."""
        return State(*(x[rows] for x in self))


class Pullback(NamedTuple):
    """Gradients with respect to the states before a time step, to its controls, and to parameters of the model."""

    qpos: Float[np.ndarray, "n nv"]
    qvel: Float[np.ndarray, "n nv"]
    act: Float[np.ndarray, "n na"]
    ctrl: Float[np.ndarray, "n nu"]
    parameters: Float[np.ndarray, "n size"]


class SingleStage:
    """Pulls gradients back through a time step of Euler, implicit or implicitfast. One object a thread.

    With a(qpos, qvel, act, ctrl) the root of the residual r of `InverseDynamics`, the step is

        qvel' = qvel + h a,        qpos' = qpos + h qvel' (in the tangent space),

    and by the implicit function theorem

        da = -(dr/da)^-1 (dr/dqpos dqpos + dr/dqvel dqvel + dr/dact dact + dr/dctrl dctrl).
    """

    stages = 1

    def __init__(
        self, model: mujoco.MjModel, parameters: ParameterSlopes | None = None, inputs: UserInputs | None = None
    ):
        self._inverse = InverseDynamics(model, inputs)
        self._parameters = parameters
        self._tangent = TangentSpace(model)
        self._activations = Activations(model)
        self._h = model.opt.timestep

    @property
    def models(self) -> list[mujoco.MjModel]:
        """The copies of the model in here."""
        return self._inverse.models

    def begin(self, before: State, ctrl: np.ndarray, after: State) -> None:
        """Takes n time steps that the engine made, which are then pulled back some at a time."""
        self._before, self._ctrl, self._after = before, ctrl, after
        self._acceleration = (after.qvel - before.qvel) / self._h
        self._linear = self._inverse.linearize(*before, ctrl, self._acceleration)

    def pull_back(self, rows: slice, gradient: State) -> Pullback:
        """Of those of the time steps, from the gradient with respect to the states after them."""
        linear, before, after = self._linear.of(rows), self._before.of(rows), self._after.of(rows)
        linear.check()
        qpos, moved = self._tangent.transport(self._h * after.qvel, gradient.qpos)
        qvel = gradient.qvel + self._h * moved
        act, rate = self._activations.pull_back(before.act, linear.actuation.rate, gradient.act)
        slopes = None
        if self._parameters is not None:
            slopes = self._parameters.linearize(*before, self._ctrl[rows], self._acceleration[rows])
        stage = through_stage(linear, self._h * qvel, rate, slopes)
        return Pullback(qpos + stage.qpos, qvel + stage.qvel, act + stage.act, stage.ctrl, stage.parameters)


def through_stage(
    linear: Linearization,
    acceleration: Float[np.ndarray, "n nv"],
    rate: Float[np.ndarray, "n na"],
    parameters: StageSlopes | None = None,
) -> Pullback:
    """From the gradients with respect to the acceleration a and to the rates of the activations."""
    slopes = linear.actuation
    force = solve(linear.qacc, acceleration[..., None])  # -(dr/da)' is the transposed of what is wanted
    rate = rate[..., None]
    return Pullback(
        qpos=(slopes.rate_qpos @ rate - linear.qpos @ force)[..., 0],
        qvel=(slopes.rate_qvel @ rate - linear.qvel @ force)[..., 0],
        act=(slopes.rate_act @ rate + slopes.force_act @ force)[..., 0],
        ctrl=(slopes.rate_ctrl @ rate + slopes.force_ctrl @ force)[..., 0],
        parameters=np.zeros((len(rate), 0))
        if parameters is None
        else parameters.pull_back(force[..., 0], acceleration),
    )
