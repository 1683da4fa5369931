"""The error of the policy gradient: closed forms against differences and sampling, parts, bound, and its command."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from diffmaac import cli, get_task, seeding
from diffmaac.analysis.bound import bounds, rank_correlation
from diffmaac.analysis.linear_study import QuadraticCritic, Study, StudySettings, quadratic_cost
from diffmaac.analysis.lqr import LinearQuadraticProblem
from diffmaac.analysis.policy_gradient import ENOUGH, GradientError, Parts, RolloutCritic, gradient, gradient_errors
from diffmaac.analysis.settings import GradientErrorSettings
from diffmaac.dynamics import AbstractDynamics, LinearDynamics
from diffmaac.dynamics.jacobian import jacobian
from diffmaac.errors import DivergenceError, SettingError, TaskError
from diffmaac.files import read_table
from diffmaac.nn import Critics
from diffmaac.objectives import PathwiseNoise, lower_bound
from diffmaac.settings import build
from diffmaac_envs.double_integrator import A, B, Q, R

GAIN = np.array([[1.5, 1.2]])
QUICK = StudySettings(process_std=0.05, transitions=300, critic_updates=200, samples=4096, chunk=512)


def problem(gamma: float = 0.9, horizon: int | None = None, noise: float = 0.1) -> LinearQuadraticProblem:
    start = np.array([[0.5, 0.1], [0.1, 0.3]])
    return LinearQuadraticProblem(
        A, B, Q, R, start, noise**2 * np.eye(1), (noise / 2) ** 2 * np.eye(2), gamma=gamma, horizon=horizon
    )


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.of(get_task("double_integrator"), QUICK)


@pytest.fixture(scope="module")
def parts(study: Study) -> Parts:
    return study.parts(["learned", "true"], seed=0)


@pytest.mark.parametrize(
    ("gamma", "horizon", "noise"),
    [(0.9, None, 0.1), (0.99, None, 0.1), (1.0, None, 0.0), (0.9, 7, 0.1), (1.0, 30, 0.1)],
)
def test_gradient_of_the_return_is_that_of_central_differences(gamma: float, horizon: int | None, noise: float) -> None:
    case, step = problem(gamma, horizon, noise), 1e-4
    result = case.return_gradient(GAIN)
    for index in range(2):
        shift = np.zeros_like(GAIN)
        shift[0, index] = step
        # Fourth order: rounding and the step's own error are both below 1e-9 of the derivative.
        one, two = (case.expected_return(GAIN + n * shift) - case.expected_return(GAIN - n * shift) for n in (1, 2))
        difference = (8 * one - two) / (12 * step)
        assert result[0, index] == pytest.approx(difference, rel=1e-8)


def test_return_and_critic_are_those_of_sampled_episodes() -> None:
    case, rng, count = problem(), np.random.default_rng(0), 200_000
    states = rng.multivariate_normal(np.zeros(2), case.start, count)
    total, first = np.zeros(count), None
    for t in range(150):
        action = -states @ GAIN.T + 0.1 * rng.normal(size=(count, 1))
        first = (states, action) if first is None else first
        cost = np.einsum("bi,ij,bj->b", states, Q, states) + np.einsum("bi,ij,bj->b", action, R, action)
        total -= case.gamma**t * cost
        states = states @ A.T + action @ B.T + 0.05 * rng.normal(size=(count, 2))
    assert first is not None
    error = total.std() / math.sqrt(count)
    assert abs(total.mean() - case.expected_return(GAIN)) < 4 * error
    residual = total - case.q(GAIN, *first)
    assert abs(residual.mean()) < 4 * residual.std() / math.sqrt(count)
    # Q explains what is known at the start: the residual is uncorrelated with it.
    known = case.q(GAIN, *first)
    assert abs(np.corrcoef(residual, known)[0, 1]) < 4 / math.sqrt(count)


def test_objective_gradients_add_up_to_that_of_the_return() -> None:
    """grad J - grad J_H falls with gamma^H where noise keeps the states moving."""
    case = problem()
    gaps = [np.linalg.norm(case.return_gradient(GAIN) - case.objective_gradient(GAIN, h)) for h in (80, 100)]
    assert math.log(gaps[1] / gaps[0]) / 20 == pytest.approx(math.log(0.9), rel=0.01)
    quiet, slow = problem(noise=0.0), np.array([[1.0, 3.0]])  # real eigenvalues: the gap does not swing
    gaps = [np.linalg.norm(quiet.return_gradient(slow) - quiet.objective_gradient(slow, h)) for h in (40, 60)]
    assert math.log(gaps[1] / gaps[0]) / 20 == pytest.approx(math.log(0.9 * quiet.spectral_radius(slow) ** 2), rel=0.01)


def test_the_optimal_gain_has_no_gradient() -> None:
    case = problem()
    optimum = case.optimal_gain()
    assert np.abs(case.return_gradient(optimum)).max() < 1e-12
    assert np.abs(case.return_gradient(GAIN)).max() > 1e-2


def test_problems_without_a_return_raise() -> None:
    with pytest.raises(SettingError, match="gamma=1 with noise"):
        problem(gamma=1.0).expected_return(GAIN)
    with pytest.raises(SettingError, match="spectral radius"):
        problem(gamma=0.99).cost_matrix(-10 * GAIN)


@pytest.mark.parametrize("horizon", [0, 1, 5])
def test_the_pathwise_estimator_is_unbiased(study: Study, horizon: int) -> None:
    """1e5 samples in float64: within three standard errors of the closed form, in every parameter."""
    truth, exact, chunks = study.truth(), QuadraticCritic(study.problem, study.gain), 100
    parts = Parts(study.task, study.policy(), exact, lambda n, g: exact, {"true": truth}, study.start, 0.0, 0.9)
    result = []
    for index in range(chunks):
        generator = seeding.torch_generator(index, "unbiased")
        steps = tuple(truth.sample_noise(1000, generator, torch.float64) for _ in range(horizon))
        policy = torch.randn(horizon + 1, 1000, 1, generator=generator, dtype=torch.float64)
        result.append(gradient(parts, truth, exact, study.start(1000, generator), PathwiseNoise(policy, steps)))
    samples = torch.stack(result)
    error = samples.std(0) / math.sqrt(chunks)
    difference = (samples.mean(0) - study.closed_form().objective(horizon)).abs()
    assert (difference < 3 * error).all()
    assert error.norm() < 0.05 * study.closed_form().objective(horizon).norm()


def test_sobol_points_reach_the_closed_form(study: Study) -> None:
    assert study.estimator_error(4, 2**16, seed=0) < 1e-3


def test_quadratic_critic_is_the_closed_forms(study: Study) -> None:
    generator = seeding.torch_generator(0, "q")
    obs, action = study.start(5, generator), torch.randn(5, 1, generator=generator, dtype=torch.float64)
    result = QuadraticCritic(study.problem, study.gain)(obs, action)
    np.testing.assert_allclose(result[0], study.problem.q(study.gain, obs.numpy(), action.numpy()), rtol=1e-12)


@pytest.mark.parametrize("apart", [0, 150])
def test_the_critic_may_learn_from_data_of_its_own(study: Study, apart: int) -> None:
    """Then it does not depend on how much data the model has."""

    def weights(transitions: int) -> torch.Tensor:
        few = dataclasses.replace(QUICK, transitions=transitions, critic_transitions=apart, critic_updates=3)
        critic = Study.of(study.task, few).parts(["true"], seed=0).critic
        assert isinstance(critic, Critics)
        return torch.cat([parameter.flatten() for parameter in critic.parameters()])

    assert torch.equal(weights(100), weights(200)) == bool(apart)


def test_a_slow_policy_settles_late(study: Study) -> None:
    """The spectral radius of the closed loop, by how cautious the policy is."""
    slow = Study.of(study.task, dataclasses.replace(QUICK, caution=10.0))
    assert study.problem.spectral_radius(study.gain) == pytest.approx(0.80, abs=0.01)
    assert slow.problem.spectral_radius(slow.gain) == pytest.approx(0.97, abs=0.01)


def test_the_cost_is_read_off_the_reward() -> None:
    result = quadratic_cost(get_task("double_integrator"))
    np.testing.assert_allclose(result[0], Q, atol=1e-14)
    np.testing.assert_allclose(result[1], R, atol=1e-14)


def by(rows: list[GradientError], dynamics: str, reference: str) -> list[GradientError]:
    return [row for row in rows if (row.dynamics, row.reference) == (dynamics, reference)]


def test_errors_have_the_parts_that_theory_gives_them(parts: Parts) -> None:
    rows = gradient_errors(parts, [0, 2, 8, 24], 4096, 512, seed=0)
    learned, true = by(rows, "learned", "objective"), by(rows, "true", "objective")
    # Without a step, dynamics have no part; with true ones, all of the error is the critic's.
    assert learned[0].model_part == 0 and learned[0].l2 == pytest.approx(true[0].l2, rel=1e-12)
    assert all(row.model_part == 0 and row.relative == pytest.approx(row.critic_part) for row in true)
    # The critic's part falls with the discount, the model's grows.
    assert learned[-1].critic_part < 0.2 * learned[0].critic_part
    assert [row.model_part for row in learned] == sorted(row.model_part for row in learned)
    assert all(row.l1 >= row.l2 and row.not_finite == 0 and abs(row.cosine) <= 1 + 1e-12 for row in rows)
    # Against the return, what J_H cuts off is the closed form's.
    closed = parts.closed_form
    assert closed is not None
    cut = closed.objective(24) - closed.expected_return
    assert by(rows, "true", "return")[-1].l2 == pytest.approx(float(cut.norm()), rel=0.2)


class Breaking(AbstractDynamics):
    """Linear dynamics that diverge on some calls."""

    members, stochastic = 1, False  # type: ignore[assignment]

    def __init__(self, inner: LinearDynamics, every: int):
        self._inner, self._every, self._calls = inner, every, 0

    def sample_noise(self, batch, generator, dtype=None):
        return None

    def infer_noise(self, obs, action, obs_tp1, generator):
        return None

    def step(self, obs, action, noise):
        self._calls += 1
        if self._calls % self._every == 0:
            raise DivergenceError("the simulation diverged")
        return self._inner.step(obs, action, None) * (1 if self._calls % 5 else math.nan)

    def step_members(self, obs, action, gaussian):
        return self.step(obs, action, None)


def test_each_horizon_is_sampled_until_it_is_sure_enough(parts: Parts) -> None:
    rows = gradient_errors(parts, [0, 1, 4], 64 * 64, 64, seed=0)
    for horizon in (0, 1, 4):
        same = [row for row in rows if row.horizon == horizon]
        sure = all(row.monte_carlo <= ENOUGH * row.relative for row in same)
        assert sure or same[0].samples == 64 * 64
        assert len({row.samples for row in same}) == 1
    assert len({row.samples for row in rows}) > 1


def test_gradients_that_are_not_finite_are_counted(parts: Parts) -> None:
    def breaking(every: int) -> Parts:
        inner = LinearDynamics(parts.task.system)  # type: ignore[arg-type]
        return dataclasses.replace(parts, dynamics={**parts.dynamics, "learned": Breaking(inner, every)})

    result = breaking(7)
    rows = gradient_errors(result, [0, 1], 16 * 64, 64, seed=0)
    zero, one = (next(row for row in rows if row.horizon == h and row.dynamics == "learned") for h in (0, 1))
    assert zero.not_finite == 0 and one.not_finite > 0
    assert one.samples == 16 * 64 - 64 * one.not_finite  # never sure enough to stop early
    assert math.isfinite(one.relative)
    with pytest.raises(DivergenceError, match="no gradient over 1 steps was finite"):
        gradient_errors(breaking(1), [0, 1], 512, 64, seed=0)


def test_rollouts_of_the_truth_stand_for_its_critic(study: Study, parts: Parts) -> None:
    """The mean over many rollouts is Q, but for gamma^length of the critic's error."""
    quiet = Study.of(study.task, StudySettings(process_std=0.0))
    exact = QuadraticCritic(quiet.problem, quiet.gain)
    case = Parts(
        study.task, quiet.policy(), parts.critic, parts.true_critic, {"true": quiet.truth()}, quiet.start, 0.0, 0.9
    )
    noise = torch.randn(60, 4000, 1, generator=seeding.torch_generator(0, "r"), dtype=torch.float64)
    obs, action = torch.tensor([[0.3, -0.2]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)
    result = RolloutCritic(case, noise)(obs.expand(4000, -1), action.expand(4000, -1))[0]
    error = float(result.std()) / math.sqrt(4000)
    assert abs(float(result.mean() - exact(obs, action)[0, 0])) < 4 * error + 0.9**60 * 10


def test_jacobian_of_linear_dynamics_is_a_and_b() -> None:
    dynamics = LinearDynamics(get_task("double_integrator").system)  # type: ignore[arg-type]
    obs = torch.randn(3, 2, dtype=torch.float64)
    result = jacobian(lambda s, a: dynamics.step(s, a), obs, obs[:, :1])
    np.testing.assert_allclose(result, np.broadcast_to(np.hstack([A, B]), (3, 2, 3)), atol=1e-15)


def test_the_bound_is_above_the_error(parts: Parts) -> None:
    horizons = [0, 1, 2, 4, 8]
    rows = by(gradient_errors(parts, horizons, 4096, 512, seed=0), "learned", "objective")
    result = bounds(parts, horizons, 64, seed=0)
    assert [bound.horizon for bound in result] == horizons
    for row, bound in zip(rows, result, strict=True):
        assert row.l2 < bound.value
    assert result[0].eps_f == 0 and result[0].c_1 == 0  # without a step, the model has no part in it
    assert all(later.c_1 > before.c_1 for before, later in itertools.pairwise(result[1:]))
    assert rank_correlation([1, 2, 3], [1, 4, 9]) == pytest.approx(1)
    assert math.isnan(rank_correlation([1, 2], [1, 2]))


def test_a_bound_beyond_all_numbers_is_infinite(parts: Parts) -> None:
    assert [math.isinf(bound.value) for bound in bounds(parts, [0, 400], 4, seed=0)] == [False, True]


def test_more_than_two_critics_count_as_the_objective_has_them(study: Study, parts: Parts) -> None:
    """The minimum of each pair, averaged: of true rollouts of no step nothing else is left."""

    def four(obs, action):
        return torch.stack([obs[:, 0], obs[:, 1], action[:, 0], obs[:, 0] + action[:, 0]])

    case = dataclasses.replace(parts, critic=four)
    obs, action = study.start(5, seeding.torch_generator(0, "q")), torch.ones(5, 1, dtype=torch.float64)
    result = RolloutCritic(case, torch.zeros(0, 5, 1, dtype=torch.float64))(obs, action)
    torch.testing.assert_close(result[0], lower_bound(four(obs, action)))
    assert not torch.equal(result[0], four(obs, action).amin(0))


def test_command_writes_table_and_figure(tmp_path, capsys) -> None:
    words = ["gradient-error", "env=double_integrator", "horizons=0,1,3", "seeds=1", f"out={tmp_path}"]
    cli.app(words, standalone_mode=False)
    out = capsys.readouterr().out
    assert "Monte Carlo error" in out and "Rank correlation" in out
    rows = read_table(tmp_path / "gradient_error.csv")
    assert len(rows) == 3 * 2 * 2
    assert {row["bound"] != "" for row in rows if row["dynamics"] == "learned" and row["reference"] == "objective"} == {
        True
    }
    assert (tmp_path / "gradient_error.png").stat().st_size > 10_000


@pytest.mark.parametrize("text", ["", "-1", "1,x", "0.5", ",", "[0,1", "1001", []])
def test_horizons_must_be_whole_numbers(text: str | list[int]) -> None:
    with pytest.raises(SettingError, match="horizons"):
        build(GradientErrorSettings, {"horizons": text})


def test_horizons_are_a_list_or_its_text() -> None:
    for horizons in ("4,0,1", "[4, 0, 1]", [4, 0, 1]):
        assert build(GradientErrorSettings, {"horizons": horizons}).horizons == [4, 0, 1]


def test_tasks_without_a_closed_form_raise() -> None:
    with pytest.raises(TaskError, match="no closed form"):
        Study.of(get_task("pendulum"), StudySettings())
