"""The check of gradients: it must find what is wrong, and tell kinks from errors."""

import dataclasses
from pathlib import Path

import jax
import mujoco
import numpy as np
import pytest
from support.engine import PENDULUM
from support.runs import run

from diffmaac import MujocoSystem, get_task
from diffmaac.analysis import physics_check
from diffmaac.analysis.physics_check import (
    Allowed,
    check_gradient,
    differences,
    policy_controls,
    shortfall,
    visited_states,
)
from diffmaac.files import read_table
from diffmaac.physics import AbstractGradient, ControlStep

BALL = """
<mujoco><worldbody>
  <geom type="plane" size="5 5 1"/>
  <body pos="0 0 0"><joint type="slide" axis="0 0 1"/><geom type="sphere" size="0.1"/></body>
</worldbody></mujoco>"""


MASS = """
<mujoco><option timestep="0.01"/><worldbody>
  <body><joint name="rail" type="slide" axis="1 0 0"/><geom size="0.1" mass="1"/></body></worldbody>
  <actuator><motor joint="rail"/></actuator></mujoco>"""


@dataclasses.dataclass(frozen=True)
class Scaled(AbstractGradient):
    """Of a mass on a rail, which is a closed form, but for a factor on what qvel's cotangent brings."""

    factor: float

    def control_step(self, model: mujoco.MjModel, frame_skip: int) -> ControlStep:
        dt = model.opt.timestep

        def step(qpos, qvel, act, ctrl):
            for _ in range(frame_skip):
                qvel = qvel + dt * ctrl
                qpos = qpos + dt * qvel
            return qpos, jax.lax.stop_gradient(qvel) * (1 - self.factor) + self.factor * qvel, act

        return step


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (1.001, False)])
def test_a_wrong_gradient_is_found(factor: float, right: bool) -> None:
    model = mujoco.MjModel.from_xml_string(MASS)
    result = check_gradient(model, 2, visited_states(model, 2, 16), Scaled(factor))
    assert result.right == right and result.nan == result.kinks == result.steps_off == 0
    assert result.states == 16 and result.constrained == 0
    assert (result.vjp_median < 1e-8) if right else (1e-5 < result.vjp_median < 2e-3)
    assert result.cold_s > 0 and result.forward_ms > 0 and result.both_ms > 0


def test_a_state_on_the_border_of_contact_is_a_kink() -> None:
    """The ball's lowest point at 0 (touching), well above and well below the floor."""
    model = mujoco.MjModel.from_xml_string(BALL)
    qpos = np.array([[0.1], [0.2], [0.09]])
    nothing = np.zeros((3, 0))
    _, kink = differences(model, 1, (qpos, np.zeros((3, 1)), nothing, nothing), (np.ones((3, 1)),) * 2)
    assert kink.tolist() == [True, False, False]


def test_states_are_constrained_where_such_can_be_found() -> None:
    model = mujoco.MjModel.from_xml_string(BALL)
    states = visited_states(model, 5, 12)
    assert states.constrained == 12 and states.qpos.shape == (12, 1) and states.ctrl.shape == (12, 0)
    again = visited_states(model, 5, 12)
    for one, other in zip(states.inputs, again.inputs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_states_of_a_policy() -> None:
    system = get_task("cartpole").system
    assert isinstance(system, MujocoSystem)
    seen = []

    def act(obs):
        seen.append(np.asarray(obs))
        return np.array([0.5])

    states = visited_states(system.model, system.frame_skip, 4, policy_controls(act, system))
    offset, factor = system.ctrl_scale
    np.testing.assert_allclose(states.ctrl, np.tile(offset + 0.5 * factor, (4, 1)))
    assert seen[0].shape == (5,)


def test_shortfall_of_a_solver_that_stops_early() -> None:
    model = mujoco.MjModel.from_xml_string(BALL.replace("<worldbody>", '<option tolerance="1e-12"/><worldbody>', 1))
    states = visited_states(model, 1, 8)
    assert shortfall(model, 1, states) < 1e-12
    model.opt.solver, model.opt.iterations, model.opt.tolerance = mujoco.mjtSolver.mjSOL_PGS, 1, 1e-8
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    assert shortfall(model, 1, states) > 1e-9


def test_command(tmp_path: Path, capsys, monkeypatch) -> None:
    """Three gradients of one model: a table, a CSV, exit code 0; and 1 once more is asked than they can give."""
    xml, out = tmp_path / "pendulum.xml", tmp_path / "check.csv"
    xml.write_text(PENDULUM.format(integrator="Euler"))
    words = ("check-gradients", f"model={xml}", "frame_skip=2", "states=8", f"out={out}")
    code, table, _ = run(*words, "gradient=implicit,unrolled,finite_difference", capsys=capsys)
    assert code == 0
    assert table.count("right") == 3 and "WRONG" not in table and "UnrolledGradient(iterations=10)" in table
    rows = read_table(out)
    assert [row["gradient"].split("(")[0] for row in rows] == [
        "ImplicitGradient",
        "UnrolledGradient",
        "FiniteDifference",
    ]
    assert all(float(row["vjp_median"]) < 1e-7 and "mujoco-mjx==" in row["versions"] for row in rows)
    monkeypatch.setitem(physics_check.ALLOWED, "float64", Allowed(1e-9, -1.0, 1e-3))
    code, table, _ = run(*words, "gradient=finite_difference", capsys=capsys)
    assert code == 1 and "WRONG" in table


def test_command_on_a_run(swung: Path, capsys) -> None:
    code, table, _ = run("check-gradients", f"run={swung}", "states=4", "gradient=finite_difference", capsys=capsys)
    assert code == 0 and str(swung) in table


UNSTABLE = """<mujoco><option timestep=".05"/><worldbody><body><joint name="j" type="slide" stiffness="1e7"/>
  <geom size=".1" mass=".01"/></body></worldbody><actuator><motor joint="j"/></actuator></mujoco>"""


def test_a_model_that_blows_up_is_called_unstable(tmp_path: Path, capsys, monkeypatch) -> None:
    """And MuJoCo's own log is not left in the user's folder."""
    monkeypatch.chdir(tmp_path)
    Path("unstable.xml").write_text(UNSTABLE)
    _, table, _ = run("check-gradients", "model=unstable.xml", "states=4", "gradient=finite_difference", capsys=capsys)
    assert "The model is unstable" in table and "control steps diverged" in table
    assert [path.name for path in tmp_path.iterdir()] == ["unstable.xml"]
    stable = mujoco.MjModel.from_xml_string(UNSTABLE.replace("1e7", "1"))
    assert visited_states(stable, 1, 4).blown_up == 0


def test_a_model_that_mjx_cannot_load_is_checked_by_default(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """`auto` takes the C engine's gradient."""
    xml = tmp_path / "cylinder.xml"
    xml.write_text(
        '<mujoco><worldbody><geom type="plane" size="5 5 .1"/><body pos="0 0 .1"><freejoint/>'
        '<geom type="ellipsoid" size=".1 .2 .1"/></body><body pos="0 0 .4"><freejoint/>'
        '<geom type="cylinder" size=".1 .1"/></body></worldbody></mujoco>'
    )
    code, table, _ = run("check-gradients", f"model={xml}", "states=8", capsys=capsys)
    assert code == 0 and "EngineGradient" in table
