"""`search=optuna`: what is searched, trials on all seeds, and a search that was stopped and goes on."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.processes import Here
from support.runs import TINY, refused, words

import diffmaac
from diffmaac.experiments.grid import Space, space_of
from diffmaac.runs.metrics import read_evaluation

optuna = pytest.importorskip("optuna")
SMALL: dict[str, Any] = {**TINY, "env": "double_integrator", "steps": 60, "random_steps": 20}
SEARCHED = {**SMALL, "horizon": "0,2", "actor_lr": "1e-4..1e-2", "critics": "1..3", "seed": [0, 1]}


def test_a_space_is_told_by_ranges_alternatives_and_what_is_fixed() -> None:
    given = {
        "env": "ant",
        "actor_lr": "1e-4..1e-2",
        "critics": "1..3",
        "horizon": "0,2",
        "gamma": "0.9",
        "seed": "0..2",
    }
    ranges = {"actor_lr": (1e-4, 1e-2), "critics": (1, 3)}
    assert space_of(given) == Space("ant", [0, 1, 2], ranges, {"horizon": [0, 2]}, {"gamma": 0.9})


def test_a_search_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three trials on two seeds, of which the second is stopped between its runs; each is told its mean."""
    monkeypatch.setattr(subprocess, "Popen", Here)
    left = iter(range(3))

    class Stopped(Here):
        def __init__(self, *given: Any, **more: Any):
            if next(left, None) is None:
                raise KeyboardInterrupt
            super().__init__(*given, **more)

    asked = {**SEARCHED, "search": "optuna", "trials": 3, "jobs": 1, "out": str(tmp_path / "s")}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(subprocess, "Popen", Stopped)
        diffmaac.sweep(**asked)
    result = diffmaac.sweep(**asked)
    assert result.left_out == [] and len(result.value) == 6
    assert result.table is not None
    assert result.table.header == ["trial", "actor_lr", "critics", "horizon", "return"]
    for line in result.table.cells:
        row = dict(zip(result.table.header, line, strict=True))
        runs = [tmp_path / "s" / f"double_integrator-trial{row['trial']}-s{seed}" for seed in (0, 1)]
        values = [(read_evaluation(run, "return") or {})["return"] for run in runs]
        assert float(row["return"]) == pytest.approx(sum(values) / 2, rel=1e-3)
        assert 1e-4 <= float(row["actor_lr"]) <= 1e-2 and row["horizon"] in "02" and row["critics"] in "123"
    values = [float(line[-1]) for line in result.table.cells]
    assert values == sorted(values, reverse=True) and len(values) == 3
    assert result.notes[-1].startswith("the best: diffmaac train env=double_integrator ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("seed=0..2", "search=optuna has nothing to search"),
        ("env=ant,pendulum horizon=0,2", "search=optuna is on one task"),
        ("actor_lr=1e-2..1e-4", "the first below the second"),
        ("actor_lrr=1e-4..1e-2", "Did you mean 'actor_lr'?"),
        ("actor_lr=0..1e-2", "must be at least"),
        ("horizon=0,2 trials=0", "must be between 1 and"),
        ("horizon=0,2 gamma=x", "must be of type float"),
    ],
)
def test_bad_input_is_one_line(given: str, message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused("sweep", "search=optuna", *given.split(), capsys=capsys)
    assert list(tmp_path.iterdir()) == []


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.delitem(sys.modules, "diffmaac.experiments.search", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = refused("sweep", "search=optuna", "horizon=0,2", *words(out=tmp_path / "x"), capsys=capsys)
    assert "Optuna is not installed. `pip install diffmaac[optuna]` does." in line
