"""How exact the true dynamics are: one control step and its gradient against the C engine, model by model.

    python benchmarks/physics_exactness.py [states=256] [models=half_cheetah,hopper,... | runs=RUN,RUN]

The library's locomotion tasks, Gymnasium's other MuJoCo models and a scene of a thrown box and a ball under elliptic
cones, in float64 (`diffmaac.analysis.gradient_check`): states visited under random controls and, for each of `runs`,
under its trained policy. Writes gradients.csv, whose other rows it keeps.
"""

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np

import diffmaac
from diffmaac.analysis.physics_check import GradientCheck, States, check_gradient, policy_controls, visited_states
from diffmaac.errors import SettingError
from diffmaac.files import read_table, write_table
from diffmaac.settings import setting
from shared import script

GYMNASIUM = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
FRAME_SKIPS = {
    "half_cheetah": 5,
    "hopper": 4,
    "walker2d_v5": 4,
    "ant": 5,
    "inverted_pendulum": 2,
    "inverted_double_pendulum": 5,
    "reacher": 2,
    "swimmer": 4,
    "pusher_v5": 5,
    "humanoid": 5,
}
"""Gymnasium's files, and time steps in a control step of its environments."""
SCENE = "box_and_ball"
MODELS = [*FRAME_SKIPS, SCENE]
EPISODE = 500
"""Control steps between two starts of a trained policy."""
THROW, SPACING, TURN, SPEED = 120, 5, 0.3, 2.0
"""Of the scene: time steps between two throws and between two states; size of its turns [rad] and speeds."""


@dataclass(frozen=True)
class ExactnessSettings:
    """What is compared with the C engine."""

    states: int = setting(256, "states of each model", 1)
    models: list[str] = setting([], "empty: all, but none where there are runs", choices=tuple(MODELS))
    runs: list[str] = setting([], "run directories, whose policies visit the states")
    out: str = setting(script.RESULTS, "directory of gradients.csv")


def load(name: str) -> tuple[mujoco.MjModel, int]:
    """The model of that name, and its frame skip."""
    if name == SCENE:
        return mujoco.MjModel.from_xml_path(str(Path(__file__).parent / "assets" / f"{SCENE}.xml")), 2
    return mujoco.MjModel.from_xml_path(str(GYMNASIUM / f"{name}.xml")), FRAME_SKIPS[name]


def thrown_states(model: mujoco.MjModel, count: int) -> States:
    """States in contact after throws in random directions, of a model that nothing drives."""
    rng, data = np.random.default_rng(0), mujoco.MjData(model)
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for step in itertools.count(1):
        if step % THROW == 1:
            mujoco.mj_resetData(model, data)
            mujoco.mj_integratePos(model, data.qpos, rng.normal(size=model.nv), TURN)
            data.qvel[:] = SPEED * rng.normal(size=model.nv)
        mujoco.mj_step(model, data)
        if step % SPACING == 0 and data.ncon > 0:
            rows.append((data.qpos.copy(), data.qvel.copy()))
        if len(rows) == count:
            break
    qpos, qvel = map(np.stack, zip(*rows, strict=True))
    nothing = np.zeros((count, 0))
    return States(qpos, qvel, nothing, nothing, constrained=count)


def under_random_controls(name: str, count: int) -> GradientCheck:
    model, frame_skip = load(name)
    states = thrown_states(model, count) if name == SCENE else visited_states(model, frame_skip, count)
    return check_gradient(model, frame_skip, states)


def under_trained_policy(run: str, count: int) -> tuple[str, GradientCheck]:
    """The task of the run, and its check. Raises SettingError where the task is no MuJoCo model."""
    agent = diffmaac.load(run)
    system = agent.task.system
    if not isinstance(system, diffmaac.MujocoSystem):
        raise SettingError(f"runs={run}: {agent.task.name} has no MuJoCo model to check. Give another run.")
    controls = policy_controls(agent.act, system)
    states = visited_states(system.model, system.frame_skip, count, controls, episode=EPISODE)
    return agent.task.name, check_gradient(system.model, system.frame_skip, states)


def keep(file: Path, model: str, behaviour: str, check: GradientCheck) -> None:
    """Puts a row into the file in place of the one of the same model and behaviour."""
    numbers = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in dataclasses.asdict(check).items()}
    row: dict[str, Any] = {"model": model, "behaviour": behaviour, **numbers, "right": check.right}
    script.show(row)
    row |= script.provenance("mujoco", "mujoco-mjx", "jax")
    rows = read_table(file) if file.is_file() else []
    others = [old for old in rows if (old["model"], old["behaviour"]) != (model, behaviour)]
    write_table(file, [*(old for old in others if old.keys() == row.keys()), row])


def main(settings: ExactnessSettings) -> None:
    file = script.output(settings.out, "gradients.csv")
    everything = [] if settings.runs else MODELS
    for name in settings.models or everything:
        keep(file, name, "random controls", under_random_controls(name, settings.states))
    for run in settings.runs:
        name, check = under_trained_policy(run, settings.states)
        keep(file, name, "trained policy", check)


if __name__ == "__main__":
    script.run(main, ExactnessSettings)
