"""The check of a user's own chain: what is right passes, and what is wrong is named."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from support.engine import ASSORTMENT, load, random_states
from torch import Tensor

from diffmaac import DifferentiablePhysics, DiffmaacError, GradientError, ensure_close

ROD = """
<mujoco><option timestep="0.01"/><worldbody><body><joint name="j" axis="0 1 0"/>
  <inertial pos="0 0 -0.5" mass="2" diaginertia="0.1 0.1 0.1"/><site name="tip" pos="0 0 -1"/></body></worldbody>
  <actuator><motor joint="j" gear="3"/></actuator></mujoco>"""
Q, U = (torch.randn(3, 1, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in (0, 1))


class Doubled(torch.autograd.Function):
    """The identity, whose gradient is wrong by a factor in the second row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return cotangent * torch.tensor([[1.0], [2.0], [1.0]], dtype=cotangent.dtype)


def test_a_right_chain_passes() -> None:
    step = DifferentiablePhysics(ROD, outputs=("site_xpos", "qacc"), parameters=("body_mass",))
    mass = step.parameters["body_mass"]

    def chain(qpos: Tensor, ctrl: Tensor, mass: Tensor) -> tuple[Tensor, ...]:
        return step.rollout(qpos, Q, ctrl[:, None].expand(-1, 3, -1), parameters={"body_mass": mass})

    found = ensure_close(chain, {"qpos": Q, "ctrl": U, "mass": mass + 1.0})
    assert set(found.errors) == {"qpos", "ctrl", "mass"} and max(found.errors.values()) < 1e-6 and not found.kinks


def test_quaternions_are_moved_as_rotations() -> None:
    model = load(ASSORTMENT, "Euler")
    qpos, qvel, act, ctrl = (torch.from_numpy(x) for x in random_states(model, 1))
    step = DifferentiablePhysics(model, 2, "engine")
    found = ensure_close(lambda qpos: step(qpos, qvel, ctrl, act), {"qpos": qpos}, model=model)
    assert found.errors["qpos"] < 1e-5


def test_a_wrong_derivative_is_named() -> None:
    step = DifferentiablePhysics(ROD)
    with pytest.raises(GradientError) as error:
        ensure_close(lambda qpos, ctrl: step(Doubled.apply(qpos), Q, ctrl), {"qpos": Q, "ctrl": U})
    named = re.search(r"by qpos\[1, 0\] is (\S+) in place of (\S+)\. Look", str(error.value))
    assert named and float(named[1]) == pytest.approx(2 * float(named[2]), rel=1e-5)


def test_a_kink_shows_nothing() -> None:
    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    found = ensure_close(lambda x: x.abs() ** 0.5, {"x": x + torch.tensor([3e-6, 0.0])})
    assert found.kinks == ["x[0]"] and found.errors["x"] < 1e-8


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DiffmaacError, match=r"x is of torch\.float32.*x\.double\(\)"):
        ensure_close(torch.sin, {"x": torch.ones(2)})
    with pytest.raises(DiffmaacError, match=r"depends on none of x.*detach"):
        ensure_close(lambda x: x.detach(), {"x": Q})
    with pytest.raises(DiffmaacError, match="x is not finite"):
        ensure_close(lambda x: x, {"x": np.nan * Q})
