"""What a run asks of the machine is known before it begins."""

import os
import subprocess
import sys

import pytest
import torch
from support.runs import TINY, refused, run, words

from diffmaac import DifferentiablePhysics, MujocoSystem, SettingError, get_task, physics
from diffmaac.provenance import memory_bytes
from diffmaac.runs import checkpoint
from diffmaac.runs.checkpoint import load
from diffmaac.session import prepare
from diffmaac.tasks import resolve_task
from diffmaac.training.machine import check_device, check_memory, cuda_problem, device_of, memory_needed

NEEDS_TOO_MUCH = {
    "steps=1000000000": "the replay (steps=)",
    "imagined_states=1000000000": "imagined data (imagined_states=, imagined_keep=)",
    "hidden=[65536,65536]": "policy and critics (hidden=, critics=)",
    "members=1000 model_hidden=[10000,10000]": "the ensemble (members=, model_hidden=)",
    "batch_size=1048576 samples=100": "the actor's batch (batch_size=, samples=, horizon=)",
    "batch_size=1048576 critics=100 actor_batch_size=1": "the critics' batch (batch_size=, critics=, steve_horizon=)",
    "members=1000 model_batch_size=1048576": "the ensemble's batch (members=, model_batch_size=)",
}


@pytest.mark.parametrize("settings", NEEDS_TOO_MUCH)
def test_a_run_that_does_not_fit_is_refused_before_it_begins(settings: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    err = refused("train", *settings.split(), capsys=capsys)
    assert "GB of memory, and this machine has" in err and f"is for {NEEDS_TOO_MUCH[settings]}" in err
    assert list(tmp_path.iterdir()) == []


def test_the_paper_fits_into_the_memory_of_a_laptop() -> None:
    for env in ("half_cheetah", "ant"):
        for dynamics in ("learned", "true"):
            task, settings = resolve_task(env, {"preset": "paper", "dynamics": dynamics})
            assert 0 < sum(memory_needed(task, settings).values()) < 4e9
            check_memory(task, settings)


def test_the_replay_is_counted_to_the_byte(tmp_path, monkeypatch) -> None:
    """Of each transition both observations, action, reward, discount and log density, in float32."""
    task, settings = resolve_task("half_cheetah", {"steps": 1000})
    assert memory_needed(task, settings)["the replay (steps=)"] == 1000 * 4 * (17 + 6 + 1 + 1 + 17 + 1)
    monkeypatch.setattr("diffmaac.training.machine.memory_bytes", lambda: 1000)
    with pytest.raises(SettingError, match=r"this machine has 1e-06 GB"):
        check_memory(task, settings)
    assert memory_bytes() > 1e9


def test_networks_and_their_moments_are_counted(tmp_path, capsys) -> None:
    """Within a tenth of what a checkpoint holds of them, which has no gradients."""
    large = {**TINY, "hidden": [300, 300], "model_hidden": [300, 300], "steps": 60}
    path = tmp_path / "run"
    assert run("train", "env=double_integrator", *words(**large), f"out={path}", capsys=capsys)[0] == 0
    _, state = load(path / "checkpoint")

    def bytes_of(node) -> int:
        if isinstance(node, dict):
            return sum(map(bytes_of, node.values()))
        return sum(map(bytes_of, node)) if isinstance(node, list) else getattr(node, "nbytes", 0)

    needed = memory_needed(*resolve_task("double_integrator", large))
    weights = 2 * 300 + 300 * 300
    gradients = 4 * (2 * (weights + 300) + weights)  # of two critics and the policy
    assert needed["policy and critics (hidden=, critics=)"] == pytest.approx(
        bytes_of(state["agent"]) + gradients, rel=0.1
    )


without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="torch has CUDA here")
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading"
    " and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)


@without_cuda
def test_auto_takes_the_cpu_where_there_is_no_cuda() -> None:
    task, settings = resolve_task("pendulum", {"device": "auto"})
    assert device_of(settings) == torch.device("cpu")
    check_device(task, settings)


@without_cuda
def test_cuda_without_a_gpu_is_refused_with_what_torch_says(capsys, monkeypatch) -> None:
    assert "this build of torch has no CUDA" in refused("train", "device=cuda", capsys=capsys) or torch.version.cuda
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    said = "Torch not compiled with CUDA enabled"
    assert said in refused("train", "device=cuda", capsys=capsys) or "NVIDIA" in (cuda_problem() or "")


def test_a_driver_that_is_too_old_is_named(capsys, monkeypatch) -> None:
    def zeros(*size: int, **options: object) -> torch.Tensor:
        raise RuntimeError(TOO_OLD)

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch, "zeros", zeros)
    line = refused("train", "device=cuda", capsys=capsys)
    assert "The NVIDIA driver on your system is too old (found version 11040). Use device=cpu, or install" in line


def test_a_gpu_without_memory_says_what_to_lower(monkeypatch) -> None:
    """Counted is what is free, not what the GPU has."""
    monkeypatch.setattr("diffmaac.training.machine.cuda_problem", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2_000_000, 80_000_000_000))
    task, settings = resolve_task("pendulum", {"device": "auto"})
    found = r"the GPU has 0.002 GB free\. The most, .* GB, is for the actor's batch \(batch_size="
    with pytest.raises(SettingError, match=found):
        check_memory(task, settings)


def test_a_gpu_whose_memory_is_full_in_the_midst_of_a_run_stops_it_in_one_line(tmp_path) -> None:
    trainer = prepare("double_integrator", {**TINY, "out": str(tmp_path / "run")})
    update = trainer.agent.update_critic

    def full(transition):
        if trainer.step > 60:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"
            )
        return update(transition)

    trainer.agent.update_critic = full
    found = (
        r"environment step 61: CUDA out of memory\. Tried to allocate 2.00 GiB\. The most, .*smaller.*step 40 is kept"
    )
    with pytest.raises(SettingError, match=found):
        trainer.train(progress=False)
    assert checkpoint.load(tmp_path / "run" / "checkpoint")[0] == 40


@pytest.mark.parametrize(("dynamics", "needs_it"), [("true", True), ("mixed", True), ("learned", False)])
def test_physics_on_a_gpu_without_a_jax_for_it_says_what_to_install(dynamics, needs_it, monkeypatch) -> None:
    if not physics.on_cpu():
        pytest.skip("JAX has CUDA here")
    monkeypatch.setattr("diffmaac.training.machine.cuda_problem", lambda: None)
    check_device(*resolve_task("double_integrator", {"device": "cuda", "dynamics": dynamics}))
    check_device(*resolve_task("pendulum", {"device": "cuda", "dynamics": dynamics, "algorithm": "sac"}))
    task, settings = resolve_task("pendulum", {"device": "cuda", "dynamics": dynamics})
    if not needs_it:
        return check_device(task, settings)
    found = (
        rf"dynamics={dynamics} on device=cuda: MuJoCo's step.* on: cpu\. Install .*diffmaac\[cuda\].*or use device=cpu"
    )
    with pytest.raises(SettingError, match=found):
        check_device(task, settings)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU with CUDA")
def test_physics_on_a_gpu_is_that_of_the_cpu() -> None:
    if physics.on_cpu():
        pytest.skip("JAX has no CUDA")
    system = get_task("pendulum").system
    assert isinstance(system, MujocoSystem)
    step = DifferentiablePhysics(system.model, system.frame_skip, "implicit")
    inputs = [torch.randn(8, width, dtype=torch.float64) for width in (1, 1, 1)]
    results = []
    for device in ("cpu", "cuda"):
        leaves = [x.to(device).requires_grad_() for x in inputs]
        outputs = step(*leaves)
        grads = torch.autograd.grad([x.sum() for x in outputs], leaves)
        results.append([x.cpu() for x in (*outputs, *grads)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-6, atol=1e-8)


def test_jax_leaves_memory_to_torch() -> None:
    """Unless the user has decided: physics only sets a default."""
    script = "import os, diffmaac.physics; print(os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'])"
    for chosen, expected in ({}, "false"), ({"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}, "true"):
        there = {name: x for name, x in os.environ.items() if name != "XLA_PYTHON_CLIENT_PREALLOCATE"}
        done = subprocess.run(
            [sys.executable, "-c", script], env=there | chosen, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
