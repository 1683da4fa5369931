"""System identification: parameters that are known, their standard errors, and what is refused."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

import diffmaac
from diffmaac import DiffmaacError, Trajectory
from diffmaac.identification.fit import (
    DEGREES,
    NORMAL_COVARIANCE,
    NORMAL_SCALE,
    Noise,
    Normal,
    Prediction,
    covariance,
)
from diffmaac.identification.selection import select
from diffmaac.physics import ParameterSpace, StepJacobians

CART = """
<mujoco><option timestep="0.01"/><worldbody><body name="cart"><joint name="x" type="slide" axis="1 0 0" damping="{b}"
  stiffness="{k}"/><inertial pos="0 0 0" mass="{m}" diaginertia="1 1 1"/>
  <body name="idle" pos="0 0 0"><geom name="ball" size=".1" mass="1" contype="0" conaffinity="0"/></body></body>
  </worldbody><actuator><motor joint="x"/></actuator></mujoco>"""
LEG = """
<mujoco><option timestep="0.004"/><worldbody><body name="thigh" pos="0 0 1">
  <joint name="hip" axis="0 1 0" damping="{b}" armature=".02" frictionloss="{f}"/>
  <inertial pos="0 0 -.1" mass="{m}" diaginertia=".005 .005 .0005"/>
  <body name="calf" pos="0 0 -.213"><joint name="knee" axis="0 1 0" damping="{b}" armature=".02" frictionloss="{f}"/>
    <inertial pos="0 0 -.1" mass=".25" diaginertia=".001 .001 .0001"/></body></body></worldbody>
  <actuator><motor joint="hip"/><motor joint="knee"/></actuator></mujoco>"""
BOX = """
<mujoco><option timestep="0.004"/><worldbody><geom type="plane" size="5 5 .1"/><body name="box" pos="0 0 .1">
  <joint name="x" type="slide" axis="1 0 0" damping="{b}"/><joint name="z" type="slide" axis="0 0 1"/>
  <geom name="box" type="box" size=".15 .15 .1" mass="{m}" friction="{f}" solimp="{solimp} .95 .005" priority="1"/>
  </body></worldbody><actuator><motor joint="x" gear="15"/></actuator></mujoco>"""
TUMBLING = """
<mujoco><option timestep="0.005"/><worldbody><body name="top" pos="0 0 1"><joint type="ball" damping="{b}"/>
  <geom type="box" size=".1 .2 .3" pos="0 0 -.3" mass="{m}"/></body></worldbody></mujoco>"""


def record(text: str, steps: int, noise: float = 0.0, seed: int = 0) -> Trajectory:
    """A motion under sines, measured with noise in positions, and ten times as much in velocities."""
    model, rng = mujoco.MjModel.from_xml_string(text), np.random.default_rng(seed)
    data, rows, controls = mujoco.MjData(model), list[tuple[np.ndarray, np.ndarray]](), list[np.ndarray]()
    data.qvel[:] = 0.5
    for t in range(steps + 1):
        rows.append((data.qpos.copy(), data.qvel.copy()))
        controls.append(2 * np.sin(2 * np.pi * (1.1 + 0.7 * np.arange(model.nu)) * t * model.opt.timestep))
        data.ctrl[:] = controls[-1]
        mujoco.mj_step(model, data)
    qpos, qvel = (np.stack(column) for column in zip(*rows, strict=True))
    moved = qpos + noise * rng.normal(size=qpos.shape)
    return Trajectory(moved, qvel + 10 * noise * rng.normal(size=qvel.shape), np.stack(controls[:-1]))


@pytest.mark.parametrize("window", [17, 100])
def test_without_noise_it_finds_the_truth(window: int) -> None:
    found = diffmaac.identify(
        CART.format(m=1, b=0.2, k=3),
        record(CART.format(m=2, b=0.5, k=5), 100),
        ["body_mass[cart]", "dof_damping[x]", "jnt_stiffness[x]"],
        window=window,
    ).value
    np.testing.assert_allclose(found.values, [2, 0.5, 5], rtol=1e-6)
    np.testing.assert_allclose(found.model.jnt_stiffness, [5], rtol=1e-6)
    assert found.parameters["body_mass"].shape == (3,)


def test_standard_errors_are_the_spread_of_what_is_found() -> None:
    """Over motions with different noise: deviations in units of the standard error have a mean square of one."""
    deviations = []
    for seed in range(8):
        motion = record(CART.format(m=2, b=0.5, k=5), 100, 1e-3, seed)
        found = diffmaac.identify(
            CART.format(m=1.5, b=0.3, k=4), motion, ["body_mass[cart]", "dof_damping[x]", "jnt_stiffness[x]"], window=40
        ).value
        deviations.append((found.values - [2, 0.5, 5]) / found.standard_errors)
        np.testing.assert_allclose(found.noise, [1e-3, 1e-2], rtol=0.3)
    assert 0.15 < np.mean(np.square(deviations)) < 2.5


def test_a_few_wrong_measurements_do_not_spoil_the_fit() -> None:
    """Six samples in a hundred are off by a hundred times the noise, as those of a sensor that slips now and then."""
    motion, rng = record(CART.format(m=2, b=0.5, k=5), 100, 1e-3), np.random.default_rng(1)
    wrong = rng.choice(np.arange(5, 100), 6, replace=False)
    qpos, qvel = np.array(motion.qpos), np.array(motion.qvel)
    qpos[wrong] += 0.1 * rng.choice([-1, 1], (6, 1))
    qvel[wrong] += rng.choice([-1, 1], (6, 1))
    found = diffmaac.identify(
        CART.format(m=1.5, b=0.3, k=4),
        Trajectory(qpos, qvel, motion.ctrl),
        ["body_mass[cart]", "dof_damping[x]", "jnt_stiffness[x]"],
        window=40,
    ).value
    assert (np.abs(found.values - [2, 0.5, 5]) < 2 * found.standard_errors).all()
    assert (found.standard_errors < [0.2, 0.2, 0.6]).all()  # those of the motion without wrong samples: 0.12, 0.12, 0.4
    np.testing.assert_allclose(found.noise, [1e-3, 1e-2], rtol=0.5)


@pytest.mark.parametrize(("slipped", "told"), [(0, False), (20, True)])
def test_what_hardly_counts_is_told_and_is_no_doubt(slipped: int, told: bool) -> None:
    motion = record(CART.format(m=2, b=0.5, k=5), 200, 1e-3)
    qpos = np.array(motion.qpos)
    qpos[100 : 100 + slipped] += 0.1
    result = diffmaac.identify(
        CART.format(m=1.5, b=0.5, k=5), Trajectory(qpos, motion.qvel, motion.ctrl), ["body_mass[cart]"], window=20
    )
    assert any("hardly count" in note for note in result.notes) == told
    assert not any("no noise" in note for note in result.notes)
    assert np.abs(result.value.values - 2) < 3 * result.value.standard_errors


def test_the_gradient_of_the_noise_is_that_of_its_cost() -> None:
    """Near the least noise that is believed as well, where residuals are but rounding."""
    residuals, quiet = np.random.default_rng(0).normal(size=(4, 6, 3)) * [1e-9, 1e-8, 1.0], np.full(3, 1e-8)
    noise, empty = Noise(24, quiet), np.zeros((4, 6, 0))

    def cost(values: np.ndarray) -> float:
        return noise.cost(Prediction(empty, empty, empty, values))

    slopes = noise.weights(Prediction(empty, empty, empty, residuals)) * residuals
    for place in np.ndindex(residuals.shape[1:]):
        step = np.zeros_like(residuals)
        step[(0, *place)] = 1e-3 * np.abs(residuals[(0, *place)])
        central = (cost(residuals + step) - cost(residuals - step)) / (2 * step.max())
        assert central == pytest.approx(slopes[(0, *place)], rel=1e-3)


def test_scale_and_covariance_of_normal_noise() -> None:
    """By quadrature: s^2 is the mean of w z^2. The covariance is <psi^2> / <psi'>^2 with psi = w z / s^2, where the
    normal equations have s^2 / <w>."""
    z: np.ndarray = np.linspace(-12, 12, 100_001)
    density: np.ndarray = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])

    def trust(scale: float) -> np.ndarray:
        return (DEGREES + 1) / (DEGREES + z**2 / scale)

    scale = 1.0
    for _ in range(100):
        scale = float(density @ (trust(scale) * z**2))
    score: np.ndarray = trust(scale) * z / scale
    covariance = float(density @ score**2) / float(density @ np.gradient(score, z)) ** 2
    assert scale == pytest.approx(NORMAL_SCALE, rel=1e-4)
    assert covariance / (scale / float(density @ trust(scale))) == pytest.approx(NORMAL_COVARIANCE, rel=1e-4)


def test_a_leg_is_found_to_one_percent_from_two_seconds_with_noise() -> None:
    found = diffmaac.identify(
        LEG.format(m=0.8, b=0.03, f=0.3),
        record(LEG.format(m=1.15, b=0.1, f=0.15), 500, 5e-4),
        ["body_mass[thigh]", "dof_damping", "dof_frictionloss"],
        window=100,
    ).value
    np.testing.assert_allclose(found.values, [1.15, 0.1, 0.1, 0.15, 0.15], rtol=0.01)


def found_box(seed: int, solimp: float, iterations: int = 100) -> diffmaac.Result[diffmaac.Identification]:
    """Of a box that slides, or, where contacts begin with a jump of the force, hops under the same force."""
    motion = record(BOX.format(m=2, f=0.5, b=6, solimp=solimp), 300, 1e-3, seed)
    start = BOX.format(m=1.5, f=0.7, b=4, solimp=solimp)
    sought = ["body_mass[box]", "geom_friction[box, 0]", "dof_damping[x]"]
    return diffmaac.identify(start, motion, sought, window=60, iterations=iterations)


def test_standard_errors_hold_where_a_contact_slides() -> None:
    deviations = []
    for seed in range(3):
        result = found_box(seed, 0.0)
        deviations.append((result.value.values - [2, 0.5, 6]) / result.value.standard_errors)
        np.testing.assert_allclose(result.value.noise, [1e-3, 1e-3, 1e-2, 1e-2], rtol=0.2)
        assert not any("no noise" in note for note in result.notes)
    assert 0.15 < np.mean(np.square(deviations)) < 2.5


def test_residuals_that_are_no_noise_are_told() -> None:
    """Steps from the jump of the force at a touch lead to poor places; a noise of 10 mm/s is then found as more."""
    result = found_box(0, 0.9, iterations=12)
    assert any("are no noise" in note and "promise too much" in note for note in result.notes)
    assert result.value.noise.max() > 0.02


def test_a_rotating_body_needs_no_motor() -> None:
    found = diffmaac.identify(
        TUMBLING.format(m=1, b=0.05), record(TUMBLING.format(m=1, b=0.2), 100), ["dof_damping"], window=30
    ).value
    np.testing.assert_allclose(found.values, [0.2] * 3, rtol=1e-5)


def test_what_only_rounding_shows_is_not_determined() -> None:
    """The inertia about an axis that a body does not turn about has a slope of 1e-17 where the body is turned."""
    states = (np.zeros((1, 2, 2)), np.eye(2)[None])
    normal = Normal(np.diag([4.0, 1e-33]), *states, np.array([1.0, 1e-17]), np.zeros((1, 2)))
    sizes = np.array([1.0, 0.6])
    assert normal.excited(sizes).tolist() == [True, False]
    np.testing.assert_array_equal(np.diag(covariance(normal, sizes)), [0.25, np.inf])


def test_what_the_motion_does_not_determine_has_an_infinite_standard_error(tmp_path: Path) -> None:
    """The friction of a ball that touches nothing; and of two masses that move as one only the sum."""
    result = diffmaac.identify(
        CART.format(m=1.5, b=0.3, k=5),
        record(CART.format(m=2, b=0.5, k=5), 60, 1e-3),
        ["body_mass[cart]", "body_mass[idle]", "dof_damping[x]", "geom_friction[ball, 0]"],
        figure=tmp_path / "found.png",
    )
    errors = result.value.standard_errors
    assert np.isinf(errors[[0, 1, 3]]).all() and np.isfinite(errors[2])
    assert any("does not determine" in note and "geom_friction[ball, 0]" in note for note in result.notes)
    assert result.files[0].stat().st_size > 10_000 and result.table is not None


def test_bounds_hold() -> None:
    found = diffmaac.identify(
        CART.format(m=1.5, b=0.3, k=5),
        record(CART.format(m=2, b=0.5, k=5), 60),
        ["body_mass[cart]", "dof_damping[x]"],
        bounds={"body_mass[cart]": (1, 1.8)},
    ).value
    assert found.values[0] == pytest.approx(1.8) and found.values[0] <= 1.8


def test_jacobians_by_inverse_dynamics_are_those_of_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mujoco.MjModel.from_xml_string(TUMBLING.format(m=1, b=0.1))
    space, rng = ParameterSpace(model, ("body_mass", "body_gravcomp")), np.random.default_rng(0)
    qpos = rng.normal(size=(4, 4))
    states = (
        qpos / np.linalg.norm(qpos, axis=1, keepdims=True),
        rng.normal(size=(4, 3)),
        np.zeros((4, 0)),
        np.zeros((4, 0)),
    )
    jacobians = StepJacobians(space, 3, np.array([1, 3]))
    ours = jacobians(states, space.values)
    monkeypatch.setattr(jacobians, "_by_inverse", False)
    for x, y in zip(ours, jacobians(states, space.values), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)


MODEL = CART.format(m=1, b=0.2, k=3)
UNKNOWN = {
    "body_mass[card]": "unknown body in body_mass 'card'. Did you mean 'cart'?",
    "body_weight[cart]": "unknown parameter 'body_weight'",
    "geom_friction[ball, 3]": "'3' is no index into geom_friction; expected 0 to 2",
    "geom_friction[ball, 0, 0]": "3 indices",
    "body_mass[cart": "cannot be read",
    "opt.gravity[z]": "no index into opt.gravity",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_parameter_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(DiffmaacError, match=UNKNOWN[name].replace("[", r"\[")):
        select(mujoco.MjModel.from_xml_string(MODEL), [name])


def test_motion_that_cannot_be_used_is_refused() -> None:
    good = record(MODEL, 10)
    broken = np.array(good.qvel)
    broken[4] = np.nan
    late = 0.01 * np.arange(11)
    late[7:] += 0.02
    for trajectory, message in (
        (Trajectory(good.qpos, broken, good.ctrl), "qvel of trajectory 0 is not finite in row 4. Cut the trajectory"),
        (Trajectory(good.qpos, good.qvel, good.ctrl, time=late), "has a gap: 0.03 s between rows 6 and 7"),
        (Trajectory(good.qpos, good.qvel), r"ctrl of trajectory 0 has the shape \(10, 0\); expected \(10, 1\)"),
        (Trajectory(good.qpos, np.zeros((10, 1)), good.ctrl), r"qvel of trajectory 0 has the shape"),
        (Trajectory(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((0, 1))), "has 1 states; it needs at least two"),
        (Trajectory([["a"]], good.qvel, good.ctrl), "qpos of trajectory 0 is no array of numbers: .*'a'"),
        (Trajectory(good.qpos, good.qvel, [[1], [1, 2]]), "ctrl of trajectory 0 is no array of numbers: "),
    ):
        with pytest.raises(DiffmaacError, match=message):
            diffmaac.identify(MODEL, trajectory, ["body_mass[cart]"])
    with pytest.raises(DiffmaacError, match="no trajectory"):
        diffmaac.identify(MODEL, [], ["body_mass[cart]"])
    with pytest.raises(DiffmaacError, match="window=0"):
        diffmaac.identify(MODEL, good, ["body_mass[cart]"], window=0)
    with pytest.raises(DiffmaacError, match="bounds of"):
        diffmaac.identify(MODEL, good, ["body_mass[cart]"], bounds={"body_mass[cart]": (2, 3)})
