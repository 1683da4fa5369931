"""The closed forms of the inverse dynamics by positions and velocities, against differences of the engine."""

from collections.abc import Callable
from typing import Any, TypeAlias

import mujoco
import numpy as np
import pytest

from diffmaac.physics import state_slopes
from diffmaac.physics.inverse import InverseDynamics, Linearization
from diffmaac.physics.kinematic_tree import KinematicTree
from diffmaac.physics.motion_slopes import MotionSlopes
from diffmaac.physics.state_slopes import has_state_slopes

States: TypeAlias = Callable[[mujoco.MjModel, int], tuple[tuple[np.ndarray, ...], np.ndarray]]
"""Of a model so many: qpos, qvel, act and ctrl, and accelerations."""
STEP = 1e-6
TREE = """
<mujoco><option gravity="1 2 -9"><flag contact="disable"/></option><worldbody>
  <body pos="0 0 1"><freejoint/><geom type="capsule" size=".1 .2" pos=".1 .2 0"/>
    <body pos=".2 0 .1"><joint type="ball" pos=".05 0 .1"/><geom type="box" size=".1 .2 .3" pos=".1 .1 .1"/>
      <body pos=".1 .3 0">
        <joint axis="1 1 0" pos="0 .1 0"/><joint type="slide" axis="0 1 1"/><joint axis="0 0 1"/>
        <geom size=".1" pos=".1 0 .2"/>
      </body>
    </body>
    <body pos="-.2 0 .1"><joint type="slide" axis="1 0 1"/><geom size=".1" pos=".1 0 .2"/></body>
  </body>
  <body pos="3 0 1"><joint axis="0 1 0"/><joint type="ball"/><geom type="box" size=".1 .2 .1" pos=".1 .1 .1"/></body>
</worldbody></mujoco>"""
WALKER = """
<mujoco><option timestep=".004" cone="{cone}" integrator="{integrator}" impratio="3"/>
<asset><mesh name="wedge" vertex="-.1 -.1 -.1 .1 -.1 -.1 0 .1 -.1 0 0 .2"/></asset>
<worldbody>
  <geom name="floor" type="plane" size="5 5 1" zaxis=".1 -.2 1" solimp=".3 .9 .4" condim="{condim}"/>
  <body pos="0 0 .5"><freejoint/><geom type="capsule" size=".1 .2" zaxis="1 0 .2"/>
    <body pos=".3 0 -.1"><joint name="a" axis="0 1 0" damping=".4" stiffness="3" range="-20 20" limited="true"/>
      <geom name="foot" {foot} pos=".1 0 -.3" friction=".8 .02 .01"/></body>
    <body pos="-.3 0 -.1"><joint name="b" axis="1 1 0" damping=".3" frictionloss=".2"/>
      <geom {foot} pos="-.1 0 -.3"/></body>
  </body>
</worldbody>
{pairs}
<actuator><position joint="a" kp="20" kv="2" forcerange="-3 3"/><motor joint="b" gear="5"/></actuator></mujoco>"""
PAIR = '<contact><pair geom1="floor" geom2="foot" condim="4" solreffriction="-30 -40"/></contact>'
FEET = {
    "sphere": 'size=".1"',
    "capsule": 'type="capsule" size=".08 .1" zaxis="1 .3 .1"',
    "box": 'type="box" size=".1 .08 .06"',
    "mesh": 'type="mesh" mesh="wedge"',
    "cylinder": 'type="cylinder" size=".08 .05" zaxis="1 .3 .1"',
}
PAIR_OF_TREES = """
<mujoco><option timestep=".004" cone="{cone}" impratio="2"/>
<default><geom condim="{condim}" friction=".7 .02 .01" solimp=".3 .9 .4"/></default>
<worldbody>
  <geom type="capsule" size=".1 .5" zaxis="1 .2 .3" pos="0 0 -.4"/>
  <body><freejoint/><geom type="capsule" size=".05 .2" zaxis="1 0 .2" pos="-.2 0 0"/>
    <body pos=".05 0 .1"><joint axis="0 1 0" damping=".2"/><joint axis="1 0 1"/><geom {one} pos=".1 .05 0"/></body>
    <body pos="0 0 -.1"><joint axis="1 1 0" damping=".1"/><geom {other} pos=".1 -.05 0"/></body>
  </body>
  <body><freejoint/><geom {other}/></body>
</worldbody></mujoco>"""
STACKED = """
<mujoco><worldbody>
  <body><freejoint/><geom {}/></body><body pos="0 0 .19"><freejoint/><geom {}/></body>
</worldbody></mujoco>"""
ROUND = {"sphere": 'size=".1"', "capsule": 'type="capsule" size=".07 .12" zaxis="1 .3 .1"'}


def walker_text(foot: str, condim: int = 3, cone: str = "pyramidal", integrator: str = "Euler", pairs: str = "") -> str:
    return WALKER.format(foot=FEET[foot], condim=condim, cone=cone, integrator=integrator, pairs=pairs)


def walker(*args: Any, **words: Any) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(walker_text(*args, **words))


def in_contact(
    model: mujoco.MjModel, count: int, place: Callable[[np.random.Generator, np.ndarray], None]
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """States where bodies touch and no contact is about to begin, with positions from `place`; and accelerations."""
    rng, data, rows = np.random.default_rng(0), mujoco.MjData(model), list[np.ndarray]()
    while len(rows) < count:
        mujoco.mj_resetData(model, data)
        place(rng, data.qpos)
        mujoco.mj_normalizeQuat(model, data.qpos)
        mujoco.mj_forward(model, data)
        if data.ncon and np.abs(data.contact.dist).min() > 1e-4:
            rows.append(data.qpos.copy())
    qvel, accelerations = 0.3 * rng.normal(size=(count, model.nv)), 3 * rng.normal(size=(count, model.nv))
    return (np.array(rows), qvel, np.zeros((count, 0)), rng.normal(size=(count, model.nu))), accelerations


def touching(model: mujoco.MjModel, count: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """States of `WALKER` in the floor, which withstands the accelerations."""

    def place(rng: np.random.Generator, qpos: np.ndarray) -> None:
        qpos[2] = rng.uniform(0.3, 0.5)
        qpos[3:7] += 0.2 * rng.normal(size=4)
        qpos[7:] = 0.5 * rng.normal(size=model.nq - 7)

    return in_contact(model, count, place)


def entangled(model: mujoco.MjModel, count: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """States of `PAIR_OF_TREES`."""

    def place(rng: np.random.Generator, qpos: np.ndarray) -> None:
        qpos[:] = 0.15 * rng.normal(size=model.nq)
        qpos[3:7], qpos[-4:] = rng.normal(size=(2, 4))

    return in_contact(model, count, place)


def both(
    model: mujoco.MjModel, count: int, monkeypatch: pytest.MonkeyPatch, states: States = touching
) -> tuple[Linearization, Linearization]:
    """By the closed form in all states, and by differences."""
    inputs, accelerations = states(model, count)
    inverse = InverseDynamics(model)
    assert has_state_slopes(inverse.model)
    closed = inverse.linearize(*inputs, accelerations)
    assert inverse._closed is not None and len(inverse._closed.unknown()) == 0
    monkeypatch.setattr(state_slopes, "_have_closed_forms", lambda model: False)
    return closed, InverseDynamics(model).linearize(*inputs, accelerations)


def errors(closed: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """Relative, of each state."""
    return np.abs(closed - differences).max(axis=(1, 2)) / np.abs(differences).max(axis=(1, 2))


def test_forces_of_rigid_bodies_move_with_every_kind_of_joint() -> None:
    """M a + bias of MuJoCo's recursive Newton-Euler algorithm, by central differences."""
    model = mujoco.MjModel.from_xml_string(TREE)
    data, rng, n, nv = mujoco.MjData(model), np.random.default_rng(1), 6, model.nv
    qvel, qacc, vector = rng.normal(size=(3, n, nv))
    axes, inertias = np.zeros((n, nv, 6)), np.zeros((n, model.nbody, 10))
    by_position, by_velocity, of_mass = np.zeros((3, n, nv, nv))

    def force(qpos: np.ndarray, velocity: np.ndarray, acceleration: np.ndarray) -> np.ndarray:
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos, velocity, acceleration
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        out = np.zeros(nv)
        mujoco.mj_rne(model, data, 1, out)
        return out

    for s in range(n):
        qpos = rng.normal(size=model.nq)
        mujoco.mj_normalizeQuat(model, qpos)
        for i, direction in enumerate(np.eye(nv)):
            for step in (STEP, -STEP):
                moved = qpos.copy()
                mujoco.mj_integratePos(model, moved, direction, step)
                by_position[s, i] += force(moved, qvel[s], qacc[s]) / (2 * step)
                by_velocity[s, i] += force(qpos, qvel[s] + step * direction, qacc[s]) / (2 * step)
                of_mass[s, i] += (force(moved, qvel[s], vector[s]) - force(moved, qvel[s], 0 * vector[s])) / (2 * step)
        force(qpos, qvel[s], qacc[s])
        axes[s], inertias[s] = data.cdof, data.cinert
    slopes = MotionSlopes(KinematicTree(model), axes, inertias, qvel, model.opt.gravity)
    for ours, expected in (
        (slopes.by_position(qacc), by_position),
        (slopes.by_velocity(), by_velocity),
        (slopes.of_mass(vector), of_mass),
    ):
        np.testing.assert_allclose(ours, expected, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("foot", FEET)
@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
@pytest.mark.parametrize("condim", [1, 3, 4, 6])
def test_contacts_with_a_plane(foot: str, cone: str, condim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a spring, a servo at and below its bound, a limit, friction loss, and implicit damping."""
    closed, differences = both(walker(foot, condim, cone), 24, monkeypatch)
    found = errors(closed.qpos, differences.qpos)
    assert np.median(found) < 1e-6 and np.quantile(found, 0.9) < 1e-4
    assert np.median(errors(closed.qvel, differences.qvel)) < 1e-6


@pytest.mark.parametrize(("one", "other"), [("sphere", "sphere"), ("sphere", "capsule"), ("capsule", "capsule")])
@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
@pytest.mark.parametrize("condim", [1, 3, 4, 6])
def test_contacts_of_spheres_and_capsules(
    one: str, other: str, cone: str, condim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two trees with each other, with themselves and with a capsule that nothing moves."""
    text = PAIR_OF_TREES.format(one=ROUND[one], other=ROUND[other], cone=cone, condim=condim)
    closed, differences = both(mujoco.MjModel.from_xml_string(text), 24, monkeypatch, entangled)
    assert errors(closed.qpos, differences.qpos).max() < 1e-5
    assert errors(closed.qvel, differences.qvel).max() < 1e-5


def test_stages_of_rk4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their acceleration is the continuous one."""
    closed, differences = both(walker("capsule", integrator="RK4"), 24, monkeypatch)
    assert np.median(errors(closed.qpos, differences.qpos)) < 1e-6


def test_friction_that_settles_at_a_rate_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, differences = both(walker("sphere", cone="elliptic", pairs=PAIR), 24, monkeypatch)
    assert np.median(errors(closed.qpos, differences.qpos)) < 1e-6


def test_states_with_another_contact_are_differenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a box with a foot, beside those with the floor."""
    box = '<body pos=".4 0 .1"><freejoint/><geom type="box" size=".1 .1 .05"/></body>'
    model = mujoco.MjModel.from_xml_string(walker_text("sphere").replace("</worldbody>", f"{box}</worldbody>"))
    inputs, accelerations = touching(model, 24)
    inverse = InverseDynamics(model)
    closed = inverse.linearize(*inputs, accelerations)
    assert inverse._closed is not None
    unknown = inverse._closed.unknown()
    assert 0 < len(unknown) < len(inputs[0])
    monkeypatch.setattr(state_slopes, "_have_closed_forms", lambda model: False)
    differences = InverseDynamics(model).linearize(*inputs, accelerations)
    np.testing.assert_array_equal(closed.qpos[unknown], differences.qpos[unknown])
    assert np.median(errors(closed.qpos, differences.qpos)) < 1e-6


def test_states_without_constraints_follow_states_that_are_differenced() -> None:
    """Nothing of the batch before is left."""
    model = mujoco.MjModel.from_xml_string(STACKED.format(*2 * ('type="box" size=".1 .2 .1"',)))
    inverse, none = InverseDynamics(model), np.zeros((3, 0))
    stacked, still = np.tile(model.qpos0, (3, 1)), np.zeros((3, model.nv))
    inverse.linearize(stacked, still, none, none, still)
    assert inverse._closed is not None and inverse._closed.unknown().tolist() == [0, 1, 2]
    apart = stacked[:1] + np.eye(model.nq)[2]
    one = (still[:1], none[:1], none[:1], still[:1])
    np.testing.assert_array_equal(inverse.linearize(apart, *one).qpos, np.zeros((1, model.nv, model.nv)))


def test_values_that_the_closed_form_lacks_are_seen_when_they_come() -> None:
    inverse = InverseDynamics(walker("box"))
    inputs, accelerations = touching(inverse.model, 4)
    thin = inverse.linearize(*inputs, accelerations).qvel
    for model in inverse.models:
        model.opt.viscosity = 0.1
    assert np.abs(thin - inverse.linearize(*inputs, accelerations).qvel).max() > 1e-4


@pytest.mark.parametrize("flag", ['diagexact="enable"', 'actuation="disable"'])
def test_what_depends_on_the_state_otherwise_has_no_closed_form(flag: str) -> None:
    text = walker_text("box").replace('impratio="3"/>', f"><flag {flag}/></option>")
    assert not has_state_slopes(mujoco.MjModel.from_xml_string(text))
