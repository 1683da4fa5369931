"""From identification to training: what a policy earns in the right world, through which dynamics, at equal real data.

    python benchmarks/identified_training.py tasks=pendulum seeds=0,1,2     # trains what is missing, then writes
    python benchmarks/identified_training.py                                # table and figures from the runs at hand

The masses and inertias of the model at hand are 30 % too small. `wrong` trains through that model; `identified` through
the values that `diffmaac.identify` finds from a few seconds of random motion of the right world, measured with noise;
`ensemble` through draws from their posterior; `learned` through a network; `right` through the right model, which
nobody has. The environment is always the right world. All have as many of its steps, those of the recorded motion
included. Runs lie under runs/identified/ and are never trained twice. Writes identified_training.csv and a figure for
each task.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

import diffmaac
from diffmaac import MujocoSystem, Task, Trajectory
from diffmaac.analysis.plots import learning_curve
from diffmaac.errors import SettingError
from diffmaac.identification.selection import select
from diffmaac.settings import setting
from shared import script

WRONG, NOISE = 0.7, 1e-3
"""Of masses and inertias, relative to the right ones; of positions [m, rad], ten times as much of velocities [1/s]."""
RECORD = "record.json"


@dataclass(frozen=True)
class Setup:
    """Real steps in all, those of them that are recorded to identify from, a window of the fit, and settings."""

    steps: int
    recorded: int
    window: int
    words: dict[str, str]


SETUPS = {
    "pendulum": Setup(2500, 20, 20, {}),
    "half_cheetah": Setup(4000, 200, 2, {"members": "3"}),
}
ARMS = {
    "wrong": {"dynamics": "true", "members": "1"},
    "identified": {"dynamics": "true", "members": "1"},
    "ensemble": {"dynamics": "true"},
    "learned": {"dynamics": "learned"},
    "right": {"dynamics": "true", "members": "1"},
}
FROM_MOTION = ("identified", "ensemble")
"""Those that spend real steps on the recorded motion."""


@dataclass(frozen=True)
class TrainingSettings:
    """What is trained; then, or where nothing is, table and figures are written."""

    tasks: list[str] = setting([], "trained; empty: write table and figures", choices=tuple(SETUPS))
    arms: list[str] = setting(list(ARMS), "dynamics to train through", choices=tuple(ARMS))
    seeds: list[int] = setting([0, 1, 2], "seeds of each", 0)
    runs: str = setting("runs/identified", "directory of the runs")
    out: str = setting(script.RESULTS, "directory of table and figures")


def names(system: MujocoSystem) -> list[str]:
    """What is sought: of each body that moves its mass, and its inertia about y, which it turns about; damping."""
    model, kind, axes = system.model, int(mujoco.mjtObj.mjOBJ_BODY), np.zeros(9)
    found = [list[str](), list[str]()]
    for body in range(1, model.nbody):
        name = mujoco.mj_id2name(model, kind, body)
        mujoco.mju_quat2Mat(axes, model.body_iquat[body])
        principal = int(np.abs(axes.reshape(3, 3)[1]).argmax())
        found[0].append(f"body_mass[{name}]")
        found[1].append(f"body_inertia[{name}, {principal}]")
    return [*found[0], *found[1], "dof_damping"]


def record(task: Task, system: MujocoSystem, steps: int, seed: int) -> Trajectory:
    """Random motion of the right world, measured with noise."""
    assert task.reset is not None
    rng, simulator = np.random.default_rng(seed), system.simulator()
    simulator.set_state(*task.reset(rng))
    actions = rng.uniform(-1, 1, (steps, system.action_size))
    states = [simulator.state()]
    for action in actions:
        simulator.step(action)
        states.append(simulator.state())
    qpos, qvel = (np.stack(column) for column in zip(*states, strict=True))
    qpos += NOISE * rng.normal(size=qpos.shape)
    qvel += 10 * NOISE * rng.normal(size=qvel.shape)
    offset, factor = system.ctrl_scale
    return Trajectory(qpos, qvel, offset + factor * actions)


def identified(task: Task, setup: Setup, seed: int, folder: Path) -> dict[str, Any]:
    """Writes the files wrong.json, identified.json and right.json; what the fit took, and how far it is off."""
    system = task.system.physics()
    assert isinstance(system, MujocoSystem)
    model = system.model
    wrong = system.with_parameters({name: WRONG * getattr(model, name) for name in ("body_mass", "body_inertia")})
    motion, sought = record(task, system, setup.recorded, seed), names(system)
    start = time.perf_counter()
    found = diffmaac.identify(
        wrong.model, motion, sought, frame_skip=system.frame_skip, window=setup.window, progress=False
    ).value
    seconds = time.perf_counter() - start
    zero = np.zeros_like(found.covariance)
    at_start = dataclasses.replace(found, values=found.start, covariance=zero)
    at_start.save(folder / "wrong.json")
    found.save(folder / "identified.json")
    selection = select(model, found.names)
    right = selection.space.values[selection.entries]
    dataclasses.replace(found, values=right, covariance=zero).save(folder / "right.json")
    masses = [i for i, name in enumerate(found.names) if name.startswith("body_mass")]
    off = np.abs(found.values[masses] / right[masses] - 1)
    return {"identify_s": round(seconds, 1), "mass_error": f"{off.max():.2g}"}


def train(name: str, arm: str, seed: int, runs: Path) -> None:
    """One run, unless it is there."""
    folder = runs / f"{name}-s{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    setup, task = SETUPS[name], diffmaac.get_task(name)
    fit = folder / RECORD
    if not fit.is_file():
        fit.write_text(json.dumps(identified(task, setup, seed, folder)))
    out = folder / arm
    if (out / RECORD).is_file():
        return
    steps = setup.steps - (setup.recorded if arm in FROM_MOTION else 0)
    source = {"identified": str(folder / f"{'identified' if arm in FROM_MOTION else arm}.json")}
    words: dict[str, Any] = {"env": name, "seed": seed, "steps": steps, "threads": 1, "log": "csv", "out": str(out)}
    words |= {**setup.words, **ARMS[arm], **({} if arm == "learned" else source)}
    wall, cpu = time.perf_counter(), time.process_time()
    given: dict[str, Any] = {"resume": str(out)} if out.exists() else words
    diffmaac.train(**given)
    spent = {"wall_s": round(time.perf_counter() - wall), "cpu_s": round(time.process_time() - cpu)}
    (out / RECORD).write_text(json.dumps({**spent, "settings": " ".join(f"{k}={v}" for k, v in words.items())}))


def row(path: Path) -> dict[str, Any]:
    """Of a finished run: ten evaluation episodes in the right world."""
    name, _, seed = path.parent.name.rpartition("-s")
    spent, fit = (json.loads((folder / RECORD).read_text()) for folder in (path, path.parent))
    evaluation = json.loads((path / "evaluation.json").read_text())
    values = {"return": round(float(np.mean(evaluation["returns"])), 2), "solved": evaluation.get("solved", "")}
    own = fit if path.name in FROM_MOTION else {"identify_s": "", "mass_error": ""}
    wall = {"wall_s": spent["wall_s"], "cpu_s": spent["cpu_s"]}
    return (
        {"task": name, "dynamics": path.name, "seed": int(seed), "real_steps": SETUPS[name].steps} | values | own | wall
    )


def collect(runs: Path, out: str) -> None:
    """The table, and learning curves of each task."""
    paths = sorted(path.parent for path in runs.glob(f"*/*/{RECORD}"))
    if not paths:
        raise SettingError(f"there are no finished runs under '{runs}'. Give tasks= to train some.")
    paths.sort(key=lambda path: (path.parent.name.rpartition("-s")[0], list(ARMS).index(path.name), path.parent.name))
    table = script.output(out, "identified_training.csv")
    script.write(table, [row(path) for path in paths], script.provenance("diffmaac", "torch", "mujoco"))
    for name in SETUPS:
        own = [path for path in paths if path.parent.name.startswith(f"{name}-s")]
        if own:
            learning_curve(own, table.with_name(f"identified_{name}.png"), [path.name for path in own], name)


def main(settings: TrainingSettings) -> None:
    for name in settings.tasks:
        for seed in settings.seeds:
            for arm in settings.arms:
                train(name, arm, seed, Path(settings.runs))
    collect(Path(settings.runs), settings.out)


if __name__ == "__main__":
    script.run(main, TrainingSettings)
