"""A gradient of a few states against the C engine: its step is differenced along one direction."""

import numpy as np
from jaxtyping import Float

from diffmaac.physics.engine import Engine
from diffmaac.physics.tangent import TangentSpace

ROWS = 8
"""States that are looked at, at most."""
DIFFERENCES = (1e-6, 1e-8)
"""Lengths of the displacement: on a kink the shorter one decides."""
TOLERANCE = 1e-4
"""Relative error up to which a derivative counts as right: the shorter difference is rough where physics is stiff."""


def directional_errors(
    engine: Engine,
    inputs: tuple[np.ndarray, ...],
    cotangents: tuple[np.ndarray, ...],
    gradients: tuple[np.ndarray, ...],
) -> Float[np.ndarray, " rows"]:
    """Errors of the first rows' derivatives along one direction, relative to the gradient.

    Args:
        inputs: qpos, qvel, act, ctrl of (n, width) each, in float64.
        cotangents: of qpos, qvel, act after the step.
        gradients: of the inputs.
    """
    tangent = TangentSpace(engine.model)
    inputs, cotangents, gradients = (tuple(x[:ROWS] for x in arrays) for arrays in (inputs, cotangents, gradients))
    slopes = (tangent.project(inputs[0], gradients[0]), *gradients[1:])
    gradient = np.concatenate(slopes, axis=1)
    direction = np.ones(gradient.shape[1]) / np.sqrt(gradient.shape[1])
    parts: list[np.ndarray] = np.split(direction, np.cumsum([slope.shape[1] for slope in slopes])[:-1])
    ours, size = gradient @ direction, np.linalg.norm(gradient, axis=1)
    errors = [np.abs(_derivative(engine, tangent, inputs, cotangents, parts, step) - ours) for step in DIFFERENCES]
    return np.min(errors, axis=0) / np.maximum(size, np.finfo(np.float64).tiny)


def _derivative(
    engine: Engine,
    tangent: TangentSpace,
    inputs: tuple[np.ndarray, ...],
    cotangents: tuple[np.ndarray, ...],
    parts: list[np.ndarray],
    step: float,
) -> Float[np.ndarray, " rows"]:
    """Of <cotangents, next state> along `parts`, by a central difference."""
    sides: list[np.ndarray] = []
    for signed in (step, -step):
        qpos, *others = inputs
        moved = tangent.displace(qpos, np.broadcast_to(signed * parts[0], (len(qpos), tangent.nv)))
        rest = [x + signed * part for x, part in zip(others, parts[1:], strict=True)]
        sides.append(np.concatenate(engine.step(moved, *rest), axis=1))
    return ((sides[0] - sides[1]) * np.concatenate(cotangents, axis=1)).sum(1) / (2 * step)
