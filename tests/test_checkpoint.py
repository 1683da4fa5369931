"""Checkpoints: the tree that comes back as it was, and runs on disk that cannot be used."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import diffmaac
from diffmaac import CheckpointError
from diffmaac.runs import checkpoint
from diffmaac.tasks import get_task
from diffmaac.training.trainer import Trainer


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
def test_a_damaged_checkpoint_is_named(message, begun):
    DAMAGE[message](begun / "checkpoint")
    for use in (lambda: diffmaac.load(begun), lambda: diffmaac.train(resume=str(begun), steps=120)):
        with pytest.raises(CheckpointError, match=message):
            use()


def test_a_directory_without_a_run_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="not a run directory"):
        diffmaac.load(tmp_path)


def test_a_task_that_changed_is_named(begun):
    changed = dataclasses.replace(get_task("pendulum"), name="double_integrator")
    with pytest.raises(CheckpointError, match="has changed since"):
        diffmaac.load(begun, env=changed)
    with pytest.raises(CheckpointError, match="has changed since"):
        diffmaac.train(changed, resume=str(begun), steps=120)


def test_a_run_whose_task_has_changed_is_refused(begun):
    """The same name and sizes, another reward or another robot: loading, resuming and measuring all say so."""
    task = diffmaac.get_task("double_integrator")
    assert diffmaac.load(begun, task).step == 80
    assert isinstance(task.system, diffmaac.LinearSystem)
    slower = dataclasses.replace(task.system, B=0.5 * task.system.B)
    for changed in (
        dataclasses.replace(task, reward=lambda obs, action: 2 * task.start_reward(obs, action)),
        dataclasses.replace(task, system=slower),
        dataclasses.replace(task, episode_steps=31),
    ):
        for load in (diffmaac.load, Trainer.load):
            with pytest.raises(CheckpointError, match="has changed since"):
                load(begun, changed)


def test_what_a_killed_run_left_half_written_is_replaced(tmp_path):
    """Of this step and of others, of ours and of safetensors' own."""
    for name in ("state-2.safetensors.partial", "state-1.safetensors.partial", ".tmpA1b2"):
        (tmp_path / name).write_text("half")
    checkpoint.save(tmp_path, 2, {"x": torch.ones(2)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "state-2.safetensors"]
    assert checkpoint.load(tmp_path)[0] == 2
