"""A gradient of a few states against the C engine: its step is differenced along a direction."""

import itertools

import numpy as np
from jaxtyping import Float

from diffmaac.physics.engine import Engine
from diffmaac.physics.state_differences import searching_geoms
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.unsupported import UnsupportedModel

ROWS = 8
"""States that are looked at, at most."""
DIFFERENCES = (1e-6, 1e-8)
"""Lengths of the displacement: near a kink the shorter one decides."""
KINK = 1e-3
"""Disagreement of the two sides at the shorter length, relative to the gradient, from which a state lies on a kink."""
TOLERANCE, ROUGH = 1e-4, 1e-2
"""Relative error up to which a derivative counts as right: the shorter difference is rough where physics is stiff. The
greater one is for contacts of ellipsoids and cylinders, which the engine finds by a search."""
FIRST_CHECKS, CALLS_BETWEEN_CHECKS = 8, 1000
"""The first backward passes, and each thousandth after them, are looked at."""


def is_due(calls: int) -> bool:
    """Whether a backward pass is looked at after so many."""
    return calls < FIRST_CHECKS or calls % CALLS_BETWEEN_CHECKS == 0


def check_along_a_direction(
    engine: Engine,
    inputs: tuple[np.ndarray, ...],
    cotangents: tuple[np.ndarray, ...],
    gradients: tuple[np.ndarray, ...],
    seed: int,
) -> bool:
    """Whether there was a state to check at; the arguments are those of `directional_errors`.

    Raises UnsupportedModel where the gradient is not the engine's.
    """
    errors = directional_errors(engine, inputs, cotangents, gradients, seed)
    errors = errors[~np.isnan(errors)]
    if len(errors) == 0:
        return False
    if np.median(errors) > (ROUGH if searching_geoms(engine.model).any() else TOLERANCE):
        raise UnsupportedModel(
            f"gradient=engine is not that of the C engine for this model: along a direction it errs by"
            f" {np.median(errors):.1e} of its size (median of {len(errors)} states). The model has a feature that"
            " mj_inverse treats otherwise than mj_step. Use gradient=finite_difference."
        )
    return True


def directional_errors(
    engine: Engine,
    inputs: tuple[np.ndarray, ...],
    cotangents: tuple[np.ndarray, ...],
    gradients: tuple[np.ndarray, ...],
    seed: int,
) -> Float[np.ndarray, " rows"]:
    """Errors of the first rows' derivatives along a random direction, relative to the gradient.

    The derivative may be that of either side. NaN where it is neither and the state lies on a kink (a body that just
    touches the floor): there is no derivative along a direction to compare with then.

    Args:
        inputs: qpos, qvel, act, ctrl of (n, width) each, in float64.
        cotangents: of qpos, qvel, act after the step.
        gradients: of the inputs.
        seed: of the direction.
    """
    tangent = TangentSpace(engine.model)
    inputs, cotangents, gradients = (tuple(x[:ROWS] for x in arrays) for arrays in (inputs, cotangents, gradients))
    slopes = (tangent.project(inputs[0], gradients[0]), *gradients[1:])
    gradient = np.concatenate(slopes, axis=1)
    direction = np.random.default_rng(seed).standard_normal((gradient.shape[1],))
    direction = direction / np.linalg.norm(direction)
    parts: list[np.ndarray] = np.split(direction, np.cumsum([slope.shape[1] for slope in slopes])[:-1])
    ours = gradient @ direction
    size = np.maximum(np.linalg.norm(gradient, axis=1), np.finfo(np.float64).tiny)
    apart, errors = np.zeros(len(ours)), np.full(len(ours), np.inf)
    for step in DIFFERENCES:
        above, below = _derivatives(engine, tangent, inputs, cotangents, parts, step)
        for slope in (above, below, (above + below) / 2):
            errors = np.minimum(errors, np.abs(slope - ours) / size)
        apart = np.abs(above - below) / np.maximum(size, np.maximum(np.abs(above), np.abs(below)))
    return np.where((errors > TOLERANCE) & (apart > KINK), np.nan, errors)


def _derivatives(
    engine: Engine,
    tangent: TangentSpace,
    inputs: tuple[np.ndarray, ...],
    cotangents: tuple[np.ndarray, ...],
    parts: list[np.ndarray],
    step: float,
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Of <cotangents, next state> along `parts`: the differences to what lies ahead, and to what lies behind."""
    states: list[np.ndarray] = []
    for signed in (step, 0.0, -step):
        qpos, *others = inputs
        moved = tangent.displace(qpos, np.broadcast_to(signed * parts[0], (len(qpos), tangent.nv)))
        rest = [x + signed * part for x, part in zip(others, parts[1:], strict=True)]
        states.append(np.concatenate(engine.step(moved, *rest), axis=1))
    arriving = np.concatenate(cotangents, axis=1)
    ahead, behind = (((a - b) * arriving).sum(1) / step for a, b in itertools.pairwise(states))
    return ahead, behind
