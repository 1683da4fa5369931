"""A batch of control steps."""

import jax
import mujoco
import numpy as np
from jax import Array

from diffmaac.physics.gradient import AbstractGradient
from diffmaac.physics.implicit import ImplicitGradient
from diffmaac.physics.signatures import BatchedControlStep, BatchedPhysicsState

_DEFAULT = ImplicitGradient()


def batched_control_step(
    model: mujoco.MjModel, frame_skip: int, gradient: AbstractGradient = _DEFAULT
) -> BatchedControlStep:
    """The control step over a batch: (qpos, qvel, act, ctrl) -> (qpos, qvel, act), batch first, one row a state.

    Pure and differentiable, to be passed to `jax.jit`, `jax.vjp` or `bridge.to_torch`. The precision follows the
    inputs; in float64 trace it, and call its pullback, within `jax.enable_x64(True)` (the bridge does).

    Args:
        model: integrated by Euler, RK4 or implicitfast. Copied: later changes have no effect.
        frame_skip: time steps of `model.opt.timestep` [s] in one control step.
        gradient: how the step is differentiated.

    Raises:
        ValueError: the model has something that MJX or `gradient` cannot do; when called, the inputs do not share one
            floating dtype, or their shapes are not (B, nq), (B, nv), (B, na), (B, nu).
    """
    widths = {"qpos": model.nq, "qvel": model.nv, "act": model.na, "ctrl": model.nu}
    step = jax.vmap(gradient.control_step(model, frame_skip))

    def batched(qpos: Array, qvel: Array, act: Array, ctrl: Array) -> BatchedPhysicsState:
        _check(widths, qpos, qvel, act, ctrl)
        with jax.enable_x64(qpos.dtype == np.float64):
            return step(qpos, qvel, act, ctrl)

    return batched


def _check(widths: dict[str, int], *inputs: Array) -> None:
    shapes = {name: tuple(array.shape) for name, array in zip(widths, inputs, strict=True)}
    expected = {name: (inputs[0].shape[0], width) for name, width in widths.items()}
    if shapes != expected:
        raise ValueError(f"The control step got the shapes {shapes}; expected {expected} (batch first).")
    dtypes = {name: str(array.dtype) for name, array in zip(widths, inputs, strict=True)}
    if set(dtypes.values()) not in ({"float32"}, {"float64"}):
        raise ValueError(f"The control step got {dtypes}; all must be float32, or all float64. Convert them first.")
