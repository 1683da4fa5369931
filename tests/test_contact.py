"""Where geoms touch: contacts, their frames and their derivatives against the C engine's."""

import mujoco
import numpy as np
from support.engine import STATES, c_engine, check_step, make_case, relative_errors

UPRIGHT = """
<mujoco><option timestep="0.002"/>
  <worldbody><geom type="plane" size="5 5 1" friction="1 0.005 0.0001"/>
    <body>
      <joint type="slide" axis="0 0 1"/><joint type="hinge" axis="0 1 0"/><joint name="h" type="hinge" axis="1 0 0"/>
      <geom type="capsule" fromto="0 0 -0.25 0 0 0.25" size="0.05" mass="1"/></body>
  </worldbody>
  <actuator><motor joint="h" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>"""

# A fixed capsule along x, another and a sphere that move past it.
CAPSULES = """
<mujoco><option timestep="0.002" tolerance="1e-14"/>
  <worldbody><geom type="capsule" fromto="-0.2 0 0 0.2 0 0" size="0.05"/>
    <body>
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/><joint type="slide" axis="0 0 1"/>
      <joint type="hinge" axis="0 1 1"/>
      <geom type="capsule" fromto="-0.1 0.02 0 0.15 0 0" size="0.05" mass="1" contype="2"/></body>
    <body>
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/><joint type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.05" mass="1" contype="4"/></body>
  </worldbody>
</mujoco>"""

# A fixed cylinder, and a capsule that touches its side, its rims and its ends.
CYLINDER = """
<mujoco><option timestep="0.002" tolerance="1e-14" ccd_tolerance="1e-12"/>
  <worldbody><geom type="plane" size="5 5 1" pos="0 0 -5"/><geom type="cylinder" size="0.1 0.08" euler="20 0 0"/>
    <body>
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/><joint type="slide" axis="0 0 1"/>
      <joint type="hinge" axis="0 1 1"/>
      <geom type="capsule" fromto="-0.1 0.02 0 0.15 0 0" size="0.05" mass="1"/></body>
  </worldbody>
</mujoco>"""


def test_frames_of_upright_capsules_are_the_c_engines() -> None:
    """Capsules within 30 degrees of vertical, where MJX alone would take a fixed frame (upstream issue 2774)."""
    model = mujoco.MjModel.from_xml_string(UPRIGHT)
    angles = np.linspace(-0.3, 0.3, 40)
    height = 0.05 + 0.25 * np.cos(angles) * np.cos(0.2) - 0.002
    qpos = np.stack([height, angles, np.full(40, 0.2)], axis=1)
    qvel = np.random.default_rng(0).uniform(-1, 1, (40, 3))
    case = make_case(model, 2, (qpos, qvel, np.zeros((40, 0)), np.zeros((40, 1))))
    check_step(case, 1e-10)
    assert np.median(relative_errors(case)) < 1e-6


def test_capsules_and_spheres_touch_where_the_c_engine_has_it() -> None:
    """Along, across and past the ends of a fixed capsule; MJX alone places these contacts up to 1e-6 m elsewhere."""
    model = mujoco.MjModel.from_xml_string(CAPSULES)
    rng = np.random.default_rng(0)
    qpos = rng.uniform(-0.25, 0.25, (STATES, model.nq))
    directions = rng.normal(size=(2, STATES, 2))
    directions *= 0.095 / np.linalg.norm(directions, axis=2, keepdims=True)
    qpos[:, 1:3], qpos[:, 5:7] = directions
    qvel = rng.uniform(-1, 1, (STATES, model.nv))
    case = make_case(model, 1, (qpos, qvel, np.zeros((STATES, 0)), np.zeros((STATES, 0))))
    check_step(case, 1e-10)
    assert np.median(relative_errors(case)) < 1e-6


def test_capsules_and_cylinders_touch_where_the_c_engine_has_it() -> None:
    """One contact, between nearest points. MJX's two are up to 1e-3 m off, and their derivative may not be finite.

    In one of these states the C engine's own search ends 2e-4 m short of the nearest point, on the flat of an end.
    """
    model, rng, positions = mujoco.MjModel.from_xml_string(CYLINDER), np.random.default_rng(0), []
    data = mujoco.MjData(model)
    while len(positions) < STATES:
        data.qpos[:] = rng.uniform(-0.2, 0.2, model.nq) * [1, 1, 1, 10]
        mujoco.mj_forward(model, data)
        if data.ncon == 1 and data.contact.dist[0] > -0.03:  # else the capsule's axis may be inside
            positions.append(data.qpos.copy())
    qvel = rng.uniform(-1, 1, (STATES, model.nv))
    case = make_case(model, 1, (np.stack(positions), qvel, np.zeros((STATES, 0)), np.zeros((STATES, 0))))
    qpos = c_engine(model, 1, case.inputs)[0]
    off = np.abs(case.outputs[0] - qpos).max(1) > 1e-8  # its search ends within 1e-8 m
    assert off.sum() <= 1
    assert all(np.isfinite(gradient).all() for gradient in case.gradients)
    assert np.median(relative_errors(case, 1e-4)) < 1e-3  # that noise of 1e-8 m over the step
