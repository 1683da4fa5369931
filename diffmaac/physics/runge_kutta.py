"""The vector-Jacobian product of one time step of RK4 in the C engine."""

import copy

import mujoco
import numpy as np

from diffmaac.physics.activation import Activations
from diffmaac.physics.adjoint import Pullback, State, through_stage
from diffmaac.physics.engine import Engine
from diffmaac.physics.inverse import InverseDynamics
from diffmaac.physics.parameter_slopes import ParameterSlopes
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.user_inputs import STATE, UserInputs

NODES = (0.5, 0.5, 1.0)
WEIGHTS = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
"""Of the classic method, as `mj_RungeKutta` has them."""


class RungeKutta:
    """Pulls gradients back through a time step of RK4. One object a thread.

    The four accelerations are computed anew by the engine; each is the root of the residual r of `InverseDynamics`.
    """

    stages = len(WEIGHTS)

    def __init__(
        self, model: mujoco.MjModel, parameters: ParameterSlopes | None = None, inputs: UserInputs | None = None
    ):
        self._model, self._data = model, mujoco.MjData(model)
        self._explicit = _explicit_step(model, inputs) if model.na == 0 else None
        self._inputs = STATE | (inputs or UserInputs(model)).signature
        self._inverse = InverseDynamics(model, inputs)
        self._parameters = parameters
        self._tangent = TangentSpace(model)
        self._activations = Activations(model)
        self._h = model.opt.timestep

    @property
    def models(self) -> list[mujoco.MjModel]:
        """The copies of the model in here."""
        own = [] if self._explicit is None else [self._explicit.model]
        return [*self._inverse.models, *own]

    def begin(self, before: State, ctrl: np.ndarray, after: State) -> None:
        """Takes n time steps that the engine made, which are then pulled back some at a time."""
        self._before, self._ctrl = before, ctrl
        self._points, self._accelerations, self._rates = self._stages(before, ctrl)
        every = [np.concatenate(column) for column in zip(*self._points, strict=True)]
        controls, accelerations = np.tile(ctrl, (self.stages, 1)), np.concatenate(self._accelerations)
        linear = self._inverse.linearize(*every, controls, accelerations)
        n = len(ctrl)
        self._linear = [linear.of(slice(i * n, (i + 1) * n)) for i in range(self.stages)]

    def pull_back(self, rows: slice, gradient: State) -> Pullback:
        """Of those of the time steps, from the gradient with respect to the states after them."""
        before, ctrl, stages = self._before.of(rows), self._ctrl[rows], [point.of(rows) for point in self._points]
        velocity, mean_rate = _mean([stage.qvel for stage in stages]), _mean([rate[rows] for rate in self._rates])
        position, moved = self._tangent.transport(self._h * velocity, gradient.qpos)
        act, rate = self._activations.pull_back(before.act, mean_rate, gradient.act)
        size = 0 if self._parameters is None else self._parameters.size
        total = Pullback(position, gradient.qvel, act, np.zeros_like(ctrl), np.zeros((len(ctrl), size)))
        # Of each stage: the gradients with respect to its velocity, its acceleration and its rates.
        towards = [[self._h * w * moved, self._h * w * gradient.qvel, w * rate] for w in WEIGHTS]
        for i in reversed(range(self.stages)):
            linear = self._linear[i].of(rows)
            linear.check()
            velocity, acceleration, rate = towards[i]
            slopes = None
            if self._parameters is not None:
                slopes = self._parameters.linearize(*stages[i], ctrl, self._accelerations[i][rows])
            pulled = through_stage(linear, acceleration, rate, slopes)
            pulled = pulled._replace(qvel=pulled.qvel + velocity)
            if i > 0:
                step = self._h * NODES[i - 1]
                position, moved = self._tangent.transport(step * stages[i - 1].qvel, pulled.qpos)
                for own, gained in zip(towards[i - 1], (moved, pulled.qvel, pulled.act), strict=True):
                    own += step * gained
                pulled = pulled._replace(qpos=position)
            total = Pullback(*(x + y for x, y in zip(total, pulled, strict=True)))
        return total

    def _stages(self, before: State, ctrl: np.ndarray) -> tuple[list[State], list[np.ndarray], list[np.ndarray]]:
        """The four states, their accelerations and the rates of their activations."""
        stages, accelerations, rates = [before], list[np.ndarray](), list[np.ndarray]()
        for node in (*NODES, None):
            acceleration, rate = self._forward(stages[-1], ctrl)
            accelerations.append(acceleration)
            rates.append(rate)
            if node is not None:
                step, velocity = self._h * node, stages[-1].qvel
                qpos = self._tangent.displace(before.qpos, step * velocity)
                stages.append(State(qpos, before.qvel + step * acceleration, before.act + step * rate))
        return stages, accelerations, rates

    def _forward(self, state: State, ctrl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The accelerations and the rates of the activations."""
        if self._explicit is not None:
            return (self._explicit.step(*state, ctrl)[1] - state.qvel) / self._h, np.zeros_like(state.act)
        accelerations, rates = np.zeros_like(state.qvel), np.zeros_like(state.act)
        data, states = self._data, np.concatenate([*state, ctrl], axis=1)
        for row in range(len(ctrl)):
            mujoco.mj_setState(self._model, data, states[row], self._inputs)
            data.qacc_warmstart[:] = 0.0
            mujoco.mj_forwardSkip(self._model, data, int(mujoco.mjtStage.mjSTAGE_NONE), 1)
            accelerations[row], rates[row] = data.qacc, data.act_dot
        return accelerations, rates


def _explicit_step(model: mujoco.MjModel, inputs: UserInputs | None) -> Engine:
    """Steps of explicit Euler, in which the velocity changes by h times the acceleration."""
    model = copy.copy(model)
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
    return Engine(model, frame_skip=1, inputs=inputs)


def _mean(values: list[np.ndarray]) -> np.ndarray:
    return np.tensordot(WEIGHTS, values, axes=1)
