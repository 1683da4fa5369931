"""Functions of torch that carry no types, or have no public name, with both."""

# pyright: reportPrivateImportUsage=false
# torch._foreach_*: what torch's own optimisers are made of.

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
import torch._C._functorch as _functorch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
ResultOut = TypeVar("ResultOut", covariant=True)
Tensors: TypeAlias = list[Tensor] | tuple[Tensor, ...]


@runtime_checkable
class _AutogradFunction(Protocol[Arguments, ResultOut]):
    @staticmethod
    def forward(ctx: Any, *args: Arguments.args, **kwargs: Arguments.kwargs) -> ResultOut: ...

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any: ...


def as_function(kind: type[_AutogradFunction[Arguments, Result]]) -> Callable[Arguments, Result]:
    """The `apply` of a `torch.autograd.Function`, with the types of its `forward`."""
    return kind.apply


@runtime_checkable
class _FunctionWithContext(Protocol[Arguments, ResultOut]):
    @staticmethod
    def forward(*args: Arguments.args, **kwargs: Arguments.kwargs) -> ResultOut: ...

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any: ...

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any: ...


def with_context(kind: type[_FunctionWithContext[Arguments, Result]]) -> Callable[Arguments, Result]:
    """`as_function` for one whose `forward` takes no context, as `torch.func` wants it."""
    return kind.apply


def is_transformed(tensors: Tensors) -> bool:
    """Whether one of them stands for others, within `torch.func.vmap`, `grad` and the like."""
    return any(_functorch.is_functorch_wrapped_tensor(x) for x in tensors)


def is_grads_batched(tensors: Tensors) -> bool:
    """Whether one of them stands for others, within ``torch.autograd.grad(..., is_grads_batched=True)``."""
    return any(_functorch.is_legacy_batchedtensor(x) for x in tensors)


def uncompiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, which `torch.compile` leaves as it is."""
    disabled: Any = torch.compiler.disable(function)
    return disabled


@contextmanager
def single_precision() -> Generator[None]:
    """Makes float32 torch's default within, whatever the user has set: so are networks, noise and replayed data."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def vector_norm(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """`torch.linalg.vector_norm`: the Euclidean norm."""
    return torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim)


def matrix_norm(x: Tensor, ord: int | Literal["fro"] = "fro") -> Tensor:
    """`torch.linalg.matrix_norm` over the last two dimensions: Frobenius, or the spectral norm with 2."""
    return torch.linalg.matrix_norm(x, ord)


def global_norm(tensors: Tensors) -> Tensor:
    """The Euclidean norm of all tensors as one vector, in few calls for many tensors, as in torch's own optimisers."""
    return vector_norm(torch.stack(torch._foreach_norm(tensors)))


def assert_on_device(condition: Tensor, message: str) -> None:
    """Raises RuntimeError where `condition` () is false. A GPU stops there, and the host need not wait to know."""
    torch._assert_async(condition, message)


def largest(tensors: Tensors) -> Tensor:
    """The largest absolute value in each tensor, as one vector; not finite where an entry is not."""
    return torch.stack(torch._foreach_norm(tensors, torch.inf))


def scale_(tensors: Tensors, factor: Tensor) -> None:
    """Multiplies each tensor by `factor` (), in place."""
    torch._foreach_mul_(tensors, factor)


def add_(tensors: Tensors, others: Tensors) -> None:
    """Adds to each tensor its counterpart in `others`, in place."""
    torch._foreach_add_(tensors, others)


def lerp_(tensors: Tensors, towards: Tensors, weight: float) -> None:
    """Moves each tensor by the share `weight` of the way to its counterpart in `towards`, in place."""
    torch._foreach_lerp_(tensors, towards, weight)
