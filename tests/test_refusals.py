"""What the control step refuses, and how it says so."""

from collections.abc import Callable

import jax.numpy as jnp
import pytest
from support.engine import PENDULUM, load

from diffmaac.physics import FiniteDifference, UnrolledGradient, batched_control_step
from diffmaac.physics.engine import check_frame_skip


@pytest.mark.parametrize("make", [lambda: UnrolledGradient(0), lambda: FiniteDifference(0.0)])
def test_gradients_out_of_range_raise(make: Callable) -> None:
    with pytest.raises(ValueError, match=r"at least 1|must be positive"):
        make()


def test_frame_skip_must_be_positive() -> None:
    with pytest.raises(ValueError, match="frame_skip is 0"):
        batched_control_step(load(PENDULUM, "Euler"), 0)
    for frame_skip in (1.5, "2"):
        with pytest.raises(ValueError, match=f"frame_skip is {frame_skip!r}; it counts"):
            check_frame_skip(frame_skip)


def test_wrong_shapes_and_mixed_dtypes_raise() -> None:
    step = batched_control_step(load(PENDULUM, "Euler"), 1)
    column, nothing = jnp.zeros((2, 1)), jnp.zeros((2, 0))
    with pytest.raises(ValueError, match="batch first"):
        step(column, column, nothing, jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match="all must be float32, or all float64"):
        step(column, column, nothing, jnp.zeros((2, 1), jnp.int32))
