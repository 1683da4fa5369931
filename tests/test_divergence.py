"""What stops a run: it says at which step, and the last good checkpoint is kept."""

import dataclasses

import numpy as np
import pytest
import torch
from support.runs import TINY, tiny

import diffmaac
from diffmaac import DivergenceError, TaskError
from diffmaac.runs import checkpoint
from diffmaac.runs.metrics import read_metrics
from diffmaac.session import prepare
from diffmaac.tasks import get_task


def poisoned_after(step, poison, tmp_path, **changes):
    """A trainer that calls `poison` after environment step `step`."""
    trainer = prepare("double_integrator", {**TINY, **changes, "out": str(tmp_path / "run")})
    advance = trainer._advance

    def poisoned():
        advance()
        if trainer.step == step:
            with torch.no_grad():
                poison(trainer.agent)

    trainer._advance = poisoned
    return trainer


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(tmp_path):
    """An absurd step size; the last good checkpoint must be on disk and whole."""
    with pytest.raises(DivergenceError, match=r"environment step \d+.*Try.*checkpoint of step"):
        tiny(tmp_path / "run", actor_lr=1e30, critic_lr=1e30)
    step, _ = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert step == 40


def test_a_policy_that_is_not_finite_never_replaces_a_checkpoint(tmp_path):
    """Poisoned just before the end of an epoch, where no loss would see it any more."""
    trainer = poisoned_after(80, lambda agent: next(agent.policy.parameters()).fill_(torch.nan), tmp_path)
    with pytest.raises(DivergenceError, match=r"environment step 80: a parameter.*checkpoint of step 40 is kept"):
        trainer.train(progress=False)
    assert checkpoint.load(tmp_path / "run" / "checkpoint")[0] == 40
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 1


def test_an_action_that_is_not_finite_stops_the_run_with_its_step(tmp_path):
    """The first of the policy's own. Its output is the difference of two infinities, with every parameter finite."""

    def overflow(agent):
        for parameter in agent.policy.parameters():
            parameter.fill_(3e38)
        agent.policy.net.weights[-1][:, ::2] *= -1

    trainer = poisoned_after(50, overflow, tmp_path, algorithm="sac", horizon=0)
    with pytest.raises(DivergenceError, match=r"environment step 50: the action \[nan\] is not finite.*is kept in"):
        trainer.train(progress=False)


def test_an_action_that_is_not_finite_is_told_by_what_it_comes_from(tmp_path):
    found = r"environment step 51: a parameter is no longer finite.*last looked at, at step 40, it was.*step 40 is kept"
    with pytest.raises(DivergenceError, match=found):
        tiny(tmp_path / "run", algorithm="sac", horizon=0, actor_lr=1e38)


def test_a_loss_that_nothing_else_shows_is_seen_within_the_interval(tmp_path):
    """The policy does not move, so its actions tell nothing: the losses are looked at every hundred steps."""
    poison = lambda agent: next(agent.critics.parameters()).fill_(torch.inf)  # noqa: E731
    trainer = poisoned_after(85, poison, tmp_path, actor_every=1000)
    found = r"environment step 100: the critic's loss is not finite\. Try.*at step 80, it was.*step 80 is kept"
    with pytest.raises(DivergenceError, match=found):
        trainer.train(progress=False)


def test_imagined_states_that_are_not_finite_stop_the_run(tmp_path):
    """The first of the causes is told, though updates have met them."""
    found = r"an imagined state is not finite\. Try a shorter rollout_length\..*is kept in"
    trainer = prepare("double_integrator", {**TINY, "out": str(tmp_path / "run")})
    assert trainer.model is not None
    fit = trainer._fit

    def spoiled(fitter):
        fit(fitter)
        fitter.network.y_std.fill_(torch.inf)

    trainer._fit = spoiled
    with pytest.raises(DivergenceError, match=found):
        trainer.train(progress=False)


def test_a_model_whose_loss_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(DivergenceError, match=r"environment step \d+: the loss of the learned dynamics is not finite"):
        tiny(tmp_path / "run", model_lr=1e30)


def test_a_reward_that_turns_nan_is_named_with_its_step(tmp_path):
    task = get_task("double_integrator")
    task = dataclasses.replace(task, reward=lambda s, a: torch.where(s[..., 0].abs() > 0.21, torch.nan, s[..., 0]))
    with pytest.raises(TaskError, match=r"reward of task 'double_integrator' is nan at environment step \d+"):
        diffmaac.train(task, **TINY, out=str(tmp_path / "run"), progress=False)


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


def test_a_model_that_cannot_be_differentiated_leaves_nothing_behind(tmp_path):
    xml = """<mujoco><worldbody><geom type="plane" size="1 1 1"/><body pos="0 0 1">
      <joint name="j" type="slide" axis="0 0 1"/><geom size="0.1"/></body></worldbody>
      <actuator><motor joint="j" ctrlrange="-1 1" delay=".02" nsample="10"/></actuator></mujoco>"""
    system = diffmaac.MujocoSystem.from_xml(xml, frame_skip=1)
    task = diffmaac.Task("box", system, lambda s, a: s[..., 0], lambda rng: (np.zeros(1), np.zeros(1)))
    with pytest.raises(TaskError, match="has a delay"):
        diffmaac.train(task, **TINY, dynamics="true", out=str(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run").exists()


def test_a_linear_system_that_runs_away_stops_the_run_with_its_step(tmp_path):
    task = get_task("double_integrator")
    assert isinstance(task.system, diffmaac.LinearSystem)
    unstable = dataclasses.replace(task.system, A=30 * task.system.A)
    task = dataclasses.replace(task, system=unstable, reward=lambda obs, action: torch.zeros_like(obs[..., 0]))
    with pytest.raises(DivergenceError, match=r"environment step \d+.*linear system diverged"):
        diffmaac.train(task, **TINY, out=str(tmp_path / "run"), progress=False)
