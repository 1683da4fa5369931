"""Row-wise functions computed outside of torch, with derivatives of their own, as differentiable torch functions.

It follows `torch.autograd` and the reverse mode of `torch.func` (vjp, grad, jacrev, vmap, in any order). Forward mode
and second derivatives raise.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from diffmaac.errors import DiffmaacError
from diffmaac.typed import is_grads_batched, with_context

Tensors: TypeAlias = tuple[Tensor, ...]

DTYPES = (torch.float32, torch.float64)
SECOND_DERIVATIVE = (
    "A gradient that came from JAX or MuJoCo was differentiated again; only first derivatives are supported."
    " Take the second derivative in JAX, or detach the gradient."
)
"""The message where a gradient that was made outside of torch is differentiated again."""


class AbstractRowFunction(abc.ABC):
    """A function of tensors (batch, width) that maps each row for itself, and its vector-Jacobian product."""

    keeps = 0
    """How many tensors (batch, ...) the value leaves for the backward pass."""

    @abc.abstractmethod
    def value(self, *inputs: Tensor) -> Tensors: ...

    @abc.abstractmethod
    def pull_back(self, kept: Tensors, wanted: tuple[bool, ...], *inputs_and_cotangents: Tensor) -> Tensors:
        """The gradients of all inputs, for cotangents of the values, with what the value has left. Those of inputs that
        are not `wanted` may be anything."""

    def value_and_kept(self, *inputs: Tensor) -> Tensors:
        """The values, and behind them what is kept."""
        return self.value(*inputs)


def to_torch(function: AbstractRowFunction) -> Callable[..., Tensors]:
    """`function` as a differentiable function of tensors.

    Calls raise RuntimeError in forward mode (jvp, jacfwd), and where a gradient is differentiated again.
    """
    apply = with_context(_Value)
    return lambda *inputs: _split(function, apply(function, *inputs))[0]


def _split(function: AbstractRowFunction, tensors: Tensors) -> tuple[Tensors, Tensors]:
    """The first ones, and those that are kept."""
    first = len(tensors) - function.keeps
    return tensors[:first], tensors[first:]


class _Value(torch.autograd.Function):
    """Returns what is kept as well: a transformation of torch.func sees no other tensors."""

    @staticmethod
    def forward(function: AbstractRowFunction, *inputs: Tensor) -> Tensors:
        return function.value_and_kept(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        ctx.function = inputs[0]
        kept = _split(ctx.function, output)[1]
        ctx.mark_non_differentiable(*kept)
        ctx.save_for_backward(*inputs[1:], *kept)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        inputs, kept = _split(ctx.function, ctx.saved_tensors)
        arriving, wanted = _split(ctx.function, cotangents)[0], tuple(ctx.needs_input_grad[1:])
        gradients = with_context(_PullBack)((ctx.function, wanted), *inputs, *arriving, *kept)
        return None, *(x if want else None for x, want in zip(gradients, wanted, strict=True))

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> None:
        raise RuntimeError(
            "A step of MuJoCo was differentiated in forward mode (jvp, jacfwd), which it does not have. Take reverse"
            " mode: torch.func.vjp or jacrev, torch.autograd.grad."
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return _over_rows(with_context(_Value), info.batch_size, in_dims, args)


class _PullBack(torch.autograd.Function):
    """The vector-Jacobian product: a function of inputs, cotangents and what was kept that has no derivative."""

    @staticmethod
    def forward(call: tuple[AbstractRowFunction, tuple[bool, ...]], *args: Tensor) -> Tensors:
        function, wanted = call
        if is_grads_batched(args):
            raise RuntimeError(
                "A step of MuJoCo was differentiated with is_grads_batched=True (or vectorize=True), which it does not"
                " take. Use torch.func.jacrev, or torch.func.vmap over torch.func.vjp, which it does."
            )
        inputs_and_cotangents, kept = _split(function, args)
        return function.pull_back(kept, wanted, *inputs_and_cotangents)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> None:
        raise RuntimeError(SECOND_DERIVATIVE)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        return _over_rows(with_context(_PullBack), info.batch_size, in_dims, args)


def _over_rows(
    apply: Callable[..., Tensors], size: int, in_dims: tuple[Any, ...], args: tuple[Any, ...]
) -> tuple[Tensors, tuple[int, ...]]:
    """`apply` over one more axis: `size` batches are one of more rows. The first argument is no tensor."""
    first, *tensors = args
    batches = (
        x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
        for x, dim in zip(tensors, in_dims[1:], strict=True)
    )
    outputs = apply(first, *(x.flatten(0, 1) for x in batches))
    return tuple(x.unflatten(0, (size, len(x) // size)) for x in outputs), (0,) * len(outputs)


def dense_tensor(name: str, x: object) -> Tensor:
    """A tensor, or the numbers of an array in one. Raises DiffmaacError for all else."""
    if isinstance(x, np.ndarray):
        as_it_is = x.flags.writeable and x.dtype.isnative and all(stride >= 0 for stride in x.strides)
        x = torch.from_numpy(x if as_it_is else x.astype(x.dtype.newbyteorder("="), order="C"))
    if not isinstance(x, Tensor) or x.layout is not torch.strided:
        kind = f"{x.layout} tensor" if isinstance(x, Tensor) else type(x).__name__
        raise DiffmaacError(f"{name} is a {kind}; expected a torch tensor or a NumPy array, dense.")
    return x


def check_inputs(inputs: Sequence[Tensor]) -> None:
    """Raises DiffmaacError unless all have one floating dtype and lie on one device."""
    if not inputs:
        raise DiffmaacError("There is no input; pass at least one tensor.")
    dtypes = [str(tensor.dtype) for tensor in inputs]
    if len(set(dtypes)) > 1 or inputs[0].dtype not in DTYPES:
        raise DiffmaacError(
            f"The inputs are of dtype {', '.join(dtypes)}; all must be torch.float32, or all torch.float64. Nothing is"
            " converted: do it first, for example with tensor.to(torch.float64)."
        )
    devices = [str(tensor.device) for tensor in inputs]
    if len(set(devices)) > 1:
        raise DiffmaacError(f"The inputs are on {', '.join(devices)}; move them to one device first.")
