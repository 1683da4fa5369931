"""MJCFs that went wrong: `check-gradients` and `MujocoSystem` take them, or refuse in one line, and leave nothing."""

# pyright: reportAttributeAccessIssue=false
# The names of the `mujoco` module come from a C extension without stubs.

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given
from support.odd import Tally, call, few
from support.odd_models import ARM, models

import diffmaac
from diffmaac import DiffmaacError, TaskError
from diffmaac.analysis.physics_check import check_gradient, visited_states
from diffmaac.errors import one_line
from diffmaac.physics import Engine
from diffmaac.system import parse_mjcf


def folder_with(content: bytes, parent: Path) -> Path:
    """An empty folder but for a model of that content."""
    folder = parent / "models"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "m.xml").write_bytes(content)
    return folder


def check_gradients(gradient: str, examples: int, parent: Path, seconds: float) -> None:
    tally = Tally()
    words = ["check-gradients", "model=m.xml", f"gradient={gradient}", "states=2"]

    @few(examples)
    @given(models())
    def one(content: bytes) -> None:
        tally.add(call(words, folder_with(content, parent), seconds=seconds), note=repr(content[:3000]))

    one()
    tally.check()


def test_check_gradients_takes_a_model_or_refuses_it_in_one_line(tmp_path: Path) -> None:
    check_gradients("finite_difference", 80, tmp_path, 20.0)


@pytest.mark.slow
def test_so_it_does_where_the_model_is_compiled(tmp_path: Path) -> None:
    check_gradients("implicit,unrolled", 100, tmp_path, 200.0)


def step_system(arguments: Sequence[str]) -> None:
    """A system of the model, from its file or its text, and some steps of its simulator; ends as a command does."""
    try:
        system = diffmaac.MujocoSystem.from_xml(*arguments, frame_skip=2)
        simulator = system.simulator()
        simulator.set_state(np.zeros(system.model.nq), np.zeros(system.model.nv))
        for _ in range(5):
            simulator.step(np.ones(system.action_size))
    except DiffmaacError as error:
        print(f"diffmaac: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def test_a_system_steps_or_is_refused(tmp_path: Path) -> None:
    tally = Tally()

    @few(200)
    @given(models())
    def one(content: bytes) -> None:
        for source in ("m.xml", content.decode(errors="replace")):
            if source == "m.xml" or source.lstrip().startswith("<"):
                tally.add(call((source,), folder_with(content, tmp_path), step_system), note=repr(content[:3000]))

    one()
    tally.check()


@pytest.mark.parametrize("threads", [1, 2])
def test_no_states_have_no_next_states(threads: int) -> None:
    """`mujoco.rollout` ends the process there."""
    model = parse_mjcf(ARM)
    engine = Engine(model, 3, threads)
    after = engine.step(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 0)), np.zeros((0, 2)))
    assert [x.shape for x in after] == [(0, 2), (0, 2), (0, 0)]


def test_a_model_that_diverges_at_once_cannot_be_checked() -> None:
    model = parse_mjcf(ARM)
    model.opt.gravity[:] = np.nan
    with pytest.raises(TaskError, match="diverges at once"):
        visited_states(model, 1, 2)
    with pytest.raises(TaskError, match="has no joint"):
        visited_states(parse_mjcf("<mujoco/>"), 1, 2)
    states = visited_states(parse_mjcf(ARM), 1, 2)
    with pytest.raises(TaskError, match="each of the 2 states diverges"):
        check_gradient(model, 1, states, "finite_difference")


def test_a_handler_of_ones_own_is_kept() -> None:
    """Parsing used to take it away."""
    before, heard = mujoco.get_mju_user_warning(), []
    mujoco.set_mju_user_warning(heard.append)
    try:
        parse_mjcf(ARM)
        assert mujoco.get_mju_user_warning() == heard.append
    finally:
        mujoco.set_mju_user_warning(before)
