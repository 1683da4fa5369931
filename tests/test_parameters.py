"""Gradients by a model's parameters: a closed form, every field against the C engine, and what is refused."""

import copy

import mujoco
import numpy as np
import pytest
import torch
from support.engine import ASSETS, ASSORTMENT, BOX_AND_BALL, contact_states, load, random_states, thrown_states
from support.features import COUPLED, STRING, leg, moving_states, scene, tendon

from diffmaac import DifferentiablePhysics, DiffmaacError
from diffmaac.analysis.parameter_check import check_parameter
from diffmaac.physics import ParameterDifferentiation, ParameterSpace, UnsupportedModel, parameter_slopes
from diffmaac.physics.parameter_engine import ParameterDifferences
from diffmaac.physics.parameter_fields import DERIVED, FIELDS, read
from diffmaac.physics.parameter_slopes import ParameterSlopes

INTEGRATORS = ("Euler", "RK4", "implicitfast", "implicit")
CLOSED = (
    *("body_mass", "body_inertia", "body_ipos", "opt.gravity", "dof_armature", "dof_damping", "dof_frictionloss"),
    *("jnt_stiffness", "qpos_spring"),
)
"""Fields that need no difference, in a model of hinges."""
ROD = """
<mujoco><option timestep="0.01"/><worldbody><body><joint name="j" axis="0 1 0" damping="0.3" stiffness="0.7"/>
  <inertial pos="0 0 -0.5" mass="2" diaginertia="0.1 0.1 0.1"/></body></worldbody>
  <actuator><motor joint="j" gear="3"/></actuator></mujoco>"""
EVERYTHING = """
<mujoco><compiler angle="radian"/><option timestep="0.004" cone="{cone}" density="1.2" viscosity=".1" impratio="2"/>
  <default><geom condim="4" friction=".7 .02 .01"/></default>
  <worldbody><geom name="floor" type="plane" size="5 5 .1" friction=".5 .01 .02"/>
    <body name="a" pos="0 0 .35" gravcomp=".2"><joint name="j0" axis="0 1 0" damping=".3 .1" stiffness="2 .5"
      armature=".01" frictionloss=".1"/><joint name="up" type="slide" axis="0 0 1" damping="1" limited="true"
      range="-.02 .1" stiffness="300"/>
      <geom type="capsule" fromto="0 0 0 .3 0 -.2" size=".04" mass="1"/><site name="s0" pos=".1 0 .1"/>
      <body name="b" pos=".3 0 -.2"><joint name="j1" axis="0 1 .3" damping=".2" limited="true" range="-.3 .4"/>
        <geom name="foot" type="box" size=".1 .05 .1" pos=".1 0 -.05" mass=".7" margin=".005"/>
        <site name="s1" pos=".2 0 .05"/></body></body>
    <body name="ball" pos="1 0 .098"><freejoint/><geom name="ball" size=".1" mass=".5"/></body>
  </worldbody>
  <contact><pair geom1="floor" geom2="ball" friction=".6 .5 .02 .01 .02" condim="6"
    solreffriction=".03 1.1"/></contact>
  <equality><joint joint1="j0" joint2="j1" polycoef="0 .3 0 0 0"/></equality>
  <tendon><spatial name="s" limited="true" range="0 .4" stiffness="30" damping="3" frictionloss=".2">
    <site site="s0"/><site site="s1"/></spatial></tendon>
  <actuator><general joint="j0" gainprm="3" biastype="affine" biasprm=".1 -2 -.3" ctrlrange="-1 .2" ctrllimited="true"/>
    <general joint="j1" dyntype="filter" dynprm=".05" gainprm="2" forcelimited="true" forcerange="-.4 .4"/>
    <motor tendon="s" gear="2"/></actuator></mujoco>"""
SPARE = {"opt.wind", "jnt_axis", "tendon_actfrcrange", "actuator_cranklength", "body_iquat", "body_ipos"}
"""Fields that `EVERYTHING` does not try: the last two its free ball refuses."""


def arm(integrator: str) -> mujoco.MjModel:
    """Three links with a coupling and a string, joints with all that joints can have, and motors on the tendons."""
    strings = tendon(
        COUPLED.format('stiffness="5" damping="2" springlength=".1" frictionloss=".1"')
        + f'<spatial name="s" limited="true" range="0 .62" stiffness="30" damping="3">{STRING}</spatial>',
        '<position tendon="t" kp="4" kv="1"/><motor tendon="s"/>',
    )
    joint = 'damping=".5" armature=".01" stiffness="2" frictionloss=".1" limited="true" range="-1 1"'
    text = leg(strings, joint, body='gravcomp=".3"', option=f'integrator="{integrator}"')
    return mujoco.MjModel.from_xml_string(text)


def cotangents_of(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    return tuple(rng.normal(size=x.shape) for x in inputs[:3])


def test_pendulum_is_that_of_the_closed_form() -> None:
    """(m l^2 + I + r + h b) a = g u + m l gz sin(q) - k q - b v, with the armature r and gz = -9.81."""
    names = (
        "body_mass",
        "body_inertia",
        "opt.gravity",
        "dof_armature",
        "dof_damping",
        "jnt_stiffness",
        "actuator_gear",
    )
    step = DifferentiablePhysics(ROD, parameters=names)
    values = {name: value.requires_grad_() for name, value in step.parameters.items()}
    q, v, u = torch.randn(3, 5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    after = step(q, v, u, parameters=values)[1]
    gradients = torch.autograd.grad(after.sum(), list(values.values()))
    m, i, g, r, b, k, gear = (
        torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (2, 0.1, -9.81, 0, 0.3, 0.7, 3)
    )
    inertia = m * 0.25 + i + r + 0.01 * b
    exact = v + 0.01 * (gear * u + m * 0.5 * g * q.sin() - k * q - b * v) / inertia
    torch.testing.assert_close(after, exact, rtol=0, atol=1e-12)
    expected = torch.autograd.grad(exact.sum(), (m, i, g, r, b, k, gear))
    places = ((1,), (1, 1), (2,), (0,), (0,), (0,), (0, 0))
    for ours, place, theirs in zip(gradients, places, expected, strict=True):
        assert ours[place].item() == pytest.approx(theirs.item(), rel=1e-7)


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_an_arm_with_tendons(integrator: str, name: str) -> None:
    model = arm(integrator)
    states = moving_states(model, 4)
    check = check_parameter(model, name, 2, states, cotangents_of(states))
    assert check.smooth.all() and check.errors.max() < 1e-6
    assert check.known == (integrator != "implicit")


@pytest.mark.parametrize("name", sorted({*CLOSED, "geom_friction"} - {"dof_frictionloss"}))
def test_half_cheetah_in_contact(name: str) -> None:
    model = mujoco.MjModel.from_xml_path(str(ASSETS / "half_cheetah.xml"))
    states = contact_states(model, 5, 6)
    check = check_parameter(model, name, 5, states, cotangents_of(states))
    assert len(check.counted) >= 4 and np.median(check.counted) < 1e-6 and check.counted.max() < 1e-5


@pytest.mark.parametrize("name", ["body_mass", "body_inertia", "geom_friction", "opt.gravity", "geom_solref"])
@pytest.mark.parametrize("condim", [3, 6])
def test_a_thrown_box_and_a_ball(condim: int, name: str) -> None:
    model = load(BOX_AND_BALL.replace("{condim}", str(condim)), "Euler")
    states = thrown_states(model, 8)
    check = check_parameter(model, name, 2, states, cotangents_of(states))
    assert len(check.counted) >= 4 and np.median(check.counted) < 1e-6 and check.counted.max() < 1e-4


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
@pytest.mark.parametrize("name", sorted(set(FIELDS) - SPARE))
def test_every_field(name: str, cone: str) -> None:
    model = mujoco.MjModel.from_xml_string(EVERYTHING.format(cone=cone))
    states = touching(model, 3)
    check = check_parameter(model, name, 1, states, cotangents_of(states))
    assert len(check.counted) > 0 and np.median(check.counted) < 3e-6  # of numbers that are zero, one-sided


def touching(model: mujoco.MjModel, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """States of a motion on the floor."""
    rng, data, rows = np.random.default_rng(0), mujoco.MjData(model), list[tuple[np.ndarray, ...]]()
    data.qvel[:] = 0.3 * rng.normal(size=model.nv)
    while len(rows) < count:
        data.ctrl[:] = rng.uniform(-0.9, 0.15, model.nu)
        mujoco.mj_step(model, data, nstep=20)
        rows.append(tuple(x.copy() for x in (data.qpos, data.qvel, data.act, data.ctrl)))
    qpos, qvel, act, ctrl = (np.stack(column) for column in zip(*rows, strict=True))
    return qpos, qvel, act, ctrl


@pytest.mark.parametrize("gradient", ["engine", "finite_difference"])
def test_gravity_is_compensated_at_its_full_rate(gradient: str) -> None:
    """Of a body that falls freely dv = h g dc. Where no body has a positive c, MuJoCo leaves negative ones out, so that
    a central difference at zero is half of it."""
    text = (
        """<mujoco><worldbody><body><joint type="slide" axis="0 0 1"/><geom size=".1"/></body></worldbody></mujoco>"""
    )
    step = DifferentiablePhysics(text, gradient=gradient, parameters=("body_gravcomp",))
    share = step.parameters["body_gravcomp"].requires_grad_()
    state = torch.zeros(1, 1, dtype=torch.float64)
    _, qvel = step(state, state, state[:, :0], parameters={"body_gravcomp": share})
    slope = torch.autograd.grad(qvel.sum(), share)[0]
    assert slope.tolist() == pytest.approx([0.0, 0.002 * 9.81], rel=1e-8)


@pytest.mark.parametrize("name", ["geom_solref", "actuator_cranklength"])
def test_the_referee_and_short_steps_are_clear_of_kinks_and_rounding(name: str) -> None:
    """half_cheetah's time constants lie where MuJoCo clamps them; a crank's length has no effect without a crank."""
    model = mujoco.MjModel.from_xml_path(str(ASSETS / "half_cheetah.xml"))
    states = contact_states(model, 5, 8)
    check = check_parameter(model, name, 5, states, cotangents_of(states)[:3])
    assert check.smooth.any() and np.median(check.counted) < 1e-6
    assert name == "geom_solref" or not check.errors.any()


@pytest.mark.parametrize("gradient", ["engine", "finite_difference"])
def test_rows_may_have_values_of_their_own(gradient: str) -> None:
    model = load(ASSORTMENT, "Euler")
    qpos, qvel, act, ctrl = (torch.from_numpy(x) for x in random_states(model, 5))
    step = DifferentiablePhysics(model, 3, gradient, parameters=("dof_damping", "body_mass"))
    own = step.parameters
    factors = torch.tensor([1.0, 1.2, 1.0, 0.7, 1.2], dtype=torch.float64)[:, None]
    batched = {name: (factors * value).requires_grad_() for name, value in own.items()}
    after = torch.cat(step(qpos, qvel, ctrl, act, parameters=batched), dim=1)
    gradients = torch.autograd.grad(after.sin().sum(), list(batched.values()))
    for row in range(5):
        shared = {name: value[row].detach().requires_grad_() for name, value in batched.items()}
        one = slice(row, row + 1)
        alone = torch.cat(step(qpos[one], qvel[one], ctrl[one], act[one], parameters=shared), dim=1)
        torch.testing.assert_close(alone, after[one], rtol=0, atol=0)
        expected = torch.autograd.grad(alone.sin().sum(), list(shared.values()))
        for ours, theirs in zip(gradients, expected, strict=True):
            torch.testing.assert_close(ours[row], theirs, rtol=1e-12, atol=1e-14)


def test_both_gradients_agree_and_float32_follows() -> None:
    model = arm("Euler")
    results = []
    for gradient, dtype in (("engine", torch.float64), ("finite_difference", torch.float64), ("engine", torch.float32)):
        qpos, qvel, _, ctrl = (torch.from_numpy(x).to(dtype) for x in moving_states(model, 4))
        step = DifferentiablePhysics(model, 2, gradient, parameters=("body_mass", "tendon_damping"))
        values = {name: value.to(dtype).requires_grad_() for name, value in step.parameters.items()}
        after = torch.cat(step(qpos, qvel, ctrl, parameters=values), dim=1)
        results.append(torch.autograd.grad(after.sin().sum(), list(values.values())))
    for exact, central, single in zip(*results, strict=True):
        torch.testing.assert_close(exact, central, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(exact, single.double(), rtol=1e-3, atol=1e-4)


def test_without_parameters_the_step_and_its_gradient_are_the_same_to_the_bit() -> None:
    model = load(ASSORTMENT, "Euler")
    inputs = [torch.from_numpy(x).requires_grad_() for x in random_states(model, 5)]
    qpos, qvel, act, ctrl = inputs
    results = []
    for step, given in (
        (DifferentiablePhysics(model, 3, "engine"), None),
        (DifferentiablePhysics(model, 3, "engine", parameters=("dof_damping",)), None),
        (DifferentiablePhysics(model, 3, "engine", parameters=("dof_damping",)), "own"),
    ):
        after = torch.cat(step(qpos, qvel, ctrl, act, parameters=step.parameters if given else None), dim=1)
        results.append((after, *torch.autograd.grad(after.sin().sum(), inputs)))
    for first, *others in zip(*results, strict=True):
        for other in others:
            torch.testing.assert_close(first, other, rtol=0, atol=0)


def test_values_are_those_that_the_compiler_would_have_set() -> None:
    """A heavier and larger ball, compiled and set: the same step, contacts and inverse weights included."""
    text = scene('<body pos="0 0 {}"><freejoint/><geom size="{}" mass="{}"/></body>'.replace("{}", "%s"))
    small, large = (mujoco.MjModel.from_xml_string(text % values) for values in ((0.11, 0.1, 1), (0.11, 0.12, 3)))
    step = DifferentiablePhysics(small, 10, parameters=("geom_size", "body_mass", "body_inertia"))
    values = {name: read(large, name) for name in step.parameters}
    inputs = (torch.from_numpy(large.qpos0)[None], torch.ones(1, 6, dtype=torch.float64), torch.zeros(1, 0).double())
    for ours, expected in zip(step(*inputs, parameters=values), DifferentiablePhysics(large, 10)(*inputs), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-13)
    changed = step.model_with(values)
    for name in (*DERIVED, "body_mass"):
        np.testing.assert_allclose(read(changed, name), read(large, name), rtol=1e-13)


def test_functions_of_torch_pass_through() -> None:
    step = DifferentiablePhysics(ROD, parameters=("body_mass",))
    q, v, u = torch.randn(3, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mass = step.parameters["body_mass"]

    def speed(mass: torch.Tensor) -> torch.Tensor:
        return step(q, v, u, parameters={"body_mass": mass})[1].sum()

    along = torch.autograd.functional.jacobian(speed, mass)
    torch.testing.assert_close(torch.func.grad(speed)(mass), along)
    several = torch.stack([mass, 2 * mass])
    mapped = torch.func.vmap(torch.func.grad(speed))(several)
    torch.testing.assert_close(mapped, torch.stack([torch.func.grad(speed)(x) for x in several]))


def test_it_can_be_copied() -> None:
    step = copy.deepcopy(DifferentiablePhysics(ROD, parameters=("body_mass",)))
    assert list(step.parameters) == ["body_mass"]


PUCK = (("slide", "1 0 0"), ("slide", "0 1 0"), ("hinge", "0 0 1"))
TWO_LINKS = """
<mujoco><option timestep=".005"/><worldbody>
  <body pos="0 0 1"><joint axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".03"/>
    <site name="s" pos=".3 0 .1"/></body>
  <body pos="0 .3 1"><joint axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".03"/>
    <site name="t" pos=".25 0 0"/></body>
</worldbody><tendon><spatial name="s"><site site="s"/><site site="t"/></spatial></tendon>
<actuator><general tendon="s"/></actuator></mujoco>"""
REFUSED = {
    "body_mas": "unknown parameter 'body_mas'. Did you mean 'body_mass'?",
    "geom_type": "holds integers",
    "jnt_limited": "holds integers",
    "dof_invweight0": "computes it from others",
    "opt.timestep": "part of the integration scheme",
    "opt.iterations": "holds integers",
    "geom_rgba": "no motion of this model depends on it",
    "tendon_stiffness": "is empty in this model",
    "body_ipos": "body '1' lie exactly in the body's frame.*simple=\"false\"",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_without_a_gradient_is_refused_by_name(name: str) -> None:
    text = scene('<body pos="0 0 1"><freejoint/><geom size=".1"/></body>')
    with pytest.raises(DiffmaacError, match=REFUSED[name]):
        DifferentiablePhysics(text, parameters=(name,))


@pytest.mark.parametrize("name", ["jnt_pos", "jnt_axis"])
def test_joints_of_a_diagonal_mass_matrix_stay_where_they_are(name: str) -> None:
    """Of a puck in the plane; with simple="false" they may move."""
    joints = "".join(f'<joint type="{kind}" axis="{axis}"/>' for kind, axis in PUCK)
    puck = f'<body {{}}>{joints}<geom type="box" size=".1 .2 .1" mass="1"/></body>'
    with pytest.raises(
        DiffmaacError, match=rf"{name} has no gradient.*inertia and joints of body '1'.*simple=\"false\""
    ):
        DifferentiablePhysics(scene(puck.format("")), parameters=(name,))
    DifferentiablePhysics(scene(puck.format('simple="false"')), parameters=(name,))
    DifferentiablePhysics(ROD, parameters=(name,))


PULLED = {"tendon_damping": 3.0, "actuator_armature": 3.0}


@pytest.mark.parametrize("name", PULLED)
def test_rows_do_not_depend_on_the_values_of_others(name: str) -> None:
    """With a damped string between two links, or the inertia of its motor, and without."""
    step = DifferentiablePhysics(TWO_LINKS, gradient="engine", parameters=(name,))
    q, v = (torch.tensor([row, row], dtype=torch.float64, requires_grad=True) for row in ((0.3, -0.6), (4.0, -5.0)))
    found = []
    for first in (0.0, PULLED[name]):
        values = torch.tensor([[first], [PULLED[name]]], dtype=torch.float64)
        after = step(q, v, torch.zeros(2, 1, dtype=torch.float64), parameters={name: values})[1]
        found.append(torch.autograd.grad(after[1, 0], (q, v)))
    for mixed, alike in zip(*found, strict=True):
        assert alike[1].abs().min() > 1e-5
        torch.testing.assert_close(mixed[1], alike[1], rtol=1e-9, atol=1e-12)


def test_masses_where_the_regularisation_is_exact() -> None:
    """With the flag diagexact it follows from the mass matrix, whatever invweight0 is."""
    text = scene('<body pos="0 0 .099"><freejoint/><geom size=".1" mass="1"/></body>')
    text = text.replace("<worldbody>", '<option><flag diagexact="enable"/></option><worldbody>', 1)
    inputs = torch.tensor([[0.1, 0, 0.098, 1, 0, 0, 0]], dtype=torch.float64), torch.full((1, 6), -0.2).double()
    slopes = []
    for gradient in ("engine", "finite_difference"):
        step = DifferentiablePhysics(text, gradient=gradient, parameters=("body_mass",))
        mass = step.parameters["body_mass"].requires_grad_()
        after = step(*inputs, torch.zeros(1, 0).double(), parameters={"body_mass": mass})[1]
        slopes.append(torch.autograd.grad(after[0, 0] + after[0, 2], mass)[0][1])
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-8)


def test_friction_below_the_least_that_mujoco_has() -> None:
    ball = '<body pos="0 0 .099"><freejoint/><geom size=".1" mass="1" friction="0"/></body>'
    text = scene(ball, option='cone="elliptic"')
    text = text.replace('type="plane"', 'type="plane" friction="0"')
    step = DifferentiablePhysics(text, gradient="engine", parameters=("geom_friction",))
    friction = step.parameters["geom_friction"].requires_grad_()
    qpos = torch.tensor([[0.0, 0, 0.098, 1, 0, 0, 0]], dtype=torch.float64)
    after = step(qpos, torch.full((1, 6), -0.2).double(), qpos[:, :0], parameters={"geom_friction": friction})[1]
    assert not torch.autograd.grad(after.sum(), friction)[0].any()


def test_no_rows_with_forces() -> None:
    empty = torch.zeros(0, 1)
    step = DifferentiablePhysics(ROD)
    after = step(empty, empty, empty, qfrc_applied=empty, xfrc_applied=torch.zeros(0, 2, 6))
    assert [x.shape for x in after] == [(0, 1), (0, 1)]


def test_gravity_that_is_disabled_has_no_slope() -> None:
    text = '<mujoco><option><flag gravity="disable"/></option><worldbody><body><joint type="slide"/><geom size=".1"/>'
    step = DifferentiablePhysics(f"{text}</body></worldbody></mujoco>", parameters=("opt.gravity",))
    gravity, state = step.parameters["opt.gravity"].requires_grad_(), torch.zeros(1, 1, dtype=torch.float64)
    velocity = step(state, state, state[:, :0], parameters={"opt.gravity": gravity})[1]
    assert not torch.autograd.grad(velocity.sum(), gravity)[0].any()


@pytest.mark.parametrize("gradient", ["engine", "finite_difference"])
def test_parameters_that_are_data_are_not_differentiated(gradient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = DifferentiablePhysics(
        ROD, gradient=gradient, parameters=("body_mass", "dof_damping"), outputs=("qvel", "qacc")
    )
    qpos, state = torch.full((2, 1), 0.3, dtype=torch.float64, requires_grad=True), torch.ones(2, 1).double()
    mass = torch.stack([step.parameters["body_mass"], 2 * step.parameters["body_mass"]])
    controls = torch.ones(2, 3, 1).double()

    def slopes(mass: torch.Tensor) -> list[torch.Tensor]:
        single, rolled = (
            call(qpos, state, inputs, parameters={"body_mass": mass})
            for call, inputs in ((step, controls[:, 0]), (step.rollout, controls))
        )
        return [torch.autograd.grad(x.sum(), qpos, retain_graph=True)[0] for x in (*single, *rolled)]

    wanted = slopes(mass.clone().requires_grad_())

    def fail(*_: object) -> None:
        raise AssertionError("the slopes of parameters were computed")

    monkeypatch.setattr(ParameterDifferences, "slopes", fail)
    monkeypatch.setattr(ParameterSlopes, "linearize", fail)
    for found, expected in zip(slopes(mass), wanted, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_joint_that_moves_no_mass_is_named() -> None:
    step = DifferentiablePhysics(ROD, parameters=("body_mass", "body_inertia"))
    state = [torch.zeros(2, 1, dtype=torch.float64) for _ in range(3)]
    mass = torch.stack([step.parameters["body_mass"], torch.zeros(2)]).double().requires_grad_()
    inertia = torch.stack([step.parameters["body_inertia"], torch.zeros(2, 3)]).double()
    after = step(*state, parameters={"body_mass": mass, "body_inertia": inertia})[1]
    with pytest.raises(DiffmaacError, match="degree of freedom 0 moves no mass"):
        after.sum().backward()


def test_values_that_cannot_be_used_are_refused() -> None:
    step = DifferentiablePhysics(ROD, parameters=("body_mass", "dof_damping"))
    state = [torch.zeros(3, 1, dtype=torch.float64) for _ in range(3)]
    mass = step.parameters["body_mass"]
    for given, message in (
        ({"body_mass": -mass}, r"body_mass\[1\] is -2 in row 0; allowed is a finite number of at least 0"),
        ({"body_mass": mass * torch.nan}, r"body_mass\[0\] is nan in row 0"),
        ({"body_mass": mass[:1]}, r"has the shape \(1,\); expected \(2,\), or \(3, 2\)"),
        ({"body_mass": mass.float()}, "float32.*float64.*must be alike"),
        ({"geom_friction": mass}, "unknown parameter 'geom_friction'"),
    ):
        with pytest.raises(DiffmaacError, match=message):
            step(*state, parameters=given)
    with pytest.raises(ValueError, match="built without parameters"):
        DifferentiablePhysics(ROD)(*state, parameters={"body_mass": mass})
    with pytest.raises(DiffmaacError, match="the text 'body_mass'"):
        DifferentiablePhysics(ROD, parameters="body_mass")
    with pytest.raises(DiffmaacError, match="names a field twice"):
        DifferentiablePhysics(ROD, parameters=("body_mass", "body_mass"))
    with pytest.raises(ValueError, match="implicit takes no parameters"):
        DifferentiablePhysics(ROD, gradient="implicit", parameters=("body_mass",))


def test_the_check_finds_a_wrong_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    """That masses scale the regularisation of contacts, were it forgotten."""
    monkeypatch.setattr(parameter_slopes, "WEIGHING", ())
    model = mujoco.MjModel.from_xml_path(str(ASSETS / "half_cheetah.xml"))
    states = contact_states(model, 5, 8)
    space = ParameterSpace(model, ("body_mass",))
    rows = np.broadcast_to(space.values, (8, space.size))
    with pytest.raises(UnsupportedModel, match="by body_mass is not that of the C engine"):
        ParameterDifferentiation(space, 5, None, 1).pull_back(*states, rows, *cotangents_of(states))
