"""`diffmaac reproduce` at its smallest scale: every experiment is made; runs are reused, resumed, refused."""

import dataclasses
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import Here
from support.runs import numbers, refused

import diffmaac
from diffmaac import cli
from diffmaac.experiments.aggregates import ending, grouped, overall, random_return, summary
from diffmaac.experiments.engine import LocalEngine
from diffmaac.experiments.make import make
from diffmaac.experiments.plan import plan
from diffmaac.experiments.scales import COMPARED, SCALES, Amount
from diffmaac.experiments.timing import without_random
from diffmaac.files import read_json, read_table
from diffmaac.runs.checkpoint import saved_step
from diffmaac.runs.layout import CHECKPOINT, EVALUATION, METRICS
from diffmaac.runs.metrics import read_metrics

SMOKE = SCALES["smoke"]


def reproduce(*words: str) -> None:
    cli.app(["reproduce", words[0], "scale=smoke", *words[1:]], standalone_mode=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of figure 2, all five algorithms on two seeds, in a folder with a space.

    Two are trained in processes of their own, both at a time; the others need not wait for one to start.
    """
    folder = tmp_path_factory.mktemp("reproduce") / "my runs"
    reproduce("figure2", f"runs={folder}", "variants=maac,sac", "seeds=1", "jobs=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Here)
        reproduce("figure2", f"runs={folder}")
    return folder


@pytest.fixture
def in_this_process(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After those of figure 2, which have processes of their own, trainings need not wait for one to start."""
    monkeypatch.setattr(subprocess, "Popen", Here)


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    """Two of these runs, to be spoilt."""
    for name in ("pendulum-maac-s0", "pendulum-sac-s0"):
        shutil.copytree(runs / name, tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_figure2_has_every_algorithm_and_seed(runs: Path) -> None:
    evaluations = read_table(runs / "figure2.csv")
    assert all(row["machine"] and row["versions"].startswith("diffmaac==") for row in evaluations)
    rows = {(row["curve"], row["seed"]) for row in evaluations}
    assert rows == {(variant.label, seed) for variant in COMPARED.values() for seed in "01"}
    last = {row["curve"]: row for row in read_table(runs / "figure2_summary.csv") if row["step"] == "120"}
    for label, row in last.items():
        returns = [float(e["return"]) for e in evaluations if e["curve"] == label and e["step"] == "120"]
        assert float(row["iqm"]) == pytest.approx(sum(returns) / 2, rel=1e-4) and row["runs"] == "2"
        assert min(returns) - 1e-3 <= float(row["low"]) <= float(row["high"]) <= max(returns) + 1e-3
    assert (runs / "figure2.png").stat().st_size > 10_000
    assert "| SVG(1) | 2 | 120 |" in (runs / "figure2.md").read_text()
    assert "horizon: 0" in (runs / "figure2.yaml").read_text()


def test_runs_may_lie_in_a_folder_with_a_space(runs: Path) -> None:
    assert " " in runs.name and "left out" not in (runs / "figure2.md").read_text()
    assert len(list(runs.glob("pendulum-*-s[01]/metrics.csv"))) == 2 * len(COMPARED)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("experiment", ["figure3", "figure3 variants=fast", "figure4", "figure5", "table1", "table2"])
def test_every_other_experiment_is_made(experiment: str, runs: Path, tmp_path: Path, capsys) -> None:
    reproduce(*experiment.split(), f"out={tmp_path}", *([] if "figure3" in experiment else [f"runs={runs}"]))
    written = capsys.readouterr().out.split("written: ")[1].strip().split(", ")
    assert {Path(file).suffix for file in written} >= {".csv", ".yaml"}
    assert all(Path(file).parent == tmp_path and Path(file).stat().st_size > 100 for file in written)
    assert all(Path(file).stem.startswith("figure3_fast" if "fast" in experiment else experiment) for file in written)


@pytest.mark.usefixtures("in_this_process")
def test_table1_takes_tasks_with_and_without_a_criterion(runs: Path, tmp_path: Path) -> None:
    reproduce("table1", f"runs={runs}", f"out={tmp_path}", "envs=double_integrator,pendulum", "seeds=1", "steps=120")
    rows = read_table(tmp_path / "table1.csv")
    assert [(row["env"], row["planner"]) for row in rows] == [
        (env, planner) for env in ("double_integrator", "pendulum") for planner in ("none", "cem")
    ]
    assert [bool(row["plan_ms"]) for row in rows] == [False, True, False, True]
    assert [row["candidates"] for row in rows] == ["", "256", "", "256"]
    record = runs / "double_integrator-maac-s0" / "planning.json"  # episodes of thirty steps are planned in no time
    before = record.read_text()
    again = [f"runs={runs}", f"out={tmp_path}", "envs=double_integrator", "seeds=1", "steps=120"]
    reproduce("table1", *again)
    assert record.read_text() == before  # it is read
    stale = before.replace('"candidates": 256', '"candidates": 8'), before.replace('"revision": 2', '"revision": 1')
    for text in (*stale, "[1, 2]", '{"a": 1}'):  # of another planner, or damaged: it is measured again
        assert text != before
        record.write_text(text)
        reproduce("table1", *again)
        assert '"candidates": 256' in record.read_text() and '"revision": 2' in record.read_text()


def test_table2_sums_the_parts(runs: Path, tmp_path: Path) -> None:
    reproduce("table2", f"runs={runs}", f"out={tmp_path}", "train=false")
    for row in read_table(tmp_path / "table2.csv"):
        parts = [float(row[f"{name}_s"]) for name in ("model", "optimisation", "imagination", "environment")]
        assert sum(parts) == pytest.approx(float(row["total_s"]), abs=0.05) and min(parts) >= 0
        assert float(row["optimisation_s"]) > 0 and float(row["model_s"]) > 0
        assert row["steps"] == "80"  # of 120, the first forty are random


@pytest.mark.parametrize(
    ("random", "first", "steps"), [(0, 40, 120), (40, 80, 80), (50, 120, 40), (120, None, 0), (500, None, 0)]
)
def test_epochs_with_random_steps_are_left_out(random: int, first: int | None, steps: int) -> None:
    learning, count = without_random([{"step": step} for step in ("40", "80", "120")], random)
    assert [row["step"] for row in learning][:1] == ([str(first)] if first else []) and count == steps


def test_runs_are_reused(copied: Path, capsys) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.glob("*/metrics.csv")}
    reproduce("figure2", f"runs={copied}", "variants=maac,sac", "seeds=1")
    assert {path: path.stat().st_mtime_ns for path in copied.glob("*/metrics.csv")} == before
    assert "left out" not in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_a_run_that_stopped_is_resumed(copied: Path) -> None:
    reproduce("figure2", f"runs={copied}", "variants=sac", "seeds=1", "steps=160")
    steps = [row["step"] for row in read_metrics(copied / "pendulum-sac-s0" / "metrics.csv")]
    assert steps == ["40", "80", "120", "160"]


@pytest.mark.usefixtures("in_this_process")
def test_a_run_killed_after_its_last_row_is_completed(copied: Path, tmp_path: Path) -> None:
    """Before the checkpoint of that row it is trained from the one before; before its evaluation it is evaluated."""
    whole, path = copied / "pendulum-sac-s0", tmp_path / "killed" / "pendulum-sac-s0"
    words = [f"runs={path.parent}", "variants=sac", "seeds=1"]
    reproduce("figure2", *words, "steps=80")
    shutil.copy2(whole / METRICS, path / METRICS)
    reproduce("figure2", *words)
    assert saved_step(path / CHECKPOINT) == 120 and numbers(path) == numbers(whole)
    (path / EVALUATION).unlink()
    reproduce("figure2", *words)
    evaluations = [read_json(run / EVALUATION, dict, "return") for run in (path, whole)]
    assert evaluations[0] == evaluations[1] is not None


def test_finished_runs_need_no_checkpoint_and_unfinished_ones_do(copied: Path, capsys) -> None:
    shutil.rmtree(copied / "pendulum-sac-s0" / CHECKPOINT)
    reproduce("figure2", f"runs={copied}", "variants=maac,sac", "seeds=1")
    assert "left out" not in capsys.readouterr().err
    chosen = plan({"sac": COMPARED["sac"]}, SMOKE.comparison, {**SMOKE.changes, "epoch_steps": 40}, copied)[:1]
    chosen[0].path.joinpath("metrics.csv").write_text("step,seconds,return,return_std\n40,1,-3,0\n")
    sound, broken = make(chosen, LocalEngine(1))
    assert sound == [] and "has no checkpoint to go on from" in broken[0]


def test_a_run_of_other_settings_is_named_and_the_others_are_drawn(
    copied: Path, tmp_path: Path, capsys, caplog
) -> None:
    """Where nothing is to be trained it is used as it is, as long as all runs of its curve have the same settings."""
    config = copied / "pendulum-sac-s0" / "config.yaml"
    config.write_text(config.read_text().replace("tau: 0.01", "tau: 0.02"))
    words = [f"runs={copied}", f"out={tmp_path / 'out'}", "variants=maac,sac"]
    difference = "was made with tau=0.02, and tau=0.01 is wanted"
    reproduce("figure2", *words, "seeds=1", "train=false")
    err = capsys.readouterr().err
    assert "left out: " not in err and f"{difference}. It is used as it is." in caplog.text
    assert {row["curve"] for row in read_table(tmp_path / "out" / "figure2.csv")} == {"MAAC", "SAC"}
    shutil.copytree(config.parent, copied / "pendulum-sac-s1")
    other = copied / "pendulum-sac-s1" / "config.yaml"
    other.write_text(other.read_text().replace("tau: 0.02", "tau: 0.03").replace("seed: 0", "seed: 1"))
    reproduce("figure2", *words, "seeds=2", "train=false")
    err = capsys.readouterr().err
    assert err.count("left out: ") >= 2 and f"{difference}. Other runs of its curve were not." in err
    assert {row["curve"] for row in read_table(tmp_path / "out" / "figure2.csv")} == {"MAAC"}


def test_a_garbled_run_is_named_and_the_others_are_drawn(copied: Path, tmp_path: Path, capsys) -> None:
    (copied / "pendulum-sac-s0" / "metrics.csv").write_text("garbage\nmore\n")
    reproduce("figure2", f"runs={copied}", f"out={tmp_path / 'out'}", "variants=maac,sac", "seeds=1", "train=false")
    message = f"left out: '{copied / 'pendulum-sac-s0' / 'metrics.csv'}' is damaged"
    assert message in capsys.readouterr().err and message in (tmp_path / "out" / "figure2.md").read_text()
    (row,) = (row for row in read_table(tmp_path / "out" / "figure2_summary.csv") if row["step"] == "120")
    assert row["curve"] == "MAAC" and row["iqm"] and row["low"] == row["std"] == ""  # of one run there is no spread


@pytest.mark.usefixtures("in_this_process")
def test_tasks_are_aggregated_where_there_are_several(runs: Path, tmp_path: Path) -> None:
    words = ["variants=sac,mbpo", "seeds=2", "steps=120", "envs=pendulum,double_integrator"]
    reproduce("figure2", f"runs={runs}", f"out={tmp_path}", *words)
    page = (tmp_path / "figure2.md").read_text()
    assert "| double_integrator | SAC | 2 | 120 |" in page  # 120 steps teach nothing, so it is no aggregate, or a row
    assert ("| all, normalised | SAC | 4 | end |" in page) != ("is above random actions (" in page)


def test_the_aggregate_over_tasks_is_of_known_numbers(runs: Path, tmp_path: Path) -> None:
    """0 is random actions, 1 the best curve of a task, tasks count alike, at the last step that all runs have."""
    chosen = {name: COMPARED[name] for name in ("maac", "sac")}
    planned = plan(chosen, {"pendulum": Amount(120, 2), "double_integrator": Amount(120, 2)}, SMOKE.changes, tmp_path)
    random = {env: random_return(env) for env in ("pendulum", "double_integrator")}
    above = {"pendulum": {"maac": (100, 300), "sac": (50, 50)}, "double_integrator": {"maac": (0, 2), "sac": (3, 5)}}
    for one in planned:
        shutil.copytree(runs / f"pendulum-{one.variant}-s0", one.path)
        value = random[one.env] + above[one.env][one.variant][one.words["seed"]]
        later = "" if one.name == "pendulum-maac-s0" else "120,3,-999,0\n"  # this one was stopped
        (one.path / "metrics.csv").write_text(f"step,seconds,return,return_std\n80,2,{value},0\n{later}")
    groups, broken, cut = grouped(planned)
    assert broken == [] and cut == ["pendulum-maac-s0 ends at step 80 of 120; so MAAC is shown to step 80."]
    aggregates, message = overall({env: curves for env, curves in groups.items() if env == "pendulum"})
    assert message == [] and {row["curve"]: float(row["iqm"]) for row in aggregates} == {"MAAC": 1.0, "SAC": 0.25}
    for one in planned:
        text = (one.path / "metrics.csv").read_text()
        (one.path / "metrics.csv").write_text(text.replace("120,3,-999,0\n", ""))
    aggregates, message = overall(groups)
    maac, sac = ([float(row[name]) for name in ("runs", "iqm", "low", "high")] for row in aggregates)
    assert message == [] and maac == pytest.approx([4, 0.625, 0.25, 1.0]) and sac[:2] == [4, 0.625]
    assert all(low <= iqm <= high for _, iqm, low, high in (maac, sac))
    for one in planned:
        (one.path / "metrics.csv").write_text("step,seconds,return,return_std\n80,2,-999,0\n")
    assert overall(groups)[0] == [] and "no curve of pendulum is above random actions" in overall(groups)[1][0]
    apart = {env: {label: curves[label]} for (env, curves), label in zip(groups.items(), ("MAAC", "SAC"), strict=True)}
    assert overall(apart) == ([], ["no aggregate over tasks: no curve is on all of them."])


def test_a_curve_whose_runs_share_no_step_is_named(copied: Path, runs: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(runs / "pendulum-sac-s1", copied / "pendulum-sac-s1")
    (copied / "pendulum-sac-s1" / "metrics.csv").write_text("step,seconds,return,return_std\n39,1,-3,0\n")
    shutil.copytree(runs / "pendulum-maac-s1", copied / "pendulum-maac-s1")
    reproduce("figure2", f"runs={copied}", f"out={tmp_path / 'out'}", "variants=maac,sac", "train=false")
    assert "left out: SAC on pendulum: there is no environment step at which all" in capsys.readouterr().err
    assert {row["curve"] for row in read_table(tmp_path / "out" / "figure2.csv")} == {"MAAC"}


def test_runs_without_an_evaluation_so_early_are_named(runs: Path, tmp_path: Path, capsys) -> None:
    words = ["figure2", "scale=smoke", f"runs={runs}", "steps=30", "train=false"]
    assert "has no evaluation up to step 30." in refused("reproduce", *words, capsys=capsys)


def test_unsolved_runs_count_as_later_than_all_others(runs: Path, tmp_path: Path) -> None:
    planned = plan({"sac": COMPARED["sac"]}, {"pendulum": Amount(120, 3)}, SMOKE.changes, tmp_path)
    for one, solved in zip(planned, ("0.5,1,1", "0,0,1", "0,0,0"), strict=True):
        shutil.copytree(runs / "pendulum-sac-s0", one.path)
        lines = [f"{40 * (i + 1)},60,{i},0,{share}" for i, share in enumerate(solved.split(","))]
        (one.path / "metrics.csv").write_text("step,seconds,return,return_std,solved\n" + "\n".join(lines) + "\n")
    assert ending(summary("pendulum", "SAC", planned)[-1], planned)[-2] == "120 (2 of 3)"
    assert ending(summary("pendulum", "SAC", planned[1:])[-1], planned[1:])[-2] == "> 120 (1 of 2)"


def test_a_run_past_the_steps_is_cut(copied: Path, capsys) -> None:
    reproduce("figure2", f"runs={copied}", "variants=maac,sac", "seeds=1", "steps=100")
    assert "left out" not in capsys.readouterr().err
    assert {row["step"] for row in read_table(copied / "figure2.csv")} == {"40", "80"}


def test_a_failing_run_is_named(tmp_path: Path) -> None:
    changes = {**SMOKE.changes, "actor_lr": 1e30}
    chosen = plan({"sac": COMPARED["sac"]}, {"pendulum": SMOKE.comparison["pendulum"]}, changes, tmp_path)[:1]
    sound, broken = make(chosen, LocalEngine(1))
    assert sound == [] and broken[0].startswith("pendulum-sac-s0 stopped with exit code 2")
    assert "stopped at environment step" in broken[0] and "\n" not in broken[0]


def test_a_termination_stops_the_trainings(tmp_path: Path) -> None:
    words = ["reproduce", "figure2", "envs=pendulum", "variants=sac", "seeds=2", "jobs=2", f"runs={tmp_path}"]
    parent = subprocess.Popen([sys.executable, "-m", "diffmaac.cli", *words], stderr=subprocess.PIPE, text=True)
    logs = [tmp_path / f"pendulum-sac-s{seed}.log" for seed in range(2)]
    while not all(log.is_file() and "run directory" in log.read_text() for log in logs):
        assert parent.poll() is None
        time.sleep(0.1)
    time.sleep(1)  # into the training itself
    parent.terminate()
    _, error = parent.communicate(timeout=60)
    assert parent.returncode == 130 and "diffmaac: stopped. The same command goes on from here." in error
    assert all("diffmaac: stopped. Go on with" in log.read_text() for log in logs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["figure6"], "unknown experiment 'figure6'. Did you mean 'figure5'?"),
        (["figure2", "scale=tiny"], "There are: full, quick, smoke."),
        (["figure2", "variants=mac"], "Did you mean 'maac'?"),
        (["figure2", "envs=pendlum"], "Did you mean 'pendulum'?"),
        (
            ["figure2", "envs=double_integrator"],
            "scale=quick does not have env=double_integrator. Say its steps= and seeds= as well.",
        ),
        (["figure3", "steps=10"], "steps= has no meaning for figure3"),
        (["figure3", "variants=slow,fast"], "figure3 is of one policy"),
        (["figure3", "variants=slo"], "Did you mean 'slow'?"),
        (["figure3", "runs=a", "out=b"], "runs= has no meaning for figure3"),
        (["figure2", "train=false"], "runs=runs/reproduce/quick: there is no such directory"),
        (["figure2", "train=false", "runs=."], "no run can be used. there is no run 'pendulum-maac-s0'. And 109 more."),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused("reproduce", *words, capsys=capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_scale_is_complete() -> None:
    """Every variant of every scale on every task resolves to settings that train."""
    from diffmaac.experiments.scales import FURTHER_ABLATIONS
    from diffmaac.tasks import resolve_task

    for scale in SCALES.values():
        for variants, amounts in (
            (COMPARED, scale.comparison),
            (scale.ablations, scale.ablation),
            (FURTHER_ABLATIONS, scale.ablation),
        ):
            once = {env: dataclasses.replace(amount, seeds=1) for env, amount in amounts.items()}
            for planned in plan(variants, once, scale.changes, Path("runs")):
                settings = resolve_task(planned.env, planned.words)[1]
                assert settings.run.steps == planned.steps and settings.run.threads == 1
    assert diffmaac.get_task("pendulum").presets  # the small scales rest on it
