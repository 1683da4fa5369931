"""The Riccati optimum against its own equations and against the environment."""

import numpy as np
import pytest

from diffmaac import get_task
from diffmaac.analysis.lqr import riccati
from diffmaac_envs.double_integrator import START, A, B, Q, R


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_cost_matrix_solves_its_equation_and_the_gain_is_optimal(gamma):
    K, P = riccati(A, B, Q, R, gamma)
    np.testing.assert_allclose(P, Q + gamma * A.T @ P @ (A - B @ K), atol=1e-10)

    def q(action, state=np.array([0.3, -0.2])):
        after = A @ state + B @ action
        return state @ Q @ state + action @ R @ action + gamma * after @ P @ after

    best = -K @ np.array([0.3, -0.2])
    assert q(best) < min(q(best + 1e-3), q(best - 1e-3))
    assert q(best) == pytest.approx(np.array([0.3, -0.2]) @ P @ np.array([0.3, -0.2]), rel=1e-10)


def test_the_environment_pays_the_closed_form_and_never_saturates():
    """The cost of T optimal steps is s_0'P s_0 - s_T'P s_T, exactly."""
    task = get_task("double_integrator")
    K, P = riccati(A, B, Q, R)
    env = task.make_env()
    obs, _ = env.reset(seed=0)
    start, cost = obs, 0.0
    for _ in range(task.episode_steps):
        obs, reward, *_ = env.step(-K @ obs)
        cost -= reward
    assert cost == pytest.approx(start @ P @ start - obs @ P @ obs, rel=1e-10)
    corners = np.array([[x, v] for x in (-1, 1) for v in (-1, 1)]) * START
    assert np.abs(corners @ K.T).max() < 1
