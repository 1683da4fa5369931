"""What a run asks of the machine is known before it begins."""

import pytest
from support.runs import TINY, refused, run, words

from diffmaac import SettingError
from diffmaac.provenance import memory_bytes
from diffmaac.runs.checkpoint import load
from diffmaac.tasks import resolve_task
from diffmaac.training.machine import check_memory, memory_needed

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
