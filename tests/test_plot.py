"""Aggregates against known numbers, and `diffmaac plot` on runs made here."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.runs import refused

import diffmaac
from diffmaac import cli
from diffmaac.analysis.statistics import at_common_steps, bootstrap_interval, interquartile_mean, mean_over_groups
from diffmaac.errors import SettingError
from diffmaac.experiments.comparison import tell_apart
from diffmaac.settings import flatten
from diffmaac.tasks import resolve_task


def test_interquartile_mean_of_known_numbers() -> None:
    assert interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0])) == 1.5
    assert interquartile_mean(np.array([1.0, 2.0, 9.0])) == 4.0
    assert interquartile_mean(np.arange(8.0).reshape(4, 2)).tolist() == [3.0, 4.0]


def test_bootstrap_interval_covers_and_narrows() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(2, 8)), rng.normal(size=(2, 200))
    widths = [np.subtract(*bootstrap_interval([x[0], x[1]])[::-1]) for x in (few, many)]
    assert widths[1] < widths[0] / 2  # by the square root of 25, give or take the luck of sixteen numbers
    hits = 0
    for _ in range(40):
        low, high = bootstrap_interval([rng.normal(size=30)], seed=1)
        hits += low <= 0 <= high
    assert hits >= 32  # of 40 at 95 %, a little less for small samples


def test_tasks_count_alike() -> None:
    """Two tasks of constant scores, one with more runs: whatever is drawn, half of it is of each."""
    tasks = [np.zeros(4), np.ones(2)]
    assert mean_over_groups(tasks) == 0.5
    assert [float(end) for end in bootstrap_interval(tasks)] == [0.5, 0.5]


def test_runs_are_aligned_by_their_steps() -> None:
    """One was stopped at 1,500 and resumed, which gave it a row of its own."""
    resumed, straight = (
        [{"step": str(n), "return": str(n / 10)} for n in steps]
        for steps in ((1000, 1500, 2000, 3000), (1000, 2000, 3000, 4000))
    )
    steps, returns = at_common_steps([resumed, straight], "return")
    assert steps.tolist() == [1000, 2000, 3000]
    assert returns.tolist() == [[100.0, 200.0, 300.0]] * 2
    with pytest.raises(SettingError, match="no environment step at which all"):
        at_common_steps([resumed[:1], straight[1:]], "return")


def test_labels_say_what_differs() -> None:
    def run(**changes):
        return flatten(resolve_task("half_cheetah", {"preset": "paper", **changes})[1])

    assert tell_apart([run(), run(seed=1)]) == ["maac", "maac"]
    assert tell_apart([run(), run(horizon=1)]) == ["horizon=4", "horizon=1"]
    sac = run(algorithm="sac")
    assert tell_apart([run(), sac]) == ["maac", "sac"]
    assert tell_apart([run(gamma=0.99), {**sac, "gamma": 0.9}]) == ["maac, gamma=0.99", "sac, gamma=0.9"]
    assert tell_apart([run(), run(horizon=1), sac]) == ["maac, horizon=4", "maac, horizon=1", "sac, horizon=0"]
    true, quick = run(dynamics="true", seed=1), run(preset="quick", seed=1)
    assert tell_apart([true, sac]) == ["maac", "sac"]
    for other, message in ((true, "true dynamics"), (quick, "preset=quick")):
        labels = tell_apart([run(), other, sac])  # never one curve
        assert labels[0] != labels[1] and message in labels[1]


def test_an_ablation_beside_another_algorithm_is_not_called_by_its_algorithm_alone() -> None:
    for env in ("pendulum", "a_task_of_ones_own"):
        ablated, sac, mbpo = (
            {**flatten(resolve_task("pendulum", {"preset": "quick", **changes})[1]), "env": env}
            for changes in ({"horizon": 0, "data": "real"}, {"algorithm": "sac"}, {"algorithm": "mbpo"})
        )
        assert tell_apart([ablated, mbpo]) == ["maac, horizon=0, data=real", "mbpo, horizon=0, data=mixed"]
        assert tell_apart([ablated, sac])[0] == "maac, horizon=0, data=real"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    words = {"steps": 60, "random_steps": 30, "epoch_steps": 30, "final_episodes": 1, "algorithm": "sac"}
    words |= {"log": "csv", "progress": False}
    for seed in (0, 1):
        diffmaac.train("double_integrator", **words, seed=seed, out=str(folder / f"s{seed}"))
    diffmaac.train("pendulum", **words, out=str(folder / "other"))
    return folder


def test_runs_are_compared_and_a_broken_one_is_named(runs: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "broken").mkdir()
    named = [str(runs / "s0"), str(runs / "s1"), str(tmp_path / "broken")]
    cli.app(["plot", *named, f"out={tmp_path / 'c.png'}"], standalone_mode=False)
    out, err = capsys.readouterr()
    assert "sac: 2 runs" in out and (tmp_path / "c.png").stat().st_size > 10_000
    assert err.count("\n") == 1 and "broken' is not a run directory" in err


def test_a_run_named_twice_counts_once(runs: Path, tmp_path: Path, capsys) -> None:
    """And a copy of a run is noted; a directory's name may hold an equals sign."""
    copy = tmp_path / "s1-tau=0.1"
    shutil.copytree(runs / "s1", copy)
    named = [str(runs / "s0"), str(runs / "s1" / ".." / "s0"), str(runs / "s1"), f"{runs / 's1'}/", str(copy)]
    cli.app(["plot", *named, f"out={tmp_path / 'c.png'}"], standalone_mode=False)
    out, err = capsys.readouterr()
    assert err == "" and "sac: 3 runs\nsac has a seed more than once (seeds 0, 1, 1): copies of a run?\n" in out


def test_a_curve_ends_with_its_shortest_run(runs: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(runs / "s1", tmp_path / "short")
    metrics = tmp_path / "short" / "metrics.csv"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:2]))
    cli.app(["plot", str(runs / "s0"), str(tmp_path / "short"), f"out={tmp_path / 'c.png'}"], standalone_mode=False)
    message = f"sac is drawn to step 30, the last that all its runs have; {runs / 's0'} goes on.\n"
    assert message in capsys.readouterr().out
    metrics.write_text(lines[0] + lines[1].replace("30,", "29,", 1))
    with pytest.raises(SystemExit):
        cli.main(["plot", str(runs / "s0"), str(tmp_path / "short"), f"out={tmp_path / 'c.png'}"])
    assert "no run can be used. sac: there is no environment step at which all" in capsys.readouterr().err


def test_a_run_of_a_task_of_ones_own_is_drawn(runs: Path, tmp_path: Path) -> None:
    config = tmp_path / "run" / "config.yaml"
    shutil.copytree(runs / "s0", config.parent)
    config.write_text(config.read_text().replace("env: double_integrator", "env: my_robot"))
    cli.app(["plot", str(config.parent), f"out={tmp_path / 'c.svg'}"], standalone_mode=False)
    assert (tmp_path / "c.svg").stat().st_size > 10_000


NOT_FINITE = re.compile(r"^(\d+,[^,]*,)[^,]*", re.MULTILINE)  # the third column, return
DAMAGES = {
    "config cut between groups": ("config.yaml", lambda path: path.write_text(path.read_text().split("model:")[0])),
    "config cut within a group": ("config.yaml", lambda path: path.write_text(path.read_text().split("  tau")[0])),
    "config is not YAML": ("config.yaml", lambda path: path.write_text("run: [")),
    "config names a list": ("config.yaml", lambda path: path.write_text("env:\n- a\n")),
    "metrics are something else": ("metrics.csv", lambda path: path.write_text("garbage\nmore\n")),
    "metrics lack their last row's end": ("metrics.csv", lambda path: path.write_text(path.read_text() + "90,1\n")),
    "metrics hold a word": ("metrics.csv", lambda path: path.write_text(path.read_text().replace("\n30,", "\nx,"))),
    "metrics end within a row": (
        "metrics.csv",
        lambda path: path.write_text(path.read_text().rstrip().rpartition(",")[0]),
    ),
    "metrics are not text": ("metrics.csv", lambda path: path.write_bytes(b"\xff\xfe\n\xff")),
    "metrics are not finite": ("metrics.csv", lambda path: path.write_text(NOT_FINITE.sub(r"\1inf", path.read_text()))),
    "metrics are empty": ("metrics.csv", lambda path: path.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_named_in_one_line(damage: str, runs: Path, tmp_path: Path, capsys) -> None:
    name, spoil = DAMAGES[damage]
    shutil.copytree(runs / "s1", tmp_path / "spoilt")
    spoil(tmp_path / "spoilt" / name)
    cli.app(["plot", str(runs / "s0"), str(tmp_path / "spoilt"), f"out={tmp_path / 'c.png'}"], standalone_mode=False)
    out, err = capsys.readouterr()
    assert "sac: 1 run\n" in out and err.count("\n") == 1 and f"left out: '{tmp_path / 'spoilt'}" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["s0", "other"], "different tasks, double_integrator, pendulum"),
        (["none"], "no run can be used"),
        (["s0", "out=c.gif"], "must end in .png"),
        (["s0", "out=no/such/c.png"], "there is no directory"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, runs: Path, capsys) -> None:
    assert message in refused("plot", *(word if "=" in word else str(runs / word) for word in words), capsys=capsys)
