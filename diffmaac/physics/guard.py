"""Is the step that is differentiated the C engine's? Asked while it runs."""

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.engine import Engine
from diffmaac.physics.names import state_names
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.unsupported import UnsupportedModel

ROUNDINGS = 4.0
"""Size of the displacements, in roundings of the dtype."""
DISPLACEMENTS = 16
"""How many displacements in random directions a state is tried with. A switch (a contact that opens) within a rounding
of the state is crossed by half of them."""
ROW_MARGIN = 100.0
"""How many times farther than the engine's displaced steps one row may be. Over 2,048 contact states of each of ten
models of Gymnasium, float32 and float64, MJX came to at most 15."""
MEDIAN_MARGIN, MEDIAN_ROWS = 3.0, 8
"""The same for the median of the rows, where there are so many: on those models it was at most 0.2."""
FLOOR = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-8}
"""Up to this, relative, a row is the engine's whatever its displaced steps do: what its solver may stop short by, or a
hundred roundings."""


class Guard:
    """Compares states after a step with the C engine's, and raises where they differ by more than rounding.

    What rounding does to a step depends on the state: a stiff contact amplifies it by 1e5, and a contact that is about
    to open makes it a jump. So it is measured: the engine steps from the same state displaced by a few roundings, and
    the difference may be `ROW_MARGIN` times what the worst of those makes.
    """

    def __init__(self, model: mujoco.MjModel, frame_skip: int):
        self._engine = Engine(model, frame_skip)
        self._tangent = TangentSpace(model)
        self._names = state_names(model)

    def check(self, inputs: tuple[np.ndarray, ...], values: tuple[np.ndarray, ...]) -> None:
        """Of (qpos, qvel, act, ctrl), batch first, the states `values` (qpos, qvel, act) after the step.

        Raises UnsupportedModel where they are not the engine's: names row, coordinate and size.
        """
        floor = FLOOR[inputs[0].dtype]
        expected = np.concatenate(self._engine.step(*inputs), axis=1)
        got = np.concatenate(values, axis=1, dtype=np.float64)
        error = _relative(got - expected, expected)
        error[~np.isfinite(error)] = np.inf
        error[~np.isfinite(expected).all(1)] = 0.0  # what diverges in the engine is its step's to report
        if error.max(initial=0) <= floor:
            return
        excess = error.max(1) / np.maximum(self._spread(inputs, expected), floor / ROW_MARGIN)
        usual = np.median(excess) if len(excess) >= MEDIAN_ROWS else 0.0
        if excess.max() > ROW_MARGIN or usual > MEDIAN_MARGIN:
            row = int(excess.argmax())
            column = int(error[row].argmax())
            raise UnsupportedModel(self._message(row, len(got), column, got[row, column], expected[row, column]))

    def _spread(
        self, inputs: tuple[np.ndarray, ...], after: Float[np.ndarray, "batch width"]
    ) -> Float[np.ndarray, " batch"]:
        """How far the engine's next state moves, at most, when the state is displaced by a few roundings."""
        rng = np.random.default_rng(0)
        size = ROUNDINGS * np.finfo(inputs[0].dtype).eps
        qpos, qvel, act, ctrl = (x.astype(np.float64) for x in inputs)
        spread = np.zeros(len(qpos))
        for _ in range(DISPLACEMENTS):
            turn, push, charge = (size * rng.choice([-1.0, 1.0], x.shape) for x in (qvel, qvel, act))
            reach = 1 + np.abs(qpos).max(1, keepdims=True, initial=0)
            moved = self._tangent.displace(qpos, turn * reach)
            states = self._engine.step(moved, qvel + push * (1 + np.abs(qvel)), act + charge * (1 + np.abs(act)), ctrl)
            change = _relative(np.concatenate(states, axis=1) - after, after).max(1, initial=0)
            spread = np.fmax(spread, change)
        return spread

    def _message(self, row: int, rows: int, column: int, got: float, expected: float) -> str:
        return (
            f"After the step, {self._names[column]} in row {row} of {rows} is {got:.9g} in the compiled physics (MJX)"
            f" and {expected:.9g} in the C engine, {abs(got - expected):.1e} apart: the model has something that MJX"
            " does otherwise, so its gradient would be that of another model. Differentiate the model with"
            " gradient=engine, and please report it with the MJCF."
        )


def _relative(difference: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Absolute below one, relative above."""
    return np.abs(difference) / (1 + np.abs(value))
