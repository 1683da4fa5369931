"""The guard: what MJX does otherwise than the C engine is found while it runs, and what rounding does is not."""

import mujoco
import numpy as np
import pytest
import torch
from support.engine import ASSORTMENT, PENDULUM, load, random_states
from support.zoo import ABSENT

from diffmaac import DifferentiablePhysics, DivergenceError
from diffmaac.physics import Engine, UnsupportedModel, compiled, step
from diffmaac.physics.guard import FLOOR, Guard
from diffmaac.physics.names import state_names

BALL = """<mujoco><worldbody><geom type="plane" size="5 5 1"/>
  <body><joint name="lift" type="slide" axis="0 0 1"/><geom type="sphere" size="0.1"/></body></worldbody></mujoco>"""


def unchecked(monkeypatch: pytest.MonkeyPatch, text: str) -> DifferentiablePhysics:
    """The implicit gradient of a model that the check of its fields would refuse."""
    monkeypatch.setattr(step, "check_supported", lambda model: None)
    return DifferentiablePhysics(mujoco.MjModel.from_xml_string(text), 1, "implicit")


def pull_back(physics: DifferentiablePhysics, rows: int = 4) -> None:
    column = torch.linspace(0.1, 0.4, rows, dtype=torch.float64)[:, None].requires_grad_()
    qpos, qvel = physics(column, column.detach(), column.detach()[:, : physics._host.engine.model.nu])
    (qpos + qvel).sum().backward()


def test_what_mjx_leaves_out_is_found_with_row_name_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PENDULUM.format(integrator="Euler").replace('gear="1"', 'gear="1" damping="0.5"')
    physics = unchecked(monkeypatch, text)
    for _ in range(2):  # and it is found again
        with pytest.raises(UnsupportedModel, match=r"qvel of joint 'hinge' in row \d of 4 is .*gradient=engine"):
            pull_back(physics)


def test_the_guard_looks_first_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    physics, looked = DifferentiablePhysics(load(PENDULUM, "Euler"), 1, "implicit"), []
    monkeypatch.setattr(compiled, "GUARD_EVERY", 3)
    monkeypatch.setattr(Guard, "check", lambda *arguments: looked.append(len(calls)))
    calls: list[int] = []
    for call in range(7):
        calls.append(call)
        pull_back(physics)
    assert looked == [1, 4, 7]
    pull_back(physics, rows=5)
    assert len(looked) == 4


def test_a_gradient_that_is_not_finite_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tendon wrapped inside a cylinder: MJX differentiates the square root of nothing."""
    with pytest.raises(DivergenceError, match="gradient of the step with respect to qpos is not finite in row 0 of 4"):
        pull_back(unchecked(monkeypatch, ABSENT["wrap inside"][0]))


def ball(dtype: type[np.floating], height: float) -> tuple[Guard, Engine, tuple[np.ndarray, ...]]:
    """The ball's lowest point lies `height` over the plane and falls: force at once below zero, none above."""
    model = mujoco.MjModel.from_xml_string(BALL)
    columns = (np.full((3, 1), 0.1 + height), np.full((3, 1), -1.0), np.zeros((3, 0)), np.zeros((3, 0)))
    return Guard(model, 2), Engine(model, 2), tuple(x.astype(dtype) for x in columns)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_contact_within_a_rounding_may_open_or_close(dtype: type[np.floating]) -> None:
    guard, engine, inputs = ball(dtype, 0.0)
    qpos, *others = (x.astype(np.float64) for x in inputs)
    rounding = float(np.finfo(dtype).eps)
    open_, closed = (engine.step(qpos + side * rounding, *others) for side in (1, -1))
    assert abs(open_[1] - closed[1]).max() > 1e-2
    guard.check(inputs, open_)
    guard.check(inputs, closed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("height", [-0.01, 0.01])
def test_beyond_rounding_it_may_not(dtype: type[np.floating], height: float) -> None:
    guard, engine, inputs = ball(dtype, height)
    values = engine.step(*inputs)
    guard.check(inputs, values)
    values[1][2] += 100 * FLOOR[np.dtype(dtype)]
    with pytest.raises(UnsupportedModel, match="qvel of joint 'lift' in row 2 of 3"):
        guard.check(inputs, values)
    values[1][2] = np.nan
    with pytest.raises(UnsupportedModel, match="is nan in the compiled physics"):
        guard.check(inputs, values)


def test_a_small_difference_of_all_rows_is_found() -> None:
    """In single precision, where a single row so near might be rounding."""
    model = load(PENDULUM, "Euler")
    inputs = tuple(x.astype(np.float32) for x in random_states(model, 16))
    qpos, qvel, act = Engine(model, 1).step(*inputs)
    guard = Guard(model, 1)
    one = qvel + 2e-5 * (np.arange(16) == 5)[:, None]
    guard.check(inputs, (qpos, one, act))
    with pytest.raises(UnsupportedModel, match="joint 'hinge'"):
        guard.check(inputs, (qpos, qvel + 2e-5, act))


def test_names_of_the_coordinates() -> None:
    model = load(ASSORTMENT, "Euler")
    names = state_names(model)
    assert len(names) == model.nq + model.nv + model.na
    assert names[0] == "qpos of joint 0 (x)" and names[7] == "qpos of joint 'ball' (qw)"
    assert names[model.nq + 6] == "qvel of joint 'ball' (wx)" and names[-1] == "act 1"
