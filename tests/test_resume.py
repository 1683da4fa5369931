"""A run that goes on: after SIGKILL, from its end, in one process at a time, and what cannot change."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from support.runs import TINY, numbers, tiny, words

import diffmaac
from diffmaac import SettingError
from diffmaac.runs import checkpoint
from diffmaac.runs.metrics import read_metrics
from diffmaac.session import complete, prepare
from diffmaac.tasks import resolve_task
from diffmaac.training.trainer import Trainer


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


def test_two_processes_do_not_train_one_run(begun):
    """Refused while another process has the run, before anything is written; free again once that is killed."""
    settings = (begun / "config.yaml").read_bytes()
    hold = f"import pathlib, time, diffmaac.runs.lock as r\nwith r.claimed(pathlib.Path({str(begun)!r})):\n"
    hold += "    print(flush=True)\n    time.sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(SettingError, match="is being trained already"):
            diffmaac.train(resume=str(begun), steps=120, progress=False)
    finally:
        other.kill()
        other.communicate()
    assert (begun / "config.yaml").read_bytes() == settings
    assert diffmaac.train(resume=str(begun), steps=120, progress=False).agent.step == 120


def test_a_run_that_has_gone_on_meanwhile_is_not_written_over(begun):
    late = prepare(None, {"resume": str(begun), "steps": 160})
    diffmaac.train(resume=str(begun), steps=120, progress=False)
    before = (begun / "config.yaml").read_bytes(), numbers(begun)
    with pytest.raises(SettingError, match="has gone on from step 80 to 120"):
        complete(late, progress=False)
    assert ((begun / "config.yaml").read_bytes(), numbers(begun)) == before


def test_a_finished_run_can_go_on(finished, begun):
    diffmaac.train(resume=str(begun), steps=120, progress=False)
    assert numbers(begun) == numbers(finished)


def test_a_run_that_ended_within_an_epoch_goes_on_as_if_it_had_not(tmp_path):
    """But for the row of its end: the epoch's means are of all of it, and its horizon is chosen at its own end."""
    words = {"horizon": "auto", "auto_horizons": [0, 1, 2], "steps": 80, "random_steps": 30}
    whole, part = tiny(tmp_path / "whole", **words), tiny(tmp_path / "part", **{**words, "steps": 60})
    diffmaac.train(resume=str(part), steps=80, progress=False)
    assert [row for row in numbers(part) if row["step"] != "60"] == numbers(whole)


def test_a_longer_run_stays_longer(begun):
    diffmaac.train(resume=str(begun), steps=120, progress=False)
    assert diffmaac.train(resume=str(begun), progress=False).agent.step == 120


def test_rows_past_the_checkpoint_are_cut_away(finished, begun):
    metrics = (begun / "metrics.csv").read_text()
    last = metrics.splitlines()[-1]
    (begun / "metrics.csv").write_text(f"{metrics}{last.replace('80,', '100,', 1)}\n")  # rows are written whole
    diffmaac.train(resume=str(begun), steps=120, progress=False)
    assert numbers(begun) == numbers(finished)


def test_an_existing_run_directory_is_kept(finished):
    before = numbers(finished)
    with pytest.raises(SettingError, match="exists"):
        tiny(finished)
    assert numbers(finished) == before


def test_what_a_run_is_cannot_change_on_resuming(finished):
    with pytest.raises(SettingError, match="horizon= cannot change"):
        diffmaac.train(resume=str(finished), horizon=3)


def test_resuming_with_fewer_steps_or_another_task_is_refused(finished):
    with pytest.raises(SettingError, match="at step 120 already"):
        diffmaac.train(resume=str(finished), steps=80)
    with pytest.raises(SettingError, match="was made with env=double_integrator"):
        diffmaac.train("pendulum", resume=str(finished))


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
    trainer = Trainer(*resolve_task("double_integrator", {**TINY, **changed}))
    trainer.restore(tmp_path / "run")
    agent, fitter = trainer.agent, trainer.fitter
    assert agent.horizon == 1 and fitter is not None
    optimizers = (agent._policy_optimizer, agent._critic_optimizer, agent._alpha_optimizer, fitter._optimizer)
    groups = [optimizer.param_groups[0] for optimizer in optimizers]
    assert [group["lr"] for group in groups] == [1e-5, 2e-5, 3e-5, 4e-5] and groups[3]["weight_decay"] == 0.5
    rest = fitter._optimizer.param_groups[1]  # biases and bounds of the variance
    assert rest["weight_decay"] == 0 and all(x is not w for x in rest["params"] for w in fitter.network.net.weights)


def made_on_cuda(run):
    """Rewrites the checkpoint as one of a GPU: of a generator there seed and offset are kept, sixteen bytes."""
    step, state = checkpoint.load(run / "checkpoint")
    state["generators"] = {name: torch.arange(16, dtype=torch.uint8) for name in state["generators"]}
    checkpoint.save(run / "checkpoint", step, {**state, "device": "cuda"})
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))


def test_a_run_of_a_gpu_goes_on_on_a_cpu_and_says_that_its_numbers_are_others(begun, caplog):
    """Twice the same ones; moments, weights and data are those of the checkpoint."""
    made_on_cuda(begun)
    before = checkpoint.load(begun / "checkpoint")[1]
    runs = []
    for _ in range(2):
        trainer = prepare(None, {"resume": str(begun), "steps": 120, "device": "cpu"})
        assert torch.equal(
            trainer.experience.real.all().obs_t, trainer.experience.real._split(before["replay"]["rows"]).obs_t
        )
        for mine, moments in zip(trainer.agent.optimizers, ("policy", "critic", "alpha"), strict=True):
            kept = before["agent"][f"{moments}_optimizer"]["state"]
            assert all(torch.equal(mine.state_dict()["state"][i]["exp_avg"], kept[i]["exp_avg"]) for i in kept)
        runs.append(torch.rand(3, generator=trainer._generators["batch"]).tolist())
    assert runs[0] == runs[1]
    assert "made on device=cuda: on cpu it draws other numbers from step 80 on" in caplog.text
    assert diffmaac.train(resume=str(begun), steps=120, device="cpu", progress=False).agent.step == 120
    assert checkpoint.load(begun / "checkpoint")[1]["device"] == "cpu"


def test_a_run_of_a_gpu_is_looked_at_on_a_cpu(begun):
    made_on_cuda(begun)
    assert diffmaac.load(begun).act(torch.zeros(2)).shape == (1,)
    trainer = Trainer.load(begun)
    assert trainer.device.type == "cpu" and trainer.experience.real.all().obs_t.device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_run_of_a_gpu_without_one_is_refused_until_another_device_is_said(begun):
    made_on_cuda(begun)
    with pytest.raises(SettingError, match=r"device=cuda: torch cannot use CUDA here.*Use device=cpu"):
        diffmaac.train(resume=str(begun), steps=120, progress=False)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU with CUDA")
def test_a_run_crosses_over_to_a_gpu_and_back(begun):
    """With CUDA graphs; what a GPU has written a CPU reads."""
    for steps, device in ((120, "cuda"), (160, "cpu"), (200, "cuda")):
        trainer = prepare(None, {"resume": str(begun), "steps": steps, "device": device})
        assert complete(trainer, progress=False).agent.step == steps
        assert checkpoint.load(begun / "checkpoint")[1]["device"] == device


def test_a_checkpoint_from_before_devices_were_told_is_of_a_cpu(begun):
    step, state = checkpoint.load(begun / "checkpoint")
    kept = state["generators"]["batch"]
    del state["device"]
    checkpoint.save(begun / "checkpoint", step, state)
    trainer = prepare(None, {"resume": str(begun), "steps": 120})
    assert torch.equal(trainer._generators["batch"].get_state(), kept)
