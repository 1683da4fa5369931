"""MuJoCo as a differentiable torch function, for people who want no reinforcement learning at all."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import mujoco
import numpy as np
import torch
from torch import Tensor

from diffmaac import autograd, physics
from diffmaac.differentiable.engine_outputs import NamedOutputs, Outputs
from diffmaac.differentiable.engine_step import INPUTS, HasPullBack, check_gradients, check_inputs, check_outputs
from diffmaac.differentiable.gradient_choice import choose
from diffmaac.differentiable.host_steps import HostSteps, with_parameters
from diffmaac.differentiable.named_inputs import NamedInputs
from diffmaac.differentiable.named_parameters import NamedParameters
from diffmaac.errors import DiffmaacError
from diffmaac.physics import AbstractGradient, EngineGradient, FiniteDifference
from diffmaac.system import parse_mjcf
from diffmaac.typed import is_transformed, uncompiled

_LOGGER = logging.getLogger(__name__)
Given: TypeAlias = Mapping[str, Tensor | np.ndarray] | None
"""Parameters by name."""


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
        outputs: names of fields of `MjData`, such as "site_xpos", that a call returns in place of the states: a named
            tuple of tensors of the field's shape, with the batch in front. Their values are those of `mj_forward` at
            the state that the step reaches, under the same controls and forces. docs/outputs.md lists the fields.
        remat: keep only the inputs between forward and backward pass, and compute the step again in the latter. Where
            the C engine steps, it is so anyway.

    Raises:
        DiffmaacError: the model, the gradient, a parameter or, when called, an input's shape, dtype, device or domain
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
        outputs: Sequence[str] = (),
    ):
        model = compiled_model(model)
        if model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_SLEEP):
            _LOGGER.warning("no body sleeps here, though the model lets it: a step depends on its state alone.")
        space, read = physics.ParameterSpace(model, parameters), physics.OutputSpace(model, outputs)
        self.gradient = choose(model, frame_skip, gradient, bool(space.names))
        self._arguments = (model, frame_skip, self.gradient, remat, space.names, read.names)
        self._widths = {"qpos": model.nq, "qvel": model.nv, "act": model.na, "ctrl": model.nu}
        threads = torch.get_num_threads()
        self._seen: set[tuple] = set()
        self._host = HostSteps(model, frame_skip, self.gradient, space, read, self._derivative(threads), threads)
        self._inputs, self._parameters = NamedInputs(model), NamedParameters(space)
        self._reads, self._named = bool(read.read), NamedOutputs(read) if read.names else None

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The model's own values of its parameters, in float64: name -> tensor of the field's shape."""
        return self._parameters.values

    def model_with(self, parameters: Mapping[str, Tensor | np.ndarray]) -> mujoco.MjModel:
        """A copy of the model with these values, and with the constants that follow from them."""
        return self._parameters.model(parameters)

    def _derivative(self, threads: int) -> HasPullBack:
        """The derivative of the engine's step. Where JAX has a part in it, this prepares MJX's own step as well."""
        model, frame_skip, gradient, remat, *_ = self._arguments
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
        return f"DifferentiablePhysics({widths}, frame_skip={self._host.engine.frame_skip}, gradient={self.gradient})"

    def __call__(
        self,
        qpos: Tensor | np.ndarray,
        qvel: Tensor | np.ndarray,
        ctrl: Tensor | np.ndarray,
        act: Tensor | np.ndarray | None = None,
        *,
        parameters: Given = None,
        qfrc_applied: Tensor | np.ndarray | None = None,
        xfrc_applied: Tensor | np.ndarray | None = None,
        mocap_pos: Tensor | np.ndarray | None = None,
        mocap_quat: Tensor | np.ndarray | None = None,
    ) -> Outputs:
        """(B, nq), (B, nv), (B, nu) -> (qpos, qvel) after the step; (qpos, qvel, act) where `act` (B, na) was given.
        With `outputs` a named tuple of these.

        Forces and poses have the shapes of `MjData` behind the batch, and hold for the whole step: (B, nv) [N, N m],
        (B, nbody, 6) at centres of mass in the world's frame, (B, nmocap, 3) [m], (B, nmocap, 4). What is left out is
        zero, or the pose that the model has. They need the gradient "engine" or "finite_difference".

        NumPy's arrays are taken for tensors. `torch.func`'s vjp, grad, jacrev and vmap may stand around a step that the
        C engine makes; forward mode and second derivatives raise RuntimeError.
        """
        extra = _extra(qfrc_applied, xfrc_applied, mocap_pos, mocap_quat)
        return self._outside_graphs(False, parameters or {}, extra, qpos, qvel, act, ctrl)

    def rollout(
        self,
        qpos: Tensor | np.ndarray,
        qvel: Tensor | np.ndarray,
        ctrl: Tensor | np.ndarray,
        act: Tensor | np.ndarray | None = None,
        *,
        parameters: Given = None,
        qfrc_applied: Tensor | np.ndarray | None = None,
        xfrc_applied: Tensor | np.ndarray | None = None,
        mocap_pos: Tensor | np.ndarray | None = None,
        mocap_quat: Tensor | np.ndarray | None = None,
    ) -> Outputs:
        """As many steps as `ctrl` (B, T, nu) has, from (B, nq) and (B, nv): what a call returns, after each of them.

        The states are (B, T, nq), (B, T, nv), and any outputs (B, T, ...). The values are those of chained calls, and
        so are the gradients, to rounding; but it is one function of torch, which keeps its inputs alone between the
        passes, and takes the steps again in the backward pass. Forces and poses have the time behind the batch,
        (B, T, nv) and so on, and parameters hold for all steps.
        """
        extra = _extra(qfrc_applied, xfrc_applied, mocap_pos, mocap_quat)
        return self._outside_graphs(True, parameters or {}, extra, qpos, qvel, act, ctrl)

    @property
    def _outside_graphs(self) -> Callable[..., Outputs]:
        """`_call`. There is nothing in it that torch could compile: a graph breaks here, without a warning."""
        return uncompiled(self._call) if torch.compiler.is_compiling() else self._call

    def _call(
        self,
        rolled: bool,
        parameters: Mapping[str, Tensor | np.ndarray],
        extra: Mapping[str, Tensor | np.ndarray],
        *given: Tensor | np.ndarray | None,
    ) -> Outputs:
        """A step, or as many as the controls have behind the batch where it is `rolled`."""
        named = dict(zip(INPUTS, given, strict=False))
        with_act = named["act"] is not None
        if not with_act:
            qpos = autograd.dense_tensor("qpos", named["qpos"])
            named["act"] = qpos.new_zeros((*qpos.shape[:1], 0))
        inputs, more = ({name: autograd.dense_tensor(name, x) for name, x in group.items()} for group in (named, extra))
        self._check(inputs, more, rolled)
        controls, values = self._inputs.rows(inputs["ctrl"], more), self._rows(parameters, inputs["qpos"])
        user = self._inputs.space(more)
        states = tuple(inputs[name] for name in INPUTS[:3])
        after = self._steps(user, values, states, controls) if rolled else self._step(user, values, states, controls)
        if self._named is None:
            return cast("Outputs", after if with_act else after[:2])
        rows = self._read(user, values, after, controls) if self._reads else None
        return self._named(dict(zip(INPUTS, after, strict=False)), rows)

    def _rows(self, parameters: Mapping[str, Tensor | np.ndarray], qpos: Tensor) -> Tensor | None:
        """The parameters of each row, (batch, size); None where none are given."""
        if not parameters:
            return None
        if not self.parameters:
            raise DiffmaacError(
                f"the step was built without parameters, and was given {', '.join(map(str, parameters))}. Build it with"
                " DifferentiablePhysics(model, parameters=(...))."
            )
        return self._parameters.rows(parameters, qpos)

    def _step(
        self, user: physics.UserInputs, values: Tensor | None, states: tuple[Tensor, ...], controls: Tensor
    ) -> tuple[Tensor, ...]:
        if values is None and not user.names:
            return self._advance((*states, controls))
        return self._host.step(user, values is not None)(*with_parameters((*states, controls), values))

    def _steps(
        self, user: physics.UserInputs, values: Tensor | None, states: tuple[Tensor, ...], controls: Tensor
    ) -> tuple[Tensor, ...]:
        """(batch, T, width) after each step."""
        length = controls.shape[1]
        if not self._is_by_engine(states[0]):
            after = [states]
            for t in range(length):
                after.append(self._step(user, values, after[-1], controls[:, t]))
            return tuple(torch.stack(column, dim=1) for column in zip(*after[1:], strict=True))
        roll = self._host.rollout(user, values is not None, length)
        out = roll(*with_parameters((*states, controls.flatten(1)), values))
        return tuple(x.unflatten(1, (length, -1 if x.shape[1] else 0)) for x in out)

    def _read(
        self, user: physics.UserInputs, values: Tensor | None, states: tuple[Tensor, ...], controls: Tensor
    ) -> Tensor:
        """The outputs at the states (*batch, width), in rows."""
        lead = controls.shape[:-1]
        if values is None:
            values = self._parameters.rows({}, controls.new_zeros(lead[0], 0))
        values = values[:, None].expand(*lead, -1) if len(lead) > 1 else values
        flat = (x.reshape(lead.numel(), x.shape[-1]) for x in (*states, controls, values))
        (rows,) = self._host.read(user)(*flat)
        return rows.reshape(*lead, rows.shape[-1])

    def _is_by_engine(self, x: Tensor) -> bool:
        """Whether the C engine steps."""
        by_engine = x.device.type == "cpu" and not self.gradient.changes_physics
        return by_engine or isinstance(self.gradient, FiniteDifference | EngineGradient)

    def _advance(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if self._is_by_engine(inputs[0]):
            return self._host.step(self._inputs.space({}), False)(*inputs)
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
        check_outputs(self._host.engine, inputs, outputs)
        return outputs

    def _announce(self, batch: int, dtype: torch.dtype, device: torch.device, with_gradient: bool) -> None:
        program = (batch, dtype, device, with_gradient)
        if program not in self._seen:
            self._seen.add(program)
            what = "MuJoCo's step and its gradient" if with_gradient else "MuJoCo's step"
            physics.announce(self._host.engine.model, what, batch, str(dtype).removeprefix("torch."))

    def _check(self, inputs: dict[str, Tensor], extra: dict[str, Tensor], rolled: bool) -> None:
        batch = inputs["qpos"].shape[0] if inputs["qpos"].ndim else 0
        time = inputs["ctrl"].shape[1:2] if rolled else ()
        for name, x in inputs.items():
            expected = (batch, *(time if name == "ctrl" else ()), self._widths[name])
            if tuple(x.shape) != expected:
                hint = " A model with activation states needs act=." if name == "act" and self._widths["act"] else ""
                order = "batch first, then the time" if rolled and name == "ctrl" else "batch first"
                raise DiffmaacError(f"{name} has the shape {tuple(x.shape)}; expected {expected}, {order}.{hint}")
        if rolled and time == (0,):
            raise DiffmaacError("ctrl has no time step: its shape is (B, T, nu), and T must be 1 or more.")
        given = {name: x for name, x in (inputs | extra).items() if x.shape[-1:] != (0,)}
        types = {name: str(x.dtype).removeprefix("torch.") for name, x in given.items()}
        if len(set(types.values())) > 1:
            listed = ", ".join(f"{name} is {kind}" for name, kind in types.items())
            raise DiffmaacError(f"{listed}. Give all of one type, float32 or float64: nothing is converted.")
        autograd.check_inputs((*inputs.values(), *extra.values()))


def _extra(*values: Tensor | np.ndarray | None) -> dict[str, Tensor | np.ndarray]:
    """The user inputs that are given, by name."""
    return {name: x for name, x in zip(physics.USER_INPUTS, values, strict=True) if x is not None}


def compiled_model(model: object) -> mujoco.MjModel:
    """A copy of a model, or what its MJCF or its specification compiles to."""
    if isinstance(model, mujoco.MjModel):
        return copy.copy(model)
    if isinstance(model, mujoco.MjSpec):
        return model.compile()
    if isinstance(model, (str, Path)):
        return parse_mjcf(model)
    raise DiffmaacError(
        f"model is a {type(model).__name__}; expected a mujoco.MjModel or MjSpec, or an MJCF: its path, or its text."
    )
