"""Are the gradients by a model's parameters right? Those of a step against central differences of the C engine.

The referee takes differences over a ladder of steps for each number, and believes the two neighbours that agree best:
where they disagree the state lies on a kink (a contact that opens, a joint that begins to slip), and does not count.
"""

import dataclasses
from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Bool, Float

from diffmaac.physics import ParameterDifferentiation, ParameterSpace
from diffmaac.physics.parameter_engine import ParameterEngine, Rows
from diffmaac.physics.parameter_fields import FIELDS

LADDER = tuple(10.0 ** (-k / 2) for k in range(3, 15))
"""Steps, from 0.03 to 1e-7: relative to a number."""
LENGTH = 0.01
"""Likewise for lengths and angles, in place of the number [m, rad]."""
ZERO = 0.01
"""Likewise for numbers that are zero."""
KINK = 1e-6
"""Disagreement of the two best differences, relative to the gradient, above which the state counts as on a kink."""
NOTHING = 1e-5
"""Size of a gradient that is none: rounding."""
ROUNDING = 1e-13
"""Change of a state by the longest step of the ladder that is rounding: the number has no effect."""
SMALL = 1e-3
"""Size of a gradient, relative to the median of all states, below which errors are relative to that."""


@dataclasses.dataclass(frozen=True)
class ParameterCheck:
    """Relative errors of the gradient by one field at n states, which of them count, and the share of its numbers that
    needed no difference of whole steps."""

    errors: Float[np.ndarray, " n"]
    smooth: Bool[np.ndarray, " n"]
    known: float

    @property
    def counted(self) -> Float[np.ndarray, " smooth"]:
        """The errors that count."""
        return self.errors[self.smooth]


def check_parameter(
    model: mujoco.MjModel, name: str, frame_skip: int, states: Sequence[np.ndarray], cotangents: tuple[np.ndarray, ...]
) -> ParameterCheck:
    """Of one field, at states (qpos, qvel, act, ctrl), for cotangents of the first three.

    Raises DiffmaacError where it has no gradient.
    """
    space, (qpos, qvel, act, ctrl) = ParameterSpace(model, (name,)), states
    differentiation = ParameterDifferentiation(space, frame_skip, None, 1)
    rows = np.broadcast_to(space.values, (len(states[0]), space.size))
    ours = differentiation.pull_back(*states, rows, *cotangents)[4]
    referee, doubt = _referee(space, frame_skip, (qpos, qvel, act, ctrl), np.concatenate(cotangents, axis=1))
    sizes = np.linalg.norm(referee, axis=1)
    sizes = np.maximum(sizes, SMALL * np.median(sizes) + NOTHING)
    errors, doubts = (np.linalg.norm(x, axis=1) / sizes for x in (ours - referee, doubt))
    return ParameterCheck(errors, doubts < KINK, float(differentiation.known(space.values).mean()))


def _referee(
    space: ParameterSpace, frame_skip: int, states: Rows, cotangent: np.ndarray
) -> tuple[Float[np.ndarray, "n size"], Float[np.ndarray, "n size"]]:
    """The differences that agree best with those of the next step of the ladder, and by how much they do not."""
    engine, sizes = ParameterEngine(space, frame_skip, 1), _sizes(space)
    columns = [
        np.stack([_difference(engine, space, states, i, sizes[i] * h) for h in LADDER]) for i in range(space.size)
    ]
    differences = np.stack(columns)
    differences[np.abs(differences[:, 0]).max((1, 2)) * sizes * LADDER[0] < ROUNDING] = 0.0
    slopes = np.einsum("elnw,nw->lne", differences, cotangent)
    apart = np.abs(np.diff(slopes, axis=0))
    best = apart.argmin(0)[None]
    return np.take_along_axis(slopes, best + 1, 0)[0], np.take_along_axis(apart, best, 0)[0]


def _sizes(space: ParameterSpace) -> np.ndarray:
    sizes = np.zeros(space.size)
    for name, own in space.slices.items():
        values = np.abs(space.values[own])
        sizes[own] = LENGTH if FIELDS[name].step else np.where(values > 0, values, ZERO)
    return sizes


def _difference(engine: ParameterEngine, space: ParameterSpace, states: Rows, index: int, step: float) -> np.ndarray:
    """Of the next states (n, width): central, or to the inside of the domain at its bound."""
    here, places = space.values[index], (1.0, -1.0)
    if here - step < space.low[index]:
        places = (1.0, 2.0, 0.0)
    weights: Sequence[float] = (0.5, -0.5) if len(places) == 2 else (2.0, -0.5, -1.5)
    total = np.zeros((len(states[0]), sum(x.shape[1] for x in states[:3])))
    for place, weight in zip(places, weights, strict=True):
        values = space.values.copy()
        values[index] = here + place * step
        total += weight / step * np.concatenate([x[:, -1] for x in engine.with_values([values], states)], axis=1)
    return total
