"""MuJoCo as a differentiable torch function, for people who want no reinforcement learning at all."""

import functools
import logging
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from diffmaac import autograd, physics
from diffmaac.errors import DivergenceError, unknown
from diffmaac.physics import AbstractGradient, EngineGradient, FiniteDifference
from diffmaac.typed import as_function

_LOGGER = logging.getLogger(__name__)
GRADIENTS = ("auto", "implicit", "engine", "unrolled", "finite_difference")
UNROLLED_ITERATIONS = 10
"""Six converge on half_cheetah's contact states; the rest is a margin for others."""
SMALL_MODEL = 5
"""Degrees of freedom up to which `gradient="auto"` takes central differences on a CPU: inverse dynamics takes as long
there (docs/performance.md), and errs more."""


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

    On CPU tensors that need no gradient the C engine steps, which is faster and equal to rounding; otherwise MJX,
    compiled on first use for each batch size and dtype. torch's number of threads holds for both.

    Args:
        model: any MJCF that MuJoCo loads. Copied: later changes have no effect.
        frame_skip: time steps in one call.
        gradient: "implicit" (exact, compiled by JAX), "engine" (the implicit gradient of the C engine, compiles
            nothing), "unrolled", "finite_difference" (of the C engine), an object of `diffmaac.physics`, or "auto":
            "engine", and "finite_difference" for small models and what "engine" refuses; where torch has CUDA
            "implicit", if MJX can load the model. The attribute `gradient` tells which it is, and the log why.
        remat: keep only the inputs between forward and backward pass, and compute the step again in the latter.

    Raises:
        ValueError: the model, the gradient or, when called, an input's shape, dtype or device cannot be used.
        DivergenceError: when called, an input is not finite, or a state is no longer finite after the step; names its
            row and the time step.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int = 1,
        gradient: str | AbstractGradient = "auto",
        remat: bool = False,
    ):
        self.gradient = _choose(model, frame_skip, gradient)
        self._widths = {"qpos": model.nq, "qvel": model.nv, "act": model.na, "ctrl": model.nu}
        threads = torch.get_num_threads()
        self._engine = physics.Engine(model, frame_skip, threads)
        self._seen: set[tuple] = set()
        if isinstance(self.gradient, FiniteDifference):
            differences = physics.CentralDifferences(model, frame_skip, self.gradient.eps, threads)
            self._step = functools.partial(as_function(_DifferencedStep), differences)
        elif isinstance(self.gradient, EngineGradient):
            differentiation = physics.EngineDifferentiation(model, frame_skip, threads)
            self._step = functools.partial(as_function(_EngineStep), differentiation)
        else:
            from diffmaac import bridge  # which imports JAX

            physics.enable_compilation_cache()
            # XLA runs these small operations on one core: torch's threads say whether others are to be used.
            devices = physics.host_devices() if threads > 1 else ()
            step = physics.batched_control_step(model, frame_skip, self.gradient)
            self._step = bridge.to_torch(step, devices, remat, physics.compiler_options())

    def __repr__(self) -> str:
        widths = ", ".join(f"{name}: {width}" for name, width in self._widths.items())
        return f"DifferentiablePhysics({widths}, frame_skip={self._engine.frame_skip}, gradient={self.gradient})"

    def __call__(self, qpos: Tensor, qvel: Tensor, ctrl: Tensor, act: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, nq), (B, nv), (B, nu) -> (qpos, qvel) after the step; (qpos, qvel, act) where `act` (B, na) was given."""
        with_act = act is not None
        act = act if act is not None else qpos.new_zeros((*qpos.shape[:1], 0))
        inputs = {"qpos": qpos, "qvel": qvel, "act": act, "ctrl": ctrl}
        self._check(inputs)
        outputs = self._advance(tuple(inputs.values()))
        if not all(torch.isfinite(x).all() for x in outputs):
            raise DivergenceError(self._describe_divergence(inputs, outputs))
        qpos, qvel, act = outputs
        return (qpos, qvel, act) if with_act else (qpos, qvel)

    def _advance(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        wanted = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        on_cpu = inputs[0].device.type == "cpu"
        if isinstance(self.gradient, FiniteDifference | EngineGradient):
            return self._step(*inputs)
        if not wanted and on_cpu and not self.gradient.changes_physics:
            return _tensors(self._engine.step(*_arrays(inputs)), inputs[0])
        self._announce(len(inputs[0]), inputs[0].dtype, inputs[0].device, wanted)
        return self._step(*inputs)

    def _announce(self, batch: int, dtype: torch.dtype, device: torch.device, with_gradient: bool) -> None:
        program = (batch, dtype, device, with_gradient)
        if program in self._seen:
            return
        self._seen.add(program)
        what = "MuJoCo's step and its gradient" if with_gradient else "MuJoCo's step"
        directory = physics.persistent_cache()
        lasting = f"; the program is kept in {directory}, so the next start takes a few" if directory else ""
        _LOGGER.info(
            "compiling %s for batches of %d in %s, some ten seconds to a minute%s",
            what,
            batch,
            str(dtype).removeprefix("torch."),
            lasting,
        )

    def _check(self, inputs: dict[str, Tensor]) -> None:
        batch = inputs["qpos"].shape[0] if inputs["qpos"].ndim else 0
        for name, x in inputs.items():
            if tuple(x.shape) != (batch, self._widths[name]):
                hint = " A model with activation states needs act=." if name == "act" and self._widths["act"] else ""
                raise ValueError(
                    f"{name} has the shape {tuple(x.shape)}; expected {(batch, self._widths[name])}, batch first.{hint}"
                )
        autograd.check_inputs(tuple(inputs.values()))
        for name, x in inputs.items():
            if not torch.isfinite(x).all():
                row = int((~torch.isfinite(x)).any(1).nonzero()[0])
                raise DivergenceError(f"{name} is not finite in row {row} of {batch}. Look at what produced it.")

    def _describe_divergence(self, inputs: dict[str, Tensor], outputs: tuple[Tensor, ...]) -> str:
        finite = torch.stack([torch.isfinite(x).all(1) for x in outputs]).all(0)
        row = int((~finite).nonzero()[0])
        states = self._engine.trajectory(*_arrays([x[row : row + 1] for x in inputs.values()]))
        bad = np.flatnonzero(~np.isfinite(np.concatenate(states, axis=2)[0]).all(1))
        where = f"at time step {bad[0] + 1} of {len(states[0][0])}" if len(bad) else "in MJX, but not in the C engine"
        return (
            f"the simulation of sample {row} of {len(finite)} diverged {where}. Try a smaller timestep in the"
            " MJCF, stronger damping, a smaller control, or a shorter horizon."
        )


class _DifferencedStep(torch.autograd.Function):
    """The C engine's step with central differences as its derivative; no JAX between."""

    @staticmethod
    def forward(ctx: Any, differences: physics.CentralDifferences, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.differences = differences
        ctx.save_for_backward(*inputs)
        return _tensors(differences.step(*_arrays(inputs)), inputs[0])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        sources = (*ctx.saved_tensors, *cotangents)
        gradients = _tensors(ctx.differences.pull_back(*_arrays(sources)), sources[0])
        return None, *autograd.once_differentiable(gradients, sources)


class _EngineStep(torch.autograd.Function):
    """The C engine's step with its implicit gradient; no JAX between."""

    @staticmethod
    def forward(ctx: Any, differentiation: physics.EngineDifferentiation, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.differentiation, ctx.trajectory = differentiation, differentiation.trajectory(*_arrays(inputs))
        ctx.save_for_backward(*inputs)
        return _tensors([states[:, -1].copy() for states in ctx.trajectory], inputs[0])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        sources = (*ctx.saved_tensors, *cotangents)
        gradients = ctx.differentiation.pull_back_along(ctx.trajectory, *_arrays(sources))
        return None, *autograd.once_differentiable(_tensors(gradients, sources[0]), sources)


def _arrays(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    return [x.detach().cpu().numpy() for x in tensors]


def _tensors(arrays: Sequence[np.ndarray], like: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in arrays)


def _choose(model: mujoco.MjModel, frame_skip: int, gradient: str | AbstractGradient) -> AbstractGradient:
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
    try:
        physics.check_model(model, frame_skip)
    except physics.UnsupportedModel as error:
        _LOGGER.warning("gradient=auto takes central differences of the C engine: %s", error)
        return FiniteDifference(), "inverse dynamics cannot do the model"
    return EngineGradient(), "it is exact, compiles nothing and is faster than central differences"
