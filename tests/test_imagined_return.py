"""What a policy earns in a model against what it earns in the world."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diffmaac import LinearSystem, Task, get_task
from diffmaac.analysis.imagined_return import MODE, SAMPLED, Episodes, imagined_return
from diffmaac.dynamics import LinearDynamics, Noise
from diffmaac.env import TaskEnv
from diffmaac.nn import LinearGaussianPolicy
from diffmaac.seeding import integer_seed
from diffmaac_envs import double_integrator

GAIN, STD = torch.tensor([[0.5, 0.8]]), torch.tensor([0.1])
EPISODES = Episodes(starts=3, copies=4, steps=20)


def policy() -> LinearGaussianPolicy:
    return LinearGaussianPolicy(GAIN, STD)


def dynamics(factor: float = 1.0) -> LinearDynamics:
    """The double integrator with a motor `factor` times as strong."""
    return LinearDynamics(LinearSystem(double_integrator.A, factor * double_integrator.B, 0.1))


def closed_form(task: Task, factor: float) -> np.ndarray:
    """Reward a step of each episode: s_t = (A - factor B K)^t s_0, reward -s' (Q + K' R K) s."""
    K = GAIN.double().numpy()
    closed = double_integrator.A - factor * double_integrator.B @ K
    cost = double_integrator.Q + K.T @ double_integrator.R @ K
    rewards = []
    for i in range(EPISODES.starts):
        state = task.make_env().reset(seed=integer_seed(0, f"evaluation-{i}"))[0]
        states = [np.linalg.matrix_power(closed, t) @ state for t in range(EPISODES.steps)]
        rewards.append(-np.mean([s @ cost @ s for s in states]))
    return np.array(rewards)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_the_mode_earns_the_closed_form_in_both(factor: float) -> None:
    task = get_task("double_integrator")
    row = imagined_return(task, policy(), dynamics(factor), MODE, EPISODES, seed=0)
    real, imagined = closed_form(task, 1.0), closed_form(task, factor)
    np.testing.assert_allclose([row.real, row.real_std], [real.mean(), real.std()], rtol=1e-5)
    np.testing.assert_allclose([row.imagined, row.imagined_std], [imagined.mean(), imagined.std()], rtol=1e-5)
    assert row.diverged == 0 and (row.imagined == pytest.approx(row.real, rel=1e-5)) == (factor == 1.0)


def test_sampled_actions_earn_the_same_in_the_mean() -> None:
    """With the truth as the model, within four standard errors."""
    episodes = Episodes(starts=256, copies=1, steps=20)
    row = imagined_return(get_task("double_integrator"), policy(), dynamics(), SAMPLED, episodes, seed=0)
    error = math.hypot(row.real_std, row.imagined_std) / math.sqrt(episodes.starts)
    assert row.actions == SAMPLED and abs(row.imagined - row.real) < 4 * error


def test_sampled_actions_pay_for_their_noise() -> None:
    """From one start state, within four standard errors of the closed form.

    Noise a_t += std e_t adds std^2 (R + sum_{j<t} B' (Ac')^j (Q + K'RK) Ac^j B) to the expected cost of step t.
    """
    episodes = Episodes(starts=1, copies=4096, steps=20)
    task = get_task("double_integrator")
    mode, sampled = (imagined_return(task, policy(), dynamics(), kind, episodes, seed=0) for kind in (MODE, SAMPLED))
    K, B = GAIN.double().numpy(), double_integrator.B
    closed, cost = double_integrator.A - B @ K, double_integrator.Q + K.T @ double_integrator.R @ K
    pushes = [np.linalg.matrix_power(closed, j) @ B for j in range(episodes.steps - 1)]
    costs = np.cumsum([0.0, *(float((push.T @ cost @ push).item()) for push in pushes)])
    paid = STD.item() ** 2 * (double_integrator.R.item() + costs.mean())
    error = sampled.imagined_std / math.sqrt(episodes.copies)
    assert error < 0.1 * paid and abs(sampled.imagined - (mode.imagined - paid)) < 4 * error


def test_nothing_is_earned_after_a_terminal_state() -> None:
    """An episode that ends with its first step has the first reward alone, in the world and in the model."""

    def always(obs: Tensor) -> Tensor:
        return torch.ones(obs.shape[:-1], dtype=torch.bool)

    task = dataclasses.replace(get_task("double_integrator"), terminated=always)
    row = imagined_return(task, policy(), dynamics(), MODE, EPISODES, seed=0)
    first = imagined_return(task, policy(), dynamics(), MODE, dataclasses.replace(EPISODES, steps=1), seed=0)
    assert row.imagined == pytest.approx(row.real, rel=1e-5) == pytest.approx(first.real / EPISODES.steps, rel=1e-5)


def test_an_episode_that_is_cut_off_early_is_imagined_to_there(monkeypatch) -> None:
    """With the truth as the model, and three environments that stop by themselves, two of them early."""
    limits = [5, 9, EPISODES.steps]

    def make_env(task: Task, render_mode: str | None = None) -> TaskEnv:
        return TaskEnv(dataclasses.replace(task, episode_steps=limits.pop()), render_mode)

    monkeypatch.setattr(Task, "make_env", make_env)
    row = imagined_return(get_task("double_integrator"), policy(), dynamics(), MODE, EPISODES, seed=0)
    assert not limits and (row.imagined, row.imagined_std) == pytest.approx((row.real, row.real_std), rel=1e-5)


@pytest.mark.parametrize(("broken", "left"), [(slice(0, 3), 9), (slice(None), 0)])
def test_episodes_that_are_not_finite_are_counted_and_left_out(monkeypatch, broken: slice, left: int) -> None:
    model = dynamics()
    step = model.step

    def diverging(obs: Tensor, action: Tensor, noise: Noise | None) -> Tensor:
        after = step(obs, action, noise)
        after[broken] = math.inf
        return after

    monkeypatch.setattr(model, "step", diverging)
    row = imagined_return(get_task("double_integrator"), policy(), model, MODE, EPISODES, seed=0)
    assert row.diverged == 12 - left and math.isfinite(row.real)
    assert math.isnan(row.imagined) == (left == 0)
    if left:  # of three start states each has four copies; the first of each has diverged
        assert row.imagined == pytest.approx(row.real, rel=1e-5)
