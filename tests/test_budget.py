"""How long an experiment will take: the schedule in closed form, rates from metrics, and what is refused beforehand."""

import logging
import subprocess
from pathlib import Path

import pytest
from support.processes import Here
from support.runs import refused

import diffmaac
from diffmaac import SettingError
from diffmaac.experiments.budget import Budget, budget, duration, rehearsed
from diffmaac.experiments.plan import PlannedRun, plan
from diffmaac.experiments.scales import COMPARED, SCALES, Amount
from diffmaac.runs.layout import METRICS


def planned(folder: Path, steps: int = 120, seeds: int = 2) -> list[PlannedRun]:
    return plan({"sac": COMPARED["sac"]}, {"pendulum": Amount(steps, seeds)}, SCALES["smoke"].changes, folder)


@pytest.mark.parametrize(("jobs", "hours"), [(1, 4.0), (2, 3.0), (3, 2.0), (8, 2.0)])
def test_runs_are_taken_in_order_by_whoever_is_free(jobs: int, hours: float) -> None:
    """Of two processes both take an hour, then one of them the two hours of the third."""
    assert Budget({"a": 3600.0, "b": 3600.0, "c": 7200.0}, jobs).hours == pytest.approx(hours)


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    there = Budget({"a": 3600.0, "b": 7200.0}, 1)
    there.check(0.0)
    there.check(3.0)
    with pytest.raises(
        SettingError, match=r"hours=2.5: 2 runs to train, 1 at a time: about 3.0 h \(the longest, b, 2.0 h\)"
    ):
        there.check(2.5)


@pytest.mark.parametrize(("hours", "text"), [(2.0, "2.0 h"), (0.5, "30 min"), (0.01, "36 s")])
def test_durations(hours: float, text: str) -> None:
    assert duration(hours) == text


def test_the_rate_is_that_of_the_runs_at_hand(tmp_path: Path) -> None:
    """A run of the same curve took 0.5 s a step after its 40 random ones; half of one run is left, all of the other."""
    first, second = planned(tmp_path, steps=200)
    first.path.mkdir()
    rows = ["step,seconds,return,return_std", "40,1,0,0", "60,100,0,0", "100,120,0,0"]
    (first.path / METRICS).write_text("\n".join(rows) + "\n")
    assert budget([first, second], [first, second], 1).seconds == pytest.approx({first.name: 50.0, second.name: 100.0})


def test_without_a_run_a_few_steps_are_rehearsed_and_nothing_is_written(tmp_path: Path) -> None:
    runs = plan({"maac": COMPARED["maac"]}, {"pendulum": Amount(120, 1)}, SCALES["smoke"].changes, tmp_path / "runs")
    assert rehearsed(runs[0]) > 0 and not (tmp_path / "runs").exists()


def test_it_is_told_before_and_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(subprocess, "Popen", Here)
    with caplog.at_level(logging.INFO, "diffmaac"):
        diffmaac.reproduce("figure2", scale="smoke", variants=["sac"], runs=str(tmp_path), jobs=1)
    before, first, second = (m for m in caplog.messages if "to train" in m or "trained in" in m)
    assert before.startswith("2 runs to train, 1 at a time: about ")
    assert first.startswith("pendulum-sac-s0: trained in") and first.endswith(" left")
    assert second.startswith("pendulum-sac-s1: trained in") and "left" not in second


def test_too_few_hours_are_one_line(tmp_path: Path, capsys) -> None:
    line = refused(
        "reproduce",
        "figure2",
        "scale=quick",
        f"runs={tmp_path / 'runs'}",
        "envs=pendulum",
        "variants=sac",
        "seeds=1",
        "hours=0.001",
        capsys=capsys,
    )
    assert "hours=0.001: 1 runs to train" in line and "fewer envs=" in line
    assert not (tmp_path / "runs").exists()
