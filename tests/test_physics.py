"""The control step against the C engine: its value, and its vector-Jacobian product against central differences.

The reference is the C engine in float64 everywhere. Central differences with step h err by O(h^2) from curvature and by
O(eps / h) from rounding; near h = 1e-6 both are about 1e-9 of the derivative where the physics is smooth. A few states
have a contact or limit that switches within h, so the test asks for the median.
"""

# pyright: reportAttributeAccessIssue=false
# The names of the `mujoco` module come from a C extension without stubs.

import dataclasses
import stat
from collections.abc import Callable
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import mujoco.rollout
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffmaac import MujocoSystem, get_task
from diffmaac.physics import (
    AbstractGradient,
    ControlStep,
    FiniteDifference,
    ImplicitGradient,
    UnrolledGradient,
    UnsupportedModel,
    batched_control_step,
)
from diffmaac.physics.cache import cache_directory, enable_compilation_cache, private_directory
from diffmaac.physics.host import CPU_COMPILER_OPTIONS
from diffmaac.physics.linear import solve
from diffmaac.physics.rotation import rotation_between, turn
from diffmaac.physics.tangent import TangentSpace

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
MODELS = {
    "half_cheetah": ("half_cheetah.xml", 5),
    "hopper": ("hopper.xml", 4),
    "walker2d": ("walker2d_v5.xml", 4),
    "ant": ("ant.xml", 5),
}
STATES = 64
DIFFERENCE = 1e-6
THREADS = 2
FAST_COMPILE = {**CPU_COMPILER_OPTIONS, "xla_backend_optimization_level": 0}

PENDULUM = """
<mujoco><option timestep="0.01" integrator="{integrator}"/>
  <worldbody><body>
    <joint name="hinge" type="hinge" axis="0 1 0" damping="0.1"/>
    <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02" mass="1"/>
  </body></worldbody>
  <actuator><motor joint="hinge" gear="1"/></actuator>
</mujoco>"""

UPRIGHT = """
<mujoco><option timestep="0.002"/>
  <worldbody><geom type="plane" size="5 5 1" friction="1 0.005 0.0001"/>
    <body>
      <joint type="slide" axis="0 0 1"/><joint type="hinge" axis="0 1 0"/><joint name="h" type="hinge" axis="1 0 0"/>
      <geom type="capsule" fromto="0 0 -0.25 0 0 0.25" size="0.05" mass="1"/></body>
  </worldbody>
  <actuator><motor joint="h" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>"""

# A fixed capsule along x, another and a sphere that move past it.
CAPSULES = """
<mujoco><option timestep="0.002" tolerance="1e-14"/>
  <worldbody><geom type="capsule" fromto="-0.2 0 0 0.2 0 0" size="0.05"/>
    <body>
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/><joint type="slide" axis="0 0 1"/>
      <joint type="hinge" axis="0 1 1"/>
      <geom type="capsule" fromto="-0.1 0.02 0 0.15 0 0" size="0.05" mass="1" contype="2"/></body>
    <body>
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/><joint type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.05" mass="1" contype="4"/></body>
  </worldbody>
</mujoco>"""

# A fixed cylinder, and a capsule that touches its side, its rims and its ends.
CYLINDER = """
<mujoco><option timestep="0.002" tolerance="1e-14" ccd_tolerance="1e-12"/>
  <worldbody><geom type="plane" size="5 5 1" pos="0 0 -5"/><geom type="cylinder" size="0.1 0.08" euler="20 0 0"/>
    <body>
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/><joint type="slide" axis="0 0 1"/>
      <joint type="hinge" axis="0 1 1"/>
      <geom type="capsule" fromto="-0.1 0.02 0 0.15 0 0" size="0.05" mass="1"/></body>
  </worldbody>
</mujoco>"""

# A free and a ball joint, activations of two kinds, a joint limit, friction loss and an equality: all that the models
# of Gymnasium leave out. No contact.
ASSORTMENT = """
<mujoco><option timestep="0.005" integrator="{integrator}"/>
  <worldbody>
    <body name="box"><freejoint/><geom type="box" size="0.1 0.2 0.3" mass="1" contype="0" conaffinity="0"/></body>
    <body pos="1 0 0"><joint name="ball" type="ball" damping="0.1" stiffness="2"/>
      <geom type="box" size="0.1 0.1 0.3" pos="0 0 -0.3" mass="1" contype="0" conaffinity="0"/>
      <body pos="0 0 -0.6">
        <joint name="hinge" type="hinge" axis="0 1 0" frictionloss="0.2" limited="true" range="-20 20"/>
        <geom type="capsule" fromto="0 0 0 0.1 0 -0.5" size="0.03" mass="0.5" contype="0" conaffinity="0"/>
      </body>
    </body>
    <body pos="2 0 0"><joint name="a" type="slide" axis="1 0 0" damping="1"/>
      <geom size="0.1" contype="0" conaffinity="0"/></body>
    <body pos="3 0 0"><joint name="b" type="slide" axis="1 0 0"/>
      <geom size="0.1" contype="0" conaffinity="0"/></body>
  </worldbody>
  <equality><joint joint1="a" joint2="b" polycoef="0 1 0 0 0"/></equality>
  <actuator>
    <general joint="hinge" dyntype="filter" dynprm="0.05" gainprm="2"/>
    <general joint="a" dyntype="integrator" actlimited="true" actrange="-1 1" gainprm="3"/>
    <motor joint="ball" gear="1 0.5 0"/>
  </actuator>
</mujoco>"""


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, states and controls, the C engine's next states and the library's step with its pullback."""

    model: mujoco.MjModel
    frame_skip: int
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    cotangents: tuple[np.ndarray, ...]
    gradients: tuple[np.ndarray, ...]


def c_engine(model: mujoco.MjModel, frame_skip: int, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The control step by `mujoco.rollout`, from a zero warm start as the library's."""
    qpos, qvel, act, ctrl = inputs
    start = np.concatenate([np.zeros((len(qpos), 1)), qpos, qvel, act], axis=1)
    data = [mujoco.MjData(model) for _ in range(THREADS)]
    controls = np.repeat(ctrl[:, None], frame_skip, axis=1)
    states, _ = mujoco.rollout.rollout(model, data, start, controls, initial_warmstart=np.zeros_like(qvel))
    after = np.asarray(states)[:, -1, 1:]
    return tuple(np.split(after, [model.nq, model.nq + model.nv], axis=1))


def contact_states(model: mujoco.MjModel, frame_skip: int, count: int) -> tuple[np.ndarray, ...]:
    """States in contact, met by the C engine under random controls, and controls to apply in them."""
    rng, data, found, step = np.random.default_rng(0), mujoco.MjData(model), [], 0
    while len(found) < count:
        if step % 100 == 0:
            mujoco.mj_resetData(model, data)
            data.qpos += rng.uniform(-0.05, 0.05, model.nq)
        data.ctrl[:] = rng.uniform(-1, 1, model.nu)
        mujoco.mj_step(model, data, nstep=frame_skip)
        mujoco.mj_forward(model, data)
        step += 1
        if step % 3 == 0 and data.ncon > 0:
            found.append((data.qpos.copy(), data.qvel.copy(), data.act.copy(), rng.uniform(-1, 1, model.nu)))
    qpos, qvel, act, ctrl = zip(*found, strict=True)
    return np.stack(qpos), np.stack(qvel), np.stack(act), np.stack(ctrl)


# A box and a ball that tumble on a plane: free joints, corners, and every dimension of elliptic friction cones.
BOX_AND_BALL = """
<mujoco><option timestep="0.004" integrator="{integrator}" cone="elliptic" impratio="2" tolerance="0"/>
  <worldbody>
    <geom type="plane" size="5 5 0.1" friction="0.8 0.01 0.001" condim="{condim}"/>
    <body pos="0 0 0.3"><freejoint/><geom type="box" size="0.1 0.15 0.2" mass="1" condim="{condim}"/></body>
    <body pos="0.6 0 0.2"><freejoint/><geom type="sphere" size="0.1" mass="0.5" condim="{condim}"/></body>
  </worldbody>
</mujoco>"""


def thrown_states(model: mujoco.MjModel, count: int) -> tuple[np.ndarray, ...]:
    """States in contact, met by the C engine after throws in random directions."""
    rng, data, found, step = np.random.default_rng(0), mujoco.MjData(model), [], 0
    while len(found) < count:
        if step % 120 == 0:
            mujoco.mj_resetData(model, data)
            mujoco.mj_integratePos(model, data.qpos, rng.normal(size=model.nv), 0.3)
            data.qvel[:] = 2 * rng.normal(size=model.nv)
        mujoco.mj_step(model, data)
        step += 1
        if step % 5 == 0 and data.ncon > 0:
            found.append((data.qpos.copy(), data.qvel.copy()))
    qpos, qvel = (np.stack(column) for column in zip(*found, strict=True))
    return qpos, qvel, np.zeros((count, 0)), np.zeros((count, 0))


def random_states(model: mujoco.MjModel, count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    qpos = np.tile(model.qpos0, (count, 1))
    for row in qpos:
        mujoco.mj_integratePos(model, row, rng.normal(size=model.nv), 0.7)
    shapes = (model.nv, model.na, model.nu)
    qvel, act, ctrl = (rng.uniform(-1, 1, (count, width)) for width in shapes)
    return qpos, qvel, act, ctrl


def pull_back(step: Callable, inputs: tuple[np.ndarray, ...], cotangents: tuple[np.ndarray, ...]) -> tuple:
    """Value and vector-Jacobian product, compiled as one program, and quickly: the tests run it once."""

    def both(inputs: tuple, cotangents: tuple) -> tuple:
        value, pullback = jax.vjp(step, *inputs)
        return value, pullback(cotangents)

    with jax.enable_x64(inputs[0].dtype == np.float64):
        return jax.tree.map(np.asarray, jax.jit(both, compiler_options=FAST_COMPILE)(inputs, cotangents))


def make_case(model: mujoco.MjModel, frame_skip: int, inputs: tuple[np.ndarray, ...]) -> Case:
    rng = np.random.default_rng(1)
    cotangents = tuple(rng.normal(size=array.shape) for array in inputs[:3])
    outputs, gradients = pull_back(batched_control_step(model, frame_skip), inputs, cotangents)
    return Case(model, frame_skip, inputs, outputs, cotangents, gradients)


def central_differences(case: Case, step: float) -> np.ndarray:
    """d<cotangent, next state>/d(inputs) by the C engine; one column an input coordinate."""
    flat = np.concatenate(case.inputs, axis=1)
    splits = np.cumsum([array.shape[1] for array in case.inputs])[:-1]
    columns = np.eye(flat.shape[1])
    perturbed = np.stack([flat[:, None] + step * columns, flat[:, None] - step * columns])
    batch = tuple(np.split(perturbed.reshape(-1, flat.shape[1]), splits, axis=1))
    after = np.concatenate(c_engine(case.model, case.frame_skip, batch), axis=1)
    after = after.reshape(*perturbed.shape[:3], -1)
    return np.einsum("bij,bj->bi", (after[0] - after[1]) / (2 * step), np.concatenate(case.cotangents, axis=1))


def relative_errors(case: Case, step: float = DIFFERENCE) -> np.ndarray:
    difference = central_differences(case, step)
    error = np.concatenate(case.gradients, axis=1) - difference
    return np.linalg.norm(error, axis=1) / np.linalg.norm(difference, axis=1)


def load(text: str, integrator: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(text.format(integrator=integrator))


@pytest.fixture(scope="module", params=["half_cheetah", "hopper", "walker2d"])
def locomotion(request: pytest.FixtureRequest) -> Case:
    file, frame_skip = MODELS[request.param]
    model = mujoco.MjModel.from_xml_path(str(ASSETS / file))
    return make_case(model, frame_skip, contact_states(model, frame_skip, STATES))


def test_locomotion_step_is_the_c_engines(locomotion: Case) -> None:
    for output, expected in zip(locomotion.outputs, c_engine(*case_inputs(locomotion)), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-10)


def test_locomotion_gradient_is_that_of_central_differences(locomotion: Case) -> None:
    assert all(np.isfinite(gradient).all() for gradient in locomotion.gradients)
    assert np.median(relative_errors(locomotion)) < 1e-6


def case_inputs(case: Case) -> tuple[mujoco.MjModel, int, tuple[np.ndarray, ...]]:
    return case.model, case.frame_skip, case.inputs


def test_frames_of_upright_capsules_are_the_c_engines() -> None:
    """Capsules within 30 degrees of vertical, where MJX alone would take a fixed frame (upstream issue 2774)."""
    model = mujoco.MjModel.from_xml_string(UPRIGHT)
    angles = np.linspace(-0.3, 0.3, 40)
    height = 0.05 + 0.25 * np.cos(angles) * np.cos(0.2) - 0.002
    qpos = np.stack([height, angles, np.full(40, 0.2)], axis=1)
    qvel = np.random.default_rng(0).uniform(-1, 1, (40, 3))
    case = make_case(model, 2, (qpos, qvel, np.zeros((40, 0)), np.zeros((40, 1))))
    for output, expected in zip(case.outputs, c_engine(*case_inputs(case)), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-10)
    assert np.median(relative_errors(case)) < 1e-6


def test_capsules_and_spheres_touch_where_the_c_engine_has_it() -> None:
    """Along, across and past the ends of a fixed capsule; MJX alone places these contacts up to 1e-6 m elsewhere."""
    model = mujoco.MjModel.from_xml_string(CAPSULES)
    rng = np.random.default_rng(0)
    qpos = rng.uniform(-0.25, 0.25, (STATES, model.nq))
    directions = rng.normal(size=(2, STATES, 2))
    directions *= 0.095 / np.linalg.norm(directions, axis=2, keepdims=True)
    qpos[:, 1:3], qpos[:, 5:7] = directions
    qvel = rng.uniform(-1, 1, (STATES, model.nv))
    case = make_case(model, 1, (qpos, qvel, np.zeros((STATES, 0)), np.zeros((STATES, 0))))
    for output, expected in zip(case.outputs, c_engine(*case_inputs(case)), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-10)
    assert np.median(relative_errors(case)) < 1e-6


def test_capsules_and_cylinders_touch_where_the_c_engine_has_it() -> None:
    """One contact, between nearest points. MJX's two are up to 1e-3 m off, and their derivative may not be finite.

    In one of these states the C engine's own search ends 2e-4 m short of the nearest point, on the flat of an end.
    """
    model, rng, found = mujoco.MjModel.from_xml_string(CYLINDER), np.random.default_rng(0), []
    data = mujoco.MjData(model)
    while len(found) < STATES:
        data.qpos[:] = rng.uniform(-0.2, 0.2, model.nq) * [1, 1, 1, 10]
        mujoco.mj_forward(model, data)
        if data.ncon == 1 and data.contact.dist[0] > -0.03:  # else the capsule's axis may be inside
            found.append(data.qpos.copy())
    qvel = rng.uniform(-1, 1, (STATES, model.nv))
    case = make_case(model, 1, (np.stack(found), qvel, np.zeros((STATES, 0)), np.zeros((STATES, 0))))
    off = np.abs(case.outputs[0] - c_engine(*case_inputs(case))[0]).max(1) > 1e-8  # its search ends within 1e-8 m
    assert off.sum() <= 1
    assert all(np.isfinite(gradient).all() for gradient in case.gradients)
    assert np.median(relative_errors(case, 1e-4)) < 1e-3  # that noise of 1e-8 m over the step


@pytest.fixture(scope="module")
def pendulum() -> Case:
    model = load(PENDULUM, "Euler")
    return make_case(model, 3, random_states(model, STATES))


def test_pendulum(pendulum: Case) -> None:
    for output, expected in zip(pendulum.outputs, c_engine(*case_inputs(pendulum)), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-14)
    assert relative_errors(pendulum).max() < 1e-8


@pytest.mark.parametrize("name", ["pendulum", "cartpole"])
def test_swing_up_tasks(name: str) -> None:
    """The library's own models, cartpole's with its cart inside, at and past the ends of the rail."""
    system = get_task(name).system
    assert isinstance(system, MujocoSystem)
    qpos, qvel, act, ctrl = random_states(system.model, STATES)
    qpos[:, 0] = np.linspace(-1.85, 1.85, STATES)
    case = make_case(system.model, system.frame_skip, (qpos, qvel, act, ctrl))
    for output, expected in zip(case.outputs, c_engine(*case_inputs(case)), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-12)
    assert np.median(relative_errors(case)) < 1e-7


@pytest.fixture(scope="module")
def assortment() -> Case:
    model = load(ASSORTMENT, "RK4")
    return make_case(model, 2, random_states(model, STATES))


def test_assortment_of_joints_activations_and_constraints(assortment: Case) -> None:
    for output, expected in zip(assortment.outputs, c_engine(*case_inputs(assortment)), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-11)
    assert np.median(relative_errors(assortment)) < 1e-7


def test_bodies_at_rest_and_springs_at_their_reference() -> None:
    """A vector shorter than 1e-8 is zero to MJX and has no derivative: an ant that lies still had half its gradient."""
    model = load(ASSORTMENT, "Euler")
    model.jnt_stiffness[0] = 3.0  # the box hangs on a spring, too
    qpos, qvel, act, ctrl = random_states(model, 16)
    qpos[8:] = model.qpos0
    case = make_case(model, 1, (qpos, 0 * qvel, act, 0 * ctrl))
    for output, expected in zip(case.outputs, c_engine(*case_inputs(case)), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-13)
    assert relative_errors(case).max() < 1e-6


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 0.05, 0.07, 3.1, -3.1, 4.0])
def test_rotations_are_scipys_and_differentiable_everywhere(angle: float) -> None:
    axis = np.array([0.6, 0.0, -0.8])
    with jax.enable_x64(True):
        rotation, unturned = jnp.asarray(angle * axis), jnp.array([1.0, 0.0, 0.0, 0.0])
        found = np.asarray(turn(rotation))
        back = np.asarray(rotation_between(unturned, turn(rotation)))
        jacobian = np.asarray(jax.jacobian(lambda v: rotation_between(turn(rotation), turn(v)))(rotation))
    reference = Rotation.from_rotvec(angle * axis)
    quaternion = reference.as_quat(canonical=True, scalar_first=True)
    np.testing.assert_allclose(found * np.sign(found[0]), quaternion, atol=1e-15)
    np.testing.assert_allclose(back, reference.as_rotvec(), atol=1e-14)
    # The right Jacobian of the exponential map (Sola et al. 2018, arXiv 1812.01537, eq. 143).
    cross = np.array([[0, 0.8, 0], [-0.8, 0, -0.6], [0, 0.6, 0]])
    right = np.eye(3)
    if abs(angle) > 1e-6:
        right = right - (1 - np.cos(angle)) / angle * cross + (1 - np.sin(angle) / angle) * cross @ cross
    np.testing.assert_allclose(jacobian, right, atol=1e-8)


def test_single_precision_follows_the_inputs(pendulum: Case) -> None:
    single = tuple(array.astype(np.float32) for array in pendulum.inputs)
    cotangents = tuple(array.astype(np.float32) for array in pendulum.cotangents)
    outputs, gradients = pull_back(batched_control_step(pendulum.model, pendulum.frame_skip), single, cotangents)
    for result, expected in zip((*outputs, *gradients), (*pendulum.outputs, *pendulum.gradients), strict=True):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_contact_gradient_in_single_precision() -> None:
    """Training runs in float32: finite everywhere, and close to the C engine's central differences in float64."""
    file, frame_skip = MODELS["half_cheetah"]
    model = mujoco.MjModel.from_xml_path(str(ASSETS / file))
    single = tuple(array.astype(np.float32) for array in contact_states(model, frame_skip, STATES))
    cotangents = tuple(np.random.default_rng(1).normal(size=array.shape).astype(np.float32) for array in single[:3])
    outputs, gradients = pull_back(batched_control_step(model, frame_skip), single, cotangents)
    double = [
        tuple(array.astype(np.float64) for array in arrays) for arrays in (single, outputs, cotangents, gradients)
    ]
    case = Case(model, frame_skip, *double)
    assert all(np.isfinite(gradient).all() for gradient in case.gradients)
    assert np.median(relative_errors(case)) < 1e-3


def test_error_of_central_differences_falls_with_the_square_of_the_step(pendulum: Case) -> None:
    coarse, fine = (np.median(relative_errors(pendulum, step)) for step in (4e-2, 1e-2))
    assert 1.9 < np.log(coarse / fine) / np.log(4) < 2.1


@pytest.mark.parametrize(("integrator", "condim"), [("Euler", 3), ("implicitfast", 4), ("RK4", 6)])
def test_box_and_ball_under_elliptic_cones(integrator: str, condim: int) -> None:
    model = mujoco.MjModel.from_xml_string(BOX_AND_BALL.format(integrator=integrator, condim=condim))
    case = make_case(model, 2, thrown_states(model, STATES))
    for output, expected in zip(case.outputs, c_engine(*case_inputs(case)), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-11)
    assert all(np.isfinite(gradient).all() for gradient in case.gradients)
    assert np.median(relative_errors(case)) < 1e-6


@pytest.fixture(scope="module")
def assortment_implicitfast() -> Case:
    model = load(ASSORTMENT, "implicitfast")
    return make_case(model, 2, random_states(model, STATES))


def test_implicitfast(assortment_implicitfast: Case) -> None:
    """Damped joints of every kind, and the gyroscopic terms of a free body."""
    case = assortment_implicitfast
    for output, expected in zip(case.outputs, c_engine(*case_inputs(case)), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-11)
    assert np.median(relative_errors(case)) < 1e-7


@pytest.mark.parametrize("gradient", [UnrolledGradient(6), FiniteDifference(1e-6)], ids=repr)
def test_other_gradients_agree_with_the_implicit_one(gradient: AbstractGradient, assortment_implicitfast: Case) -> None:
    """Up to the quaternions' lengths, along which central differences in the tangent space have no component."""
    case = assortment_implicitfast
    step = batched_control_step(case.model, case.frame_skip, gradient)
    outputs, gradients = pull_back(step, case.inputs, case.cotangents)
    for output, expected in zip(outputs, case.outputs, strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-11)
    tangent = TangentSpace(case.model)
    expected = (tangent.project(case.inputs[0], case.gradients[0]), *case.gradients[1:])
    got = (tangent.project(case.inputs[0], gradients[0]), *gradients[1:])
    size = np.linalg.norm(np.concatenate(expected, axis=1), axis=1)
    error = np.linalg.norm(np.concatenate([a - b for a, b in zip(got, expected, strict=True)], axis=1), axis=1)
    assert np.median(error / size) < 1e-7


def test_tangent_space_is_mujocos() -> None:
    model = load(ASSORTMENT, "Euler")
    tangent, rng = TangentSpace(model), np.random.default_rng(0)
    qpos = random_states(model, 8)[0]
    displacement = rng.normal(size=(8, model.nv))
    expected = qpos.copy()
    for row, move in zip(expected, displacement, strict=True):
        mujoco.mj_integratePos(model, row, move, 1.0)
    np.testing.assert_allclose(tangent.displace(qpos, displacement), expected, atol=1e-14)
    np.testing.assert_array_equal(tangent.displace(qpos, np.zeros((8, model.nv))), qpos)


def test_pulled_back_gradients_have_the_same_directional_derivative() -> None:
    """<pull_back(g), dq> = <g, d> for the dq that a small displacement d makes, and nothing along a quaternion."""
    model = load(ASSORTMENT, "Euler")
    tangent, rng = TangentSpace(model), np.random.default_rng(0)
    qpos = random_states(model, 8)[0]
    gradient, displacement = rng.normal(size=(2, 8, model.nv))
    change = (tangent.displace(qpos, 1e-6 * displacement) - tangent.displace(qpos, -1e-6 * displacement)) / 2e-6
    pulled = tangent.pull_back(qpos, gradient)
    np.testing.assert_allclose((pulled * change).sum(1), (gradient * displacement).sum(1), rtol=1e-8)
    np.testing.assert_allclose((pulled * qpos)[:, 3:7].sum(1), 0, atol=1e-14)
    np.testing.assert_allclose(tangent.project(qpos, pulled), gradient, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_linear_systems_are_solved_and_differentiated_as_by_lapack(n: int) -> None:
    rng = np.random.default_rng(n)
    root = rng.normal(size=(n, n))
    spd = root @ root.T + np.eye(n)
    skew = root - root.T
    rhs, cotangent = rng.normal(size=(2, n))
    with jax.enable_x64(True):
        for matrix, symmetric in ((spd, True), (spd, False), (spd + skew, False)):
            value, pullback = jax.vjp(
                lambda matrix, rhs, symmetric=symmetric: solve(matrix, rhs, symmetric), jnp.asarray(matrix), rhs
            )
            expected, expected_pullback = jax.vjp(jnp.linalg.solve, jnp.asarray(matrix), rhs)
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-13)
            for found, wanted in zip(pullback(cotangent), expected_pullback(cotangent), strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast", "RK4"])
def test_no_program_calls_lapack(integrator: str) -> None:
    """Its kernels wait for XLA's threads on XLA's threads, and hang where there are few (see `physics.linear`)."""
    step = batched_control_step(load(PENDULUM, integrator), 1)
    arrays = [np.zeros((2, width), np.float32) for width in (1, 1, 0, 1)]
    text = jax.jit(lambda *arrays: jax.vjp(step, *arrays)[1](step(*arrays))).lower(*arrays).as_text()
    assert "while" in text
    assert "custom_call" not in text


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
    ("joint", "motor", "said"),
    [
        ('stiffness="3 1"', "", "jnt_stiffnesspoly"),
        ('damping="3 1"', "", "dof_dampingpoly"),
        ("", 'damping="0.5"', "actuator_damping"),
    ],
)
def test_forces_that_mjx_leaves_out_raise(joint: str, motor: str, said: str) -> None:
    text = PENDULUM.replace('damping="0.1"', joint).replace('gear="1"', motor)
    with pytest.raises(ValueError, match=said):
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


def test_the_gradient_is_an_object() -> None:
    class Nothing(AbstractGradient):
        def control_step(self, model: mujoco.MjModel, frame_skip: int) -> ControlStep:
            return lambda qpos, qvel, act, ctrl: (qpos, qvel, act)

    step = batched_control_step(load(PENDULUM, "Euler"), 1, Nothing())
    column, nothing = jnp.ones((2, 1)), jnp.zeros((2, 0))
    np.testing.assert_array_equal(step(column, column, nothing, column)[0], column)
    assert ImplicitGradient() == ImplicitGradient()


def test_cache_directory_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFMAAC_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    directory = private_directory(cache_directory())
    assert directory == tmp_path / "xdg" / "diffmaac"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    monkeypatch.setenv("DIFFMAAC_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_cache_directory_that_others_can_write_raises(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(ValueError, match="others can put programs into it"):
        private_directory(directory)


def test_cache_directory_must_be_a_directory(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(ValueError, match="links are not followed"):
        private_directory(tmp_path / "link")


def test_cache_of_the_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFMAAC_CACHE", str(tmp_path / "ours"))
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
        assert enable_compilation_cache() is None
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "theirs")
        jax.config.update("jax_compilation_cache_dir", None)
        assert enable_compilation_cache() == tmp_path / "ours"
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "ours")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
