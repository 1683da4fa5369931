"""`diffmaac sweep` and `diffmaac runs`: the grid, runs reused, resumed and named, the states that are told."""

import io
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.processes import Here
from support.runs import TINY, numbers, refused, run, tiny, words

import diffmaac
from diffmaac import SettingError
from diffmaac.experiments.combinations import plan
from diffmaac.experiments.engine import LocalEngine, trained
from diffmaac.experiments.grid import check_size, digest, grid_of
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.watch import Board
from diffmaac.files import read_table
from diffmaac.runs.layout import CHECKPOINT, EVALUATION, FAILURE, METRICS
from diffmaac.runs.lock import claimed
from diffmaac.runs.state import state_of

SMALL: dict[str, Any] = {name: value for name, value in TINY.items() if name not in ("horizon", "steps")}
GRID = ["env=double_integrator", "horizon=0,2", "seed=0..1", "steps=120", *words(**SMALL)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs of a sweep, each trained in this process."""
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Here)
        diffmaac.sweep(**dict(word.split("=", 1) for word in GRID), out=str(folder), jobs=2)
    return folder


@pytest.fixture
def copied(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be spoilt; what is missing is trained in this process."""
    monkeypatch.setattr(subprocess, "Popen", Here)
    return Path(shutil.copytree(swept, tmp_path / "sweep"))


@pytest.mark.parametrize(
    ("given", "grid"),
    [
        ({"horizon": "0,1,4"}, {"horizon": [0, 1, 4]}),
        ({"seed": "0..3"}, {"seed": [0, 1, 2, 3]}),
        ({"seed": "0..2,7,2"}, {"seed": [0, 1, 2, 7]}),
        ({"horizon": "auto,2"}, {"horizon": ["auto", 2]}),
        ({"hidden": "[64,64],[8]"}, {"hidden": [[64, 64], [8]]}),
        ({"hidden": "64,64"}, {"hidden": [[64, 64]]}),
        ({"hidden": ["64", "64"]}, {"hidden": [[64, 64]]}),
        ({"hidden": [["64"], ["8", "8"]]}, {"hidden": [[64], [8, 8]]}),
        ({"entropy": "true,false", "gamma": "0.9,.99"}, {"entropy": [True, False], "gamma": [0.9, 0.99]}),
        ({"env": ["pendulum", "cartpole"], "seed": range(2)}, {"env": ["pendulum", "cartpole"], "seed": [0, 1]}),
        ({"dynamics": [True, "learned"]}, {"dynamics": ["true", "learned"]}),
    ],
)
def test_words_are_alternatives(given: dict[str, Any], grid: dict[str, list[Any]]) -> None:
    assert grid_of(given) == grid


def test_a_grid_has_the_product_of_its_alternatives_seed_by_seed(tmp_path: Path) -> None:
    grid = grid_of({"env": "pendulum,cartpole", "horizon": "0,2", "algorithm": "maac", "seed": "0..2"})
    runs, broken = plan(grid, tmp_path)
    assert check_size(grid, yes=False) == len(runs) == 12 and broken == []
    assert [run.name for run in runs[:3]] == ["pendulum-horizon=0-s0", "pendulum-horizon=2-s0", "pendulum-horizon=0-s1"]
    assert {run.label for run in runs} == {"horizon=0", "horizon=2"} and all(run.threads == 1 for run in runs)
    assert digest(grid) == digest(dict(reversed(grid.items()))) != digest(grid_of({"seed": "0..2"}))


def test_combinations_that_contradict_themselves_are_left_out(tmp_path: Path) -> None:
    runs, broken = plan(grid_of({"algorithm": "sac,maac", "horizon": "0,4", "seed": "0,1"}), tmp_path)
    assert len(runs) == 6 and len(broken) == 1
    assert broken[0].startswith("pendulum, sac, horizon=4: horizon=4 contradicts algorithm=sac")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "a sweep of no run: no setting is given"),
        ("seed=3..1", "a sweep of no run: seed=3..1 has no value"),
        ("seed=0..10000", "a sweep of 10,001 runs (10,001 of seed). If you mean it, say yes=true."),
        ("seed=0..99999 horizon=0,1 yes=true", "at most 100,000 are one sweep"),
        ("seed=0..999999", "must be at most 100,000 values"),
        ("gamma=0..1", "a range is for whole numbers"),
        ("horizont=0,1", "Did you mean 'horizon'?"),
        ("horizon=0,two", "must be of type int"),
        ("env=pendulum,pendlum", "Did you mean 'pendulum'?"),
        ("gamma=0.9,1.5", "must be between 0.0 and 1.0"),
        ("seed=0 trials=3", "trials= is for search=optuna"),
        ("seed=0 resume=x", "resume= is of one run"),
        ("seed=0 address=head:6379", "Say engine=ray as well."),
        ("algorithm=sac horizon=2", "no run can be used. pendulum: horizon=2 contradicts"),
        ("seed=0 out=/dev/null/x", "cannot be used: Not a directory"),
        ("config=no.yaml", "there is no settings file"),
    ],
)
def test_bad_input_is_one_line(given: str, message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused("sweep", *given.split(), capsys=capsys)
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_yaml_grid_without_values_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "grid.yaml").write_text("horizon: []\nseed: 0..2\n")
    assert "a sweep of no run: horizon=[] has no value" in refused(
        "sweep", f"config={tmp_path}/grid.yaml", capsys=capsys
    )


def test_each_run_has_a_directory_and_what_differs_is_a_curve(swept: Path) -> None:
    names = [f"double_integrator-horizon={h}-s{s}" for h in (0, 2) for s in (0, 1)]
    assert sorted(path.parent.name for path in swept.glob("*/config.yaml")) == names
    ends = {row["curve"]: row for row in read_table(swept / "sweep_summary.csv") if row["step"] == "120"}
    assert set(ends) == {"horizon=0", "horizon=2"} and all(row["runs"] == "2" for row in ends.values())
    returns = [float(row["return"]) for row in read_table(swept / "sweep.csv") if row["step"] == "120"]
    assert sum(float(row["mean"]) for row in ends.values()) == pytest.approx(sum(returns) / 2, rel=1e-4)
    assert (swept / "sweep.png").stat().st_size > 10_000 and "horizon=2" in (swept / "sweep.md").read_text()


def test_a_run_of_a_sweep_is_that_of_train(swept: Path, tmp_path: Path) -> None:
    alone = tiny(tmp_path / "alone", horizon=2, seed=1, threads=1)
    assert numbers(swept / "double_integrator-horizon=2-s1") == numbers(alone)


def test_the_manifest_goes_on_with_the_sweep_and_reuses_what_is_there(copied: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(copied.parent)
    text = (copied / "sweep.yaml").read_text()
    out = next(line for line in text.splitlines() if line.startswith("out: "))
    (copied / "sweep.yaml").write_text(text.replace(out, "out: sweep"))
    before = {path: path.stat().st_mtime_ns for path in copied.glob("*/metrics.csv")}
    code, told, error = run("sweep", "config=sweep/sweep.yaml", "engine=local", capsys=capsys)
    assert code == 0 and "horizon=2" in told and "left out" not in error
    assert {path: path.stat().st_mtime_ns for path in copied.glob("*/metrics.csv")} == before


def test_what_stopped_is_resumed_and_what_is_new_is_trained(copied: Path) -> None:
    one, other = copied / "double_integrator-horizon=0-s0", copied / "double_integrator-horizon=2-s0"
    (one / EVALUATION).unlink()  # killed before its end
    shutil.rmtree(other / CHECKPOINT)
    for name in (METRICS, EVALUATION):  # killed before its first checkpoint
        (other / name).unlink()
    shutil.rmtree(other / "figures")
    shutil.rmtree(copied / "double_integrator-horizon=2-s1")
    result = diffmaac.sweep(**dict(word.split("=", 1) for word in GRID), out=str(copied), jobs=1)
    assert len(result.value) == 4 and result.left_out == []
    assert all(state_of(run.path).state == "done" for run in result.value)


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(subprocess, "Popen", Here)
    grid = ["env=double_integrator", "actor_lr=1e30,3e-4", *words(**{**TINY, "horizon": 0}), f"out={tmp_path}"]
    code, told, error = run("sweep", *grid, capsys=capsys)
    failed = "double_integrator-actor_lr=1e+30-s0"
    assert code == 0 and "actor_lr=0.0003" in told and f"left out: {failed} stopped with exit code 2" in error
    state = state_of(tmp_path / failed)
    assert state.state == "failed" and "stopped at environment step" in state.reason
    code, told, _ = run("runs", str(tmp_path), "sort=return", capsys=capsys)
    lines = told.splitlines()
    assert code == 0 and "actor_lr" in lines[0] and lines[-2] == "1 done, 1 failed"
    assert "stopped at environment step" in lines[-1]


def test_states_are_told_from_what_lies_there(swept: Path, begun: Path) -> None:
    assert state_of(begun).state == "done"  # of 80 steps
    (begun / EVALUATION).unlink()
    assert (state_of(begun).state, state_of(begun).step) == ("stopped", 80)
    with claimed(begun):
        assert state_of(begun).state == "running"
    (begun / FAILURE).write_text('{"error": "it blew up"}')
    assert (state_of(begun).state, state_of(begun).reason) == ("failed", "it blew up")
    diffmaac.train(resume=str(begun), progress=False)
    assert state_of(begun).state == "done"


def test_runs_are_listed_by_return(swept: Path) -> None:
    result = diffmaac.list_runs(swept, sort="return")
    values = [state.value for state in result.value]
    assert values == sorted(values, key=lambda value: -(value or 0)) and len(values) == 4
    assert result.table is not None and result.table.header == [
        "run",
        "seed",
        "horizon",
        "step",
        "return",
        "time",
        "state",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no", "there is no folder 'no'"),
        (".", "there is no run in '.'"),
        (". sort=best", "There are: name, return, state, step, time."),
        (". other", "2 folders were given"),
    ],
)
def test_a_folder_without_runs_is_one_line(given: str, message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused("runs", *given.split(), capsys=capsys)


def some(folder: Path, count: int, steps: int = 100) -> list[PlannedRun]:
    return [PlannedRun(folder, "pendulum", "sac", "SAC", {"seed": seed, "steps": steps}) for seed in range(count)]


def test_at_most_as_many_processes_as_jobs_and_the_next_when_one_ends(tmp_path: Path) -> None:
    """Each process writes when it began and when it ended; at no time are three of them alive."""
    code = "import sys, time, pathlib\nbegan = time.time()\ntime.sleep(0.3)\n"
    code += f"path = pathlib.Path({str(tmp_path)!r}) / sys.argv[-1].rpartition('-')[2]\n"
    code += "path.write_text(f'{began} {time.time()}')\nsys.exit(3 * (path.name == 's1'))"
    ended = [*trained(LocalEngine(2, (sys.executable, "-c", code)), some(tmp_path / "runs", 5))]
    times = [[float(x) for x in (tmp_path / f"s{i}").read_text().split()] for i in range(5)]
    assert max(sum(a <= began < b for a, b in times) for began, _ in times) <= 2
    assert [run.name for run, error in ended if error] == ["pendulum-sac-s1"]
    assert "stopped with exit code 3: it wrote nothing" in next(error for _, error in ended if error)


def test_no_process_outlives_the_loop(tmp_path: Path) -> None:
    code = f"import pathlib, time\npathlib.Path({str(tmp_path)!r}, 'began').touch()\ntime.sleep(60)"
    engine, children = LocalEngine(2, (sys.executable, "-c", code)), []
    start = engine.start
    engine.start = lambda run: children.append(start(run)) or children[-1]  # pyright: ignore[reportAttributeAccessIssue]

    def runs():
        yield from some(tmp_path / "runs", 1)
        while not (tmp_path / "began").exists():
            time.sleep(0.02)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(trained(engine, runs()))
    assert [child.wait(timeout=10) for child in children] == [-15]


def test_the_table_tells_step_return_and_time_left(tmp_path: Path) -> None:
    """Two of three runs at a time: one has 40 of 100 steps at 2 s each, so 120 s are left of it, 200 of each other."""
    runs = some(tmp_path, 3)
    runs[0].path.mkdir()
    (runs[0].path / METRICS).write_text("step,seconds,return,return_std\n20,10,-5,0\n40,50,-3,0\n")
    board = Board(runs, 2)
    assert board.seconds_left(runs[0]) == pytest.approx(120, abs=1) and board.seconds_left(runs[1]) == pytest.approx(
        200
    )
    assert board.hours_left() == pytest.approx(260 / 3600, rel=0.01)
    screen = Console(file=io.StringIO(), width=100, record=True)
    screen.print(board)
    text = screen.export_text()
    assert "pendulum-sac-s0" in text and "40 of 100" in text and "-3" in text and "2 min" in text
    assert "pendulum-sac-s1" not in text and "0 of 3 runs done, about 4 min left" in text
    board.end(runs[0], failed=True)
    assert board.status().startswith("0 of 3 runs done, 1 failed")


def test_the_log_tells_each_end(copied: Path, caplog) -> None:
    (copied / "double_integrator-horizon=0-s0" / EVALUATION).unlink()
    with caplog.at_level(logging.INFO, "diffmaac"):
        diffmaac.sweep(**dict(word.split("=", 1) for word in GRID), out=str(copied))
    assert any(line.startswith("double_integrator-horizon=0-s0: trained in") for line in caplog.messages)


def test_two_sweeps_do_not_share_a_folder(copied: Path) -> None:
    with claimed(copied), pytest.raises(SettingError, match=r"the sweep in .* is being trained already"):
        diffmaac.sweep(**dict(word.split("=", 1) for word in GRID), out=str(copied))
