"""Files of a run that went wrong, under every command that reads a run: it runs, or refuses in one line."""

import random
import shutil
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from support.odd import Tally, call, few
from support.odd_files import damages

import diffmaac
from diffmaac.cli import app
from diffmaac.experiments.scales import SMOKE

STEPS = 80
NAMES = {"double_integrator": "runs/double_integrator-maac-s0", "pendulum": "runs/pendulum-maac-s0"}
RUN, PENDULUM = NAMES.values()
REPRODUCED = ("envs=double_integrator", "variants=maac", "seeds=1", f"steps={STEPS}", "scale=smoke", "train=false")
READERS = (
    ("evaluate", RUN, "episodes=1"),
    ("evaluate", RUN, "episodes=1", "planner=cem", "candidates=2", "iterations=1", "plan_horizon=1"),
    ("plot", RUN),
    ("plot", RUN, "whole"),
    ("report", RUN),
    ("model-error", RUN, "states=2", "steps=1"),
    ("gradient-error", RUN, "horizons=0,1", "samples=2", "chunk=2"),
    ("train", f"resume={RUN}", f"steps={STEPS + 2}"),
    ("train", f"resume={RUN}"),
    ("check-gradients", f"run={PENDULUM}", "gradient=finite_difference", "states=2"),
    ("reproduce", "figure2", *REPRODUCED, "runs=runs", "out=out"),
    ("reproduce", "table1", *REPRODUCED, "runs=runs", "out=out"),
    ("reproduce", "table2", *REPRODUCED, "runs=runs", "out=out"),
)
"""Every command that reads a run, with the words with which it takes little time."""
TARGETS = (
    *(
        "config.yaml",
        "metrics.csv",
        "evaluation.json",
        "checkpoint/manifest.json",
        f"checkpoint/state-{STEPS}.safetensors",
    ),
    *("checkpoint", "figures", "figures/model_error.csv", "figures/learning_curve.png", "planning.json", ".lock", "."),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of two tasks, one of them twice, and all that is measured of one."""
    home = tmp_path_factory.mktemp("home")
    for env, name in NAMES.items():
        small = {**SMOKE, "steps": STEPS, "threads": 1, "log": "csv"}
        diffmaac.train(env, **small, out=str(home / name), progress=False)
    shutil.copytree(home / RUN, home / "whole")
    for words in (
        ["model-error", str(home / RUN), "states=2", "steps=1"],
        ["reproduce", "table1", *REPRODUCED, f"runs={home / 'runs'}"],
    ):
        app(words, standalone_mode=False)
    return home


def test_a_damaged_run_is_read_or_refused_in_one_line(home: Path, tmp_path: Path) -> None:
    tally = Tally()

    @few(40)
    @given(st.sampled_from(READERS), st.sampled_from(TARGETS), st.integers(0, 100), st.integers(0, 2**32))
    def one(words: tuple[str, ...], target: str, which: int, seed: int) -> None:
        folder = tmp_path / "home"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(home, folder)
        path, other = (PENDULUM, RUN) if PENDULUM in words[1] else (RUN, PENDULUM)
        file = folder / path / target
        compiles = target == "." and words[0] == "gradient-error"  # pendulum's physics in its place: half a minute
        if compiles or not (file.exists() or file.is_symlink()):
            return
        choices = damages(file)
        damage = choices[which % len(choices)]
        damage(file, folder / other / target, random.Random(seed))
        tally.add(call(words, folder), note=f"{target}: {damage.__name__} ({seed})")

    one()
    tally.check()
