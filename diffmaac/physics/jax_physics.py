"""The C engine's step, rollout and outputs as functions of JAX, for which no torch is needed."""

import collections
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax import Array

from diffmaac.errors import DiffmaacError
from diffmaac.physics.engine import Engine, as_alike, as_rows
from diffmaac.physics.engine_gradient import EngineDifferentiation, EngineGradient
from diffmaac.physics.finite_difference import CentralDifferences, FiniteDifference
from diffmaac.physics.output_gradient import OutputDifferentiation
from diffmaac.physics.outputs import OutputSpace
from diffmaac.physics.parameter_gradient import ParameterDifferentiation
from diffmaac.physics.parameters import ParameterSpace
from diffmaac.physics.typed import custom_vjp, scan
from diffmaac.physics.user_inputs import USER_INPUTS, UserInputs

Arrays: TypeAlias = tuple[Array, ...]
OnRows: TypeAlias = Callable[..., Sequence[np.ndarray]]
_ENGINE = EngineGradient()


if TYPE_CHECKING:

    class JaxOutputs(tuple[Array, ...]):
        """What a step returns: a tuple, whose parts have names."""

        _fields: tuple[str, ...]

        def __getattr__(self, name: str) -> Array: ...

else:
    JaxOutputs: TypeAlias = tuple[Array, ...]


class JaxPhysics:
    """`frame_skip` time steps of a MuJoCo model as a function of JAX, differentiable in reverse mode.

        step = physics.JaxPhysics(mujoco.MjModel.from_xml_path("robot.xml"), 5, outputs=("qpos", "qvel", "site_xpos"))
        after = jax.vmap(step)(qpos, qvel, ctrl)            # after.site_xpos: (B, nsite, 3)
        states = step.rollout(qpos, qvel, ctrl)             # ctrl (T, nu): a scan; the T states that follow

    It takes one state, (nq,), (nv,), (nu,); `jax.vmap` makes batches, which the C engine steps together over all cores.
    `jax.jit`, `jax.grad`, `jax.vjp` and `jax.lax.scan` go around it. The engine is called back from the compiled
    program, on the host, and its derivative is the one of `DifferentiablePhysics` on a CPU. Forward mode and second
    derivatives raise. The dtype follows the inputs; the engine computes in float64. Between the passes a rollout keeps
    the states. A state that diverges is not finite in the result: nothing raises there.

    Args:
        model: copied.
        frame_skip: time steps in one call.
        gradient: `EngineGradient()`, or `FiniteDifference()`, for models that the former cannot do.
        parameters: names of fields of the model that calls take as `parameters={"body_mass": array}`, of the field's
            shape; docs/parameters.md lists them.
        inputs: names of `USER_INPUTS` that calls take, by these names and in the shapes of `MjData`; what a call
            leaves out is zero, or the pose that the model has.
        outputs: names of fields of `MjData` that a call returns, in a named tuple; docs/outputs.md lists them. Of none
            it returns (qpos, qvel), and (qpos, qvel, act) where `act` is given.

    Raises:
        ValueError: something of the above cannot be used, or, when called or traced, a shape or dtype.
        UnsupportedModel: the gradient cannot do the model.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int = 1,
        gradient: EngineGradient | FiniteDifference = _ENGINE,
        parameters: Sequence[str] = (),
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
    ):
        unknown = sorted(set(inputs) - set(USER_INPUTS))
        if unknown:
            raise DiffmaacError(f"inputs has {', '.join(unknown)}; there are: {', '.join(USER_INPUTS)}.")
        self._inputs, self._space = UserInputs(model, inputs), ParameterSpace(model, parameters)
        self._outputs = OutputSpace(model, outputs)
        self._shapes = {"qpos": (model.nq,), "qvel": (model.nv,), "act": (model.na,), **self._inputs.shapes}
        data = mujoco.MjData(model)
        self._rest = {name: np.asarray(getattr(data, name)) for name in self._inputs.names}
        self._step = _row_function(*self._of_engine(model, frame_skip, gradient), (model.nq, model.nv, model.na))
        read = OutputDifferentiation(self._space, self._outputs, self._inputs)
        self._read = _row_function(lambda *x: (read.value(*x),), read.pull_back, (self._outputs.size,))
        names = self._outputs.names or ("qpos", "qvel")
        self._kind = collections.namedtuple("Outputs", names)  # pyright: ignore[reportUntypedNamedTuple]

    def _of_engine(
        self, model: mujoco.MjModel, frame_skip: int, gradient: EngineGradient | FiniteDifference
    ) -> tuple[OnRows, OnRows]:
        """The step and its vector-Jacobian product, with parameters as the last input, of which there may be none."""
        threads = os.cpu_count() or 1
        eps = gradient.eps if isinstance(gradient, FiniteDifference) else None
        if self._space.names:
            both = ParameterDifferentiation(self._space, frame_skip, eps, threads, self._inputs)
            return both.step, both.pull_back
        engine = Engine(model, frame_skip, threads, self._inputs)
        plain = (
            EngineDifferentiation(model, frame_skip, threads, self._inputs)
            if eps is None
            else CentralDifferences(model, frame_skip, eps, threads, self._inputs)
        )

        def pull_back(*arrays: np.ndarray) -> Sequence[np.ndarray]:
            return (*plain.pull_back(*arrays[:4], *arrays[5:]), arrays[4])

        return lambda *arrays: engine.step(*arrays[:4]), pull_back

    def __call__(
        self,
        qpos: Array,
        qvel: Array,
        ctrl: Array,
        act: Array | None = None,
        *,
        parameters: Mapping[str, Array] | None = None,
        **inputs: Array,
    ) -> JaxOutputs:
        """(nq,), (nv,), (nu,) -> what `outputs` names, at the state after the step."""
        states, values = self._start(qpos, qvel, act), self._parameters(parameters or {}, qpos)
        controls = self._controls({"ctrl": ctrl, **inputs}, qpos)
        return self._named(self._step(*states, controls, values), controls, values, act is not None)

    def rollout(
        self,
        qpos: Array,
        qvel: Array,
        ctrl: Array,
        act: Array | None = None,
        *,
        parameters: Mapping[str, Array] | None = None,
        **inputs: Array,
    ) -> JaxOutputs:
        """(nq,), (nv,), (T, nu) -> what a call returns, after each of T steps. Inputs have the time in front."""
        values, with_act = self._parameters(parameters or {}, qpos), act is not None

        def forward(states: Arrays, given: dict[str, Array]) -> tuple[Arrays, JaxOutputs]:
            controls = self._controls(given, qpos)
            after = self._step(*states, controls, values)
            return after, self._named(after, controls, values, with_act)

        return scan(forward, self._start(qpos, qvel, act), {"ctrl": ctrl, **inputs})[1]

    def _named(self, after: Arrays, controls: Array, values: Array, with_act: bool) -> JaxOutputs:
        if not self._outputs.names:
            return cast("JaxOutputs", after if with_act else self._kind(*after[:2]))
        found: dict[str, Array] = dict(zip(("qpos", "qvel", "act"), after, strict=True))
        if self._outputs.read:
            (row,) = self._read(*after, controls, values)
            shapes = self._outputs.shapes
            found |= {name: row[own].reshape(shapes[name]) for name, own in self._outputs.slices.items()}
        return cast("JaxOutputs", self._kind(*(found[name] for name in self._outputs.names)))

    def _start(self, qpos: Array, qvel: Array, act: Array | None) -> Arrays:
        act = jnp.zeros((0,), qpos.dtype) if act is None else act
        return tuple(self._checked(n, x, qpos) for n, x in (("qpos", qpos), ("qvel", qvel), ("act", act)))

    def _controls(self, given: Mapping[str, Array], like: Array) -> Array:
        for name in given:
            if name not in self._inputs.slices:
                raise DiffmaacError(f"the step was given {name}. Name it when you build it: inputs=('{name}',).")
        parts = (
            self._checked(name, given[name], like) if name in given else jnp.asarray(self._rest[name], like.dtype)
            for name in self._inputs.slices
        )
        return jnp.concatenate([x.reshape(-1) for x in parts])

    def _parameters(self, given: Mapping[str, Array], like: Array) -> Array:
        for name in given:
            if name not in self._space.names:
                raise DiffmaacError(f"the step was given the parameter {name}. Name it when you build it.")
        own = {name: self._space.values[part] for name, part in self._space.slices.items()}
        parts = (
            self._checked(name, given[name], like, self._space.shapes[name]).reshape(-1)
            if name in given
            else jnp.asarray(own[name], like.dtype)
            for name in self._space.names
        )
        return jnp.concatenate([jnp.zeros(0, like.dtype), *parts])

    def _checked(self, name: str, x: Array, like: Array, shape: tuple[int, ...] | None = None) -> Array:
        expected = self._shapes[name] if shape is None else shape
        x = jnp.asarray(x)
        if x.shape != expected or x.dtype != like.dtype or not jnp.issubdtype(x.dtype, jnp.floating):
            raise DiffmaacError(
                f"{name} has the shape {x.shape} and is of {x.dtype}; expected {expected} and {like.dtype}, a floating"
                " type. Batches are made by jax.vmap."
            )
        return x


def _row_function(value: OnRows, pull_back: OnRows, widths: Sequence[int]) -> Callable[..., Arrays]:
    """What is computed row by row outside of JAX, of inputs (width,), with results of these widths."""

    def call(function: OnRows, widths: Sequence[int], *inputs: Array) -> Arrays:
        def on_host(*given: Array) -> tuple[np.ndarray, ...]:
            arrays = [np.asarray(x) for x in given]
            rows = [as_rows(x).astype(np.float64) for x in arrays]
            return tuple(as_alike(x, arrays[0]) for x in function(*rows))

        shapes = tuple(jax.ShapeDtypeStruct((width,), inputs[0].dtype) for width in widths)
        return jax.pure_callback(on_host, shapes, *inputs, vmap_method="broadcast_all")

    def apply(*inputs: Array) -> Arrays:
        return call(value, widths, *inputs)

    def forward(*inputs: Array) -> tuple[Arrays, Arrays]:
        return apply(*inputs), inputs

    def backward(inputs: Arrays, cotangents: Arrays) -> Arrays:
        return call(pull_back, [x.shape[0] for x in inputs], *inputs, *cotangents)

    return custom_vjp(apply, forward, backward)
