"""The control step against the C engine: its value, and its vector-Jacobian product against central differences.

The reference is the C engine in float64 everywhere. Central differences with step h err by O(h^2) from curvature and by
O(eps / h) from rounding; near h = 1e-6 both are about 1e-9 of the derivative where the physics is smooth. A few states
have a contact or limit that switches within h, so the test asks for the median.
"""

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from support.engine import (
    ASSETS,
    ASSORTMENT,
    BOX_AND_BALL,
    MODELS,
    PENDULUM,
    STATES,
    Case,
    check_step,
    contact_states,
    load,
    make_case,
    pull_back,
    random_states,
    relative_errors,
    thrown_states,
)

from diffmaac import MujocoSystem, get_task
from diffmaac.physics import (
    AbstractGradient,
    ControlStep,
    FiniteDifference,
    ImplicitGradient,
    UnrolledGradient,
    batched_control_step,
)
from diffmaac.physics.tangent import TangentSpace


@pytest.fixture(scope="module", params=["half_cheetah", "hopper", "walker2d"])
def locomotion(request: pytest.FixtureRequest) -> Case:
    file, frame_skip = MODELS[request.param]
    model = mujoco.MjModel.from_xml_path(str(ASSETS / file))
    return make_case(model, frame_skip, contact_states(model, frame_skip, STATES))


def test_locomotion_step_is_the_c_engines(locomotion: Case) -> None:
    check_step(locomotion, 1e-10)


def test_locomotion_gradient_is_that_of_central_differences(locomotion: Case) -> None:
    assert all(np.isfinite(gradient).all() for gradient in locomotion.gradients)
    assert np.median(relative_errors(locomotion)) < 1e-6


@pytest.fixture(scope="module")
def pendulum() -> Case:
    model = load(PENDULUM, "Euler")
    return make_case(model, 3, random_states(model, STATES))


def test_pendulum(pendulum: Case) -> None:
    check_step(pendulum, 1e-14)
    assert relative_errors(pendulum).max() < 1e-8


@pytest.mark.parametrize("name", ["pendulum", "cartpole"])
def test_swing_up_tasks(name: str) -> None:
    """The library's own models, cartpole's with its cart inside, at and past the ends of the rail."""
    system = get_task(name).system
    assert isinstance(system, MujocoSystem)
    qpos, qvel, act, ctrl = random_states(system.model, STATES)
    qpos[:, 0] = np.linspace(-1.85, 1.85, STATES)
    case = make_case(system.model, system.frame_skip, (qpos, qvel, act, ctrl))
    check_step(case, 1e-12)
    assert np.median(relative_errors(case)) < 1e-7


@pytest.fixture(scope="module")
def assortment() -> Case:
    model = load(ASSORTMENT, "RK4")
    return make_case(model, 2, random_states(model, STATES))


def test_assortment_of_joints_activations_and_constraints(assortment: Case) -> None:
    check_step(assortment, 1e-11)
    assert np.median(relative_errors(assortment)) < 1e-7


def test_bodies_at_rest_and_springs_at_their_reference() -> None:
    """A vector shorter than 1e-8 is zero to MJX and has no derivative: an ant that lies still had half its gradient."""
    model = load(ASSORTMENT, "Euler")
    model.jnt_stiffness[0] = 3.0  # the box hangs on a spring, too
    qpos, qvel, act, ctrl = random_states(model, 16)
    qpos[8:] = model.qpos0
    case = make_case(model, 1, (qpos, 0 * qvel, act, 0 * ctrl))
    check_step(case, 1e-13)
    assert relative_errors(case).max() < 1e-6


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
    check_step(case, 1e-11)
    assert all(np.isfinite(gradient).all() for gradient in case.gradients)
    assert np.median(relative_errors(case)) < 1e-6


@pytest.fixture(scope="module")
def assortment_implicitfast() -> Case:
    model = load(ASSORTMENT, "implicitfast")
    return make_case(model, 2, random_states(model, STATES))


def test_implicitfast(assortment_implicitfast: Case) -> None:
    """Damped joints of every kind, and the gyroscopic terms of a free body."""
    case = assortment_implicitfast
    check_step(case, 1e-11)
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


def test_the_gradient_is_an_object() -> None:
    class Nothing(AbstractGradient):
        def control_step(self, model: mujoco.MjModel, frame_skip: int) -> ControlStep:
            return lambda qpos, qvel, act, ctrl: (qpos, qvel, act)

    step = batched_control_step(load(PENDULUM, "Euler"), 1, Nothing())
    column, nothing = jnp.ones((2, 1)), jnp.zeros((2, 0))
    np.testing.assert_array_equal(step(column, column, nothing, column)[0], column)
    assert ImplicitGradient() == ImplicitGradient()
