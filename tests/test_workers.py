"""Processes that share the rows of a gradient: equal to the bit, their errors, their end."""

import os
import subprocess
import sys
import time

import mujoco
import numpy as np
import pytest
from support.engine import ASSORTMENT, load, random_states
from support.features import loose

from diffmaac.physics import EngineDifferentiation, UnsupportedModel, engine_gradient, workers

ROWS, FRAME_SKIP, DEADLINE = 50, 2, 60.0


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch):
    """Two ready processes of a pool of its own, for every batch."""
    own = workers.Pool()
    monkeypatch.setattr(workers, "_POOL", own)
    monkeypatch.setattr(workers, "WORTHWHILE", 1)
    until = time.monotonic() + DEADLINE
    while len(own.ready(2)) < 2:
        assert time.monotonic() < until, "the processes are not ready"
        time.sleep(0.05)
    yield own
    own.end()


def arrays_for(model: mujoco.MjModel) -> tuple[np.ndarray, ...]:
    rng, inputs = np.random.default_rng(2), random_states(model, ROWS)
    return (*inputs, *(rng.normal(size=x.shape) for x in inputs[:3]))


@pytest.mark.parametrize("integrator", ["Euler", "RK4"])
def test_rows_are_equal_to_the_bit(pool: workers.Pool, integrator: str) -> None:
    model = load(ASSORTMENT, integrator)
    arrays, asked = arrays_for(model), pool.ready(2)
    alone = EngineDifferentiation(model, FRAME_SKIP, threads=1).pull_back(*arrays)
    together = EngineDifferentiation(model, FRAME_SKIP, threads=3).pull_back(*arrays)
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert all(worker.models == 1 for worker in asked)


def test_a_model_that_is_gone_is_forgotten(pool: workers.Pool) -> None:
    model = load(ASSORTMENT, "Euler")
    for _ in range(3):
        differentiation = EngineDifferentiation(model, FRAME_SKIP, threads=3)
        differentiation.pull_back(*arrays_for(model))
        del differentiation
    assert [worker.models for worker in pool.ready(2)] == [0, 0]


def test_an_error_names_the_row_of_the_batch(pool: workers.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The box lies in the last row alone, and noslip iterations, were they not refused by name, act there."""
    monkeypatch.setattr(engine_gradient, "check_model", lambda model, frame_skip: None)
    text = loose("box", ".1 .1 .1", 0.0999, option='noslip_iterations="5" gravity="3 0 -9.8"')
    model = mujoco.MjModel.from_xml_string(text)
    qpos, qvel = np.tile(model.qpos0, (ROWS, 1)), np.zeros((ROWS, model.nv))
    qpos[:-1, 2] += 1.0
    none = np.zeros((ROWS, 0))
    with pytest.raises(UnsupportedModel, match=rf"of sample {ROWS - 1}: "):
        EngineDifferentiation(model, 1, threads=3).pull_back(qpos, qvel, none, none, qpos, qvel, none)


@pytest.mark.parametrize("when", ["before", "while"])
def test_where_one_ends_its_work_is_done_here(
    pool: workers.Pool, when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(ASSORTMENT, "Euler")
    arrays, first = arrays_for(model), pool.ready(2)[0]
    alone = EngineDifferentiation(model, FRAME_SKIP, threads=1).pull_back(*arrays)
    if when == "before":
        os.kill(first.pid, 9)
    else:
        own = workers.TrajectoryAdjoint.pull_back

        def pull_back(*given: object) -> object:
            os.kill(first.pid, 9)
            return own(*given)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(workers.TrajectoryAdjoint, "pull_back", pull_back)
    differentiation = EngineDifferentiation(model, FRAME_SKIP, threads=3)
    for ours, expected in zip(differentiation.pull_back(*arrays), alone, strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert caplog.text.count("this one does its work") == 1
    assert len(pool.ready(2)) == 1


def test_an_answer_that_nobody_waited_for_is_thrown_away(pool: workers.Pool) -> None:
    """That of a call which was interrupted."""
    model = load(ASSORTMENT, "Euler")
    arrays, other = arrays_for(model), load(ASSORTMENT, "RK4")
    alone = EngineDifferentiation(model, FRAME_SKIP, threads=1).pull_back(*arrays)
    differentiation, interrupted = (EngineDifferentiation(m, FRAME_SKIP, threads=3) for m in (model, other))
    trajectory = interrupted._engine.trajectory(*arrays[:4])
    pool.ready(2)[0].ask(interrupted._adjoint._key, other, (*trajectory, *arrays), 0)
    for ours, expected in zip(differentiation.pull_back(*arrays), alone, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_without_a_python_to_start_it_works_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "_POOL", workers.Pool())
    monkeypatch.setattr(workers, "WORTHWHILE", 1)
    monkeypatch.setattr(workers.sys, "executable", "/no/python")
    model = load(ASSORTMENT, "Euler")
    for _ in range(2):
        EngineDifferentiation(model, FRAME_SKIP, threads=3).pull_back(*arrays_for(model))
    assert caplog.text.count("no process can be started") == 1


def test_they_end_with_the_process_that_they_help() -> None:
    program = """
import os, sys, time
from diffmaac.physics import workers
while not (ready := workers._POOL.ready(1)): time.sleep(0.05)
print(ready[0].pid, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE)
    pid, until = int(done.stdout), time.monotonic() + DEADLINE
    while _runs(pid):
        assert time.monotonic() < until, "the process goes on"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
