"""The error of a model's predictions and derivatives, mixed dynamics, the horizon from measurement."""

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from support.loop import generator
from support.runs import TINY, refused, tiny
from torch import Tensor

import diffmaac
from diffmaac import cli, get_task
from diffmaac.algorithms import actor_critic
from diffmaac.algorithms.horizon import gradient_spread
from diffmaac.analysis.gradient_error import run_parts
from diffmaac.analysis.imagined_return import Episodes
from diffmaac.analysis.model_error import ModelError, _notes
from diffmaac.dynamics import (
    GaussianEnsemble,
    Heads,
    LearnedDynamics,
    LinearDynamics,
    MixedDynamics,
    Noise,
    true_dynamics,
)
from diffmaac.dynamics.accuracy import (
    ENSEMBLE,
    is_constant,
    jacobian_errors,
    open_loop_errors,
    predictions,
    reward_predictions,
    summary,
)
from diffmaac.errors import DivergenceError, SettingError
from diffmaac.files import read_table
from diffmaac.nn import Critics, SquashedGaussianPolicy
from diffmaac.objectives import ClosedLoop, World
from diffmaac.session import prepare
from diffmaac.settings import ModelSettings
from diffmaac.system import LinearSystem
from diffmaac.training.fit import EnsembleFitter, held_out_rows
from diffmaac.training.trainer import Trainer

A_1, B_1 = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])
A_2, B_2 = np.array([[0.9, 0.2], [0.1, 0.8]]), np.array([[0.3], [0.4]])


def ensemble(members: int = 3) -> LearnedDynamics:
    return LearnedDynamics(GaussianEnsemble(2, 1, members, [16], generator()).double())


def batch(count: int = 8) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 3, generator=generator(1), dtype=torch.float64)
    return x[:, :2], x[:, 2:]


class TestMixedDynamics:
    def test_value_of_one_and_jacobian_of_the_other(self) -> None:
        one, two = (LinearDynamics(LinearSystem(a, b, 0.1)) for a, b in ((A_1, B_1), (A_2, B_2)))
        mixed = MixedDynamics(values=one, derivatives=two)
        obs, action = batch()
        x = torch.cat([obs, action], 1).requires_grad_()
        after = mixed.step(x[:, :2], x[:, 2:], None)
        assert torch.equal(after, one.step(obs, action))
        cotangent = torch.randn(8, 2, dtype=torch.float64, generator=generator(2))
        (result,) = torch.autograd.grad(after, x, cotangent)
        np.testing.assert_allclose(result, cotangent @ torch.from_numpy(np.hstack([A_2, B_2])), atol=1e-14)

    def test_noise_reaches_the_stochastic_part(self) -> None:
        truth, model = LinearDynamics(LinearSystem(A_1, B_1, 0.1)), ensemble()
        for mixed in (MixedDynamics(truth, model), MixedDynamics(model, truth)):
            assert mixed.stochastic
            noise = mixed.sample_noise(8, generator(3), torch.float64)
            assert isinstance(noise, Noise)
            obs, action = batch()
            assert torch.equal(mixed.step(obs, action, noise), mixed.values.step(obs, action, noise))
        assert MixedDynamics(truth, truth).sample_noise(8, generator()) is None

    def test_members_are_those_that_move_the_states(self) -> None:
        truth, model = LinearDynamics(LinearSystem(A_1, B_1, 0.1)), ensemble(3)
        obs, action = (x.expand(3, -1, -1) for x in batch())
        mixed = MixedDynamics(model, truth)
        assert mixed.members == 3
        with torch.no_grad():
            assert torch.equal(mixed.step_members(obs, action, None), model.step_members(obs, action, None))
        with pytest.raises(ValueError, match="values have 3 members, derivatives 1"):
            mixed.step_members(obs, action, None)
        same = MixedDynamics(model, model).step_members(obs.clone().requires_grad_(), action, None)
        assert same.requires_grad and torch.equal(same.detach(), model.step_members(obs, action, None).detach())

    @pytest.mark.parametrize("values", ["true", "learned"])
    def test_trains(self, values: Literal["true", "learned"], tmp_path) -> None:
        trainer = Trainer.load(tiny(tmp_path / "run", dynamics="mixed", mixed_values=values))
        assert isinstance(trainer.dynamics, MixedDynamics) and trainer.model is not None
        assert (trainer.dynamics.values is trainer.model) == (values == "learned")


def test_jacobian_error_of_a_known_difference() -> None:
    """A model that is exactly linear: its error is the difference of the matrices."""
    truth = LinearDynamics(LinearSystem(A_2, B_2, 0.1))
    network = GaussianEnsemble(2, 1, 2, [], generator()).double()
    model = LearnedDynamics(network)
    with torch.no_grad():
        for weight in network.net.weights:
            weight.zero_()
            # (members, in, 2 obs): the mean's half holds the change of state under A_1 and B_1.
            weight[:, :, :2] = torch.from_numpy(np.hstack([A_1 - np.eye(2), B_1]).T)
    errors = jacobian_errors(model, truth, *batch())
    difference = np.hstack([A_1 - A_2, B_1 - B_2])
    exact = np.hstack([A_2, B_2])
    assert [error.member for error in errors] == ["0", "1", ENSEMBLE]
    for error in errors:
        assert error.absolute == pytest.approx(np.linalg.norm(difference), rel=1e-12)
        assert error.relative == pytest.approx(np.linalg.norm(difference) / np.linalg.norm(exact), rel=1e-12)
        scale = np.sqrt((exact**2).mean(1, keepdims=True))
        np.testing.assert_allclose(error.entries, np.abs(difference) / scale, rtol=1e-12)
    assert set(summary(errors)) == {"eps_f", "eps_f_relative", "eps_f_cosine"}


@pytest.mark.parametrize("name", ["pendulum", "hopper"])
def test_jacobians_of_the_truth_are_those_of_the_engine(name: str) -> None:
    """`jacobian` of the C engine's differences against differences taken here."""
    from diffmaac.dynamics.jacobian import jacobian

    task = get_task(name)
    start_states, rng = task.reset, np.random.default_rng(0)
    assert start_states is not None
    states = [torch.from_numpy(np.stack(x)) for x in zip(*(start_states(rng) for _ in range(3)), strict=True)]
    obs = task.observe(*states)
    action = torch.from_numpy(rng.uniform(-1, 1, (3, task.action_size)))
    truth = true_dynamics(task.system, "finite_difference")
    result = jacobian(lambda s, a: truth.step(s, a, None), obs, action)
    step = 1e-5
    for column in range(task.action_size):
        shift = torch.zeros_like(action)
        shift[:, column] = step
        difference = (truth.step(obs, action + shift, None) - truth.step(obs, action - shift, None)) / (2 * step)
        np.testing.assert_allclose(result[:, :, task.obs_size + column], difference, rtol=1e-4, atol=1e-5)


def test_predictions_and_open_loop_of_a_fitted_model() -> None:
    truth = LinearDynamics(LinearSystem(A_2, B_2, 0.1), np.full(2, 0.1))
    g = generator(5)
    obs, action = torch.randn(2000, 2, generator=g), torch.randn(2000, 1, generator=g)
    after = truth.step(obs, action, truth.sample_noise(2000, g))
    model = LearnedDynamics(GaussianEnsemble(2, 1, 3, [32], g))
    EnsembleFitter(model.network, ModelSettings(model_epochs=30)).fit(obs, action, after, g)
    rows = held_out_rows(2000, 0.2)
    assert rows.float().mean() == pytest.approx(0.2, abs=0.01)
    result = predictions(model, obs[rows], action[rows], after[rows])
    noise = 0.1 / (after - obs).std(0)
    np.testing.assert_allclose(result.error, noise, rtol=0.2)  # no better than the noise, and not much worse
    assert ((result.within_1 - 0.683).abs() < 0.1).all() and ((result.within_2 - 0.954).abs() < 0.05).all()
    quiet = LinearDynamics(LinearSystem(A_2, B_2, 0.1))
    ahead = open_loop_errors(model, quiet, obs[:50], torch.randn(10, 50, 1, generator=g))
    assert ahead.shape == (10, 3) and ahead[0].max() < 0.2 and torch.isfinite(ahead).all()
    assert all(error.relative < 0.2 for error in jacobian_errors(model, quiet, obs[:20], action[:20]))


def test_a_constant_reward_has_an_absolute_error() -> None:
    """The network's last bias is all that it predicts: off by 0.25, of a reward that has no standard deviation."""
    network = GaussianEnsemble(2, 1, 2, [], generator(), Heads(reward=True)).double()
    with torch.no_grad():
        for parameter in network.net.parameters():
            parameter.zero_()
    network.y_mean[-1] = 0.75
    model, (obs, action) = LearnedDynamics(network), batch()
    reward = torch.ones(8, dtype=torch.float64)
    of_reward = reward_predictions(model, obs, action, reward)
    assert of_reward is not None and of_reward.error.item() == pytest.approx(0.25)
    measured = ModelError([], predictions(model, obs, action, obs), None, [], of_reward, None, is_constant(reward))
    assert "Learned reward: error 0.25, absolute, as the reward is constant;" in "".join(
        _notes(measured, 8, Episodes(1, 1, 1))
    )
    reward[0] = 1.001
    varied = reward_predictions(model, obs, action, reward)
    assert varied is not None and not is_constant(reward)
    assert varied.error.item() == pytest.approx(0.25 / reward.std().item(), rel=1e-3)


def loop(policy, critics, dynamics) -> ClosedLoop:
    def discount(obs: Tensor) -> Tensor:
        return obs.new_full(obs.shape[:-1], 0.5)

    return ClosedLoop(policy, critics, World(dynamics, lambda s, a: -s.square().sum(-1), discount))


def test_spread_of_the_gradient_tells_apart_models_and_critics() -> None:
    policy = SquashedGaussianPolicy(2, 1, [8], generator(1)).double()
    critics = Critics(2, 1, [8], generator(2)).double()

    def spread(dynamics, critics: Critics, horizons: list[int]) -> Tensor:
        obs = batch(64)[0]
        return gradient_spread(
            loop(policy, critics, dynamics),
            2,
            obs,
            horizons,
            torch.tensor(0.1, dtype=torch.float64),
            generator(4),
        )

    truth = LinearDynamics(LinearSystem(A_2, B_2, 0.1))
    with_critics = spread(truth, critics, [0, 2, 6])
    # The truth has one member: what is left is the critics' disagreement, discounted.
    assert with_critics[0] > with_critics[1] > with_critics[2] > 0
    twins = Critics(2, 1, [8], generator(2)).double()
    twins.nets[1].load_state_dict(twins.nets[0].state_dict())
    assert spread(truth, twins, [0, 3]).max() < 1e-20
    models = ensemble()
    models.network.float()
    policy.float()
    twins.float()
    starts = batch(64)[0].float()
    result = gradient_spread(loop(policy, twins, models), 2, starts, [0, 1, 4], torch.tensor(0.1), generator(4))
    assert result[0] < 1e-10 < result[1] < result[2]
    # True values with the models' derivatives: the members differ in these alone.
    mixed = MixedDynamics(truth, models)
    result = gradient_spread(loop(policy, twins, mixed), 2, starts, [0, 1, 4], torch.tensor(0.1), generator(4))
    assert result[0] < 1e-10 < result[1] < result[2]


def test_horizons_that_diverge_are_not_chosen(tmp_path, monkeypatch) -> None:
    policy = SquashedGaussianPolicy(2, 1, [8], generator(1)).double()
    critics, alpha = Critics(2, 1, [8], generator(2)).double(), torch.tensor(0.1, dtype=torch.float64)
    dynamics = LinearDynamics(LinearSystem(A_2, B_2, 0.1))

    def step(obs: Tensor, action: Tensor, noise: Noise | None) -> Tensor:
        if (obs.abs() > 10).any():
            raise DivergenceError("the physics diverged")
        return 4 * obs

    monkeypatch.setattr(dynamics, "step", step)
    result = gradient_spread(loop(policy, critics, dynamics), 2, batch()[0], [0, 1, 6], alpha, generator(4))
    assert result.isfinite().tolist() == [True, True, False]

    words = {**TINY, "horizon": "auto", "auto_horizons": [0, 1, 3], "out": str(tmp_path / "run")}
    agent = prepare("double_integrator", words).agent
    cases = {1: [math.nan, 0.5, math.inf], 3: [2.0, math.nan, 1.0]}
    for chosen, spread in cases.items():
        monkeypatch.setattr(actor_critic, "gradient_spread", lambda *_, s=spread: torch.tensor(s))
        agent.choose_horizon(batch()[0].float())
        assert agent.horizon == chosen
    monkeypatch.setattr(actor_critic, "gradient_spread", lambda *_: torch.full((3,), math.nan))
    agent.choose_horizon(batch()[0].float())
    assert agent.horizon == 3  # as it was


def test_horizon_auto_chooses_logs_and_resumes(tmp_path) -> None:
    words: dict[str, Any] = {
        **TINY,
        "random_steps": 30,
        "epoch_steps": 30,
        "horizon": "auto",
        "auto_horizons": [0, 1, 3],
    }
    words |= {"env": "double_integrator", "log_model_error": True, "progress": False}
    whole = diffmaac.train(**words | {"steps": 150, "out": tmp_path / "whole"})
    diffmaac.train(**words | {"steps": 90, "out": tmp_path / "parts"})
    parts = diffmaac.train(resume=str(tmp_path / "parts"), steps=150, progress=False)
    rows = read_table(whole.path / "metrics.csv")
    assert rows[0]["horizon"] == ""  # nothing was learned yet
    assert {float(row["horizon"]) for row in rows[1:]} <= {0.0, 1.0, 3.0}
    for row in rows[1:]:
        errors = {h: float(row[f"gradient_error_{h}"]) for h in (0, 1, 3)}
        assert float(row["horizon"]) == min(errors, key=errors.__getitem__)
    assert float(rows[-1]["eps_f"]) > 0 and rows[0]["eps_f"] == ""

    def trained(run: diffmaac.Run) -> list[Tensor]:
        return list(run.agent.policy.state_dict().values())

    assert len(trained(whole)) > 0
    assert all(torch.equal(x, y) for x, y in zip(trained(whole), trained(parts), strict=True))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"horizon": "sometimes"}, "must be of type int"),
        ({"horizon": -1}, "auto, or between 0 and"),
        ({"horizon": "auto", "auto_horizons": []}, "needs at least one"),
        ({"horizon": "auto", "algorithm": "sac"}, "contradicts algorithm=sac"),
    ],
)
def test_horizons_that_cannot_be(words: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        diffmaac.train(env="pendulum", progress=False, **words)


def test_model_error_command(swung, tmp_path, capsys) -> None:
    words = ["states=32", "steps=5", "episodes=2", "copies=3", "episode_steps=10", f"out={tmp_path}"]
    cli.app(["model-error", str(swung), *words], standalone_mode=False)
    out = capsys.readouterr().out
    assert "ensemble" in out and "Calibration" in out and "Open loop" in out
    assert "over at most 10 steps, the policy's mode" in out
    assert "2 real episodes" in out and "in 6 imagined ones" in out
    rows = read_table(tmp_path / "model_error.csv")
    assert [row["member"] for row in rows] == ["0", "1", "2", "3", "4", "ensemble"]
    assert all(math.isfinite(float(row["absolute"])) for row in rows)
    rows = read_table(tmp_path / "imagined_return.csv")
    assert [row["actions"] for row in rows] == ["mode", "sampled"] and {row["diverged"] for row in rows} == {"0"}
    assert all(math.isfinite(float(row[name])) for row in rows for name in ("real", "imagined", "imagined_std"))
    for name in ("jacobian_error.png", "open_loop_error.png"):
        assert (tmp_path / name).stat().st_size > 5_000


@pytest.mark.parametrize("rollout", [0, 3])
def test_gradient_error_of_a_run(swung, tmp_path, capsys, rollout: int) -> None:
    """Learned against true pendulum: with H = 0 only the critic errs, and equally for both.

    Without rollouts the run's critic stands in for the true one, and there is nothing but the model's error.
    """
    words = ["horizons=0,2", "samples=128", "chunk=16", f"rollout={rollout}", f"out={tmp_path}"]
    cli.app(["gradient-error", str(swung), *words], standalone_mode=False)
    assert "Monte Carlo error" in capsys.readouterr().out
    rows = {(row["dynamics"], int(row["horizon"])): row for row in read_table(tmp_path / "gradient_error.csv")}
    assert len(rows) == 4
    assert float(rows["learned", 0]["model_part"]) == 0
    assert float(rows["learned", 0]["l2"]) == pytest.approx(float(rows["true", 0]["l2"]))
    assert float(rows["learned", 2]["model_part"]) > 0 == float(rows["true", 2]["model_part"])
    assert (float(rows["true", 2]["l2"]) > 0) == (rollout > 0)


def test_a_run_without_entropy_is_measured_without(tmp_path) -> None:
    """Its directory's name may hold an equals sign, as those that docs/results/inquiries/branch.py makes."""
    words = {**TINY, "env": "double_integrator", "entropy": False, "steps": 60}
    run = diffmaac.train(**words, out=str(tmp_path / "entropy=false"), progress=False).path
    assert run_parts(Trainer.load(run), None, rollout=0).alpha == 0
    cli.app(["gradient-error", str(run), "horizons=0,1", "samples=16", "chunk=2"], standalone_mode=False)
    assert (run / "figures" / "gradient_error.csv").is_file()


def run_of(algorithm: str, dynamics: str, folder, steps: int = 40) -> str:
    settings = {"env": "double_integrator", "algorithm": algorithm, "dynamics": dynamics, "steps": steps}
    settings |= {"random_steps": 30, "epoch_steps": 40, "final_episodes": 1, "log": "csv"}
    return str(diffmaac.train(out=str(folder / f"{algorithm}-{dynamics}-{steps}"), progress=False, **settings).path)


def test_bad_input_is_one_line(swung, tmp_path, capsys) -> None:
    sac, through_truth = run_of("sac", "learned", tmp_path), run_of("maac", "true", tmp_path)
    young = run_of("maac", "learned", tmp_path, steps=20)
    cases = {
        f"gradient-error {swung} horizons=-1": "must be between 0 and 1,000",
        f"gradient-error {swung} horizons=0.5": "must be of type list of int",
        f"gradient-error {sac} horizons=0": "has no learned model",
        f"gradient-error {through_truth} horizons=0 dynamics=learned": "Give dynamics=true",
        f"gradient-error {swung} dynamics=both": "There are: learned, true.",
        "gradient-error": "nothing was given",
        f"gradient-error {swung} env=pendulum": "say exactly one",
        "gradient-error env=pendulum": "no closed form",
        "gradient-error no/such/run": "is not a run directory",
        f"model-error {sac}": "has no learned model",
        f"model-error {swung} states=1": "between 2 and",
        f"gradient-error {swung} {sac}": "Measure one at a time",
        "gradient-error env=double_integrator gamma=0": "between 0.1 and 0.999",
        f"model-error {young}": "was never fitted",
        f"gradient-error {young} horizons=0": "was never fitted",
        f"gradient-error {swung} gamma=0.5": "gamma=0.5 is a setting of env=",
        "gradient-error env=double_integrator samples=2": "samples=2 is a setting of a run",
    }
    for command, message in cases.items():
        assert message in refused(*command.split(), capsys=capsys), command
