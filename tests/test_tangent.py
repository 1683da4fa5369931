"""Rotations, the tangent space of positions, and linear systems: the parts of the step that are closed forms."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.engine import ASSORTMENT, PENDULUM, load, random_states

from diffmaac.physics import batched_control_step
from diffmaac.physics.elimination import solve
from diffmaac.physics.rotation import rotation_between, turn
from diffmaac.physics.tangent import TangentSpace


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 0.05, 0.07, 3.1, -3.1, 4.0])
def test_rotations_are_scipys_and_differentiable_everywhere(angle: float) -> None:
    axis = np.array([0.6, 0.0, -0.8])
    with jax.enable_x64(True):
        rotation, unturned = jnp.asarray(angle * axis), jnp.array([1.0, 0.0, 0.0, 0.0])
        turned = np.asarray(turn(rotation))
        back = np.asarray(rotation_between(unturned, turn(rotation)))
        jacobian = np.asarray(jax.jacobian(lambda v: rotation_between(turn(rotation), turn(v)))(rotation))
    reference = Rotation.from_rotvec(angle * axis)
    quaternion = reference.as_quat(canonical=True, scalar_first=True)
    np.testing.assert_allclose(turned * np.sign(turned[0]), quaternion, atol=1e-15)
    np.testing.assert_allclose(back, reference.as_rotvec(), atol=1e-14)
    # The right Jacobian of the exponential map (Sola et al. 2018, arXiv 1812.01537, eq. 143).
    cross = np.array([[0, 0.8, 0], [-0.8, 0, -0.6], [0, 0.6, 0]])
    right = np.eye(3)
    if abs(angle) > 1e-6:
        right = right - (1 - np.cos(angle)) / angle * cross + (1 - np.sin(angle) / angle) * cross @ cross
    np.testing.assert_allclose(jacobian, right, atol=1e-8)


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
            for gradient, wanted in zip(pullback(cotangent), expected_pullback(cotangent), strict=True):
                np.testing.assert_allclose(gradient, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast", "RK4"])
def test_no_program_calls_lapack(integrator: str) -> None:
    """Its kernels wait for XLA's threads on XLA's threads, and hang where there are few (see `physics.elimination`)."""
    step = batched_control_step(load(PENDULUM, integrator), 1)
    arrays = [np.zeros((2, width), np.float32) for width in (1, 1, 0, 1)]
    text = jax.jit(lambda *arrays: jax.vjp(step, *arrays)[1](step(*arrays))).lower(*arrays).as_text()
    assert "while" in text
    assert "custom_call" not in text
