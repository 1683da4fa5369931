"""One contract over all tasks."""

import copy
import dataclasses
import logging
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from diffmaac import MujocoSystem, TaskError, get_task, tasks
from diffmaac.settings import presets_for
from diffmaac.task import Task
from diffmaac.tasks import register, task_names

TASKS = task_names()


@pytest.fixture(params=TASKS)
def task(request) -> Task:
    return get_task(request.param)


def visited(task: Task, steps: int = 30, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Observations, actions and rewards of a random episode, in float64."""
    env, rng = task.make_env(), np.random.default_rng(seed)
    obs, rewards, actions, observations = env.reset(seed=seed)[0], [], [], []
    for _ in range(steps):
        action = rng.uniform(-1, 1, task.action_size)
        observations.append(obs)
        actions.append(action)
        obs, reward, *_ = env.step(action)
        rewards.append(reward)
    return tuple(torch.tensor(np.array(x)) for x in (observations, actions, rewards))  # type: ignore[return-value]


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*imum value is.*")  # observations are unbounded
def test_gymnasium_accepts_the_environment(task):
    check_env(task.make_env(), skip_render_check=True)


def test_observe_and_physics_state_are_inverse_up_to_hidden_coordinates(task):
    obs, _, _ = visited(task)
    qpos, qvel = task.physics_state(obs)
    assert torch.allclose(task.observe(qpos, qvel), obs, atol=1e-12)
    assert (qpos[:, : task.system.coordinates.hidden] == 0).all()


def test_the_dynamics_do_not_depend_on_hidden_coordinates(task):
    """A step from `physics_state(obs)` ends in the same observation as the environment's own step."""
    env = task.make_env()
    obs, _ = env.reset(seed=3)
    action = np.random.default_rng(0).uniform(-1, 1, task.action_size)
    simulator = task.system.simulator()
    simulator.set_state(*(x.numpy() for x in task.physics_state(torch.tensor(obs))))
    simulator.step(action)
    expected = env.step(action)[0]
    got = task.observe(*(torch.tensor(x) for x in simulator.state())).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_reward_in_torch_is_the_environments(task):
    obs, action, reward = visited(task)
    torch.testing.assert_close(task.start_reward(obs, action), reward, rtol=1e-12, atol=1e-12)
    single = task.start_reward(obs.float(), action.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), reward, rtol=1e-4, atol=1e-4)


def test_reward_is_differentiable(task):
    obs, action, _ = visited(task, steps=5)
    inputs = (obs.requires_grad_(), action.requires_grad_())
    assert torch.autograd.gradcheck(task.start_reward, inputs)


def test_seeding_is_deterministic(task):
    first, second, other = visited(task, seed=1), visited(task, seed=1), visited(task, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def test_snapshot_continues_bit_for_bit(task):
    env = task.make_env()
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, task.action_size))
    for action in actions[:10]:
        env.step(action)
    snapshot = env.snapshot()
    expected = [env.step(action)[0] for action in actions[10:]]
    other = task.make_env()
    other.reset(seed=7)
    other.restore(snapshot)
    assert all(np.array_equal(other.step(a)[0], e) for a, e in zip(actions[10:], expected, strict=True))


def test_episodes_are_truncated_and_never_terminate(task):
    env = dataclasses.replace(task, episode_steps=3).make_env()
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_no_start_is_a_fall(task):
    env = task.make_env()
    starts = torch.tensor(np.stack([env.reset(seed=seed)[0] for seed in range(20)]))
    assert task.fallen is None or not task.fallen(starts).any()


@pytest.mark.parametrize(("name", "flat"), [("hopper", 0.3), ("walker2d", 0.3), ("ant", 0.1)])
def test_a_body_on_the_floor_has_fallen(name, flat):
    task = get_task(name)
    assert task.fallen is not None
    obs = torch.tensor(task.make_env().reset(seed=0)[0])
    obs[0] = flat
    assert task.fallen(obs)


def test_a_body_on_its_back_has_fallen():
    ant, cheetah = get_task("ant"), get_task("half_cheetah")
    assert ant.fallen is not None and cheetah.fallen is not None
    obs = torch.tensor(ant.make_env().reset(seed=0)[0])
    obs[1:5] = torch.tensor([0.1, 0.99, 0.0, 0.1])  # half a turn about x
    assert ant.fallen(obs)
    obs = torch.tensor(cheetah.make_env().reset(seed=0)[0])
    pitches = [cheetah.fallen(torch.cat([obs[:1], torch.tensor([pitch]), obs[2:]])) for pitch in (-3.0, -0.5, 0.5, 3.0)]
    assert [bool(x) for x in pitches] == [True, False, False, True]


SIZES = {
    "double_integrator": (2, 1, 0.1),
    "pendulum": (3, 1, 0.05),
    "cartpole": (5, 1, 0.04),
    "half_cheetah": (17, 6, 0.05),
    "hopper": (11, 3, 0.008),
    "walker2d": (17, 6, 0.008),
    "ant": (27, 8, 0.05),
}


def test_sizes_are_those_of_the_table(task):
    assert (task.obs_size, task.action_size) == SIZES[task.name][:2]
    assert task.dt == pytest.approx(SIZES[task.name][2])


def test_terminated_states_have_discount_zero():
    task = dataclasses.replace(get_task("double_integrator"), terminated=lambda obs: obs[..., 0] > 1)
    obs = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    assert task.discount(obs, 0.9).tolist() == pytest.approx([0.9, 0.0])


@pytest.mark.parametrize(
    "reward, message",
    [
        (lambda obs, action: obs.sum(), r"shape \(4,\), got \(\)"),
        (lambda obs, action: action, r"shape \(\), got \(1,\)"),
        (lambda obs, action: obs[:, 0], r"fails: too many indices|fails: .*dimension"),
        (lambda obs, action: obs[..., 9], "fails: index 9 is out of bounds"),
        (lambda obs, action: obs[..., 0] * float("nan"), "not finite"),
        (lambda obs, action: 1.0, "got float"),
    ],
)
def test_a_reward_that_cannot_be_used_is_named(reward, message):
    with pytest.raises(TaskError, match=message):
        dataclasses.replace(get_task("pendulum"), reward=reward).check()


@pytest.mark.parametrize(
    "terminated, message",
    [
        (lambda obs: obs[0] > 5, "terminated must map"),
        (lambda obs: obs[..., :1].abs() > 5, r"got \(1,\) of torch.bool"),
        (lambda obs: 1.0 * (obs[..., 0] > 5), "got .* of torch.float32"),
        (lambda obs: (obs[..., 0] > 5).any(), r"shape \(4,\) .*, got \(\)"),
        (lambda obs: False, "got bool"),
    ],
)
def test_a_termination_that_cannot_be_used_is_named(terminated, message):
    with pytest.raises(TaskError, match=message):
        dataclasses.replace(get_task("pendulum"), terminated=terminated).check()


@pytest.mark.parametrize(
    "xml, message",
    [
        ("<mujoco><worldbody><body></mujoco>", "does not parse"),
        ("<mujoco/>", "needs a ctrlrange"),
    ],
)
def test_an_mjcf_that_cannot_be_used_is_named(xml, message):
    with pytest.raises(TaskError, match=message):
        MujocoSystem.from_xml(xml, frame_skip=1)


def test_another_motion_or_end_is_another_task():
    """Runs of one are not taken up with the other."""
    task = get_task("pendulum")
    system = task.system
    assert isinstance(system, MujocoSystem)

    def edited(change) -> Task:
        model = copy.copy(system.model)
        change(model)
        return dataclasses.replace(task, system=dataclasses.replace(system, model=model))

    def weaker_gravity(model):
        model.opt.gravity[2] = -1.62

    def friction(model):
        model.dof_frictionloss[0] = 0.1

    halved = edited(lambda model: setattr(model.opt, "timestep", system.model.opt.timestep / 2))
    assert isinstance(halved.system, MujocoSystem)
    finer = dataclasses.replace(halved, system=dataclasses.replace(halved.system, frame_skip=2 * system.frame_skip))
    assert finer.dt == task.dt
    ending = dataclasses.replace(task, terminated=lambda obs: obs[..., 0] > 0)
    changed = (edited(weaker_gravity), edited(friction), finer, ending)
    assert len({other.fingerprint() for other in (task, *changed)}) == 5
    assert edited(lambda model: None).fingerprint() == task.fingerprint()


def test_a_missing_mjcf_is_named(tmp_path):
    with pytest.raises(TaskError, match=r"robot.xml' cannot be read: there is no such file"):
        MujocoSystem.from_xml(tmp_path / "robot.xml", frame_skip=1)


def test_without_presets_a_task_has_those_of_its_size():
    task = get_task("pendulum")
    small = Task("mine", task.system, task.reward, task.reset)
    assert small.presets == presets_for(task.obs_size, task.action_size) != {}
    assert dataclasses.replace(small, presets=task.presets).presets == task.presets


def test_a_task_and_what_makes_one_can_be_registered(monkeypatch):
    monkeypatch.setattr(tasks, "_registered", {})
    task = get_task("pendulum")
    register("one", task)
    register("other", lambda: task)
    assert get_task("one") is get_task("other") is task


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"name": ""}, "a task's name is a text, such as 'cart', got ''"),
        ({"episode_steps": 0}, "episode_steps=0; an episode has 1 step or more"),
        ({"reset": lambda: None}, r"reset\(rng\) must return qpos \(1,\) and qvel \(1,\), but fails"),
        ({"reset": lambda rng: np.zeros(1)}, r"reset\(rng\) must return qpos \(1,\) and qvel \(1,\), got"),
        ({"reset": lambda rng: None}, "but fails"),
        ({"reward": lambda obs, action: torch.from_numpy(obs.numpy())[..., 0]}, "the reward cannot be differentiated"),
        ({"reward": lambda obs, action: obs.numpy()[..., 0]}, "got numpy.*. Write it in torch, without NumPy"),
    ],
)
def test_a_task_that_cannot_be_one_is_named(changes, message):
    with pytest.raises(TaskError, match=message):
        dataclasses.replace(get_task("pendulum"), **changes).check()


@pytest.mark.parametrize(
    "field, value, message",
    [("name", 3, "a text, such as 'cart', got 3"), ("system", "<mujoco/>", "system is a str. Give a diffmaac.Mujoco")],
)
def test_a_part_of_another_kind_is_named(field, value, message):
    """Without the type checks of the tests."""
    task = copy.copy(get_task("pendulum"))
    object.__setattr__(task, field, value)
    with pytest.raises(TaskError, match=message):
        Task.__post_init__(task)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"angles": (0,)}, r"angles=\(0,\): positions of hinges .* The model has: 1."),
        ({"angles": (5,)}, "The model has: 1."),
        ({"angles": (1, 1)}, "each once"),
        ({"hidden": 2}, "hidden=2: the model has 2 positions, and one must be observed"),
        ({"hidden": -1}, "hidden=-1"),
    ],
)
def test_coordinates_that_are_not_there_are_named(changes, message):
    system = get_task("cartpole").system
    assert isinstance(system, MujocoSystem)
    with pytest.raises(TaskError, match=message):
        dataclasses.replace(system, **changes)


def test_a_task_whose_package_is_broken_is_named(monkeypatch):
    entries = {
        name: EntryPoint(name, value, tasks.TASKS) for name, value in (("a", "no.such:task"), ("b", "math:task"))
    }
    monkeypatch.setattr(tasks, "_announced", lambda group: entries)
    for name, message in (("a", "No module named 'no'"), ("b", "has no attribute 'task'")):
        with pytest.raises(TaskError, match=f"'{name}' is announced as .*{message}"):
            get_task(name)


def test_announced_presets_are_those_of_the_tasks():
    assert all(tasks.presets_of(name) == get_task(name).presets for name in TASKS)
    assert tasks.presets_of("a task of one's own") == {}


@pytest.mark.parametrize(
    ("reward", "warned"),
    [
        (lambda s, a: torch.from_numpy(np.square(s.detach().numpy())).sum(-1), True),
        (lambda s, a: -(s.detach() ** 2).sum(-1), True),
        (lambda s, a: -(a**2).sum(-1), False),
        (lambda s, a: -s.square().sum(-1), False),
    ],
)
def test_a_reward_without_a_gradient_is_warned_of(reward, warned: bool, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "diffmaac"):
        dataclasses.replace(get_task("double_integrator"), reward=reward).check()
    assert ("neither obs nor action gets a gradient" in caplog.text) == warned


def test_the_tasks_rewards_have_gradients(task, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "diffmaac"):
        task.check()
    assert not caplog.records
