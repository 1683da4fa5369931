"""MuJoCo as a torch function: values, gradients, dtypes, and what is refused."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable

import mujoco
import numpy as np
import pytest
import torch
from support.engine import ASSORTMENT, PENDULUM, load, random_states

from diffmaac import DifferentiablePhysics, DiffmaacError, DivergenceError, physics
from diffmaac.physics import EngineGradient, FiniteDifference, UnrolledGradient, announcing, host

FRAME_SKIP = 3


def inputs(dtype: torch.dtype = torch.float64, batch: int = 8) -> list[torch.Tensor]:
    """(qpos, qvel, ctrl) of the pendulum."""
    columns = torch.randn(3, batch, 1, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return [x.clone().requires_grad_() for x in columns]


def gradients(step: DifferentiablePhysics, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    state = inputs(dtype)
    qpos, qvel = step(*state)
    return torch.autograd.grad(qpos.square().sum() + qvel.sin().sum(), state)


@pytest.fixture(scope="module")
def implicit() -> DifferentiablePhysics:
    """Compiled as for users, which other tests do not wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physics, "compiler_options", host.compiler_options)
        return DifferentiablePhysics(load(PENDULUM, "Euler"), FRAME_SKIP, "implicit")


@pytest.fixture(scope="module")
def differenced() -> DifferentiablePhysics:
    return DifferentiablePhysics(load(PENDULUM, "Euler"), FRAME_SKIP, "finite_difference")


def test_value_is_the_engines(implicit: DifferentiablePhysics) -> None:
    """With a gradient (MJX), without one (the C engine), and by `mj_step`, one state at a time."""
    model = load(PENDULUM, "Euler")
    data = mujoco.MjData(model)
    state = inputs()
    with torch.no_grad():
        without = implicit(*state)
    for row, (qpos, qvel, ctrl) in enumerate(zip(*state, strict=True)):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = (x.detach().numpy() for x in (qpos, qvel, ctrl))
        mujoco.mj_step(model, data, nstep=FRAME_SKIP)
        for outputs in (implicit(*state), without):
            assert outputs[0][row].item() == pytest.approx(data.qpos[0], abs=1e-14)
            assert outputs[1][row].item() == pytest.approx(data.qvel[0], abs=1e-14)


def test_gradients_agree(implicit: DifferentiablePhysics, differenced: DifferentiablePhysics) -> None:
    for exact, difference in zip(gradients(implicit), gradients(differenced), strict=True):
        torch.testing.assert_close(difference, exact, rtol=1e-7, atol=1e-8)


def test_recomputing_changes_no_gradient(implicit: DifferentiablePhysics) -> None:
    again = DifferentiablePhysics(load(PENDULUM, "Euler"), FRAME_SKIP, "implicit", remat=True)
    for stored, recomputed in zip(gradients(implicit), gradients(again), strict=True):
        torch.testing.assert_close(recomputed, stored, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_inputs(dtype: torch.dtype, differenced: DifferentiablePhysics) -> None:
    assert {x.dtype for x in differenced(*inputs(dtype))} == {dtype}
    assert {x.dtype for x in gradients(differenced, dtype)} == {dtype}


@pytest.mark.parametrize("name", ["implicit", "differenced"])
def test_second_derivatives_raise(name: str, request: pytest.FixtureRequest) -> None:
    state = inputs()
    qpos, _ = request.getfixturevalue(name)(*state)
    (first,) = torch.autograd.grad(qpos.sum(), state[0], create_graph=True)
    with pytest.raises(RuntimeError, match="only first derivatives"):
        torch.autograd.grad(first.sum(), state[0])


def test_activations_go_in_and_come_out() -> None:
    model = load(ASSORTMENT, "Euler")
    step = DifferentiablePhysics(model, 2, "finite_difference")
    qpos, qvel, act, ctrl = (torch.from_numpy(x) for x in random_states(model, 4))
    with pytest.raises(ValueError, match="needs act="):
        step(qpos, qvel, ctrl)
    ctrl.requires_grad_()
    after = step(qpos, qvel, ctrl, act)
    assert [x.shape for x in after] == [qpos.shape, qvel.shape, act.shape]
    (gradient,) = torch.autograd.grad(after[2].sum(), ctrl)
    assert gradient.abs().sum() > 0


def test_auto_chooses_by_size_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    text = """<mujoco><option noslip_iterations="3"/><worldbody><body><freejoint/><geom size="1"/></body>
      </worldbody></mujoco>"""
    with caplog.at_level(logging.INFO, "diffmaac"):
        refused = DifferentiablePhysics(mujoco.MjModel.from_xml_string(text))
    assert refused.gradient == FiniteDifference()
    assert "gradient=auto takes central differences" in caplog.text and "3 noslip iterations" in caplog.text
    small = DifferentiablePhysics(load(PENDULUM, "Euler"))
    assert small.gradient == FiniteDifference() and "FiniteDifference(eps=1e-06)" in repr(small)
    with caplog.at_level(logging.INFO, "diffmaac"):
        assert DifferentiablePhysics(load(ASSORTMENT, "Euler")).gradient == EngineGradient()
    assert "gradient=auto takes EngineGradient(): it is exact" in caplog.text
    assert isinstance(DifferentiablePhysics(load(PENDULUM, "Euler"), 1, "unrolled").gradient, UnrolledGradient)


def test_compiling_is_announced_once(caplog: pytest.LogCaptureFixture) -> None:
    step = DifferentiablePhysics(load(PENDULUM, "Euler"), FRAME_SKIP, "implicit")
    with caplog.at_level(logging.INFO, "diffmaac"):
        for _ in range(2):
            gradients(step)
    assert [
        record.getMessage().split(" of ")[0] for record in caplog.records if "compiling" in record.getMessage()
    ] == ["compiling MuJoCo's step and its gradient for batches"]
    assert "so the next start takes a few" in caplog.text
    assert "waiting for JAX to trace and compile 1 degrees of freedom and 0 pairs of geoms" in caplog.text


def test_a_long_compilation_says_that_it_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "PATIENCE", 0.01)
    with caplog.at_level(logging.INFO, "diffmaac"), announcing.announced(load(PENDULUM, "Euler"), "it", 2, "float32"):
        time.sleep(0.2)
    assert "still compiling it: 0 s" in caplog.text


FORKED = """
import os, sys, torch, diffmaac
torch.set_num_threads(THREADS)
step = diffmaac.DifferentiablePhysics(MJCF, 1, GRADIENT)
column = torch.ones(4, 1, requires_grad=True)
def run():
    step(column, column, column)[0].sum().backward()
run()
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    run()
except diffmaac.DiffmaacError as error:
    os._exit(7 if "get_context('spawn')" in str(error) else 8)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("gradient", "threads", "code"), [("implicit", 1, 7), ("finite_difference", 2, 7), ("finite_difference", 1, 0)]
)
def test_a_forked_process_is_told_to_spawn(gradient: str, threads: int, code: int) -> None:
    """It would wait for threads that it has not; the engine on one thread has none to miss."""
    program = FORKED.replace("MJCF", repr(PENDULUM.format(integrator="Euler")))
    program = program.replace("GRADIENT", repr(gradient)).replace("THREADS", str(threads))
    done = subprocess.run([sys.executable, "-c", program], timeout=300, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr


COLUMN = torch.zeros(4, 1, dtype=torch.float64)
BAD = {
    "ctrl has the shape \\(3, 1\\); expected \\(4, 1\\), batch first": (COLUMN, COLUMN, COLUMN[:3]),
    "qpos has the shape \\(4,\\)": (COLUMN[:, 0], COLUMN, COLUMN),
    "qpos has the shape \\(\\)": (COLUMN[0, 0], COLUMN, COLUMN),
    "act has the shape \\(4, 2\\); expected \\(4, 0\\)": (COLUMN, COLUMN, COLUMN, COLUMN.repeat(1, 2)),
    "qpos is float64, qvel is float32, ctrl is float64. Give all of one type": (COLUMN, COLUMN.float(), COLUMN),
    "qvel is not finite in row 2 of 4": (COLUMN, COLUMN.index_fill(0, torch.tensor(2), torch.nan), COLUMN),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_raises(message: str, differenced: DifferentiablePhysics) -> None:
    with pytest.raises(ValueError, match=message):
        differenced(*BAD[message])


def test_another_device_raises(differenced: DifferentiablePhysics) -> None:
    with pytest.raises(ValueError, match="inputs are on cpu, cpu, cpu, meta; move them to one device"):
        differenced(COLUMN, COLUMN, COLUMN.to("meta"))


@pytest.mark.parametrize(
    ("gradient", "frame_skip", "message"),
    [
        ("implict", 1, "Did you mean 'implicit'"),
        ("auto", 0, "frame_skip is 0"),
    ],
)
def test_bad_settings_raise(gradient: str, frame_skip: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DifferentiablePhysics(load(PENDULUM, "Euler"), frame_skip, gradient)


def test_divergence_names_the_sample_and_the_time_step(
    differenced: DifferentiablePhysics, capfd: pytest.CaptureFixture
) -> None:
    qvel = COLUMN.clone()
    qvel[1] = 1e300
    with pytest.raises(DivergenceError, match="sample 1 of 4 diverged at time step 1 of 3"):
        differenced(COLUMN, qvel, COLUMN)


@pytest.mark.parametrize(("speed", "torque"), [(1e12, 0.0), (0.0, 1e12)])
def test_what_mujoco_takes_for_bad_is_a_divergence(speed: float, torque: float) -> None:
    """It makes no further step from numbers beyond 1e10, and acts as if all controls were zero."""
    step = DifferentiablePhysics(load(PENDULUM, "Euler"), 3)
    with pytest.raises(DivergenceError, match="sample 1 of 4 diverged at time step"):
        step(COLUMN, *(torch.tensor([[0.0], [x], [0], [0]], dtype=COLUMN.dtype) for x in (speed, torque)))


@pytest.mark.parametrize("change", [lambda x: x[::-1], lambda x: x.astype(">f8")], ids=["reversed", "big-endian"])
def test_arrays_of_any_memory_are_taken(change: Callable[[np.ndarray], np.ndarray]) -> None:
    step, given = DifferentiablePhysics(load(PENDULUM, "Euler"), 1), np.linspace(0, 1, 4)[:, None]
    odd = change(given)
    for x, expected in zip(step(odd, odd, odd), step(*[np.array(odd, float)] * 3), strict=True):
        torch.testing.assert_close(x, expected)
    with pytest.raises(DiffmaacError, match=r"qpos is a torch\.sparse_coo tensor"):
        step(COLUMN.to_sparse(), COLUMN, COLUMN)


def test_the_gradient_of_the_c_engine_needs_no_jax() -> None:
    """Which takes seconds to import; the implicit gradient of MJX needs it, and brings it."""
    code = """
import sys, mujoco, torch, diffmaac
body = '<body><freejoint/><geom size="1"/></body>'
model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
qpos, qvel, ctrl = (torch.ones(2, n, dtype=torch.float64, requires_grad=True) for n in (7, 6, 0))
for gradient in ("auto", "engine", "finite_difference"):
    diffmaac.DifferentiablePhysics(model, 2, gradient)(qpos, qvel, ctrl)[0].sum().backward()
assert qvel.grad.abs().sum() > 0 and "jax" not in sys.modules
diffmaac.DifferentiablePhysics(model, 2, "implicit")
sys.modules["jax"]
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_gradient_changes_no_value(implicit: DifferentiablePhysics) -> None:
    with torch.no_grad():
        without = implicit(*inputs())
    for one, other in zip(implicit(*inputs()), without, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["implicit", "differenced"])
def test_a_gradient_that_arrives_not_finite_is_named(name: str, request: pytest.FixtureRequest) -> None:
    qpos, _ = request.getfixturevalue(name)(*inputs())
    with pytest.raises(DivergenceError, match="arrives at the step's result is not finite in row 3 of 8"):
        (qpos[3] * torch.inf * 0).sum().backward()
