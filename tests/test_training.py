"""Whole runs at tiny size: determinism, resuming after SIGKILL, checkpoints that cannot be used, divergence."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import diffmaac
from diffmaac import CheckpointError, DivergenceError, SettingError, TaskError, seeding
from diffmaac.analysis.record import read_metrics
from diffmaac.api import complete, prepare
from diffmaac.config import FIELDS, assemble, default_of, flatten, read_file, to_yaml
from diffmaac.dynamics import true_dynamics
from diffmaac.nn import SquashedGaussianPolicy
from diffmaac.presets import PRESETS, remarks, resolve
from diffmaac.replay import Replay
from diffmaac.rollout import imagine
from diffmaac.task import get_task, task_names
from diffmaac.training import checkpoint
from diffmaac.training.evaluate import evaluate
from diffmaac.training.trainer import Trainer
from diffmaac.types import Transition

TINY = {
    "steps": 120,
    "epoch_steps": 40,
    "random_steps": 50,
    "batch_size": 16,
    "actor_batch_size": 8,
    "updates_per_step": 1,
    "hidden": [16],
    "horizon": 2,
    "members": 3,
    "model_hidden": [16],
    "model_epochs": 2,
    "model_every": 25,
    "imagined_states": 50,
    "imagine_every": 10,
    "eval_episodes": 1,
    "final_episodes": 1,
    "tensorboard": False,
}
"""Settings at which a run takes seconds. Two of its three checkpoints fall inside an episode."""


def words(**settings) -> list[str]:
    return [f"{name}={str(value).replace(' ', '')}" for name, value in settings.items()]


def numbers(run: Path) -> list[dict[str, str]]:
    """The metrics, without the wall time."""
    rows = read_metrics(run / "metrics.csv")
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


def tiny(path: Path, **changes) -> Path:
    return diffmaac.train(**{"env": "double_integrator", **TINY, **changes}, out=str(path), progress=False).path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return tiny(tmp_path_factory.mktemp("runs") / "finished")


@pytest.mark.parametrize("dynamics", ["learned", "true"])
@pytest.mark.parametrize("algorithm", ["maac", "sac"])
def test_every_algorithm_trains_through_every_dynamics(dynamics, algorithm, tmp_path):
    changes = {"horizon": 0} if algorithm == "sac" else {}
    run = tiny(tmp_path / "run", algorithm=algorithm, dynamics=dynamics, **changes)
    rows = read_metrics(run / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [40, 80, 120]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values() if value)
    assert ("model_mse" in rows[-1]) == (algorithm == "maac" and dynamics == "learned")
    assert (run / "figures" / "learning_curve.png").stat().st_size > 1000


def test_the_wall_time_is_told_apart(finished):
    """Every part took time, and the parts of an epoch sum to it, but for what lies between them."""
    rows = read_metrics(finished / "metrics.csv")
    parts = [f"seconds_{name}" for name in ("environment", "evaluation", "imagination", "model", "optimisation")]
    assert [name for name in rows[-1] if name.startswith("seconds_")] == parts
    assert all(float(rows[-1][name]) >= 0 for name in parts) and float(rows[-1]["seconds_optimisation"]) > 0
    training = sum(float(row[name] or 0) for row in rows for name in parts if name != "seconds_evaluation")
    assert 0.5 * float(rows[-1]["seconds"]) - 0.2 < training < float(rows[-1]["seconds"]) + 0.2


def test_the_final_evaluation_is_kept(finished):
    kept = json.loads((finished / "evaluation.json").read_text())
    assert kept["step"] == 120 and kept["returns"] == diffmaac.load(finished).evaluate(1).returns


def test_the_actor_starts_from_the_whole_batch_unless_told():
    settings = [resolve("pendulum", {"batch_size": 1280, **given})[1].agent for given in ({}, {"actor_batch_size": 64})]
    assert [agent.start_states for agent in settings] == [1280, 64]


def test_true_dynamics_train_through_mujoco(tmp_path):
    run = tiny(tmp_path / "run", env="pendulum", dynamics="true", steps=80)
    assert float(read_metrics(run / "metrics.csv")[-1]["actor_grad_norm"]) > 0


def test_a_run_is_determined_by_its_seed(finished, tmp_path):
    assert numbers(tiny(tmp_path / "same")) == numbers(finished)
    assert numbers(tiny(tmp_path / "other", seed=1)) != numbers(finished)


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


def test_a_run_killed_in_the_middle_ends_as_one_never_killed(finished, tmp_path):
    """SIGKILL after the first epoch of three; then `resume=`."""
    path, environment = tmp_path / "killed", {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "diffmaac.cli", "train", *words(env="double_integrator", **TINY), f"out={path}"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while len(read_metrics(path / "metrics.csv")) < 1:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(read_metrics(path / "metrics.csv")) < 3
    diffmaac.train(resume=str(path), progress=False)
    assert numbers(path) == numbers(finished)


def test_two_processes_do_not_train_one_run(tmp_path):
    """Refused while another process has the run, before anything is written; free again once that is killed."""
    path = tiny(tmp_path / "run", steps=80)
    settings = (path / "config.yaml").read_bytes()
    hold = f"import pathlib, time, diffmaac.training.run as r\nwith r.claimed(pathlib.Path({str(path)!r})):\n"
    hold += "    print(flush=True)\n    time.sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(SettingError, match="is being trained already"):
            diffmaac.train(resume=str(path), steps=120, progress=False)
    finally:
        other.kill()
        other.communicate()
    assert (path / "config.yaml").read_bytes() == settings
    assert diffmaac.train(resume=str(path), steps=120, progress=False).agent.step == 120


def test_a_run_that_has_gone_on_meanwhile_is_not_written_over(tmp_path):
    path = tiny(tmp_path / "run", steps=80)
    late = prepare(None, {"resume": str(path), "steps": 160})
    diffmaac.train(resume=str(path), steps=120, progress=False)
    before = (path / "config.yaml").read_bytes(), numbers(path)
    with pytest.raises(SettingError, match="has gone on from step 80 to 120"):
        complete(late, progress=False)
    assert ((path / "config.yaml").read_bytes(), numbers(path)) == before


def test_a_finished_run_can_go_on(finished, tmp_path):
    longer = tiny(tmp_path / "run", steps=80)
    diffmaac.train(resume=str(longer), steps=120, progress=False)
    assert numbers(longer) == numbers(finished)


def test_rows_past_the_checkpoint_are_cut_away(finished, tmp_path):
    run = tiny(tmp_path / "run", steps=80)
    metrics = (run / "metrics.csv").read_text()
    last = metrics.splitlines()[-1]
    (run / "metrics.csv").write_text(f"{metrics}{last.replace('80,', '100,', 1)}\n")  # rows are written whole
    diffmaac.train(resume=str(run), steps=120, progress=False)
    assert numbers(run) == numbers(finished)


def test_the_loaded_agent_acts_as_the_trained_one(tmp_path):
    run = diffmaac.train(env="double_integrator", **TINY, out=str(tmp_path / "run"), progress=False)
    agent = diffmaac.load(run.path)
    obs = np.array([[0.1, 0.2], [0.0, -0.3]])
    assert agent.act(obs).shape == (2, 1)
    # A product of two rows may round otherwise than a product of one.
    np.testing.assert_allclose(agent.act(obs)[0], agent.act(obs[0]), rtol=1e-5, atol=1e-7)
    assert agent.evaluate(1).returns == run.evaluation.returns
    with pytest.raises(ValueError, match="must be 2"):
        agent.act(np.zeros(3))
    with pytest.raises(SettingError, match="episodes=0: must be at least 1"):
        agent.evaluate(0)


def test_evaluation_returns_are_those_of_one_episode_after_another():
    task = get_task("double_integrator")
    result = evaluate(task, lambda obs: -obs[:, :1], episodes=3, seed=0)
    for i, expected in enumerate(result.returns):
        env, total = task.make_env(), 0.0
        obs, _ = env.reset(seed=seeding.integer_seed(0, f"evaluation-{i}"))
        for _ in range(task.episode_steps):
            obs, reward, *_ = env.step(-obs[:1].astype(np.float32))
            total += reward
        assert total == pytest.approx(expected, rel=1e-9)


def test_the_checkpoint_tree_round_trips(tmp_path):
    state = {"a": [1, 2.5, "x", None, True], "b": {0: torch.arange(3), 1: {"c": np.eye(2)}}, "big": 2**100}
    checkpoint.save(tmp_path, 7, state)
    step, back = checkpoint.load(tmp_path)
    assert step == 7 and back["a"] == state["a"] and back["big"] == 2**100
    assert torch.equal(back["b"][0], torch.arange(3)) and torch.equal(back["b"][1]["c"], torch.eye(2).double())
    checkpoint.save(tmp_path, 8, state)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "state-8.safetensors"]


def damage_truncate(folder: Path) -> None:
    tensors = next(folder.glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-100])


def damage_byte(folder: Path) -> None:
    tensors = next(folder.glob("*.safetensors"))
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(bytes(content))


def damage_version(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))


DAMAGE = {
    "wrong checksum": damage_truncate,
    "truncated or changed": damage_byte,
    "format 99": damage_version,
    "lacks its tensors": lambda folder: next(folder.glob("*.safetensors")).unlink(),
    "manifest.json is missing": lambda folder: (folder / "manifest.json").unlink(),
    "truncated or not JSON": lambda folder: (folder / "manifest.json").write_text('{"format": 1, "st'),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_a_damaged_checkpoint_is_named(message, tmp_path):
    run = tiny(tmp_path / "run", steps=40)
    DAMAGE[message](run / "checkpoint")
    for use in (lambda: diffmaac.load(run), lambda: diffmaac.train(resume=str(run), steps=80)):
        with pytest.raises(CheckpointError, match=message):
            use()


def test_a_directory_without_a_run_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="not a run directory"):
        diffmaac.load(tmp_path)


def test_a_task_that_changed_is_named(tmp_path):
    run = tiny(tmp_path / "run", steps=40)
    changed = dataclasses.replace(get_task("pendulum"), name="double_integrator")
    with pytest.raises(CheckpointError, match="has changed since"):
        diffmaac.load(run, env=changed)
    with pytest.raises(CheckpointError, match="has changed since"):
        diffmaac.train(changed, resume=str(run), steps=80)


def test_an_existing_run_directory_is_kept(finished):
    before = numbers(finished)
    with pytest.raises(SettingError, match="exists"):
        tiny(finished)
    assert numbers(finished) == before


def test_what_a_run_is_cannot_change_on_resuming(finished):
    with pytest.raises(SettingError, match="horizon= cannot change"):
        diffmaac.train(resume=str(finished), horizon=3)


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(tmp_path):
    """An absurd step size; the last good checkpoint must be on disk and whole."""
    with pytest.raises(DivergenceError, match=r"environment step \d+.*Try.*checkpoint of step"):
        tiny(tmp_path / "run", actor_lr=1e30, critic_lr=1e30)
    step, _ = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert step == 40


def test_a_policy_that_is_not_finite_never_replaces_a_checkpoint(tmp_path):
    """Poisoned just before the end of an epoch, where no loss would see it any more."""
    trainer = prepare("double_integrator", {**TINY, "out": str(tmp_path / "run")})
    advance = trainer._advance

    def poisoned():
        advance()
        if trainer.step == 80:
            with torch.no_grad():
                next(trainer.agent.policy.parameters()).fill_(float("nan"))

    trainer._advance = poisoned
    with pytest.raises(DivergenceError, match=r"environment step 80: a parameter.*checkpoint of step 40 is kept"):
        trainer.train(progress=False)
    assert checkpoint.load(tmp_path / "run" / "checkpoint")[0] == 40
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 1


def test_a_reward_that_turns_nan_is_named_with_its_step(tmp_path):
    task = get_task("double_integrator")
    task = dataclasses.replace(task, reward=lambda s, a: torch.where(s[..., 0].abs() > 0.21, torch.nan, s[..., 0]))
    with pytest.raises(TaskError, match=r"reward of task 'double_integrator' is nan at environment step \d+"):
        diffmaac.train(task, **TINY, out=str(tmp_path / "run"), progress=False)


def test_resuming_with_fewer_steps_or_another_task_is_refused(finished):
    with pytest.raises(SettingError, match="at step 120 already"):
        diffmaac.train(resume=str(finished), steps=80)
    with pytest.raises(SettingError, match="was made with env=double_integrator"):
        diffmaac.train("pendulum", resume=str(finished))


def test_a_longer_run_stays_longer(finished, tmp_path):
    run = tiny(tmp_path / "run", steps=80)
    diffmaac.train(resume=str(run), steps=120, progress=False)
    assert diffmaac.train(resume=str(run), progress=False).agent.step == 120


def test_a_model_that_cannot_be_differentiated_leaves_nothing_behind(tmp_path):
    xml = """<mujoco><option integrator="implicit"/><worldbody><geom type="plane" size="1 1 1"/><body pos="0 0 1">
      <joint name="j" type="slide" axis="0 0 1"/><geom size="0.1"/></body></worldbody>
      <actuator><motor joint="j" ctrlrange="-1 1" ctrllimited="true"/></actuator></mujoco>"""
    system = diffmaac.MujocoSystem.from_xml(xml, frame_skip=1)
    task = diffmaac.Task("box", system, lambda s, a: s[..., 0], lambda rng: (np.zeros(1), np.zeros(1)))
    with pytest.raises(TaskError, match="integrator"):
        diffmaac.train(task, **TINY, dynamics="true", out=str(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run").exists()


def test_nothing_is_imagined_beyond_a_terminal_state():
    task = dataclasses.replace(get_task("double_integrator"), terminated=lambda s: s[..., 0] > 0)
    generator = seeding.torch_generator(0, "test")
    policy = SquashedGaussianPolicy(2, 1, [8], generator)
    start = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    imagined = imagine(policy, true_dynamics(task.system), task, start, 3, 0.9, generator)
    assert len(imagined.obs_t) == 3 + 2 + 2
    assert imagined.discount_tp1.tolist() == pytest.approx([0.0] + [0.9] * 6)


def test_the_replay_is_a_ring():
    replay = Replay(3, 1, 1)
    for i in range(5):
        row = torch.full((1, 1), float(i))
        replay.add(Transition(row, row, row[0], row[0], row, row[0]))
    assert replay.all().obs_t[:, 0].tolist() == [2.0, 3.0, 4.0] and len(replay) == 3
    with pytest.raises(ValueError, match="does not fit"):
        replay.add(Transition(*(torch.zeros(4, *shape) for shape in ((1,), (1,), (), (), (1,), ()))))


@pytest.mark.parametrize(("capacity", "kept"), [(3, [2, 3, 4]), (5, [2, 3, 4]), (2, [3, 4])])
def test_a_replay_of_another_capacity_takes_up_the_newest_rows(capacity, kept):
    def row(i):
        return Transition(*(torch.full(shape, float(i)) for shape in ((1, 1), (1, 1), (1,), (1,), (1, 1), (1,))))

    full = Replay(3, 1, 1)
    for i in range(5):
        full.add(row(i))
    other = Replay(capacity, 1, 1)
    other.load_state_dict(full.state_dict())
    assert other.all().obs_t[:, 0].tolist() == kept
    for i in (5, 6, 7, 8):
        other.add(row(i))
    assert other.all().obs_t[:, 0].tolist() == [*kept, 5, 6, 7, 8][-capacity:]


def test_a_replay_beyond_memory_is_refused():
    with pytest.raises(SettingError, match=r"does not fit into memory\. Give smaller steps="):
        Replay(10**15, 1, 1)


def test_a_checkpoint_under_other_settings_has_their_horizon_and_step_sizes(tmp_path):
    prepare("double_integrator", {**TINY, "horizon": 2, "out": str(tmp_path / "run")})
    changed = {
        "horizon": 1,
        "actor_lr": 1e-5,
        "critic_lr": 2e-5,
        "alpha_lr": 3e-5,
        "model_lr": 4e-5,
        "weight_decay": 0.5,
    }
    trainer = Trainer(*resolve("double_integrator", {**TINY, **changed}))
    trainer.restore(tmp_path / "run")
    agent, model = trainer.agent, trainer.model
    assert agent.horizon == 1 and model is not None
    optimizers = (agent._policy_optimizer, agent._critic_optimizer, agent._alpha_optimizer, model._optimizer)
    groups = [optimizer.param_groups[0] for optimizer in optimizers]
    assert [group["lr"] for group in groups] == [1e-5, 2e-5, 3e-5, 4e-5] and groups[3]["weight_decay"] == 0.5


def test_rollouts_grow_along_the_ramp(tmp_path):
    settings = {**TINY, "rollout_length": [1, 5], "rollout_ramp": [40, 80], "out": str(tmp_path / "run")}
    trainer = prepare("double_integrator", settings)
    lengths = []
    for trainer.step in (0, 40, 60, 80, 120):
        lengths.append(trainer._rollout_length())
    assert lengths == [1, 1, 3, 5, 5]


@pytest.mark.parametrize(
    "words",
    [{"algorithm": name} for name in ("sac", "mbpo", "steve")] + [{"horizon": 0}],
    ids=lambda w: str(*w.values()),
)
def test_without_a_gradient_through_them_the_dynamics_change_nothing_of_the_agent(words):
    agents = [resolve("half_cheetah", {**words, "dynamics": d})[1].agent for d in ("learned", "true")]
    assert agents[0] == agents[1]


def test_only_what_the_true_dynamics_add_is_left_away_without_their_gradient():
    presets = {"quick": {"actor_every": 3}, "quick/true": {"adjoint_clip": 1.0}}
    task = dataclasses.replace(get_task("pendulum"), presets=presets)
    agents = [resolve(task, {"dynamics": "true", "horizon": h})[1].agent for h in (0, 2)]
    assert [agent.actor_every for agent in agents] == [3, 3] and [agent.adjoint_clip for agent in agents] == [0.0, 1.0]


def test_physics_that_diverges_stops_the_run_with_its_step(tmp_path):
    """A pendulum whose spring is far too stiff for its time step."""
    xml = """<mujoco><option timestep="0.1"/><worldbody><body><joint name="j" type="slide" stiffness="1e9"/>
      <geom size="0.1"/></body></worldbody><actuator><motor joint="j" ctrlrange="-1 1" ctrllimited="true"/></actuator>
      </mujoco>"""
    system = diffmaac.MujocoSystem.from_xml(xml, frame_skip=20)
    task = diffmaac.Task("stiff", system, lambda s, a: s[..., 0] * 0, lambda rng: (np.ones(1), np.ones(1)))
    with pytest.raises(DivergenceError, match=r"environment step \d+.*diverged"):
        diffmaac.train(task, **TINY, out=str(tmp_path / "run"), progress=False)
    assert checkpoint.load(tmp_path / "run" / "checkpoint")[0] == 0


def test_the_actor_and_its_critic_see_mixed_batches(tmp_path):
    """Real transitions first, a quarter of the batch; imagined ones start from real states and end elsewhere."""
    trainer = prepare("double_integrator", {**TINY, "real_ratio": 0.25, "out": str(tmp_path / "run")})
    trainer.train(progress=False)
    real = {tuple(row) for row in trainer.replay.all().obs_tp1.tolist()}
    batch = trainer._sample(16)
    assert [tuple(row) in real for row in batch.obs_tp1.tolist()] == [True] * 4 + [False] * 12


@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize("preset", ["paper", "quick"])
@pytest.mark.parametrize("dynamics", ["learned", "true"])
def test_every_preset_resolves(task, preset, dynamics):
    _, settings = resolve(task, {"preset": preset, "dynamics": dynamics})
    assert settings.run.preset == preset and settings.run.dynamics == dynamics


def test_paper_preset_is_the_reference():
    _, settings = resolve("walker2d", {"preset": "paper"})
    agent, model, data = settings.agent, settings.model, settings.data
    assert (agent.horizon, agent.samples, agent.updates_per_step, agent.steve_horizon) == (2, 5, 8, 2)
    assert (model.members, model.model_hidden, model.model_every) == (8, [200] * 4, 1000)
    assert (data.imagined_states, data.imagine_every, data.real_ratio, data.random_steps) == (100_000, 250, 0.05, 5000)
    assert resolve("hopper", {"preset": "paper"})[1].data.rollout_length == [1, 15]


def test_true_is_the_true_dynamics_everywhere(tmp_path):
    (tmp_path / "s.yaml").write_text("env: pendulum\ndynamics: true\n")
    for given in (read_file(tmp_path / "s.yaml"), {"dynamics": True}, {"dynamics": "true"}):
        assert resolve("pendulum", given)[1].run.dynamics == "true"


@pytest.mark.parametrize(
    "given, named",
    [
        ({"algorithm": "sac", "members": 3, "real_ratio": 0.5}, {"members": "no dynamics", "real_ratio": "data=real"}),
        ({"algorithm": "sac", "members": 5, "steve_floor": 0.5}, {}),  # what it has without a word
        ({"rollout_ramp": [10, 20]}, {"rollout_ramp": "does not grow"}),
        ({"steps": 900, "random_steps": 1000}, {"steps": "nothing is learned"}),
        ({"dynamics": "true", "model_lr": 1e-4, "horizon": 2}, {"model_lr": "no model to fit"}),
        ({"critic_target": "td", "steve_horizon": 3}, {"steve_horizon": "critic_target=td"}),
        ({"algorithm": "svg", "adjoint_clip": 1.0, "real_ratio": 0.5}, {"real_ratio": "data=real"}),
        ({"horizon": 0, "adjoint_clip": 1.0}, {"adjoint_clip": "horizon=0"}),
        ({"horizon": 3, "auto_horizons": [0, 1]}, {"auto_horizons": "horizon=3"}),
        ({"entropy": False, "alpha_lr": 2e-3}, {"alpha_lr": "entropy=false"}),
        ({"horizon": "auto", "auto_horizons": [0, 1], "steve_horizon": 1, "importance_clip": 2.0, "members": 3},
         {"importance_clip": "not weighed"}),
    ],
)  # fmt: skip
def test_settings_without_effect_are_named(given, named):
    found = remarks(resolve("pendulum", given)[1], given)
    assert [line.partition("=")[0] for line in found] == list(named)
    assert all(reason in line for line, reason in zip(found, named.values(), strict=True))


def test_settings_round_trip_through_yaml(tmp_path):
    settings = assemble({"horizon": 7, "hidden": [8, 9], "dynamics": True})
    (tmp_path / "c.yaml").write_text(to_yaml(settings))
    assert assemble(read_file(tmp_path / "c.yaml")) == settings


def test_leaf_names_are_unique_and_explained():
    assert len(flatten(assemble({}))) == len(FIELDS)
    assert all(f.metadata["help"] for f in FIELDS.values())
    assert all(name in FIELDS for preset in PRESETS.values() for name in preset)
    assert default_of("hidden") is not default_of("hidden")


def test_a_run_whose_task_has_changed_is_refused(tmp_path):
    """The same name and sizes, another reward or another robot: loading, resuming and measuring all say so."""
    task = diffmaac.get_task("double_integrator")
    words = {"steps": 40, "random_steps": 30, "epoch_steps": 40, "final_episodes": 1, "tensorboard": False}
    path = diffmaac.train(task, **words, out=str(tmp_path / "run"), progress=False).path
    assert diffmaac.load(path, task).step == 40
    assert isinstance(task.system, diffmaac.LinearSystem)
    slower = dataclasses.replace(task.system, B=0.5 * task.system.B)
    for changed in (
        dataclasses.replace(task, reward=lambda obs, action: 2 * task.reward(obs, action)),
        dataclasses.replace(task, system=slower),
        dataclasses.replace(task, episode_steps=31),
    ):
        for load in (diffmaac.load, Trainer.load):
            with pytest.raises(CheckpointError, match="has changed since"):
                load(path, changed)
