"""The planner against the optimum of a linear-quadratic problem, and on candidates that diverge."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.loop import generator

import diffmaac
from diffmaac import cli, get_task
from diffmaac.analysis.lqr import riccati
from diffmaac.dynamics import GaussianEnsemble, LearnedDynamics, LinearDynamics, true_dynamics
from diffmaac.dynamics.base import Noise
from diffmaac.errors import DivergenceError
from diffmaac.nn import Critics, LinearGaussianPolicy, SquashedGaussianPolicy
from diffmaac.objectives import ClosedLoop, World
from diffmaac.planning import CrossEntropyPlanner
from diffmaac.settings import PlanSettings
from diffmaac_envs import double_integrator as system


def reward(obs, action):
    return -obs[..., 0].square() - 0.1 * obs[..., 1].square() - 0.1 * action.square().sum(-1)


def undiscounted(obs):
    return torch.ones_like(obs[..., 0])


def make(dynamics, policy, critics, discount=undiscounted, **settings) -> CrossEntropyPlanner:
    loop = ClosedLoop(policy, critics, World(dynamics, reward, discount))
    return CrossEntropyPlanner(loop, PlanSettings(**settings), generator(1))


@pytest.fixture
def linear():
    return true_dynamics(get_task("double_integrator").system)


def optimal():
    """The optimal gain, and the optimal value of the state before an action as a critic."""
    K, P = (torch.from_numpy(x).float() for x in riccati(system.A, system.B, system.Q, system.R))
    A, B = torch.from_numpy(system.A).float(), torch.from_numpy(system.B).float()

    def critic(obs, action):
        after = obs @ A.T + action @ B.T
        return (reward(obs, action) - ((after @ P) * after).sum(-1))[None]

    return K, critic


@pytest.mark.parametrize("steps", [1, 3])
def test_with_the_optimal_critic_the_plan_is_the_optimum(steps: int, linear) -> None:
    """From rollouts of the optimal policy with noise of 0.5, whose mode closes the last step."""
    K, critic = optimal()
    policy = LinearGaussianPolicy(K, torch.tensor([0.5]))
    planner = make(linear, policy, critic, candidates=512, iterations=8, plan_horizon=steps)
    obs = torch.tensor([[0.2, 0.1], [-0.2, 0.3]])
    np.testing.assert_allclose(planner(obs), -obs @ K.T, atol=0.05)


def test_values_are_the_discounted_sum_written_out(linear) -> None:
    """Episodes with s_0 < 0 have terminated."""

    def discount(obs):
        return 0.9 * (obs[..., 0] >= 0)

    policy = SquashedGaussianPolicy(2, 1, [8], generator())
    critics = Critics(2, 1, [8], generator(2))
    planner = make(linear, policy, critics, discount, candidates=3, plan_horizon=2)
    obs = torch.randn(2, 2, generator=generator(3))
    sequences = 2 * torch.rand(2, 2, 3, 1, generator=generator(4)) - 1
    with torch.no_grad():
        planned = planner.values(obs, sequences, (None, None))
        for i in range(2):
            for j in range(3):
                first, second = sequences[0, i, j][None], sequences[1, i, j][None]
                middle = linear.step(obs[i : i + 1], first, None)
                last = linear.step(middle, second, None)
                after = critics(last, policy.mode(last)).amin(0)
                rest = reward(middle, second) + discount(last) * after
                value = reward(obs[i : i + 1], first) + discount(middle) * rest
                torch.testing.assert_close(planned[i, j], value[0])


def test_planning_beats_the_policy_that_it_starts_from(linear) -> None:
    K, critic = optimal()
    poor = LinearGaussianPolicy(0.3 * K, torch.tensor([0.5]))
    start = torch.randn(8, 2, generator=generator(5)) * 0.3
    planner = make(linear, poor, critic, plan_horizon=3)
    costs = []
    for act in (poor.mode, planner):
        obs, cost = start, 0.0
        for _ in range(60):
            with torch.no_grad():
                action = act(obs).clamp(-1, 1)
                cost -= float(reward(obs, action).sum())
                obs = linear.step(obs, action, None)
        costs.append(cost)
    assert costs[1] < 0.9 * costs[0]


def test_learned_dynamics_serve_and_plans_repeat() -> None:
    dynamics = LearnedDynamics(GaussianEnsemble(2, 1, 3, [16], generator(6)))
    policy, critics = SquashedGaussianPolicy(2, 1, [8], generator()), Critics(2, 1, [8], generator(2))
    obs = torch.randn(4, 2, generator=generator(3))
    plans = [make(dynamics, policy, critics, candidates=32)(obs) for _ in range(2)]
    assert torch.equal(*plans) and plans[0].shape == (4, 1) and plans[0].abs().max() <= 1


class Noisy(LinearDynamics):
    """Adds Gaussian noise to every step."""

    @property
    def stochastic(self) -> bool:
        return True

    def sample_noise(self, batch, generator, dtype=torch.float32):
        return Noise(torch.zeros(batch, dtype=torch.long), torch.randn(batch, 2, generator=generator))

    def step(self, obs, action, noise=None):
        assert noise is not None
        return super().step(obs, action, None) + 0.05 * noise.gaussian


def test_noise_of_the_dynamics_does_not_move_the_plan() -> None:
    """By certainty equivalence the optimum is that without noise; a plan for one draw of it would scatter by 0.3."""
    K, critic = optimal()
    noisy = Noisy(get_task("double_integrator").system)  # type: ignore[arg-type]
    planner = make(noisy, LinearGaussianPolicy(K, torch.tensor([0.5])), critic, candidates=512, iterations=8)
    obs = torch.tensor([[0.2, 0.1]]).expand(16, -1)
    np.testing.assert_allclose(planner(obs), -obs @ K.T, atol=0.05)


class Fragile(LinearDynamics):
    """Refuses a batch with an action above 1/2, as a simulator does that diverges."""

    def step(self, obs, action, noise=None):
        if (action > 0.5).any():
            raise DivergenceError("the simulation diverged")
        return super().step(obs, action, noise)


def test_candidates_that_diverge_rank_last_and_are_counted() -> None:
    policy = LinearGaussianPolicy(torch.zeros(1, 2), torch.tensor([0.6]))
    planner = make(
        Fragile(get_task("double_integrator").system),  # type: ignore[arg-type]
        policy,
        lambda obs, action: 10 * obs[None, ..., 1],  # wants the largest action that there is
        candidates=64,
        plan_horizon=2,
    )
    action = planner(torch.zeros(1, 2))
    assert planner.diverged > 0
    assert 0.2 < float(action) <= 0.5


def test_a_diverged_candidate_is_no_elite() -> None:
    """Of ten candidates all with an action above 1/2 diverge; the plan is the mean of those that do not."""
    policy = LinearGaussianPolicy(torch.zeros(1, 2), torch.tensor([1.0]))
    fragile = Fragile(get_task("double_integrator").system)  # type: ignore[arg-type]
    planner = make(fragile, policy, lambda obs, action: 10 * obs[None, ..., 1], candidates=10, elites=1.0, iterations=1)
    with torch.no_grad():
        for _ in range(20):
            planner._plan = None
            assert planner(torch.zeros(1, 2)) <= 0.5
    assert planner.diverged > 20


def test_where_everything_diverges_the_policys_mode_is_left() -> None:
    fragile = Fragile(get_task("double_integrator").system)  # type: ignore[arg-type]
    policy = LinearGaussianPolicy(torch.tensor([[-1.0, 0.0]]), torch.tensor([0.01]))  # a = s_0
    planner = make(fragile, policy, lambda obs, action: obs[None, ..., 0], candidates=8, iterations=1, plan_horizon=2)
    action = planner(torch.tensor([[0.8, 0.0], [0.1, 0.0]]))
    assert float(action[0]) == pytest.approx(0.8)  # all candidates are about 0.8
    assert float(action[1]) == pytest.approx(0.1, abs=0.05)


def test_the_plan_moves_on_with_the_next_step(linear) -> None:
    """With one iteration and one elite, a plan that the critic prefers to all rollouts is executed to its end."""
    policy = LinearGaussianPolicy(torch.zeros(1, 2), torch.tensor([1e-3]))
    planner = make(linear, policy, lambda obs, action: 100 * obs[None, ..., 0], candidates=4, elites=0.1, iterations=1)
    obs = torch.zeros(1, 2)
    planner(obs)
    planner._plan = torch.tensor([0.0, 0.9, 0.8, 0.7, 0.6]).view(5, 1, 1)
    planned = [float(planner(obs)) for _ in range(4)]
    assert planned == pytest.approx([0.9, 0.8, 0.7, 0.6])


def test_evaluate_with_a_planner(tmp_path: Path, capsys) -> None:
    words: dict[str, Any] = {"env": "double_integrator", "steps": 60, "random_steps": 30, "epoch_steps": 30}
    words |= {"final_episodes": 1, "log": "csv", "model_epochs": 2, "imagined_states": 200, "progress": False}
    diffmaac.train(**words, out=str(tmp_path / "maac"))
    diffmaac.train(**words, algorithm="sac", out=str(tmp_path / "sac"))
    plan = ["planner=cem", "episodes=1", "candidates=8", "iterations=1", "plan_horizon=2"]
    for dynamics in ("run", "true"):
        cli.app(["evaluate", str(tmp_path / "maac"), *plan, f"dynamics={dynamics}"], standalone_mode=False)
        out = capsys.readouterr().out
        assert "return over 1 episodes" in out and "ms for 1 episodes at once; 0 candidates diverged" in out
    young: dict[str, Any] = {**words, "steps": 30}
    diffmaac.train(**young, out=str(tmp_path / "young"))
    for name, message, arguments in (
        ("sac", "has no learned model", plan),
        ("young", "was never fitted", plan),
        ("maac", "candidates=8 is the planner's, and none is asked for", plan[1:]),
        ("maac", "dynamics=true is the planner's", ["dynamics=true"]),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["evaluate", str(tmp_path / name), *arguments])
        assert stop.value.code == 2 and message in capsys.readouterr().err
