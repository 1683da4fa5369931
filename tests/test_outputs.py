"""Outputs and further inputs of a step, and rollouts: closed forms, the C engine's values, differences, refusals."""

import copy
import gc
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from support.engine import ASSETS, PENDULUM
from torch import Tensor

from diffmaac import DifferentiablePhysics, DiffmaacError, DivergenceError
from diffmaac.physics import OutputSpace, UnsupportedModel
from diffmaac.physics.output_fields import OUTPUTS

ROD = """
<mujoco><option timestep="0.01"/><worldbody><body><joint name="j" axis="0 1 0"/>
  <inertial pos="0 0 -0.5" mass="2" diaginertia="0.1 0.1 0.1"/><site name="tip" pos="0 0 -1"/></body></worldbody>
  <actuator><motor joint="j" gear="3"/></actuator><sensor><framepos objtype="site" objname="tip"/></sensor></mujoco>"""
SCENE = """
<mujoco><option timestep="0.004" integrator="{integrator}" cone="elliptic" tolerance="0"/><worldbody>
  <geom type="plane" size="5 5 .1"/>
  <body name="hand" mocap="true" pos=".3 0 1"><site name="h"/></body>
  <body name="paddle" mocap="true" pos="1 0 .3"><geom type="box" size=".2 .2 .05"/></body>
  <body pos="0 0 1"><joint name="a" axis="0 1 0" damping=".1"/><camera name="eye" pos="0 0 .1"/>
    <geom type="capsule" fromto="0 0 0 .3 0 0" size=".03" mass="1"/>
    <body name="tip" pos=".3 0 0"><joint name="b" axis="0 1 .2" armature=".01"/>
      <geom type="capsule" fromto="0 0 0 .3 0 0" size=".03" mass=".5"/><site name="t" pos=".3 0 0"/></body></body>
  <body name="ball" pos="1 0 .449"><freejoint/><geom size=".1" mass=".5"/></body></worldbody>
  <equality><weld body1="hand" body2="tip" solref=".1 1"/></equality>
  <tendon><spatial name="s" stiffness="3" damping=".2"><site site="h"/><site site="t"/></spatial></tendon>
  <actuator><motor joint="a"/><general tendon="s" dyntype="filter" dynprm=".1" gainprm="2" biastype="affine"
    biasprm="0 -.3 -.1"/></actuator>
  <sensor><accelerometer site="t"/><touch site="t"/><framepos objtype="body" objname="ball"/><force site="t"/>
    <gyro site="t"/><jointvel joint="a"/></sensor></mujoco>"""
USER = ("qfrc_applied", "xfrc_applied", "mocap_pos", "mocap_quat")
FIELDS = sorted(set(OUTPUTS) - {"flexvert_xpos"})
SMALL = 1e-4
"""Size of a derivative below which errors are relative to it: values of some 10 are differenced."""


def scene(integrator: str = "Euler") -> tuple[mujoco.MjModel, dict[str, Any]]:
    """A welded arm and a ball on a paddle, with all inputs, at three states of a motion under random forces."""
    model = mujoco.MjModel.from_xml_string(SCENE.format(integrator=integrator))
    data, rng, rows = mujoco.MjData(model), np.random.default_rng(0), []
    names = ("qpos", "qvel", "ctrl", "act", *USER)
    for _ in range(3):
        data.ctrl[:], data.qfrc_applied[:] = rng.normal(size=model.nu), 0.3 * rng.normal(size=model.nv)
        data.xfrc_applied[:] = 0.3 * rng.normal(size=(model.nbody, 6))
        mujoco.mj_step(model, data, nstep=10)
        rows.append({name: getattr(data, name).copy() for name in names})
        rows[-1]["mocap_quat"] += 0.1 * rng.normal(size=(model.nmocap, 4))
    return model, {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in names}


def weighted(values: tuple[Tensor, ...]) -> Tensor:
    """A sum of all numbers with weights of their own."""
    generator = torch.Generator().manual_seed(1)
    parts = [(x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum() for x in values]
    return torch.stack(parts).sum()


def directions(inputs: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """One for each input, which leaves quaternions of the state as they are."""
    generator = torch.Generator().manual_seed(seed)
    moves = {name: torch.randn(x.shape, generator=generator, dtype=x.dtype) for name, x in inputs.items()}
    if "qpos" in moves and moves["qpos"].shape[-1] > 5:
        moves["qpos"][..., 5:] = 0.0
    return moves


def worst(
    function: Callable[[dict[str, Any]], Tensor], inputs: dict[str, Any], together: bool = False
) -> dict[str, float]:
    """Errors of the derivatives along a direction of each input, relative, of the best of some differences; or of that
    of all inputs `together`."""
    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    value, moves = function(leaves), directions(inputs)
    gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True, allow_unused=True)
    parts = {name: gradient * moves[name] for name, gradient in zip(leaves, gradients, strict=True)}
    groups = {"all": list(inputs)} if together else {name: [name] for name in inputs}
    return {group: _error(function, inputs, moves, parts, names) for group, names in groups.items()}


def _error(
    function: Callable[[dict[str, Any]], Tensor],
    inputs: dict[str, Any],
    moves: dict[str, Tensor],
    parts: dict[str, Tensor],
    names: list[str],
) -> float:
    ours = sum(float(parts[name].sum()) for name in names)
    size = max(SMALL, sum(float(parts[name].abs().sum()) for name in names))
    errors = []
    for h in (1e-2, 1e-4, 1e-5, 1e-6, 1e-7):
        with torch.no_grad():
            ahead, behind = (function(inputs | {n: inputs[n] + s * h * moves[n] for n in names}) for s in (1, -1))
        errors.append(abs(float(ahead - behind) / (2 * h) - ours) / size)
    return min(errors)


def test_a_rod_is_that_of_the_closed_form() -> None:
    """The tip of a rod at the angle q is (-sin q, -cos q), and (m l^2 + I) a = 3 u + f + m l gz sin q."""
    step = DifferentiablePhysics(ROD, outputs=("qpos", "site_xpos", "sensordata", "qacc", "actuator_force", "energy"))
    q, v, u, f = torch.randn(4, 5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    after = step(q, v, u, qfrc_applied=f)
    velocity = v + 0.01 * (3 * u + f - 2 * 0.5 * 9.81 * q.sin()) / 0.6
    angle = q + 0.01 * velocity
    tip = torch.cat([-angle.sin(), torch.zeros_like(angle), -angle.cos()], dim=1)
    acceleration = (3 * u + f - 9.81 * angle.sin()) / 0.6
    energy = torch.cat([-9.81 * angle.cos(), 0.3 * velocity**2], dim=1)
    expected = (angle, tip[:, None], tip, acceleration, u, energy)
    assert after._fields == ("qpos", "site_xpos", "sensordata", "qacc", "actuator_force", "energy")
    for ours, theirs in zip(after, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        pulled = [torch.autograd.grad(x.sin().sum(), (q, v, u, f), retain_graph=True, materialize_grads=True)
                  for x in (ours, theirs)]  # fmt: skip
        torch.testing.assert_close(*pulled, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast", "RK4"])
def test_values_are_those_after_mj_forward(integrator: str) -> None:
    """At the state that is reached, and under the same forces."""
    model, inputs = scene(integrator)
    step = DifferentiablePhysics(model, 2, outputs=FIELDS)
    after = step(**inputs)
    engine = copy.copy(step._host.engine.model)
    engine.opt.enableflags |= int(mujoco.mjtEnableBit.mjENBL_ENERGY)
    for row in range(3):
        data = mujoco.MjData(engine)
        for name, x in inputs.items():
            getattr(data, name)[:] = x[row].numpy()
        mujoco.mj_step(engine, data, nstep=2)
        mujoco.mj_forward(engine, data)
        mujoco.mj_rnePostConstraint(engine, data)
        mujoco.mj_subtreeVel(engine, data)
        for name in FIELDS:
            ours, theirs = getattr(after, name)[row].numpy(), getattr(data, name)
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", FIELDS)
def test_every_output_by_every_input(name: str) -> None:
    model, inputs = scene()
    step = DifferentiablePhysics(model, 2, outputs=(name,))
    errors = worst(lambda x: weighted(step(**x)), inputs, together=True)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("gradient", ["engine", "finite_difference"])
@pytest.mark.parametrize("integrator", ["Euler", "RK4", "implicitfast", "implicit"])
def test_forces_and_poses_are_inputs(integrator: str, gradient: str) -> None:
    model, inputs = scene(integrator)
    step = DifferentiablePhysics(model, 2, gradient)
    errors = worst(lambda x: weighted(step(**x)), inputs)
    assert errors.pop("qpos") < 1e-5 and max(errors.values()) < 1e-6, errors  # its contact is stiff


def test_parameters_go_through_outputs_and_forces() -> None:
    model, inputs = scene()
    names = ("xpos", "qacc", "sensordata", "cfrc_ext")
    step = DifferentiablePhysics(model, 2, parameters=("body_mass", "body_pos"), outputs=names)
    values = step.parameters

    def read(factors: dict[str, Tensor]) -> Tensor:
        own = {
            "body_mass": values["body_mass"] * (1 + factors["mass"]),
            "body_pos": values["body_pos"] + factors["pos"],
        }
        return weighted(step(**inputs, parameters=own))

    zeros = {"mass": torch.zeros(model.nbody).double(), "pos": torch.zeros(model.nbody, 3).double()}
    errors = worst(read, zeros)
    assert max(errors.values()) < 1e-6, errors


def rolled(name: str, gradient: str = "engine", outputs: tuple[str, ...] = ()) -> tuple[DifferentiablePhysics, dict]:
    """Of half_cheetah falling on its feet, or of the scene: a step, and six steps' inputs."""
    rng = np.random.default_rng(0)
    if name == "half_cheetah":
        model = mujoco.MjModel.from_xml_path(str(ASSETS / "half_cheetah.xml"))
        shapes = {"qpos": (3, model.nq), "qvel": (3, model.nv), "ctrl": (3, 6, model.nu)}
        inputs = {key: torch.from_numpy(0.1 * rng.normal(size=shape)) for key, shape in shapes.items()}
    else:
        model, inputs = scene()
        inputs = {key: x if key in ("qpos", "qvel", "act") else torch.stack(6 * [x], 1) for key, x in inputs.items()}
    return DifferentiablePhysics(model, 2, gradient, parameters=("body_mass",), outputs=outputs), inputs


def chained(step: DifferentiablePhysics, inputs: dict[str, Any], **more: Any) -> tuple[Tensor, ...]:
    """As `rollout`, by calls."""
    start = {key: x for key, x in inputs.items() if key in ("qpos", "qvel", "act")}
    later = {key: x for key, x in inputs.items() if key not in start}
    results: list = []
    for t in range(6):
        results.append(step(**start, **{key: x[:, t] for key, x in later.items()}, **more))
        start = dict(zip(("qpos", "qvel", "act"), results[-1], strict=False))
    return tuple(torch.stack(column, dim=1) for column in zip(*results, strict=True))


@pytest.mark.parametrize("parametric", [False, True])
@pytest.mark.parametrize("gradient", ["engine", "finite_difference"])
@pytest.mark.parametrize("name", ["half_cheetah", "scene"])
def test_a_rollout_is_its_chained_steps(name: str, gradient: str, parametric: bool) -> None:
    step, inputs = rolled(name, gradient)
    leaves: dict[str, Any] = {key: x.clone().requires_grad_() for key, x in inputs.items()}
    mass = step.parameters["body_mass"].requires_grad_()
    more: dict[str, Any] = {"parameters": {"body_mass": mass}} if parametric else {}
    sources = [*leaves.values(), *([mass] if parametric else [])]
    together, apart = step.rollout(**leaves, **more), chained(step, leaves, **more)
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(one, other)
    ours, theirs = (torch.autograd.grad(weighted(x), sources) for x in (together, apart))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_no_rows_and_nothing_that_moves_have_outputs() -> None:
    still = '<mujoco><worldbody><body pos="1 2 3"><geom size=".1"/><site name="s"/></body></worldbody></mujoco>'
    for text, rows, width in ((ROD, 0, 1), (still, 2, 0)):
        step = DifferentiablePhysics(text, gradient="finite_difference", outputs=("site_xpos",))
        state = torch.zeros(rows, width)
        assert step(state, state, state).site_xpos.shape == (rows, 1, 3)
        assert step.rollout(state, state, torch.zeros(rows, 4, width)).site_xpos.shape == (rows, 4, 1, 3)


def test_outputs_along_a_rollout() -> None:
    names = ("qpos", "qvel", "act", "site_xpos", "cfrc_ext", "sensordata")
    step, inputs = rolled("scene", outputs=names)
    leaves: dict[str, Any] = {key: x.clone().requires_grad_() for key, x in inputs.items()}
    together, apart = step.rollout(**leaves), chained(step, leaves)
    assert together._fields == names and together.site_xpos.shape == (3, 6, 2, 3)
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(one, other)
    ours, theirs = (torch.autograd.grad(weighted(x), list(leaves.values())) for x in (together, apart))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_a_rollout_keeps_nothing_but_its_inputs() -> None:
    """Of a pendulum, 300 steps of 64 rows: between the passes torch holds the states that came out, and no graph."""
    step = DifferentiablePhysics(PENDULUM.format(integrator="Euler"), 1, "engine")
    ctrl = torch.zeros(64, 300, 1, dtype=torch.float64, requires_grad=True)
    start = torch.zeros(64, 1, dtype=torch.float64)
    qpos, qvel = step.rollout(start, start, ctrl)
    nodes, seen = [qpos.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [other for other, _ in node.next_functions]
    assert len(seen) < 10
    gc.collect()
    tracemalloc.start()
    (qpos.sum() + qvel.sum()).backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * ctrl.numel() * 8


def test_functions_of_torch_pass_through() -> None:
    step = DifferentiablePhysics(ROD, outputs=("site_xpos",))
    q, v, u = torch.randn(3, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def height(q: Tensor) -> Tensor:
        return step(q[None], v[:1], u[:1])[0][0, 0, 2]

    mapped = torch.func.vmap(torch.func.grad(height))(q)
    torch.testing.assert_close(mapped, torch.stack([torch.func.grad(height)(x) for x in q]))
    jacobian = torch.func.jacrev(lambda ctrl: step.rollout(q[:1], v[:1], ctrl)[0][0, -1, 0])(u[None])
    assert jacobian.shape == (3, 1, 4, 1) and jacobian[0, 0, 0] != 0


def test_single_precision_follows() -> None:
    step, inputs = rolled("scene", outputs=("site_xpos", "sensordata"))
    results = []
    for dtype in (torch.float64, torch.float32):
        leaves: dict[str, Any] = {key: x.to(dtype).requires_grad_() for key, x in inputs.items()}
        after = step.rollout(**leaves)
        assert after.site_xpos.dtype == dtype
        results.append(torch.autograd.grad(after.site_xpos.sum(), list(leaves.values())))
    for exact, single in zip(*results, strict=True):
        torch.testing.assert_close(single.double(), exact, rtol=1e-2, atol=1e-3)


def test_it_can_be_copied() -> None:
    step = copy.deepcopy(DifferentiablePhysics(ROD, outputs=("qacc",)))
    assert step(*torch.zeros(3, 2, 1)).qacc.shape == (2, 1)


REFUSED = {
    "site_xpo": "unknown output 'site_xpo'. Did you mean 'site_xpos'?",
    "q": "unknown output 'q'. There are: .*xpos",
    "efc_force": "its size changes with the contacts.*Outputs are: qpos, qvel",
    "ctrl": "is an input of the step",
    "ten_wrapnum": "holds integers",
    "qLD": "scratch of the engine's own algorithms",
    "ten_length": "is empty in this model",
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_output_that_cannot_be_had_is_refused_by_name(name: str) -> None:
    with pytest.raises(DiffmaacError, match=REFUSED[name]):
        DifferentiablePhysics(ROD, outputs=("qpos", name))


def test_sensors_that_are_no_function_of_the_state_are_refused() -> None:
    for sensor, why in (
        ('<clock name="s"/>', "shows the time"),
        ('<e_kinetic name="s"/>', "the output energy"),
        ('<user name="s" dim="1"/>', "by a callback"),
    ):
        model = mujoco.MjModel.from_xml_string(ROD.replace("<sensor>", f"<sensor>{sensor}"))
        with pytest.raises(UnsupportedModel, match=f"sensor 's' .*{why}"):
            OutputSpace(model, ("sensordata",))
    for given, message in (("qpos", "outputs is the text 'qpos'"), (("qpos", "qpos"), "names a field twice")):
        with pytest.raises(DiffmaacError, match=message):
            DifferentiablePhysics(ROD, outputs=given)


def test_inputs_that_cannot_be_used_are_refused() -> None:
    model, inputs = scene()
    step = DifferentiablePhysics(model, outputs=("xpos",))
    wrong = {
        "qfrc_applied": (inputs["qfrc_applied"][:, :2], ValueError, r"has the shape \(3, 2\); expected \(3, 8\)"),
        "xfrc_applied": (inputs["xfrc_applied"] * torch.nan, DivergenceError, "xfrc_applied is not finite in row 0"),
        "mocap_quat": (0 * inputs["mocap_quat"], DivergenceError, "mocap_quat is zero in row 0"),
        "mocap_pos": (inputs["mocap_pos"].float(), DiffmaacError, "mocap_pos is float32, mocap_quat is float64"),
    }
    for name, (value, error, message) in wrong.items():
        with pytest.raises(error, match=message):
            step(**{**inputs, name: value})
    one = torch.zeros(2, 1, dtype=torch.float64)
    with pytest.raises(DiffmaacError, match="the model has no mocap body"):
        DifferentiablePhysics(ROD)(one, one, one, mocap_pos=torch.zeros(2, 0, 3).double())
    with pytest.raises(DiffmaacError, match="takes no qfrc_applied; build the step with gradient=engine"):
        DifferentiablePhysics(ROD, gradient="unrolled")(one, one, one, qfrc_applied=one)
    for ctrl, message in (
        (one, r"ctrl has the shape \(2, 1\); expected \(2, 1, 1\)"),
        (one[:, None][:, :0], "no time"),
    ):
        with pytest.raises(ValueError, match=message):
            DifferentiablePhysics(ROD).rollout(one, one, ctrl)
    with pytest.raises(DivergenceError, match="in step 3 of 4 of the rollout, ctrl is not finite in row 1"):
        ctrl = torch.zeros(2, 4, 1, dtype=torch.float64)
        ctrl[1, 2] = torch.nan
        DifferentiablePhysics(ROD).rollout(one, one, ctrl)


def test_the_page_runs() -> None:
    """Its Python, from top to bottom."""
    page = Path(__file__).parent.parent / "docs" / "outputs.md"
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        exec(block, names)
    assert names["ctrl"].grad.abs().sum() > 0 and names["push"].grad.abs().sum() > 0
    assert max(names["found"].errors.values()) < 1e-6
