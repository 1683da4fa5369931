"""A differentiable JAX function as a differentiable torch function.

Memory is shared through DLPack in both directions. Nothing here knows what the function computes.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array
from torch import Tensor

from diffmaac.autograd import SECOND_DERIVATIVE, check_inputs
from diffmaac.typed import as_function

Check: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor]], None]

_DTYPES = {torch.float32: jnp.float32, torch.float64: jnp.float64}


def to_torch(
    function: Callable[..., tuple[Array, ...]],
    devices: Sequence[jax.Device] = (),
    remat: bool = False,
    compiler_options: Mapping[str, str | bool | int] | None = None,
    check: Check | None = None,
) -> Callable[..., tuple[Tensor, ...]]:
    """The torch function with the values and the vector-Jacobian products of `function`.

    `function` takes arrays of one floating dtype and returns a tuple of arrays of the same dtype. It is compiled once
    for every combination of shapes and dtype: forward alone where no input requires a gradient, otherwise forward with
    residuals, which stay in JAX until the backward pass. JAX's 64-bit mode is on within the calls on float64, and only
    there.

    Calls raise DiffmaacError where dtypes or devices of the inputs differ (nothing is cast or moved), and a second
    derivative raises, as the pullback is not differentiable in torch. An input or output that is changed in place
    before the backward pass raises there, as with torch's own functions.

    Args:
        function: differentiable in reverse mode.
        devices: CPU devices to split the first axis over, for a `function` that works row by row. Batches that do not
            divide by their number run on one. Splitting copies inputs and outputs, which are small where it pays.
        remat: keep the inputs in place of the residuals, and run the function again in the backward pass.
        compiler_options: XLA's, as in `jax.jit`.
        check: is called with the gradients and the cotangents of each backward pass, and may raise.
    """
    jit = functools.partial(jax.jit, compiler_options=dict(compiler_options or {}))
    whole = _Program.compile(function, jit, remat)
    split = whole if len(devices) < 2 else _Program.compile_split(function, jit, devices, remat)

    def bridged(*inputs: Tensor) -> tuple[Tensor, ...]:
        check_inputs(inputs)
        program = split if _divisible(inputs, len(devices)) else whole
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return _bridge(program, check, *inputs)
        with jax.enable_x64(inputs[0].dtype == torch.float64):
            return _to_torch(program.value(*_to_jax(inputs, program.placement)), inputs)

    return bridged


@dataclasses.dataclass(frozen=True)
class _Program:
    """The three jitted parts of a function, and where their arguments must lie (None: where they are)."""

    value: Callable[..., tuple[Array, ...]]
    value_and_pullback: Callable[..., tuple[tuple[Array, ...], Any]]
    pull_back: Callable[..., tuple[Array, ...]]
    placement: jax.sharding.Sharding | None = None

    @classmethod
    def compile(
        cls, function: Callable, jit: Callable, remat: bool, placement: jax.sharding.Sharding | None = None
    ) -> "_Program":
        """The parts of `function`; with `remat` its residuals are its arguments, and the rest is computed again."""
        value = jit(function)
        if remat:
            return cls(
                value=value,
                value_and_pullback=lambda *arrays: (value(*arrays), arrays),
                pull_back=jit(lambda arrays, cotangents: jax.vjp(function, *arrays)[1](cotangents)),
                placement=placement,
            )
        return cls(
            value=value,
            value_and_pullback=jit(lambda *arrays: jax.vjp(function, *arrays)),
            pull_back=jit(lambda pullback, cotangents: pullback(cotangents)),
            placement=placement,
        )

    @classmethod
    def compile_split(cls, function: Callable, jit: Callable, devices: Sequence[jax.Device], remat: bool) -> "_Program":
        mesh, rows = jax.sharding.Mesh(np.array(devices), ("batch",)), jax.sharding.PartitionSpec("batch")
        split = jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)
        return cls.compile(split, jit, remat, jax.sharding.NamedSharding(mesh, rows))


class _Bridge(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, program: _Program, check: Check | None, *inputs: Tensor) -> tuple[Tensor, ...]:
        with jax.enable_x64(inputs[0].dtype == torch.float64):
            values, ctx.pullback = program.value_and_pullback(*_to_jax(inputs, program.placement))
            outputs = _to_torch(values, inputs)
        ctx.program, ctx.check = program, check
        # The residuals may share memory with both: saving them makes torch notice changes in place.
        ctx.save_for_backward(*inputs, *outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        saved, program = ctx.saved_tensors, ctx.program
        with jax.enable_x64(cotangents[0].dtype == torch.float64):
            arrays = _to_jax(cotangents, program.placement)
            gradients = _to_torch(program.pull_back(ctx.pullback, arrays), cotangents)
        if ctx.check is not None:
            ctx.check(gradients, cotangents)
        gradients = once_differentiable(gradients, (*saved, *cotangents))
        wanted = ctx.needs_input_grad[2:]
        return None, None, *(x if want else None for x, want in zip(gradients, wanted, strict=True))


_bridge = as_function(_Bridge)


def once_differentiable(gradients: Sequence[Tensor], sources: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """For the backward pass of an autograd function: `gradients` of `sources` and cotangents, which raise when they
    are differentiated again."""
    if not torch.is_grad_enabled():  # no create_graph=True
        return tuple(gradients)
    mark = as_function(_OnceDifferentiable)
    return tuple(mark(gradient, *sources) for gradient in gradients)


class _OnceDifferentiable(torch.autograd.Function):
    """A gradient that depends on `sources` in a way that torch cannot follow, so asking for it raises.

    `torch.autograd.function.once_differentiable` lets the case pass where the cotangents are constants: the gradient
    then counts as a constant, and a penalty on it would silently have no effect.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *sources: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(SECOND_DERIVATIVE)


def _divisible(inputs: Sequence[Tensor], parts: int) -> bool:
    return parts > 1 and all(x.device.type == "cpu" and x.ndim > 0 and x.shape[0] % parts == 0 for x in inputs)


def _to_jax(tensors: Sequence[Tensor], placement: jax.sharding.Sharding | None) -> tuple[Array, ...]:
    arrays = tuple(_tensor_to_jax(tensor.detach()) for tensor in tensors)
    return arrays if placement is None else jax.device_put(arrays, placement)


def _tensor_to_jax(tensor: Tensor) -> Array:
    if tensor.numel() == 0:  # DLPack has no address to share
        return jnp.zeros(tensor.shape, _DTYPES[tensor.dtype])
    # Torch's allocations are aligned as XLA wants them; a view that starts elsewhere is copied by JAX.
    return jax.dlpack.from_dlpack(tensor.contiguous())


def _to_torch(arrays: Sequence[Array], sources: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Tensors on the memory of `arrays`, except where XLA handed an argument through: that would alias a `source`.

    Waits for JAX, which computes in the background: the memory of the arguments is torch's again afterwards.
    """
    addresses = {tensor.data_ptr() for tensor in sources if tensor.numel()}
    tensors = (_array_to_torch(array, sources[0]) for array in jax.block_until_ready(arrays))
    return tuple(tensor.clone() if tensor.data_ptr() in addresses else tensor for tensor in tensors)


def _array_to_torch(array: Array, like: Tensor) -> Tensor:
    if array.size == 0:
        return like.new_empty(array.shape)
    if len(array.devices()) > 1:
        array = jax.block_until_ready(jax.device_put(array, min(array.devices(), key=lambda device: device.id)))
    return torch.from_dlpack(array)
