"""What functions from outside of torch share: which inputs they take, and that they are differentiated once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffmaac.typed import as_function

DTYPES = (torch.float32, torch.float64)


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
        raise RuntimeError(
            "A gradient that came from JAX or MuJoCo was differentiated again; only first derivatives are supported."
            " Take the second derivative in JAX, or detach the gradient."
        )


def check_inputs(inputs: Sequence[Tensor]) -> None:
    """Raises ValueError unless all have one floating dtype and lie on one device."""
    if not inputs:
        raise ValueError("The bridge got no input; pass at least one tensor.")
    dtypes = [str(tensor.dtype) for tensor in inputs]
    if len(set(dtypes)) > 1 or inputs[0].dtype not in DTYPES:
        raise ValueError(
            f"The bridge got inputs of dtype {', '.join(dtypes)}; all must be torch.float32, or all torch.float64."
            " It never casts: convert them first, e.g. with tensor.to(torch.float64)."
        )
    devices = [str(tensor.device) for tensor in inputs]
    if len(set(devices)) > 1:
        raise ValueError(f"The bridge got inputs on {', '.join(devices)}; move them to one device first.")
