"""MuJoCo as a differentiable torch function, for people who want no reinforcement learning at all."""

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import mujoco
import numpy as np
import torch
from torch import Tensor

from diffmaac import autograd, physics
from diffmaac.engine_step import INPUTS, EngineStep, HasPullBack, check_gradients, check_inputs, check_outputs
from diffmaac.errors import unknown
from diffmaac.parametric import NamedParameters
from diffmaac.physics import AbstractGradient, EngineGradient, FiniteDifference
from diffmaac.system import parse_mjcf
from diffmaac.typed import is_transformed, uncompiled

_LOGGER = logging.getLogger(__name__)
GRADIENTS = ("auto", "implicit", "engine", "unrolled", "finite_difference")
PARAMETRIC = ("engine", "finite_difference")
"""Those that differentiate by parameters, too."""
UNROLLED_ITERATIONS = 10
"""Six converge on half_cheetah's contact states; the rest is a margin for others."""
SMALL_MODEL = 5
"""Degrees of freedom up to which `gradient="auto"` takes central differences on a CPU: inverse dynamics takes as long
there (docs/results/zoo.md), and errs more."""


class DifferentiablePhysics:
    """`frame_skip` time steps of a MuJoCo model as a torch function, differentiable in reverse mode.

        step = DifferentiablePhysics(mujoco.MjModel.from_xml_path("robot.xml"), frame_skip=5)
        qpos, qvel = step(qpos, qvel, ctrl)                 # a model with activations: step(qpos, qvel, ctrl, act)

    Batched tensors in and out, (B, nq), (B, nv), (B, nu), of one dtype, float32 or float64, and on one device. What is
    differentiated is the discrete simulator, at the model's own solver settings: where a contact begins one time step
    later under a small change of the state there is a kink, and the derivative is that of one side. With respect to the
    quaternion of a ball or free joint the derivative lies in the tangent space: it has no component along the
    quaternion, and turning the body by d [rad] in its own frame moves the quaternion q by q (0, d/2). A second
    derivative raises.

    On a CPU the C engine steps, whether a gradient is asked or not. The gradient "engine" is taken at its solution.
    "implicit" is MJX's at that state, compiled on first use for each batch size and dtype; its own step is compared
    with the engine's on first use and now and then. On other devices, and for what changes the physics, MJX steps.
    torch's number of threads holds for all.

    Args:
        model: any that MuJoCo loads: an MjModel, an MjSpec, or an MJCF, its path or its text. Copied: later changes
            have no effect.
        frame_skip: time steps in one call.
        gradient: "implicit" (exact, compiled by JAX), "engine" (the implicit gradient of the C engine, compiles
            nothing), "unrolled", "finite_difference" (of the C engine), an object of `diffmaac.physics`, or "auto":
            "engine", and "finite_difference" for small models and what "engine" refuses; where torch has CUDA
            "implicit", if MJX can load the model. The attribute `gradient` tells which it is, and the log why.
        parameters: names of fields of the model, such as "body_mass", that are inputs of the step as well. Calls then
            take `parameters={"body_mass": tensor}`, of the field's shape or with the batch in front; a field that is
            left out keeps the model's values. docs/parameters.md lists the fields, and what follows from them. The
            attribute `parameters` has the model's values. Needs the gradient "engine" or "finite_difference".
        remat: keep only the inputs between forward and backward pass, and compute the step again in the latter. Where
            the C engine steps, it is so anyway.

    Raises:
        ValueError: the model, the gradient, a parameter or, when called, an input's shape, dtype, device or domain
            cannot be used.
        UnsupportedModel: the gradient cannot do the model; in the backward pass, what it differentiates is not the C
            engine's step; names row, coordinate and size.
        DivergenceError: when called, an input is not finite, or a state is no longer finite after the step; names its
            row and the time step. In the backward pass: a gradient is not finite.
    """

    def __init__(
        self,
        model: mujoco.MjModel | mujoco.MjSpec | str | Path,
        frame_skip: int = 1,
        gradient: str | AbstractGradient = "auto",
        remat: bool = False,
        parameters: Sequence[str] = (),
    ):
        model = compiled_model(model)
        space = physics.ParameterSpace(model, parameters)
        self.gradient = _choose(model, frame_skip, gradient, bool(space.names))
        self._arguments = (model, frame_skip, self.gradient, remat, space.names)
        self._widths = {"qpos": model.nq, "qvel": model.nv, "act": model.na, "ctrl": model.nu}
        threads = torch.get_num_threads()
        self._engine = physics.Engine(model, frame_skip, threads)
        self._seen: set[tuple] = set()
        self._on_host = autograd.to_torch(EngineStep(self._engine, self._derivative(threads)))
        self._parameters = NamedParameters(space)
        if space.names:
            eps = self.gradient.eps if isinstance(self.gradient, FiniteDifference) else None
            step = physics.ParameterDifferentiation(space, frame_skip, eps, threads)
            self._with_parameters = autograd.to_torch(EngineStep(step, step))

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The model's own values of its parameters, in float64: name -> tensor of the field's shape."""
        return self._parameters.values

    def model_with(self, parameters: Mapping[str, Tensor | np.ndarray]) -> mujoco.MjModel:
        """A copy of the model with these values, and with the constants that follow from them."""
        return self._parameters.model(parameters)

    def _derivative(self, threads: int) -> HasPullBack:
        """The derivative of the engine's step. Where JAX has a part in it, this prepares MJX's own step as well."""
        model, frame_skip, gradient, remat, _ = self._arguments
        if isinstance(gradient, FiniteDifference):
            return physics.CentralDifferences(model, frame_skip, gradient.eps, threads)
        if isinstance(gradient, EngineGradient):
            return physics.EngineDifferentiation(model, frame_skip, threads)
        from diffmaac import bridge  # which imports JAX

        physics.enable_compilation_cache()
        # XLA runs these small operations on one core: torch's threads say whether others are to be used.
        devices = physics.host_devices() if threads > 1 else ()
        step = physics.batched_control_step(model, frame_skip, gradient)
        options = physics.compiler_options()
        self._in_jax = bridge.to_torch(step, devices, remat, options, check_gradients)
        return physics.CompiledGradient(model, frame_skip, step, devices, options)

    def __reduce__(self) -> tuple[type["DifferentiablePhysics"], tuple[object, ...]]:
        """For copy and pickle: it is built again, and what is compiled for it compiled again or read from the cache."""
        return DifferentiablePhysics, self._arguments

    def __repr__(self) -> str:
        widths = ", ".join(f"{name}: {width}" for name, width in self._widths.items())
        return f"DifferentiablePhysics({widths}, frame_skip={self._engine.frame_skip}, gradient={self.gradient})"

    def __call__(
        self,
        qpos: Tensor | np.ndarray,
        qvel: Tensor | np.ndarray,
        ctrl: Tensor | np.ndarray,
        act: Tensor | np.ndarray | None = None,
        *,
        parameters: Mapping[str, Tensor | np.ndarray] | None = None,
    ) -> tuple[Tensor, ...]:
        """(B, nq), (B, nv), (B, nu) -> (qpos, qvel) after the step; (qpos, qvel, act) where `act` (B, na) was given.

        NumPy's arrays are taken for tensors. `torch.func`'s vjp, grad, jacrev and vmap may stand around a step that the
        C engine makes; forward mode and second derivatives raise RuntimeError.
        """
        if torch.compiler.is_compiling():
            # There is nothing in it that torch could compile: the graph breaks here, without a warning.
            return uncompiled(self._call)(parameters or {}, qpos, qvel, act, ctrl)
        return self._call(parameters or {}, qpos, qvel, act, ctrl)

    def _call(
        self, parameters: Mapping[str, Tensor | np.ndarray], *given: Tensor | np.ndarray | None
    ) -> tuple[Tensor, ...]:
        named = dict(zip(INPUTS, given, strict=False))
        with_act = named["act"] is not None
        if not with_act:
            qpos = _tensor("qpos", named["qpos"])
            named["act"] = qpos.new_zeros((*qpos.shape[:1], 0))
        inputs = {name: _tensor(name, x) for name, x in named.items()}
        self._check(inputs)
        if parameters:
            rows = self._rows(parameters, inputs["qpos"])
            qpos, qvel, act = self._with_parameters(*inputs.values(), rows)
        else:
            qpos, qvel, act = self._advance(tuple(inputs.values()))
        return (qpos, qvel, act) if with_act else (qpos, qvel)

    def _rows(self, parameters: Mapping[str, Tensor | np.ndarray], qpos: Tensor) -> Tensor:
        """The parameters of each row, (batch, size)."""
        if not self.parameters:
            raise ValueError(
                f"the step was built without parameters, and was given {', '.join(map(str, parameters))}. Build it with"
                " DifferentiablePhysics(model, parameters=(...))."
            )
        return self._parameters.rows(parameters, qpos)

    def _advance(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        by_engine = inputs[0].device.type == "cpu" and not self.gradient.changes_physics
        if by_engine or isinstance(self.gradient, FiniteDifference | EngineGradient):
            return self._on_host(*inputs)
        if is_transformed(inputs):
            raise RuntimeError(
                "torch.func (vmap, grad, jacrev) cannot pass through a step that MJX makes: on other devices than CPUs,"
                " and with UnrolledGradient. Use torch.autograd.grad, or another gradient on a CPU."
            )
        physics.check_process()
        if inputs[0].device.type == "cuda":
            physics.check_cuda()
        check_inputs(inputs)
        wanted = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        self._announce(len(inputs[0]), inputs[0].dtype, inputs[0].device, wanted)
        outputs = self._in_jax(*inputs)
        check_outputs(self._engine, inputs, outputs)
        return outputs

    def _announce(self, batch: int, dtype: torch.dtype, device: torch.device, with_gradient: bool) -> None:
        program = (batch, dtype, device, with_gradient)
        if program not in self._seen:
            self._seen.add(program)
            what = "MuJoCo's step and its gradient" if with_gradient else "MuJoCo's step"
            physics.announce(self._engine.model, what, batch, str(dtype).removeprefix("torch."))

    def _check(self, inputs: dict[str, Tensor]) -> None:
        batch = inputs["qpos"].shape[0] if inputs["qpos"].ndim else 0
        for name, x in inputs.items():
            if tuple(x.shape) != (batch, self._widths[name]):
                hint = " A model with activation states needs act=." if name == "act" and self._widths["act"] else ""
                raise ValueError(
                    f"{name} has the shape {tuple(x.shape)}; expected {(batch, self._widths[name])}, batch first.{hint}"
                )
        autograd.check_inputs(tuple(inputs.values()))


def compiled_model(model: object) -> mujoco.MjModel:
    """A copy of a model, or what its MJCF or its specification compiles to."""
    if isinstance(model, mujoco.MjModel):
        return copy.copy(model)
    if isinstance(model, mujoco.MjSpec):
        return model.compile()
    if isinstance(model, (str, Path)):
        return parse_mjcf(model)
    raise ValueError(
        f"model is a {type(model).__name__}; expected a mujoco.MjModel or MjSpec, or an MJCF: its path, or its text."
    )


def _tensor(name: str, x: object) -> Tensor:
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(x if x.flags.writeable else x.copy())
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} is a {type(x).__name__}; expected a torch tensor or a NumPy array, batch first.")
    return x


def _choose(
    model: mujoco.MjModel, frame_skip: int, gradient: str | AbstractGradient, parametric: bool
) -> AbstractGradient:
    if parametric and gradient == "auto":
        return _fastest_of_engine(model, frame_skip)[0]
    if parametric and not (isinstance(gradient, EngineGradient | FiniteDifference) or gradient in PARAMETRIC):
        raise ValueError(
            f"gradient={gradient} takes no parameters; expected one of auto, {', '.join(PARAMETRIC)}, or their objects."
        )
    if isinstance(gradient, AbstractGradient):
        return gradient
    makers = {
        "implicit": lambda: physics.ImplicitGradient(),
        "engine": EngineGradient,
        "unrolled": lambda: physics.UnrolledGradient(UNROLLED_ITERATIONS),
        "finite_difference": FiniteDifference,
    }
    if gradient in makers:
        return makers[gradient]()
    if gradient != "auto":
        raise ValueError(unknown("gradient", gradient, GRADIENTS))
    chosen, reason = _fastest(model, frame_skip)
    _LOGGER.info("gradient=auto takes %s: %s", chosen, reason)
    return chosen


def _fastest(model: mujoco.MjModel, frame_skip: int) -> tuple[AbstractGradient, str]:
    """The fastest exact gradient, and why. On a CPU that of MJX is seldom faster, and compiles for a minute."""
    if torch.cuda.is_available():
        try:
            physics.ImplicitGradient().control_step(model, frame_skip)
            return physics.ImplicitGradient(), "torch has CUDA, and MJX can load the model"
        except physics.UnsupportedModel as error:
            _LOGGER.warning("gradient=auto leaves MJX: %s", error)
    if model.nv <= SMALL_MODEL:
        return FiniteDifference(), f"the model has {model.nv} degrees of freedom, at most {SMALL_MODEL}"
    return _fastest_of_engine(model, frame_skip)


def _fastest_of_engine(model: mujoco.MjModel, frame_skip: int) -> tuple[AbstractGradient, str]:
    try:
        physics.check_model(model, frame_skip)
    except physics.UnsupportedModel as error:
        _LOGGER.warning("gradient=auto takes central differences of the C engine: %s", error)
        return FiniteDifference(), "inverse dynamics cannot do the model"
    return EngineGradient(), "it is exact, compiles nothing and is faster than central differences"
