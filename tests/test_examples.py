"""The examples run, at tiny size."""

import importlib.util
from pathlib import Path

import pytest
from support.runs import TINY, words

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_train_learned_vs_true(tmp_path, capsys):
    figure = example("train_learned_vs_true").main(words(**TINY), tmp_path)
    assert figure.stat().st_size > 10_000
    assert "learned dynamics: return" in capsys.readouterr().out


def test_custom_task(tmp_path, capsys):
    example("custom_task").main(words(**TINY), tmp_path)
    out = capsys.readouterr().out
    assert "learned dynamics: return" in out and "true dynamics: return" in out


def test_differentiable_mujoco(tmp_path, capsys):
    figure = tmp_path / "figure.png"
    example("differentiable_mujoco").main(["iterations=12", "gradient=finite_difference"], figure)
    assert figure.stat().st_size > 10_000
    first, last = (
        [float(m) for m in line.split("by ")[1].removesuffix(" m").split(", ")]
        for line in capsys.readouterr().out.splitlines()[:2]
    )
    assert sum(last) < 0.9 * sum(first)


def test_gradient_error_vs_horizon(tmp_path, capsys):
    figure = example("gradient_error_vs_horizon").main(["seeds=1", "horizons=0,2", "transitions=200"], tmp_path)
    assert figure.stat().st_size > 10_000
    assert "Monte Carlo error" in capsys.readouterr().out


def test_model_gradient_accuracy(tmp_path, capsys):
    files = example("model_gradient_accuracy").main(words(**TINY), tmp_path / "run")
    assert all(path.stat().st_size > 0 for path in files)
    assert "Calibration" in capsys.readouterr().out


def test_gymnasium_environment(tmp_path, capsys):
    figure = example("gymnasium_environment").main(words(**TINY), tmp_path)
    assert figure.stat().st_size > 10_000
    out = capsys.readouterr().out
    assert "learned reward: return" in out and "given reward: return" in out


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "train_learned_vs_true",
        "custom_task",
        "differentiable_mujoco",
        "gradient_error_vs_horizon",
        "gymnasium_environment",
        "model_gradient_accuracy",
        "system_identification",
    }


@pytest.mark.parametrize("name", ["custom_task", "train_learned_vs_true"])
def test_an_example_writes_where_out_says(name, tmp_path):
    example(name).main([*words(**TINY), f"out={tmp_path / 'here'}"])
    assert {path.name for path in (tmp_path / "here").iterdir() if path.is_dir()} == {"learned", "true"}


def test_an_example_says_what_is_wrong_with_a_setting(tmp_path):
    from diffmaac import SettingError

    with pytest.raises(SettingError, match="Did you mean 'steps'"):
        example("custom_task").main(["step=3"], tmp_path)


@pytest.mark.parametrize(("robot", "count"), [("leg", 7), ("box", 4)])
def test_system_identification(robot, count, tmp_path, capsys):
    errors = example("system_identification").main([f"robot={robot}"], tmp_path)
    assert len(errors) == count and max(map(abs, errors)) < 0.01
    out = capsys.readouterr().out
    assert "Gauss-Newton" in out and "no noise" not in out and (tmp_path / f"identified_{robot}.png").is_file()
