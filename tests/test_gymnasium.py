"""Any Gymnasium environment is a task: its spaces, its ends, what is learned of it, and how it is taken up again."""

import dataclasses
import logging
import re
import threading
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from support import environments
from support.environments import STEPS, Drifting, with_spaces
from support.runs import TINY, numbers, refused, run, tiny, words

import diffmaac
from diffmaac import SettingError, Task, TaskError
from diffmaac.dynamics import true_dynamics
from diffmaac.foreign import ForeignEnv
from diffmaac.foreign.making import check
from diffmaac.runs.metrics import read_metrics
from diffmaac.tasks import get_task
from diffmaac.training.evaluation import run_episodes
from diffmaac.training.trainer import Trainer

ID = "Drifting-v0"


def reward(obs_t, action_t, obs_tp1):
    return -(obs_tp1[..., 0] - 1.0).square()


def terminated(obs_tp1):
    return obs_tp1[..., 0] > 3.0


def foreign(**settings: Any) -> Task:
    return Task.from_gymnasium(ID, **settings)


def test_spaces_are_flattened_and_actions_scaled():
    """[-1, 1] goes to [0, 4], in the environment's shape and type; beyond is clipped."""
    task = get_task(ID)
    assert (task.obs_size, task.action_size, task.episode_steps, task.dt) == (2, 1, STEPS, 1 / 20)
    env = task.make_env()
    obs, _ = env.reset(seed=0)
    assert obs.shape == (2,) and obs.dtype == np.float64
    assert isinstance(env, ForeignEnv) and isinstance(inner := env._env.unwrapped, Drifting)
    for action in (-1.0, 0.0, 0.5, 1.0, 7.0):
        env.step(np.array([action], np.float32))
    assert [float(a[0, 0]) for a in inner.taken] == [0.0, 2.0, 3.0, 4.0, 4.0]
    assert all(a.shape == (1, 1) and a.dtype == np.float32 for a in inner.taken)


def test_the_time_limit_truncates_and_only_the_environment_terminates():
    env = get_task(ID).make_env()
    env.reset(seed=0)
    ends = [env.step(np.zeros(1))[2:4] for _ in range(STEPS)]
    assert ends == [(False, False)] * (STEPS - 1) + [(False, True)]
    obs, _ = env.reset(seed=0)
    pushed = [env.step(np.ones(1)) for _ in range(int((3.0 - obs[0]) / 0.2) + 1)]
    assert [step[2:4] for step in pushed] == [(False, False)] * (len(pushed) - 1) + [(True, False)]
    shorter = dataclasses.replace(get_task(ID), episode_steps=3).make_env()
    shorter.reset(seed=0)
    assert [shorter.step(np.zeros(1))[3] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    "source",
    [
        ID,
        "support.environments:Drifting-v0",
        gymnasium.make(ID, disable_env_checker=True),
        Drifting(),
        Drifting,
        lambda render_mode=None: gymnasium.make(ID, render_mode=render_mode),
    ],
)
def test_ids_environments_and_functions_are_sources(source):
    task = Task.from_gymnasium(source, name="mine")
    assert task.name == "mine" and task.obs_size == 2
    env, other = task.make_env(), task.make_env()
    assert np.array_equal(env.reset(seed=3)[0], other.reset(seed=3)[0])
    env.step(np.ones(1))
    assert not np.array_equal(env.observation(), other.observation())  # each is one of its own


def test_a_wrapped_environment_has_an_id_of_its_own():
    def flat(**options):
        return gymnasium.wrappers.FlattenObservation(gymnasium.make(ID, **options))

    gymnasium.register("Flat-v0", entry_point=flat)
    try:
        task = get_task("Flat-v0")
    finally:
        del gymnasium.registry["Flat-v0"]
    assert (task.obs_size, task.episode_steps, task.system.dt) == (2, STEPS, 1 / 20)


def test_an_environment_with_other_arguments_is_another_task():
    slow, fast = (Task.from_gymnasium(gymnasium.make(ID, pace=pace)) for pace in (0.1, 0.2))
    assert slow.name == fast.name == ID and slow.fingerprint() != fast.fingerprint()
    assert Task.from_gymnasium(gymnasium.make(ID)).fingerprint() == get_task(ID).fingerprint()
    assert len({t.fingerprint() for t in (foreign(), foreign(reward=reward), foreign(terminated=terminated))}) == 3


def test_what_was_set_on_an_environment_stays():
    """Of one that has been used as well; by its id alone it would be another. EzPickle forgets it in a plain copy."""
    used = gymnasium.make(ID)
    used.reset(seed=0)
    used.step(np.ones((1, 1), np.float32))
    assert Task.from_gymnasium(used).name == ID
    used.unwrapped.pace = 0.3  # pyright: ignore[reportAttributeAccessIssue]
    task = Task.from_gymnasium(used)
    env = task.make_env()
    assert task.name == "Drifting" and task.episode_steps == STEPS and env.reset(seed=0)[0][1] == np.float32(0.3)
    with pytest.raises(TaskError, match="Give a function that takes render_mode="):
        task.make_env("rgb_array")
    floating: Any = gymnasium.make("InvertedPendulum-v5")
    floating.unwrapped.model.opt.gravity[2] = -1.0
    env = Task.from_gymnasium(floating).make_env()
    assert isinstance(env, ForeignEnv)
    inner: Any = env._env.unwrapped
    assert inner is not floating.unwrapped and inner.model.opt.gravity[2] == -1.0 and floating.unwrapped.data.time == 0


def test_a_wrapper_that_gymnasium_cannot_make_again_is_copied():
    class Paid(gymnasium.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any):
            obs, _, terminated, truncated, info = self.env.step(action)
            return obs, 7.0, terminated, truncated, info

    env = Task.from_gymnasium(Paid(gymnasium.make(ID))).make_env()
    env.reset(seed=0)
    assert env.step(np.zeros(1))[1] == 7.0


def test_an_environment_that_cannot_be_copied_says_what_would_be_lost():
    env: Any = gymnasium.make(ID)
    env.unwrapped.lock = threading.Lock()
    assert Task.from_gymnasium(env).name == ID
    env.unwrapped.pace = 0.3
    with pytest.raises(
        TaskError, match=r"cannot be copied: .*lock.* Its pace was set .* Give a function that makes it"
    ):
        Task.from_gymnasium(env)


SPACES = {
    "observations are a Dict.*FlattenObservation": {"observation": spaces.Dict(x=spaces.Box(-1, 1))},
    "observations are a Discrete.*FlattenObservation": {"observation": spaces.Discrete(4)},
    "observations are a Text.*TransformObservation": {"observation": spaces.Text(4)},
    r"shape \(8, 8, 3\) and type uint8.*TransformObservation": {"observation": spaces.Box(0, 255, (8, 8, 3), np.uint8)},
    r"actions are a Discrete of 3.*TransformAction\(env, lambda a: int\(a.argmax\(\)\) \+ 1": {
        "action": spaces.Discrete(3, start=1)
    },
    "actions are a MultiDiscrete.*TransformAction": {"action": spaces.MultiDiscrete([2, 2])},
    "actions are a Dict.*TransformAction": {"action": spaces.Dict(x=spaces.Box(-1, 1))},
    "without bounds, -inf to inf.*TransformAction": {"action": spaces.Box(-np.inf, np.inf, (1,))},
    "without bounds, 0 to inf.*TransformAction": {"action": spaces.Box(0, np.inf, (1,))},
    "leave no room": {"action": spaces.Box(np.array([0, 1.0]), np.array([1, 1.0]), dtype=np.float64)},
    "of type int32.*TransformAction": {"action": spaces.Box(0, 3, (1,), np.int32)},
}


@pytest.mark.parametrize("message", SPACES)
def test_spaces_that_cannot_be_used_are_refused_with_the_wrapper_that_helps(message: str):
    with pytest.raises(TaskError, match=message) as error:
        Task.from_gymnasium(with_spaces(**SPACES[message]))
    assert "\n" not in str(error.value)


def test_the_wrapper_that_is_named_for_discrete_actions_helps():
    def make():
        env = gymnasium.make("CartPole-v1")
        return gymnasium.wrappers.TransformAction(env, lambda a: int(a.argmax()) + 0, spaces.Box(-1, 1, (2,)))

    assert Task.from_gymnasium(make).action_size == 2


BROKEN = {
    environments.WrongShape: "breaks Gymnasium's contract.*not within the observation space",
    environments.OldStep: "breaks Gymnasium's contract",
    environments.Failing: "breaks Gymnasium's contract.*KeyError: 'joint_7'",
    environments.Mute: r"AssertionError at `assert action.shape == \(7,\)` \(environments.py, line \d+\)",
    dict: "makes a dict, which is no gymnasium.Env",
}


@pytest.mark.parametrize("source", BROKEN)
def test_what_breaks_the_contract_is_refused_in_the_checkers_words(source):
    with pytest.raises(TaskError, match=BROKEN[source]) as error:
        Task.from_gymnasium(source)
    assert "\n" not in str(error.value)


def test_our_own_environments_pass_the_check():
    check("pendulum", get_task("pendulum").make_env())


IDS = {
    "Pendulm-v1": "Did you mean 'Pendulum-v1'",
    "Pendulum-v7": "Did you mean 'Pendulum-v1'",
    "diffmaac/Hoper-v0": "Did you mean 'diffmaac/Hopper-v0'",
    "FetchReach-v4": "`pip install gymnasium-robotics`, then env=gymnasium_robotics:FetchReach-v4",
    "no_such_package:Foo-v0": "no module 'no_such_package'. Put the folder that it is in on PYTHONPATH",
    "gymnasium_robotics:FetchReach-v4": "`pip install gymnasium-robotics`",
    "CartPole-v1": "actions are a Discrete of 2",
    "Wobble": "unknown env 'Wobble'.*named by its id, for example Pendulum-v1",
}


@pytest.mark.parametrize("name", IDS)
def test_ids_that_cannot_be_used_get_one_line(name: str, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused("train", f"env={name}", capsys=capsys)
    assert re.search(IDS[name], line), line
    assert not list(tmp_path.iterdir())


def test_a_module_that_fails_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "of_mine.py").write_text("import gymnasium\nraise RuntimeError('half written')\n")
    line = refused("train", "env=of_mine:Foo-v0", capsys=capsys)
    assert "importing 'of_mine' fails: RuntimeError: half written" in line


def test_an_observation_that_is_not_a_number_stops_the_run_by_name(tmp_path):
    task = Task.from_gymnasium(environments.SuddenlyNaN)
    with pytest.raises(TaskError, match="'SuddenlyNaN': observation 0 is nan after 15 steps of the episode with seed"):
        tiny(tmp_path / "run", env=task)


REWARDS = {
    "ndarray of shape (2,)": np.zeros(2),
    "Tensor of shape torch.Size([2])": torch.zeros(2),
    "NoneType": None,
    "str": "a",
}


def test_what_float32_cannot_hold_is_named(monkeypatch):
    env = foreign().make_env()
    env.reset(seed=0)
    monkeypatch.setattr(Drifting, "observed", lambda self: np.array([[0.0], [1e39]]))
    with pytest.raises(
        TaskError, match=r"observation 1 is 1e\+39 after 1 steps .*, beyond float32.*: 3.4e\+38 at most"
    ):
        env.step(np.zeros(1))


def test_a_reward_is_a_number_or_an_array_of_one():
    class Paying(Drifting):
        pays: Any = 0.0

        def step(self, action: np.ndarray) -> Any:
            obs, _, terminated, truncated, info = super().step(action)
            return obs, self.pays, terminated, truncated, info

    env: Any = Task.from_gymnasium(Paying).make_env()
    env.reset(seed=0)
    for env._env.pays in (2.5, np.array([2.5]), np.array([[2.5]]), np.float32(2.5), torch.tensor([2.5])):
        assert env.step(np.zeros(1))[1] == 2.5
    for message, env._env.pays in REWARDS.items():
        with pytest.raises(TaskError, match=re.escape(f"'Paying': the reward is of type {message} after")):
            env.step(np.zeros(1))


def test_an_error_of_the_environment_is_one_line_with_its_place(tmp_path, monkeypatch, capsys):
    """An interruption is none."""
    env, step = foreign().make_env(), Drifting.step

    def failing(self: Drifting, action: np.ndarray):
        if self.steps == 15:
            raise RuntimeError("sensor\nlost")
        return step(self, action)

    def interrupted(self: Drifting, **_: Any):
        raise KeyboardInterrupt

    monkeypatch.setattr(Drifting, "step", failing)
    line = refused("train", f"env={ID}", f"out={tmp_path / 'run'}", *words(**TINY), "quiet=true", capsys=capsys)
    assert re.search(rf"'{ID}' fails in its step after 15 steps of .*\(test_gymnasium.py, line \d+\): Run.*: sen", line)
    monkeypatch.setattr(Drifting, "reset", lambda self, **_: {}["map"])
    with pytest.raises(TaskError, match=r"fails in its reset \(test_gymnasium.py, line \d+\): KeyError: 'map'"):
        env.reset()
    monkeypatch.setattr(Drifting, "reset", interrupted)
    with pytest.raises(KeyboardInterrupt):
        env.reset()


def test_spaces_that_change_are_refused():
    env = Task.from_gymnasium(environments.Growing).make_env()
    env.reset(seed=0)
    env.reset()
    with pytest.raises(TaskError, match="has changed its spaces"):
        env.reset()


def test_a_given_reward_or_end_that_is_not_the_environments_is_refused():
    with pytest.raises(TaskError, match=r"after 1 random steps from seed 0 .* pays .*, and the reward given"):
        foreign(reward=lambda s, a, s2: -(s[..., 0] - 1.0).square()).check()
    with pytest.raises(TaskError, match="terminates, and by what is given in torch it goes on"):
        Task.from_gymnasium("InvertedPendulum-v5", terminated=False).check()
    with pytest.raises(TaskError, match="goes on, and by what is given in torch it terminates"):
        foreign(terminated=lambda obs: obs[..., 0] > -9.0).check()
    with pytest.raises(TaskError, match="reward must map"):
        foreign(reward=lambda s, a: -s[..., 0]).check()
    foreign(reward=reward, terminated=terminated).check()


def test_a_given_reward_gets_actions_in_the_environments_units():
    task = foreign(reward=lambda s, a, s2: a[..., 0])
    assert task.transition_reward is not None
    action = torch.tensor([[-1.0], [0.0], [1.0]])
    assert task.transition_reward(torch.zeros(3, 2), action, torch.zeros(3, 2)).tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("algorithm", ["maac", "mbpo", "steve", "svg", "sac"])
def test_every_algorithm_trains_on_a_learned_reward_and_end(algorithm: str, tmp_path):
    settings = {name: value for name, value in TINY.items() if name != "horizon" or algorithm == "maac"}
    settings |= {"algorithm": algorithm, "out": str(tmp_path / "run")}
    path = diffmaac.train(ID, **settings, progress=False).path
    assert len(read_metrics(path / "metrics.csv")) == 3


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A tiny run with learned reward and end, to be looked at only; thirty of its steps ended an episode."""
    return tiny(tmp_path_factory.mktemp("runs") / "learned", env=ID, steps=200, model_epochs=10)


def test_a_run_is_loaded_evaluated_measured_and_reported(learned: Path, tmp_path, capsys):
    agent = diffmaac.load(learned)
    obs = np.array([[0.3], [0.1]], np.float32)
    action, state = agent.predict(obs, deterministic=True)
    assert state is None and action.shape == (1, 1) and action.dtype == np.float32 and 0 <= action <= 4
    assert action.item() == pytest.approx(2 + 2 * float(agent.act(obs.ravel())[0]), rel=1e-6)
    many, _ = agent.predict(np.stack([obs, obs]))
    assert many.shape == (2, 1, 1)
    drawn = [agent.predict(obs, deterministic=False)[0].item() for _ in range(5)]
    assert len(set(drawn)) == 5
    with pytest.raises(ValueError, match=r"has shape \(2,\); it must be \(2, 1\)"):
        agent.predict(obs.ravel())
    assert run("evaluate", str(learned), "episodes=2", capsys=capsys)[0] == 0
    words = ("planner=cem", "episodes=1", "candidates=4", "plan_horizon=2", "iterations=1")
    assert run("evaluate", str(learned), *words, capsys=capsys)[0] == 0
    line = refused("evaluate", str(learned), *words, "dynamics=true", capsys=capsys)
    assert "has no MuJoCo model" in line and "its reward is learned" in line and "terminated=" in line
    result = diffmaac.model_error(learned, out=str(tmp_path), episodes=2, copies=2, episode_steps=5)
    assert result.value.derivatives == [] and result.value.open_loop is None
    assert result.value.reward is not None and result.value.end is not None
    assert result.value.reward.error.shape == (1,) and 0 <= result.value.end.brier <= 1
    assert "Learned reward: error" in "".join(result.notes) and "Learned termination" in "".join(result.notes)
    assert sorted(f.name for f in result.files) == ["imagined_return.csv", "learned_reward.csv"]
    assert ID in diffmaac.report(learned, out=str(tmp_path / "page.html")).value.read_text()


def test_a_stopped_run_ends_as_one_that_never_was(tmp_path):
    """In the middle of an episode, which is walked again from its seed."""
    whole = tiny(tmp_path / "whole", env=ID, steps=110, epoch_steps=55)
    part = tiny(tmp_path / "part", env=ID, steps=55, epoch_steps=55)
    assert Trainer.load(part)._collector.state_dict()["actions"].shape[0] % STEPS  # inside an episode
    resumed = diffmaac.train(resume=str(part), steps=110, progress=False).path
    assert numbers(resumed) == numbers(whole)


def test_an_episode_that_no_seed_brings_back_begins_anew_and_says_so(tmp_path, caplog):
    task = Task.from_gymnasium("Unseeded-v0")
    part = tiny(tmp_path / "part", env=task, steps=55, epoch_steps=55)
    with caplog.at_level(logging.WARNING, "diffmaac"):
        diffmaac.train(task, resume=str(part), steps=60, progress=False)
    assert "the same seed and actions lead to another state" in caplog.text and "begins" in caplog.text


def test_true_dynamics_need_a_known_state_and_a_given_reward():
    with pytest.raises(TaskError, match=r"its reward is learned.*not of qpos\[:1\].*its terminations are learned"):
        Task.from_gymnasium("Hopper-v5").check_true()
    with pytest.raises(TaskError, match=r"does not determine the state: hidden.* qpos\[0\], qpos\[1\]"):
        Task.from_gymnasium("Reacher-v5", reward=reward, terminated=False).check_true()
    with pytest.raises(TaskError, match="has no MuJoCo model"):
        foreign(reward=reward, terminated=terminated).check_true()


@pytest.mark.parametrize("env", ["InvertedPendulum-v4", "Hopper-v4", "HalfCheetah-v5", "Swimmer-v5"])
def test_the_model_of_gymnasiums_own_environments_is_their_motion(env: str):
    """Old and new versions; `check_true` takes random steps with both."""
    Task.from_gymnasium(env, reward=reward, terminated=False).check_true()


def upright(obs_t, action_t, obs_tp1):
    """InvertedPendulum-v5 pays 1 where it does not terminate."""
    return (obs_tp1[..., 1].abs() <= 0.2).to(obs_tp1)


def fell(obs_tp1):
    return obs_tp1[..., 1].abs() > 0.2


def test_a_mujoco_environment_with_a_given_reward_is_trained_through_its_physics(tmp_path):
    """Its own step is that of the true dynamics."""
    task = Task.from_gymnasium("InvertedPendulum-v5", reward=upright, terminated=fell)
    task.check_true()
    env, truth = task.make_env(), task.system.physics()
    obs, _ = env.reset(seed=1)
    assert isinstance(truth, diffmaac.MujocoSystem) and truth.frame_skip == 2
    action = np.array([0.4])
    ours = true_dynamics(truth).step(torch.tensor(obs)[None], torch.tensor(action)[None], None)
    np.testing.assert_allclose(ours[0].numpy(), env.step(action)[0], atol=1e-9)
    path = tiny(tmp_path / "run", env=task, dynamics="true", steps=60, epoch_steps=60)
    assert len(read_metrics(path / "metrics.csv")) == 1


def test_true_dynamics_of_a_learned_reward_are_refused_before_a_run_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refused("train", "env=InvertedPendulum-v5", "dynamics=true", capsys=capsys)
    assert "its reward is learned" in line
    assert "has no MuJoCo model" in refused("train", "env=Pendulum-v1", "log_model_error=true", capsys=capsys)
    assert not list(tmp_path.iterdir())


def test_a_video_has_the_size_of_the_environments_pictures(tmp_path):
    av = pytest.importorskip("av")
    file = tmp_path / "episode.mp4"
    run_episodes(get_task(ID), lambda obs: torch.zeros(len(obs), 1), 1, 0, video=file)
    with av.open(str(file)) as video:
        stream = video.streams.video[0]
        assert (stream.height, stream.width) == (64, 96) and sum(1 for _ in video.decode(stream)) == STEPS


def test_a_picture_is_the_environments():
    env = get_task(ID).make_env("rgb_array")
    env.reset(seed=0)
    assert env.picture().shape == (64, 96, 3)
    with pytest.raises(SettingError, match="does not draw"):
        get_task(ID).make_env().picture()


def test_the_run_directory_of_an_id_is_one_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = diffmaac.train("support.environments:Drifting-v0", **TINY, progress=False).path
    assert path.parent == Path("runs") and path.name.startswith("support.environments_Drifting-v0-maac")
