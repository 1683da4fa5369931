"""The gradient of a control step with respect to poses of mocap bodies, as differences of whole steps."""

import numpy as np
from jaxtyping import Float

from diffmaac.physics.engine import Engine, as_rows
from diffmaac.physics.state_differences import smooth_side
from diffmaac.physics.user_inputs import MOCAP_STEP, UserInputs


def mocap_gradient(
    engine: Engine, inputs: UserInputs, rows: tuple[np.ndarray, ...], cotangents: tuple[np.ndarray, ...]
) -> Float[np.ndarray, "n mocap"]:
    """At states (qpos, qvel, act, inputs) of n rows each; central, where nothing jumps within the difference.

    All that depends on a pose is in it: constraints, contacts, tendons and what actuators measure.
    """
    qpos, qvel, act, controls = rows
    n, places = len(qpos), inputs.mocap
    moves = np.zeros((2, len(places), 1, controls.shape[1]))
    moves[:, np.arange(len(places)), 0, places] = [[MOCAP_STEP], [-MOCAP_STEP]]
    moved = controls + moves
    held = (as_rows(np.broadcast_to(x, (2, len(places), *x.shape))) for x in (qpos, qvel, act))
    after = np.concatenate(engine.step_alike(*held, as_rows(moved)), axis=1)
    after = after.reshape(2, len(places), n, after.shape[-1])
    here = np.concatenate(engine.step(*rows), axis=1)
    slopes = smooth_side((after[0] - here) / MOCAP_STEP, (here - after[1]) / MOCAP_STEP)
    return np.einsum("enw,nw->ne", slopes, np.concatenate(cotangents, axis=1))
