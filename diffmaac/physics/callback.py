"""A step on NumPy arrays as a control step in JAX."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np
from jax import Array

from diffmaac.physics.engine import Arrays
from diffmaac.physics.signatures import ControlStep, PhysicsState
from diffmaac.physics.typed import custom_vjp

Rows: TypeAlias = tuple[np.ndarray, ...]


def called_back(step: Callable[..., Arrays], pull_back: Callable[..., Rows]) -> ControlStep:
    """The control step that calls, outside of JAX, functions on arrays with any leading axes and in their dtype.

    Args:
        step: (qpos, qvel, act, ctrl) -> (qpos, qvel, act).
        pull_back: (qpos, qvel, act, ctrl, and cotangents of qpos, qvel, act) -> gradients of the first four.
    """

    def value(qpos: Array, qvel: Array, act: Array, ctrl: Array) -> PhysicsState:
        shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (qpos, qvel, act))
        return jax.pure_callback(step, shapes, qpos, qvel, act, ctrl, vmap_method="broadcast_all")

    def forward(qpos: Array, qvel: Array, act: Array, ctrl: Array) -> tuple[PhysicsState, tuple[Array, ...]]:
        return value(qpos, qvel, act, ctrl), (qpos, qvel, act, ctrl)

    def backward(inputs: tuple[Array, ...], cotangents: PhysicsState) -> tuple[Array, ...]:
        shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs)
        return jax.pure_callback(pull_back, shapes, *inputs, *cotangents, vmap_method="broadcast_all")

    return custom_vjp(value, forward, backward)
