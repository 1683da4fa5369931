"""`diffmaac export`: the file computes what `Agent.predict` does, on a thousand observations and more."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.runs import refused, run, tiny

import diffmaac

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on an environment whose actions are in [-2, 2]."""
    path = tmp_path_factory.mktemp("foreign") / "run"
    return tiny(path, env="Pendulum-v1", steps=60, algorithm="sac", horizon=0)


def observations(size: int) -> np.ndarray:
    """A thousand, some of which drive tanh to its ends."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(1000, size)) * 10 ** rng.uniform(-1, 3, size=(1000, 1))).astype(np.float32)


@pytest.mark.parametrize("which", ["swung", "foreign"])
def test_onnx_is_the_policy(which: str, tmp_path: Path, request, capsys) -> None:
    folder = request.getfixturevalue(which)
    file = tmp_path / "policy.onnx"
    code, out, _ = run("export", str(folder), str(file), capsys=capsys)
    assert code == 0 and "observation (batch, 3) -> action (batch, 1), float32" in out
    obs = observations(3)
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (action,) = session.run(None, {"observation": obs})
    wanted, _ = diffmaac.load(folder).predict(obs)
    assert action.shape == wanted.shape and action.dtype == np.float32
    np.testing.assert_allclose(action, wanted, rtol=0, atol=1e-5)
    assert np.abs(wanted).max() > (1.0 if which == "foreign" else 0.5), "bounds are met"
    (one,) = session.run(None, {"observation": obs[:1]})
    np.testing.assert_allclose(one, wanted[:1], rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch has named a successor of TorchScript
def test_torchscript_is_the_policy(foreign: Path, tmp_path: Path) -> None:
    result = diffmaac.export(foreign, tmp_path / "policy.pt")
    obs = observations(3)
    policy = torch.jit.load(str(result.value))
    wanted, _ = diffmaac.load(foreign).predict(obs)
    np.testing.assert_allclose(policy(torch.as_tensor(obs)).numpy(), wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(policy(torch.as_tensor(obs[:7])).numpy(), wanted[:7], rtol=0, atol=1e-5)


def test_the_best_policy_is_another(swung: Path, tmp_path: Path, capsys) -> None:
    """One that has never been kept is refused in one line."""
    assert "has no best policy" in refused("export", str(swung), str(tmp_path / "p.onnx"), "which=best", capsys=capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("policy.tflite", "file=policy.tflite: must end in .onnx or .pt."),
        ("policy", "must end in .onnx or .pt."),
        ("no/policy.onnx", "there is no directory 'no'"),
    ],
)
def test_another_ending_is_one_line(file: str, message: str, finished: Path, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused("export", str(finished), file, capsys=capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_policy_is_one_line(finished: Path, tmp_path: Path, capsys) -> None:
    assert "is not a run directory" in refused("export", str(tmp_path), f"{tmp_path}/p.onnx", capsys=capsys)
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(run / "checkpoint")
    assert "there is no checkpoint in" in refused("export", str(run), f"{tmp_path}/p.onnx", capsys=capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_onnx_the_extra_is_named(finished: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    line = refused("export", str(finished), str(tmp_path / "p.onnx"), capsys=capsys)
    assert "onnx is not installed. `pip install diffmaac[export]` does." in line
    assert list(tmp_path.iterdir()) == []
