"""The mass, friction and damping of a pushed box, and of a leg, from two seconds of noisy motion.

    python examples/system_identification.py robot=leg

A box is pushed over the floor by two forces, or a leg of three joints swings under sines. Positions are measured with a
noise of 1 mm (or mrad), velocities with ten times as much. `diffmaac.identify` begins with wrong values and finds those
that the motion was made with; it writes a figure.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

import diffmaac
from diffmaac.settings import parse_command, setting

BOX = """
<mujoco><option timestep="0.004" cone="elliptic"/><worldbody><geom type="plane" size="5 5 .1" friction=".3"/>
  <body name="box" pos="0 0 .1"><joint name="x" type="slide" axis="1 0 0" damping="{b}"/>
    <joint name="y" type="slide" axis="0 1 0" damping="{b}"/><joint name="z" type="slide" axis="0 0 1"/>
    <geom name="box" type="box" size=".15 .15 .1" mass="{m}" friction="{f}" solimp="0 .95 .005" priority="1"/></body>
  </worldbody><actuator><motor joint="x"/><motor joint="y"/></actuator></mujoco>"""
LEG = """
<mujoco><option timestep="0.004"/><worldbody><body name="hip" pos="0 0 1">
  <joint name="hip" axis="1 0 0" damping="{b}" armature=".02" frictionloss="{f}"/>
  <geom type="capsule" fromto="0 0 0 0 .08 0" size=".04" mass=".7"/>
  <body name="thigh" pos="0 .08 0"><joint name="thigh" axis="0 1 0" damping="{b}" armature=".02" frictionloss="{f}"/>
    <inertial pos="0 0 -.1" mass="{m}" diaginertia=".005 .005 .0005"/>
    <body name="calf" pos="0 0 -.213"><joint name="calf" axis="0 1 0" damping="{b}" armature=".02" frictionloss="{f}"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.213" size=".015" mass=".25"/></body></body></body></worldbody>
  <actuator><motor joint="hip"/><motor joint="thigh"/><motor joint="calf"/></actuator></mujoco>"""
SECONDS, NOISE = 2.0, 1e-3


@dataclass(frozen=True)
class Robot:
    """An MJCF, its true values and those to begin with, what is sought, and its forces: sizes, frequencies [Hz]."""

    text: str
    truth: dict[str, float]
    start: dict[str, float]
    parameters: tuple[str, ...]
    forces: tuple[tuple[float, float], ...]


ROBOTS = {
    "box": Robot(
        BOX,
        {"m": 2.0, "f": 0.5, "b": 6.0},
        {"m": 1.2, "f": 0.8, "b": 3.0},
        ("body_mass[box]", "geom_friction[box, 0]", "dof_damping[x]", "dof_damping[y]"),
        ((60.0, 1.3), (45.0, 1.7)),
    ),
    "leg": Robot(
        LEG,
        {"m": 1.15, "f": 0.15, "b": 0.1},
        {"m": 0.8, "f": 0.3, "b": 0.03},
        ("body_mass[thigh]", "dof_damping", "dof_frictionloss"),
        ((2.5, 1.1), (4.0, 0.7), (1.2, 1.6)),
    ),
}


@dataclass(frozen=True)
class Settings:
    """The words of this example."""

    robot: str = setting("leg", "whose parameters are sought", choices=tuple(ROBOTS))
    window: int = setting(100, "control steps of a window", 2, 500)
    seed: int = setting(0, "of the noise", 0)


def record(robot: Robot, seed: int) -> tuple[diffmaac.Trajectory, mujoco.MjModel]:
    """The motion of the true robot with noise, and its model."""
    model, rng = mujoco.MjModel.from_xml_string(robot.text.format(**robot.truth)), np.random.default_rng(seed)
    data, states, controls = mujoco.MjData(model), list[tuple[np.ndarray, np.ndarray]](), list[list[float]]()
    mujoco.mj_step(model, data, nstep=50)
    for t in range(round(SECONDS / model.opt.timestep) + 1):
        states.append((data.qpos.copy(), data.qvel.copy()))
        phase = 2 * np.pi * t * model.opt.timestep
        controls.append([size * np.sin(phase * frequency + i) for i, (size, frequency) in enumerate(robot.forces)])
        data.ctrl[:] = controls[-1]
        mujoco.mj_step(model, data)
    qpos, qvel = (np.stack(column) for column in zip(*states, strict=True))
    noisy = qpos + NOISE * rng.normal(size=qpos.shape), qvel + 10 * NOISE * rng.normal(size=qvel.shape)
    return diffmaac.Trajectory(*noisy, np.array(controls[:-1])), model


def main(words: list[str], out: Path = Path("runs")) -> list[float]:
    settings = parse_command(Settings, words)
    robot = ROBOTS[settings.robot]
    motion, truth = record(robot, settings.seed)
    start = robot.text.format(**robot.start)
    result = diffmaac.identify(
        start, motion, robot.parameters, window=settings.window, figure=out / f"identified_{settings.robot}.png"
    )
    exact = diffmaac.DifferentiablePhysics(truth, parameters=tuple(result.value.parameters)).parameters
    errors = []
    for i, name in enumerate(result.value.names):
        field, index = name.split("[")[0], name.split("[")[1].rstrip("]").split(",")
        values = exact[field].numpy()
        row = int(index[0]) if index[0].isdigit() else ROWS[index[0]]
        true = values[(row, *map(int, index[1:]))]
        errors.append(result.value.values[i] / true - 1)
        print(
            f"{name}: {result.value.values[i]:.4f} +- {result.value.standard_errors[i]:.4f}, true {true:.4f}"
            f" ({errors[-1]:+.2%})"
        )
    print(*result.notes, f"figure: {result.files[0]}", sep="\n")
    return errors


ROWS = {"box": 1, "x": 0, "y": 1, "thigh": 2}
"""Rows of the fields in which the parts that are sought by name lie."""

if __name__ == "__main__":
    main(sys.argv[1:])
