"""The implicit gradient of the C engine: a closed form, every feature of MJCF that changes a step, and its guards."""

import mujoco
import numpy as np
import pytest
import torch
from support.engine import ASSETS, ASSORTMENT, PENDULUM, contact_states, load, pull_back, random_states
from support.features import driven, features, leg, loose, moving_states, scene

from diffmaac import DifferentiablePhysics
from diffmaac.analysis.physics_check import differences
from diffmaac.errors import DivergenceError
from diffmaac.physics import (
    Engine,
    EngineDifferentiation,
    EngineGradient,
    FiniteDifference,
    UnsupportedModel,
    actuation,
    batched_control_step,
    engine_gradient,
)
from diffmaac.physics.inverse import InverseDynamics
from diffmaac.physics.state_differences import smooth_side
from diffmaac.physics.tangent import TangentSpace

FRAME_SKIP, STATES = 2, 6
MODELS = features()
ROD = """
<mujoco><option timestep="{h}" gravity="0 0 -{gravity}"/><worldbody><body>
  <joint axis="0 1 0" damping="{damping}"/><inertial pos="0 0 -{length}" mass="{mass}" diaginertia="1e-6 1e-6 1e-6"/>
</body></worldbody><actuator><motor joint="" /></actuator></mujoco>"""


def cotangents_of(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    return tuple(rng.normal(size=x.shape) for x in inputs[:3])


def smooth_errors(model: mujoco.MjModel, frame_skip: int, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
    """Relative to central differences of the C engine, of the states that do not sit on a kink."""
    cotangents = cotangents_of(inputs)
    gradients = EngineDifferentiation(model, frame_skip, 1).pull_back(*inputs, *cotangents)
    central, kink = differences(model, frame_skip, inputs, cotangents)
    ours = np.concatenate([TangentSpace(model).project(inputs[0], gradients[0]), *gradients[1:]], axis=1)
    return (np.linalg.norm(ours - central, axis=1) / np.linalg.norm(central, axis=1))[~kink]


def test_pendulum_is_that_of_the_closed_form() -> None:
    """Euler with implicit damping: (I + h b) a = u - m g l sin(q) - b v, with I = m l^2 + 1e-6."""
    h, gravity, damping, length, mass = 0.01, 9.81, 0.3, 0.5, 2.0
    text = ROD.format(h=h, gravity=gravity, damping=damping, length=length, mass=mass)
    model = mujoco.MjModel.from_xml_string(
        text.replace("<joint axis", '<joint name="j" axis').replace('joint=""', 'joint="j"')
    )
    rng = np.random.default_rng(0)
    qpos, qvel, ctrl, to_qpos, to_qvel = rng.normal(size=(5, 20, 1))
    act = np.zeros((20, 0))
    inertia = mass * length**2 + 1e-6 + h * damping
    to_velocity = to_qvel + h * to_qpos
    expected = (
        to_qpos - h * mass * gravity * length * np.cos(qpos) / inertia * to_velocity,
        (1 - h * damping / inertia) * to_velocity,
        act,
        h / inertia * to_velocity,
    )
    gradients = EngineDifferentiation(model, 1, 1).pull_back(qpos, qvel, act, ctrl, to_qpos, to_qvel, act)
    for gradient, exact in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, exact, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_every_feature_is_differentiated(name: str) -> None:
    model = mujoco.MjModel.from_xml_string(MODELS[name])
    errors = smooth_errors(model, FRAME_SKIP, moving_states(model, STATES))
    assert len(errors) > 0 and np.median(errors) < 1e-6 and errors.max() < 1e-4


@pytest.mark.parametrize(("file", "frame_skip"), [("half_cheetah.xml", 5), ("hopper.xml", 4), ("humanoid.xml", 5)])
def test_contacts_of_locomotion_are_differentiated(file: str, frame_skip: int) -> None:
    """Humanoid has geoms enough for those that touch nothing to be left out."""
    model = mujoco.MjModel.from_xml_path(str(ASSETS / file))
    errors = smooth_errors(model, frame_skip, contact_states(model, frame_skip, 16))
    assert np.median(errors) < 1e-6 and errors.max() < 1e-3


def test_forces_that_a_function_adds_are_differentiated() -> None:
    """Also where it is set after the gradient was made."""
    model = mujoco.MjModel.from_xml_string(leg())
    inputs = moving_states(model, STATES)
    gradient = EngineDifferentiation(model, FRAME_SKIP, 1)
    cotangents = cotangents_of(inputs)
    without = gradient.pull_back(*inputs, *cotangents)

    def push(model: mujoco.MjModel, data: mujoco.MjData) -> None:
        data.qfrc_passive[:] -= 5 * data.qpos[0] ** 2 + 3 * data.qvel**2

    mujoco.set_mjcb_passive(push)
    try:
        assert smooth_errors(model, FRAME_SKIP, inputs).max() < 1e-5
        central, _ = differences(model, FRAME_SKIP, inputs, cotangents)
        pushed = np.concatenate(gradient.pull_back(*inputs, *cotangents), axis=1)
        np.testing.assert_allclose(pushed, central, rtol=1e-4, atol=1e-6)
    finally:
        mujoco.set_mjcb_passive(None)
    assert np.abs(pushed - np.concatenate(without, axis=1)).max() > 1e-3


@pytest.mark.parametrize("integrator", ["Euler", "RK4", "implicitfast"])
def test_joints_activations_and_equalities_together(integrator: str) -> None:
    model = load(ASSORTMENT, integrator)
    errors = smooth_errors(model, 3, random_states(model, 16))
    assert np.median(errors) < 1e-6 and errors.max() < 1e-3


@pytest.mark.parametrize("file", [None, "half_cheetah.xml", "hopper.xml"])
def test_a_row_depends_neither_on_others_nor_on_threads(file: str | None) -> None:
    model = load(ASSORTMENT, "Euler") if file is None else mujoco.MjModel.from_xml_path(str(ASSETS / file))
    inputs = random_states(model, 70) if file is None else contact_states(model, 3, 70)
    arrays = (*inputs, *cotangents_of(inputs))
    together = EngineDifferentiation(model, 3, threads=3).pull_back(*arrays)
    alone = EngineDifferentiation(model, 3, threads=1)
    for row in (0, 33, 69):
        for gradient, expected in zip(alone.pull_back(*(x[row : row + 1] for x in arrays)), together, strict=True):
            np.testing.assert_array_equal(gradient[0], expected[row])


def test_no_states_have_no_gradient() -> None:
    model = load(ASSORTMENT, "Euler")
    inputs = tuple(x[:0] for x in random_states(model, 1))
    gradients = EngineDifferentiation(model, 3, 1).pull_back(*inputs, *inputs[:3])
    assert [x.shape for x in gradients] == [x.shape for x in inputs]


def test_of_a_control_at_its_bound_the_gradient_is_the_mean_of_both_sides() -> None:
    """As central differences have it; beyond it there is none."""
    model = mujoco.MjModel.from_xml_string(leg(driven("motor", 'ctrlrange="-.5 .5"')))
    qpos, qvel, act, _ = moving_states(model, 5)
    ctrl = np.repeat([[-0.6], [-0.5], [0.0], [0.5], [0.6]], model.nu, axis=1)
    qpos, qvel = (np.repeat(x[:1], 5, axis=0) for x in (qpos, qvel))
    gradients = EngineDifferentiation(model, 1, 1).pull_back(qpos, qvel, act, ctrl, qpos, np.ones_like(qvel), act)[3]
    np.testing.assert_allclose(gradients / gradients[2], np.repeat([[0], [0.5], [1], [0.5], [0]], model.nu, axis=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_in_torch_it_agrees_with_finite_differences(dtype: torch.dtype) -> None:
    model = load(ASSORTMENT, "Euler")
    inputs = [torch.from_numpy(x).to(dtype).requires_grad_() for x in random_states(model, 8)]
    qpos, qvel, act, ctrl = inputs
    results = []
    for gradient in ("engine", "finite_difference"):
        after = DifferentiablePhysics(model, 3, gradient)(qpos, qvel, ctrl, act)
        assert {x.dtype for x in after} == {dtype}
        results.append((after, torch.autograd.grad(torch.cat(after, dim=1).sin().sum(), inputs)))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0)
    ours, differences = (torch.cat(gradients, dim=1) for _, gradients in results)
    errors = (ours - differences).norm(dim=1) / differences.norm(dim=1)
    assert errors.median() < 1e-6


def test_values_may_be_changed_in_place_after_the_backward_pass_has_its_own() -> None:
    """The trajectory that the backward pass goes along is no view of the outputs."""
    model = load(PENDULUM, "Euler")
    inputs = [torch.from_numpy(x).requires_grad_() for x in np.random.default_rng(0).normal(size=(3, 4, 1))]
    step = DifferentiablePhysics(model, 2, "engine")
    expected = torch.autograd.grad(step(*inputs)[1].sum(), inputs)
    qpos, qvel = step(*inputs)
    with torch.no_grad():
        qpos.mul_(0)
    torch.testing.assert_close(torch.autograd.grad(qvel.sum(), inputs), expected, rtol=0, atol=0)


def test_second_derivatives_raise() -> None:
    inputs = [torch.ones(2, 1, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    qpos, _ = DifferentiablePhysics(load(PENDULUM, "Euler"), 2, "engine")(*inputs)
    (first,) = torch.autograd.grad(qpos.sum(), inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="only first derivatives"):
        torch.autograd.grad(first.sum(), inputs[0])


def test_it_is_a_control_step_in_jax() -> None:
    model = load(PENDULUM, "Euler")
    inputs = random_states(model, 5)
    (value, gradients), (expected, slopes) = (
        pull_back(batched_control_step(model, 3, gradient), inputs, cotangents_of(inputs))
        for gradient in (EngineGradient(), FiniteDifference())
    )
    for ours, theirs in zip((*value, *gradients), (*expected, *slopes), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-8)


REFUSED = {
    "nothing that moves": scene(""),
    "noslip iterations": loose("box", ".1 .1 .1", 0.0999, option='noslip_iterations="5" gravity="3 0 -9.8"'),
    "has a delay": leg(driven("motor", 'delay=".02" nsample="10"')),
    "LuGre friction": leg(driven("dcmotor", 'motorconst=".5" resistance="2" lugre="10 .1 .05 .3 .1"')),
    "the flag ipc": loose(
        "box", ".1 .1 .1", 1, option='integrator="discrete" solver="CG"', head='<option><flag ipc="enable"/></option>'
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_inverse_dynamics_lacks_is_refused(message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        DifferentiablePhysics(mujoco.MjModel.from_xml_string(REFUSED[message]), 1, "engine")


def backward(text: str, frame_skip: int = 1, at_rest: bool = False) -> None:
    model = mujoco.MjModel.from_xml_string(text)
    inputs = moving_states(model, STATES)
    if at_rest:
        inputs = (np.tile(model.qpos0, (STATES, 1)), np.zeros_like(inputs[1]), *inputs[2:])
    EngineDifferentiation(model, frame_skip, 1).pull_back(*inputs, *cotangents_of(inputs))


def test_the_residual_finds_what_acts_in_the_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noslip iterations, were they not refused by name."""
    monkeypatch.setattr(engine_gradient, "check_model", lambda model, frame_skip: None)
    with pytest.raises(
        UnsupportedModel, match=r"time step 1 of sample \d.*on joint 0, degree of freedom \d unexplained"
    ):
        backward(REFUSED["noslip iterations"], at_rest=True)


def test_no_body_sleeps(caplog: pytest.LogCaptureFixture) -> None:
    """Whether one does depends on steps before: here on how often the same is asked."""
    text = loose("box", ".1 .1 .1", 0.1, head='<option sleep_tolerance=".1"><flag sleep="enable"/></option>')
    step = DifferentiablePhysics(text)
    assert "no body sleeps here" in caplog.text
    qpos = torch.tensor([[0, 0, 0.1, 1, 0, 0, 0]], dtype=torch.float64).expand(24, 7)
    qvel = torch.tensor([[0.01, 0, 0, 0, 0, 0]], dtype=torch.float64).expand(24, 6).clone().requires_grad_()
    once, after = (step(qpos, qvel, qvel.new_zeros(24, 0))[1] for _ in range(2))
    assert (once == once[0]).all() and (after == once).all() and after[0, 0] > 0.001
    assert torch.autograd.grad(after[:, 0].sum(), qvel)[0].abs().min(0).values[0] > 0.1


@pytest.mark.parametrize("gradient", ["engine", "finite_difference"])
def test_a_quaternion_of_zeros_has_no_gradient(gradient: str) -> None:
    step = DifferentiablePhysics(loose("box", ".1 .1 .1", 1), gradient=gradient)
    qpos, qvel = (torch.zeros(2, width, dtype=torch.float64, requires_grad=True) for width in (7, 6))
    with torch.no_grad():
        qpos[0, 3] = 1
    after = step(qpos, qvel, qvel.new_zeros(2, 0))
    with pytest.raises(DivergenceError, match=r"qpos\[3:7\], a quaternion, is zero in row 1 of 2"):
        torch.autograd.grad(after[1].sum(), qpos)


def test_the_spot_check_finds_what_the_residual_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """That an implicit step depends on how forces change with the velocity, were it forgotten."""
    monkeypatch.setattr(actuation, "is_implicit", lambda model: False)
    with pytest.raises(UnsupportedModel, match="is not that of the C engine for this model"):
        backward(leg(driven("general", 'gaintype="affine" gainprm="2 0 2"'), option='integrator="implicitfast"'))


@pytest.mark.parametrize("height", [0.1, 0.1 + 1e-9, 0.1 - 1e-9])
@pytest.mark.parametrize("geom", ['size=".1"', 'type="box" size=".1 .1 .1"'])
@pytest.mark.parametrize("falling", [0.0, -1.0])
def test_a_body_that_just_touches_the_floor_is_no_alarm(height: float, geom: str, falling: float) -> None:
    """A kink: as likely a first state as any. The gradient is that of one side, and finite."""
    world = f'<geom type="plane" size="1 1 1"/><body pos="0 0 {height}"><freejoint/><geom {geom} mass="1"/></body>'
    step = DifferentiablePhysics(f"<mujoco><worldbody>{world}</worldbody></mujoco>", gradient="engine")
    qpos = torch.tensor([[0, 0, height, 1, 0, 0, 0]], dtype=torch.float64, requires_grad=True)
    qvel = torch.tensor([[0, 0, falling, 0, 0, 0]], dtype=torch.float64, requires_grad=True)
    after = step(qpos, qvel, qvel.new_zeros(1, 0))[1]
    slope = torch.autograd.grad(after[0, 2], qvel)[0][0, 2]
    assert 0 < slope <= 1 + 1e-9


def test_a_jump_on_one_side_leaves_the_other() -> None:
    above, below = np.array([[1e6, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.1, 4.0]])
    np.testing.assert_allclose(smooth_side(above, below), [[1.0, 2.0], [3.05, 4.0]])


def test_contacts_of_ellipsoids_turn_as_they_do() -> None:
    """The engine's search for them ends at a polyhedron, whose normals do not turn over short differences."""
    egg = '<freejoint/><geom type="ellipsoid" size=".1 .08 .09"/></body>'
    text = scene(f'<body pos="0 0 .1">{egg}<body pos=".03 .02 .28" euler="0 0 .5">{egg}')
    model, rng = mujoco.MjModel.from_xml_string(text), np.random.default_rng(0)
    data, states = mujoco.MjData(model), list[tuple[np.ndarray, np.ndarray]]()
    while len(states) < STATES:
        mujoco.mj_resetData(model, data)
        mujoco.mj_integratePos(model, data.qpos, 0.02 * rng.standard_normal(model.nv), 1.0)
        mujoco.mj_step(model, data, nstep=45)
        mujoco.mj_forward(model, data)
        if (data.contact.geom.min(1) > 0).any():
            states.append((data.qpos.copy(), data.qvel.copy()))
    qpos, qvel = (np.stack(x) for x in zip(*states, strict=True))
    inputs = (qpos, qvel, *np.zeros((2, STATES, 0)))
    cotangents, tangent, engine = cotangents_of(inputs), TangentSpace(model), Engine(model, 1)
    arriving = np.concatenate(cotangents, axis=1)
    gradient = tangent.project(qpos, EngineDifferentiation(model, 1, 1).pull_back(*inputs, *cotangents)[0])
    expected = np.zeros_like(gradient)
    for i, direction in enumerate(np.eye(model.nv)):
        for step in (1e-5, -1e-5):
            moved = tangent.displace(qpos, np.tile(step * direction, (STATES, 1)))
            after = np.concatenate(engine.step(moved, *inputs[1:]), axis=1)
            expected[:, i] += (after * arriving).sum(1) / (2 * step)
    errors = np.linalg.norm(gradient - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert np.median(errors) < 1e-3


def test_leaving_out_geoms_that_touch_nothing_changes_nothing() -> None:
    model = mujoco.MjModel.from_xml_path(str(ASSETS / "humanoid.xml"))
    inputs = contact_states(model, 5, 8)
    narrow, wide = InverseDynamics(model), InverseDynamics(model)
    wide._differences._contacts._usable = False
    acceleration = np.zeros_like(inputs[1])
    for ours, all_of_them in zip(
        (narrow.linearize(*inputs, acceleration).qpos, narrow.linearize(*inputs, acceleration).qvel),
        (wide.linearize(*inputs, acceleration).qpos, wide.linearize(*inputs, acceleration).qvel),
        strict=True,
    ):
        np.testing.assert_allclose(ours, all_of_them, rtol=1e-6, atol=1e-6 * np.abs(all_of_them).max())
