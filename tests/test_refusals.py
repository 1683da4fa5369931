"""What the control step refuses, and how it says so."""

from collections.abc import Callable

import jax.numpy as jnp
import mujoco
import pytest
from support.engine import PENDULUM, load

from diffmaac.physics import FiniteDifference, UnrolledGradient, UnsupportedModel, batched_control_step


@pytest.mark.parametrize("make", [lambda: UnrolledGradient(0), lambda: FiniteDifference(0.0)])
def test_gradients_out_of_range_raise(make: Callable) -> None:
    with pytest.raises(ValueError, match=r"at least 1|must be positive"):
        make()


def test_fully_implicit_integration_raises() -> None:
    with pytest.raises(UnsupportedModel, match="mjINT_IMPLICIT, which MJX has not"):
        batched_control_step(load(PENDULUM, "implicit"), 1)


def test_noslip_raises() -> None:
    model = load(PENDULUM, "Euler")
    model.opt.noslip_iterations = 3
    with pytest.raises(ValueError, match="3 noslip iterations"):
        batched_control_step(model, 1)


@pytest.mark.parametrize(
    ("joint", "motor", "message"),
    [
        ('stiffness="3 1"', "", "jnt_stiffnesspoly"),
        ('damping="3 1"', "", "dof_dampingpoly"),
        ("", 'damping="0.5"', "actuator_damping"),
    ],
)
def test_forces_that_mjx_leaves_out_raise(joint: str, motor: str, message: str) -> None:
    text = PENDULUM.replace('damping="0.1"', joint).replace('gear="1"', motor)
    with pytest.raises(ValueError, match=message):
        batched_control_step(load(text, "Euler"), 1)


def test_what_mjx_cannot_load_raises() -> None:
    text = """<mujoco><worldbody><body><freejoint/><geom type="cylinder" size="1 1"/></body>
      <body><freejoint/><geom type="ellipsoid" size="1 1 2"/></body>
      <body><freejoint/><geom type="box" size="1 1 1"/></body></worldbody></mujoco>"""
    with pytest.raises(ValueError, match=r"MJX cannot load this model: .*not implemented"):
        batched_control_step(mujoco.MjModel.from_xml_string(text), 1)


def test_frame_skip_must_be_positive() -> None:
    with pytest.raises(ValueError, match="frame_skip is 0"):
        batched_control_step(load(PENDULUM, "Euler"), 0)


def test_wrong_shapes_and_mixed_dtypes_raise() -> None:
    step = batched_control_step(load(PENDULUM, "Euler"), 1)
    column, nothing = jnp.zeros((2, 1)), jnp.zeros((2, 0))
    with pytest.raises(ValueError, match="batch first"):
        step(column, column, nothing, jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match="all must be float32, or all float64"):
        step(column, column, nothing, jnp.zeros((2, 1), jnp.int32))
