"""Whole runs at tiny size: what they write, what decides them, what they learn from."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from support.runs import TINY, numbers, tiny

import diffmaac
from diffmaac import SettingError, seeding
from diffmaac.runs.metrics import read_metrics
from diffmaac.session import prepare
from diffmaac.settings import ALGORITHMS
from diffmaac.task import Criterion
from diffmaac.tasks import get_task
from diffmaac.training.evaluation import falls_of, run_episodes


@pytest.mark.parametrize("dynamics", ["learned", "true"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_trains_through_every_dynamics(dynamics, algorithm, tmp_path):
    changes = {} if algorithm == "maac" else {"horizon": 0}
    run = tiny(tmp_path / "run", algorithm=algorithm, dynamics=dynamics, **changes)
    rows = read_metrics(run / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [40, 80, 120]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values() if value)
    assert ("model_mse" in rows[-1]) == (algorithm != "sac" and dynamics == "learned")
    assert all(value.isfinite().all() for value in diffmaac.load(run).policy.state_dict().values())
    assert (run / "figures" / "learning_curve.png").stat().st_size > 1000


def test_the_wall_time_is_told_apart(finished):
    """Every part took time, and the parts of an epoch sum to it, but for what lies between them."""
    rows = read_metrics(finished / "metrics.csv")
    parts = [f"seconds_{name}" for name in ("environment", "evaluation", "imagination", "model", "optimisation")]
    assert [name for name in rows[-1] if name.startswith("seconds_")] == parts
    assert all(float(rows[-1][name]) >= 0 for name in parts) and float(rows[-1]["seconds_optimisation"]) > 0
    training = sum(float(row[name] or 0) for row in rows for name in parts if name != "seconds_evaluation")
    assert 0.5 * float(rows[-1]["seconds"]) - 0.2 < training < float(rows[-1]["seconds"]) + 0.2


def test_torchs_default_dtype_changes_no_run(finished, tmp_path):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        run = tiny(tmp_path / "run")
        agent = diffmaac.load(run)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)
    assert numbers(run) == numbers(finished)
    assert {value.dtype for value in agent.policy.state_dict().values()} == {torch.float32}


def test_the_final_evaluation_is_kept(finished):
    record = json.loads((finished / "evaluation.json").read_text())
    assert record["step"] == 120 and record["returns"] == diffmaac.load(finished).evaluate(1).returns


def test_true_dynamics_train_through_mujoco(tmp_path):
    run = tiny(tmp_path / "run", env="pendulum", dynamics="true", steps=80)
    assert float(read_metrics(run / "metrics.csv")[-1]["actor_grad_norm"]) > 0


def test_a_run_is_determined_by_its_seed(finished, tmp_path):
    assert numbers(tiny(tmp_path / "same")) == numbers(finished)
    assert numbers(tiny(tmp_path / "other", seed=1)) != numbers(finished)


def test_a_fall_ends_a_training_episode_and_what_is_earned(tmp_path):
    """Everywhere in training: data, imagined data and the discount of the policy's objective; evaluations go on."""

    def fallen(obs):
        return obs[..., 1].abs() > 0.2

    task = dataclasses.replace(get_task("double_integrator"), fallen=fallen)
    task = dataclasses.replace(task, reset=lambda rng: (rng.normal(size=1), np.zeros(1)))
    trainer = prepare(task, {**TINY, "fall_ends": True, "steps": 300, "out": str(tmp_path / "run")})
    trainer.train(progress=False)
    real, imagined = trainer.experience.real.all(), trainer.experience.imagined.all()
    for data in (real, imagined):
        ended = fallen(data.obs_tp1)
        assert ended.any() and not ended.all()
        np.testing.assert_array_equal(data.discount_tp1 == 0, ended)
    assert not fallen(real.obs_t).any()
    states = torch.tensor([[0.0, 0.3], [0.0, 0.1]])
    assert (trainer.agent.loop.world.discount(states) == 0).tolist() == [True, False]
    falls = trainer.evaluate(2).falls
    assert trainer.task is task and falls is not None and min(falls.first) < task.episode_steps


def test_a_fall_is_worth_the_sum_of_what_follows_it(tmp_path):
    """r + gamma c / (1 - gamma), in real and in imagined data; evaluations earn the task's own reward."""

    def fallen(obs):
        return obs[..., 1].abs() > 0.2

    task = dataclasses.replace(get_task("double_integrator"), fallen=fallen)
    task = dataclasses.replace(task, reset=lambda rng: (rng.normal(size=1), np.zeros(1)))
    words = {**TINY, "fall_ends": True, "fall_reward": -2.0, "gamma": 0.9, "steps": 300, "out": str(tmp_path / "run")}
    trainer = prepare(task, words)
    trainer.train(progress=False)
    for data in (trainer.experience.real.all(), trainer.experience.imagined.all()):
        falls = fallen(data.obs_tp1)
        assert falls.any() and not falls.all()
        expected = task.start_reward(data.obs_t, data.action_t) - 2.0 * 0.9 / (1 - 0.9) * falls
        torch.testing.assert_close(data.reward_t, expected)
        np.testing.assert_array_equal(data.discount_tp1 == 0, falls)
    assert min(trainer.evaluate(2).returns) > -2 * task.episode_steps


def test_what_follows_a_fall_has_a_value():
    task = dataclasses.replace(get_task("double_integrator"), fallen=lambda obs: obs[..., 1] > 1)
    with pytest.raises(SettingError, match="fall_reward with gamma=1: the sum"):
        prepare(task, {"fall_ends": True, "fall_reward": -1.0, "gamma": 1.0})


def test_a_task_that_knows_no_falls_cannot_end_by_them():
    with pytest.raises(SettingError, match="fall_ends=true: task 'pendulum' does not say when its body lies"):
        prepare("pendulum", {"fall_ends": True})


def test_a_run_with_another_horizon_differs(finished, tmp_path):
    assert numbers(tiny(tmp_path / "other", horizon=1)) != numbers(finished)


def test_training_episodes_end_early_and_evaluations_do_not(tmp_path):
    starts = []

    def reset(rng):
        starts.append(rng.random())
        return np.array([0.3]), np.array([0.0])

    task = dataclasses.replace(
        get_task("double_integrator"), reset=reset, reward=lambda obs_t, action_t: torch.ones_like(obs_t[..., 0])
    )
    changes = {"steps": 50, "reset_every": 7, "algorithm": "sac", "horizon": 0, "out": str(tmp_path / "run")}
    trainer = prepare(task, {**TINY, **changes})
    starts.clear()
    trainer.train(progress=False)
    evaluations = 2  # at steps 40 and 50, each of one episode
    assert len(starts) == 50 // 7 + evaluations
    assert trainer.evaluate(1).returns == [task.episode_steps]


def test_falls_of_known_episodes():
    """Of four, five and two steps: one falls at its third state, one never, one after its end."""
    fallen = np.array([[0, 0, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1], [1, 0, 0]], dtype=bool)
    rewards = np.array([[1, 2, 3], [1, 2, 3], [-5, 2, 0], [-7, 2, 0], [0, 2, 0]], dtype=float)
    falls = falls_of(fallen, rewards, np.array([4, 5, 2]))
    assert falls.first == [2, 5, 2] and falls.share == pytest.approx(1 / 3)
    assert (falls.upright, falls.fallen) == (pytest.approx(18 / 9), -6.0)
    assert falls.line() == "falls in 1 of 3 episodes, first at 2; reward a step 2 before the first fall, -6 from it on"
    never = falls_of(np.zeros((3, 1), dtype=bool), np.ones((3, 1)), np.array([3]))
    assert never.share == 0 and never.first == [3] and np.isnan(never.fallen)
    assert never.line() == "falls in 0 of 1 episodes" and "reward_fallen" not in never.metrics()


def test_falls_are_told_in_the_metrics(tmp_path):
    """Down from the start: nothing is earned upright."""
    task = dataclasses.replace(get_task("double_integrator"), fallen=lambda obs: obs[..., 0] > -10)
    trainer = prepare(task, {**TINY, "steps": 50, "algorithm": "sac", "horizon": 0, "out": str(tmp_path / "run")})
    trainer.train(progress=False)
    falls, row = trainer.evaluate(1).falls, read_metrics(tmp_path / "run" / "metrics.csv")[0]
    assert falls is not None and falls.first == [0]
    assert (row["fall_share"], row["fall_step"]) == ("1", "0") and row["reward_fallen"]
    assert "reward_upright" not in row


def test_the_loaded_agent_acts_as_the_trained_one(tmp_path):
    run = diffmaac.train(env="double_integrator", **TINY, out=str(tmp_path / "run"), progress=False)
    agent = diffmaac.load(run.path)
    obs = np.array([[0.1, 0.2], [0.0, -0.3]])
    assert agent.act(obs).shape == (2, 1)
    # A product of two rows may round otherwise than a product of one.
    np.testing.assert_allclose(agent.act(obs)[0], agent.act(obs[0]), rtol=1e-5, atol=1e-7)
    assert agent.evaluate(1).returns == run.evaluation.returns
    assert diffmaac.load(run).act(obs).tolist() == agent.act(obs).tolist()
    assert len(repr(run)) < 200 and f"return={run.evaluation.returns[0]:.6g}"[:10] in repr(run)
    assert diffmaac.evaluate(run, episodes=1).value.evaluation.returns == run.evaluation.returns
    assert list(diffmaac.plot(run, out=str(tmp_path / "a.png")).value.values()) == [1]
    with pytest.raises(ValueError, match="must be 2"):
        agent.act(np.zeros(3))
    with pytest.raises(SettingError, match="episodes=0: must be at least 1"):
        agent.evaluate(0)


def test_evaluation_returns_are_those_of_one_episode_after_another():
    task = get_task("double_integrator")
    result = run_episodes(task, lambda obs: -obs[:, :1], episodes=3, seed=0)
    for i, expected in enumerate(result.returns):
        env, total = task.make_env(), 0.0
        obs, _ = env.reset(seed=seeding.integer_seed(0, f"evaluation-{i}"))
        for _ in range(task.episode_steps):
            obs, reward, *_ = env.step(-obs[:1].astype(np.float32))
            total += reward
        assert total == pytest.approx(expected, rel=1e-9)


def test_rollouts_grow_along_the_ramp(tmp_path):
    settings = {**TINY, "rollout_length": [1, 5], "rollout_ramp": [40, 80], "out": str(tmp_path / "run")}
    trainer = prepare("double_integrator", settings)
    lengths = []
    for trainer.step in (0, 40, 60, 80, 120):
        lengths.append(trainer.experience.rollout_length(trainer.step))
    assert lengths == [1, 1, 3, 5, 5]


def test_the_actor_and_its_critic_see_mixed_batches(tmp_path):
    """Real transitions first, a quarter of the batch; imagined ones start from real states and end elsewhere."""
    trainer = prepare("double_integrator", {**TINY, "real_ratio": 0.25, "out": str(tmp_path / "run")})
    trainer.train(progress=False)
    real = {tuple(row) for row in trainer.experience.real.all().obs_tp1.tolist()}
    batch = trainer.experience.sample(16)
    assert [tuple(row) in real for row in batch.obs_tp1.tolist()] == [True] * 4 + [False] * 12


def test_target_critics_are_part_of_no_graph(tmp_path):
    """They would hold one more node for each update, for good."""
    trainer = prepare("double_integrator", {**TINY, "out": str(tmp_path / "run")})
    trainer.train(progress=False)
    assert all(x.is_leaf and not x.requires_grad for x in trainer.agent.target_critics.parameters())


def test_a_terminated_episode_is_scored_by_its_own_steps():
    length = Criterion("steps", lambda obs: float(len(obs)), 0.0)
    task = get_task("double_integrator")
    task = dataclasses.replace(task, terminated=lambda s: s[..., 1].abs() > 0.3, criterion=length)
    rewards_one = dataclasses.replace(task, reward=lambda s, a: torch.ones_like(s[..., 0]))
    result = run_episodes(rewards_one, lambda obs: torch.ones_like(obs[:, :1]), episodes=8, seed=0)
    assert result.scores == result.returns and len(set(result.scores)) > 1
