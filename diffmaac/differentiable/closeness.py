"""Is the gradient of a function of tensors that of central differences? Any chain, with physics in it or not."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import mujoco
import numpy as np
import torch
from torch import Tensor

from diffmaac.errors import DiffmaacError, GradientError
from diffmaac.physics import TangentSpace
from diffmaac.physics.names import entry

Move: TypeAlias = tuple[float, Callable[[float], Tensor]]
"""The size of a number, and the input with that number moved by so many sizes."""
STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
"""Of the differences, times the size of a number where that is above 1; the two neighbours that agree best count."""
SHOWN = 5
"""Entries that a message names, at most."""


@dataclasses.dataclass(frozen=True)
class Closeness:
    """What `ensure_close` found: for each input the largest difference of its gradient from central differences, and
    the entries that lie on a kink, where differences disagree among themselves and show nothing."""

    errors: dict[str, float]
    kinks: list[str]


def ensure_close(
    function: Callable[..., Tensor | Sequence[Tensor]],
    inputs: Mapping[str, Tensor],
    *,
    model: mujoco.MjModel | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-7,
) -> Closeness:
    """Compares the gradient of `function(**inputs)` with central differences, one number of the inputs after the other.

        diffmaac.ensure_close(lambda qpos, ctrl: cost(step.rollout(qpos, qvel, ctrl)), {"qpos": qpos, "ctrl": ctrl})

    What the function returns, tensors of any shape, is weighted at random and summed, so that one wrong derivative
    shows. It is called eight times for each number. Nothing random may be in it.

    Args:
        inputs: by name, in float64; copied.
        model: with it an input `qpos` (*batch, nq) is moved in its tangent space, as quaternions must be.
        rtol: allowed difference, relative to the largest derivative by that input.
        atol: allowed beside it.

    Raises:
        GradientError: a derivative differs by more; says which entry of which input, and by how much.
        DiffmaacError: an input is not of float64 or not finite, or the function does not depend on any of them.
    """
    leaves = {name: _checked(name, x).requires_grad_() for name, x in inputs.items()}
    value = _weighted(function(**leaves))
    if not value.requires_grad:
        raise DiffmaacError(
            f"the function depends on none of {', '.join(inputs)}: its result has no gradient. Look for a detach, a"
            " no_grad or NumPy in it."
        )
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    errors, kinks, wrong = dict[str, float](), list[str](), list[tuple[float, str]]()
    for (name, x), gradient in zip(inputs.items(), gradients, strict=True):
        labels, moves, ours = _entries(name, x.detach(), gradient, model)
        slopes = np.array([_slopes(function, {**inputs, name: x.detach()}, name, move) for move in moves])
        slopes = slopes.reshape(len(labels), len(STEPS))
        apart = np.abs(np.diff(slopes, axis=1))
        best, rows = apart.argmin(1), np.arange(len(labels))
        theirs, doubt = slopes[rows, best + 1], apart[rows, best]
        error, allowed = np.abs(ours - theirs), atol + rtol * np.abs(theirs).max(initial=0.0)
        doubtful = (doubt > allowed) | ~np.isfinite(theirs)
        kinks += [labels[i] for i in np.flatnonzero(doubtful)]
        errors[name] = float(error[~doubtful].max(initial=0.0))
        wrong += [
            (float(error[i]), f"{labels[i]} is {ours[i]:.6g} in place of {theirs[i]:.6g}")
            for i in np.flatnonzero(~(error <= allowed) & ~doubtful)
        ]
    if wrong:
        wrong.sort(reverse=True)
        more = f", and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise GradientError(
            f"the gradient is not that of central differences: by {'; by '.join(text for _, text in wrong[:SHOWN])}"
            f"{more}. Look at what was computed from these."
        )
    return Closeness(errors, kinks)


def _checked(name: str, x: Tensor) -> Tensor:
    if x.dtype != torch.float64:
        raise DiffmaacError(f"{name} is of {x.dtype}; differences need torch.float64. Convert it: {name}.double().")
    if not torch.isfinite(x).all():
        raise DiffmaacError(f"{name} is not finite. Look at what produced it.")
    return x.detach().clone()


def _weighted(result: Tensor | Sequence[Tensor]) -> Tensor:
    parts = [result] if isinstance(result, Tensor) else list(result)
    generator = torch.Generator().manual_seed(0)
    weights = (torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device) for x in parts)
    return torch.stack([(x * w).sum() for x, w in zip(parts, weights, strict=True)]).sum()


def _entries(
    name: str, x: Tensor, gradient: Tensor, model: mujoco.MjModel | None
) -> tuple[list[str], Iterator[Move], np.ndarray]:
    """The numbers of an input: what they are called, how each is moved, and the gradient by it."""
    if name != "qpos" or model is None:
        labels = [entry(name, i, x.shape) for i in range(x.numel())]
        return labels, (_mover(x, i) for i in range(x.numel())), gradient.reshape(-1).cpu().numpy()
    tangent, qpos = TangentSpace(model), x.cpu().numpy()
    shape = (*qpos.shape[:-1], model.nv)
    labels = [f"{entry(name, i, shape)} (of degrees of freedom)" for i in range(int(np.prod(shape)))]

    def displacer(i: int) -> Move:
        move = np.zeros(shape)
        move.reshape(-1)[i] = 1.0
        return 1.0, lambda h: torch.from_numpy(tangent.displace(qpos, h * move)).to(x)

    movers = (displacer(i) for i in range(len(labels)))
    return labels, movers, tangent.project(qpos, gradient.cpu().numpy()).reshape(-1)


def _mover(x: Tensor, i: int) -> Move:
    size = max(1.0, abs(float(x.reshape(-1)[i])))

    def moved(h: float) -> Tensor:
        y = x.clone()
        y.view(-1)[i] += h * size
        return y

    return size, moved


def _slopes(function: Callable[..., Any], inputs: Mapping[str, Tensor], name: str, mover: Move) -> list[float]:
    """The central differences by one number, for each of `STEPS`."""
    size, move = mover
    with torch.no_grad():
        return [
            float(_weighted(function(**{**inputs, name: move(h)})) - _weighted(function(**{**inputs, name: move(-h)})))
            / (2 * h * size)
            for h in STEPS
        ]
