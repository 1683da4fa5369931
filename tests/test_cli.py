"""The command line: bad input gets one clear line and exit code 2; --help names every setting."""

import contextlib
import os
import pty
import re
import subprocess
import sys

import pytest
from support.runs import TINY, refused, run, words

from diffmaac.settings import FIELDS, about, parse_words, read_file, with_file
from diffmaac.tasks import resolve_task

BAD = {
    "train env=pendlum": "Did you mean 'pendulum'? There are: ant, cartpole",
    "train env=pendulum algorithm=mac": "Did you mean 'maac'?",
    "train dynamics=tru": "Did you mean 'true'? There are: learned, mixed, true.",
    "train preset=quik": "Did you mean 'quick'?",
    "train horizont=3": "Did you mean 'horizon'? `diffmaac settings` lists all.",
    "train a=b": "unknown setting 'a'. `diffmaac settings` lists all.",
    "train horizon=-1": "must be auto, or between 0 and 1,000",
    "train horizon=two": "must be of type int",
    "train gamma=1.5": "must be between 0.0 and 1.0",
    "train members=0": "must be between 1 and 1,000",
    "train batch_size=0": "must be between 1 and 1,048,576",
    "train hidden=[64,0]": "must be between 1 and 65,536",
    "train actor_batch_size=512": "must be at most batch_size=256",
    "train rollout_length=[5,1]": "the first not above the second",
    "train algorithm=sac horizon=2": "contradicts algorithm=sac, which fixes horizon=0",
    "train seed=1 seed=2": "seed= is given twice",
    "train resume=": "is not a setting",
    "train actor_lr=.inf": "must be at least",
    "train target_entropy=.nan": "must be finite",
    "train random_steps=1": "must be between 10 and",
    "train imagined_states=2 rollout_length=[5,5]": "at least the longest rollout",
    "train rollout_length=[]": "must be 2 numbers, got 0",
    "train env=[a]": "unknown env '[a]'",
    "train resume=7": "'7' is not a run directory",
    "train config=7": "there is no settings file '7'",
    "train config=[a]": "there is no settings file",
    "train horizon=auto critics=1": "critics=1: horizon=auto",
    "train out=/dev/null/x": "cannot be made",
    "train horizon": "is not a setting. Settings are written name=value",
    "train resume=no/such/run": "is not a run directory",
    "train config=no.yaml": "there is no settings file 'no.yaml'",
    "check-gradients": "say exactly one of env=, model= and run=",
    "check-gradients env=ant model=robot.xml": "say exactly one of env=, model= and run=",
    "check-gradients env=double_integrator": "has no MuJoCo model to check",
    "check-gradients model=no.xml": "there is no such file",
    "check-gradients env=pendulum gradient=implict": "Did you mean 'implicit'?",
    "check-gradients env=pendulum state=3": "Did you mean 'states'?",
    "check-gradients env=pendulum states=0": "must be between 1 and",
    "check-gradients env=pendulum precision=float16": "There are: float32, float64.",
    "check-gradients env=pendulum out=no/such/check.csv": "there is no directory",
    "check-gradients run=no/such/run": "is not a run directory",
    "evaluate no/such/run": "is not a run directory",
    "evaluate no/such/run episodes=0": "must be run, or between 1 and",
    "evaluate no/such/run planner=cem": "is not a run directory",
    "evaluate no/such/run planner=mppi": "There are: cem, none.",
    "evaluate no/such/run episode=5": "Did you mean 'episodes'?",
}


@pytest.mark.parametrize("command", BAD)
def test_bad_input_is_one_clear_line(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert BAD[command] in refused(*command.split(), capsys=capsys)
    assert list(tmp_path.iterdir()) == [], "nothing may be left behind"


def test_cuda_without_a_gpu_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "device=cuda: torch cannot use CUDA here" in refused("train", "device=cuda", capsys=capsys)


def test_an_existing_directory_is_named_and_kept(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert "exists. Continue it with resume=" in refused("train", f"out={tmp_path}", capsys=capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_settings_come_from_a_file_and_words_win(capsys, tmp_path):
    (tmp_path / "s.yaml").write_text("env: double_integrator\ndynamics: true\nhorizon: 3\ngama: 0.9\n")
    assert "Did you mean 'gamma'?" in refused("train", f"config={tmp_path / 's.yaml'}", capsys=capsys)


def test_train_then_evaluate(capsys, tmp_path):
    path = tmp_path / "run"
    code, out, err = run(
        "train", *words(**TINY), "env=double_integrator", "dynamics=true", f"out={path}", capsys=capsys
    )
    assert code == 0 and "return over 1 episodes" in out and "learning curve" in out
    assert out.splitlines()[-1].startswith(f"next: diffmaac report {path}") and f"resume={path} steps=240" in out
    assert "run directory" in err
    assert "dynamics: 'true'" in (path / "config.yaml").read_text()
    code, out, _ = run("evaluate", str(path), "episodes=2", capsys=capsys)
    assert code == 0 and "environment step 120" in out and "return over 2 episodes" in out


def test_a_dry_run_tells_settings_memory_and_time_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_words = [*words(**TINY), "env=double_integrator", "seed=3"]
    code, out, _ = run("train", *tiny_words, "dry_run=true", capsys=capsys)
    assert code == 0 and "seed: 3" in out and "memory: about" in out and "time: about" in out
    assert "nothing was trained" in out and not list(tmp_path.iterdir())
    assert "dry_run=true is for a new run" in refused("train", "resume=x", "dry_run=true", capsys=capsys)
    assert "dry_run='perhaps'" in refused("train", "dry_run=perhaps", capsys=capsys)


def test_a_quiet_run_prints_its_directory(capsys, tmp_path):
    path = tmp_path / "run"
    code, out, err = run("train", *words(**TINY), "env=double_integrator", f"out={path}", "quiet=true", capsys=capsys)
    assert (code, out, err) == (0, f"{path}\n", "")


@pytest.mark.parametrize("given", [[], ["env=half_cheetah", "preset=paper", "horizon=2"], ["algorithm=sac", "seed=4"]])
def test_a_settings_file_gives_the_run_that_it_was_made_for(given, capsys, tmp_path):
    code, out, _ = run("settings", *given, capsys=capsys)
    file = tmp_path / "my.yaml"
    assert code == 0 and all(f"{name}: " in out for name in FIELDS)
    file.write_text(out)
    both = (read_file(file), parse_words(given))
    from_file, from_words = (resolve_task(told.get("env", "pendulum"), told)[1] for told in both)
    assert from_file == from_words
    file.write_text(out.replace("# gamma: 0.99", "gamma: 0.5"))
    told = with_file({"config": file})
    assert resolve_task(told["env"], told)[1].agent.gamma == 0.5


def test_the_shell_completes_commands():
    words = {"COMP_WORDS": "diffmaac sw", "COMP_CWORD": "1", "_DIFFMAAC_COMPLETE": "complete_bash"}
    program = [sys.executable, "-c", "import sys; sys.argv = ['diffmaac']; from diffmaac.cli import main; main()"]
    done = subprocess.run(program, env={**os.environ, **words}, capture_output=True, text=True)
    assert done.stdout.split() == ["sweep"]


def test_help_names_every_setting_with_its_meaning(capsys):
    _, out, _ = run("train", "--help", capsys=capsys)
    for name, f in FIELDS.items():
        assert f"{name}=" in out and about(f).help in out
    _, out, _ = run("evaluate", "--help", capsys=capsys)
    assert "episodes=" in out and "seed=" in out and "planner=" in out and "candidates=" in out


def test_without_arguments_it_shows_the_help(capsys):
    bare, asked = run(capsys=capsys), run("--help", capsys=capsys)
    assert bare == asked and bare[0] == 0 and bare[1].startswith("Usage: ") and "\n  sweep " in bare[1]


def in_a_terminal(*words: str, **environment: str) -> str:
    """What the command line writes to a terminal."""
    main_end, terminal = pty.openpty()
    unset = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    program = [sys.executable, "-c", "from diffmaac.cli import main; main()", *words]
    environment = {**unset, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    with subprocess.Popen(program, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        written = b""
        with contextlib.suppress(OSError):  # so Linux tells that the other end is closed
            while part := os.read(main_end, 65536):
                written += part
    os.close(main_end)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["sweep", "--help"]])
def test_help_has_colours_in_a_terminal_and_loses_no_bracket(words, capsys, monkeypatch):
    """It differs from what goes to a file in its colours alone."""
    monkeypatch.setenv("COLUMNS", "80")
    _, plain, _ = run(*words, capsys=capsys)
    shown = in_a_terminal(*words)
    colour = re.compile(r"\x1b\[[\d;]*m")
    assert "\x1b" not in plain and colour.sub("", shown) == plain
    assert all(part in shown for part in ("\x1b[1;33mUsage\x1b[0m:", "\x1b[1;36m--help\x1b[0m"))
    if words[0] == "train":
        assert "\x1b[1;36mauto_horizons\x1b[0m=\x1b[32m[0,1,2,4,8]\x1b[0m " in shown
        assert "what the gradient flows through\x1b[2m [learned|true|mixed]\x1b[0m" in shown


def test_help_has_no_colours_where_they_are_not_wanted(capsys):
    _, plain, _ = run("runs", "--help", capsys=capsys)
    assert "\x1b" not in in_a_terminal("runs", "--help", NO_COLOR="1")
    assert "\x1b" not in in_a_terminal("runs", "--help", TERM="dumb")
    assert plain.startswith("Usage: diffmaac runs [OPTIONS] [RUN] [NAME=VALUE]...\n")


def test_envs_lists_every_task(capsys):
    _, out, _ = run("envs", capsys=capsys)
    for name in ("double_integrator", "pendulum", "half_cheetah", "s[8] - 0.1 |a|^2", "Wang et al. 2019"):
        assert name in out


@pytest.mark.parametrize("statement", ["import diffmaac", "import diffmaac.cli", "import diffmaac, diffmaac_envs"])
def test_import_loads_neither_jax_nor_matplotlib(statement):
    check = f"{statement}, sys; sys.exit(any(m in sys.modules for m in ('jax', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
