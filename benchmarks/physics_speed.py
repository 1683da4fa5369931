"""Time and memory of the differentiable step: four gradients, growth with batch and model, the bridge, recomputation.

    python benchmarks/physics_speed.py [threads=2] [repeats=15] [parts=speed,bridge,growth,compile,memory]

Contact states under random controls, float64 (memory: float32, as in training); medians, in one process for all times
of a part, what is compared taking turns. Run it on a quiet machine. Writes physics_<part>.csv and physics_growth.png.
"""

import functools
import gc
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium
import jax
import matplotlib.pyplot as plt
import mujoco
import numpy as np
import torch
from matplotlib.axes import Axes

from diffmaac import DifferentiablePhysics, MujocoSystem, get_task
from diffmaac.analysis.physics_check import visited_states
from diffmaac.errors import DivergenceError
from diffmaac.physics import (
    AbstractGradient,
    Engine,
    EngineGradient,
    FiniteDifference,
    ImplicitGradient,
    UnrolledGradient,
    batched_control_step,
    compiler_options,
    host_devices,
)
from diffmaac.settings import setting
from shared import script
from shared.timing import medians

GYMNASIUM = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
LOCOMOTION = ("half_cheetah", "hopper", "walker2d", "ant")
SIZES = ("pendulum", "cartpole", "inverted_double_pendulum", "hopper", "half_cheetah", "ant")
"""By degrees of freedom."""
PROTOTYPE_MS = {"half_cheetah": 201, "hopper": 592, "walker2d": 586}
"""Forward and backward of the plain composition around `mjx.step` that this library began with, on two cores of the
same kind."""
UNROLLED = (4, 6, 8, 10, 15, 20)
"""Iterations to try: the fewest that reach the accuracy of the implicit gradient's step, with a finite gradient, are
timed; where none do the row is missing."""
ACCURACY = 1e-9
"""Error of the step, in qpos and qvel, that counts as equal to the C engine."""
BATCHES, COMMON_BATCH = (1, 4, 16, 64, 256, 1024), 64
"""Of `growth`: those by which two models grow, and the one at which all are compared."""
GROWN = ("cartpole", "half_cheetah")
HORIZON = 16
Inputs = tuple[torch.Tensor, ...]
Row = dict[str, Any]


@dataclass(frozen=True)
class SpeedSettings:
    """What is timed, and how often."""

    parts: list[str] = setting([], "empty: all", choices=("speed", "bridge", "growth", "compile", "memory"))
    models: list[str] = setting(
        [], "of each part's models only these (memory: half_cheetah); empty: all", choices=(*SIZES, *LOCOMOTION)
    )
    batch: int = setting(256, "states at a time", 1)
    repeats: int = setting(15, "calls of which the median counts", 1)
    threads: int = setting(2, "torch's threads", 1)
    out: str = setting(script.RESULTS, "directory of the tables and the figure")

    def of(self, models: Sequence[str]) -> list[str]:
        """Those of `models` that are asked for."""
        return [name for name in models if name in self.models or not self.models]


def subject(name: str) -> tuple[mujoco.MjModel, int]:
    """Model and frame skip of a task, or of one of Gymnasium's files."""
    if name == "inverted_double_pendulum":
        return mujoco.MjModel.from_xml_path(str(GYMNASIUM / f"{name}.xml")), 5
    system = get_task(name).system
    assert isinstance(system, MujocoSystem)
    return system.model, system.frame_skip


def states(name: str, batch: int) -> Inputs:
    qpos, qvel, act, ctrl = visited_states(*subject(name), batch).inputs
    return tuple(torch.from_numpy(x) for x in (qpos, qvel, ctrl, act))


def gradient_call(step: DifferentiablePhysics, inputs: Inputs) -> Callable[[], Any]:
    """Forward and backward pass with cotangents of ones."""

    def call() -> Any:
        leaves = [x.detach().requires_grad_() for x in inputs]
        return torch.autograd.grad([x.sum() for x in step(*leaves)], leaves[:3])

    return call


def value(step: DifferentiablePhysics, inputs: Inputs) -> Any:
    with torch.no_grad():
        return step(*inputs)


def step_error(step: DifferentiablePhysics, inputs: Inputs, exact: Sequence[np.ndarray]) -> float:
    """Of MJX where that is what is differentiated: `step` without gradients takes the C engine."""
    after = step(inputs[0].clone().requires_grad_(), *inputs[1:])
    return max(float(np.abs(x.detach().numpy() - y).max(initial=0)) for x, y in zip(after, exact, strict=False))


def is_right(step: DifferentiablePhysics, inputs: Inputs, exact: Sequence[np.ndarray]) -> bool:
    """Whether a step is the C engine's, and its gradient finite: unrolled line searches may divide zero by zero."""
    try:
        gradient_call(step, inputs)()
    except DivergenceError:
        return False
    return step_error(step, inputs, exact) < ACCURACY


def speed(settings: SpeedSettings) -> list[Row]:
    """Each gradient of the locomotion models, beside the prototype's time."""
    rows = []
    for name in settings.of(LOCOMOTION):
        for row in speed_of(name, settings):
            script.show(row)
            rows.append(row)
    return rows


def speed_of(name: str, settings: SpeedSettings) -> list[Row]:
    """A row for each gradient: implicit, of the C engine, unrolled, finite differences."""
    model, frame_skip = subject(name)
    inputs = states(name, settings.batch)
    exact = Engine(model, frame_skip).step(*(inputs[i].numpy() for i in (0, 1, 3, 2)))

    def step_of(gradient: AbstractGradient) -> DifferentiablePhysics:
        return DifferentiablePhysics(model, frame_skip, gradient)

    unrolled = (UnrolledGradient(n) for n in UNROLLED)
    enough = next((gradient for gradient in unrolled if is_right(step_of(gradient), inputs, exact)), None)
    gradients = (ImplicitGradient(), EngineGradient(), enough, FiniteDifference())
    steps = [step_of(gradient) for gradient in gradients if gradient is not None]
    both = medians([gradient_call(step, inputs) for step in steps], settings.repeats)
    forward = medians([functools.partial(value, step, inputs) for step in steps], settings.repeats)
    rows: list[Row] = []
    for step, one, two in zip(steps, forward, both, strict=True):
        row: Row = {"model": name, "gradient": str(step.gradient), "batch": settings.batch}
        row |= {"forward_ms": round(one, 1), "forward_backward_ms": round(two, 1)}
        row |= {"relative_to_implicit": round(two / both[0], 2)}
        row |= {"prototype_over_this": round(PROTOTYPE_MS.get(name, float("nan")) / two, 2)}
        rows.append(row | {"step_error": f"{step_error(step, inputs, exact):.0e}"})
    return rows


def bridge(settings: SpeedSettings) -> list[Row]:
    """The same programs, split over the cores, from JAX arrays and from torch tensors."""
    rows = []
    for name in settings.of(LOCOMOTION[:2]):
        inputs = states(name, settings.batch)
        torched = gradient_call(DifferentiablePhysics(*subject(name), "implicit"), inputs)
        jax_ms, torch_ms = medians([without_bridge(name, inputs), torched], settings.repeats)
        row: Row = {"model": name, "batch": settings.batch, "jax_ms": round(jax_ms, 2), "torch_ms": round(torch_ms, 2)}
        rows.append(row | {"overhead": f"{torch_ms / jax_ms - 1:.1%}"})
    return rows


def without_bridge(name: str, inputs: Inputs) -> Callable[[], Any]:
    """Forward and backward pass from JAX arrays, in the programs that the bridge calls."""
    with jax.enable_x64(True):
        arrays = tuple(jax.numpy.asarray(inputs[i].numpy()) for i in (0, 1, 3, 2))
    mesh = jax.sharding.Mesh(np.array(host_devices()), ("batch",))
    rows = jax.sharding.PartitionSpec("batch")
    step = batched_control_step(*subject(name))
    step = jax.shard_map(step, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)
    arrays = jax.device_put(arrays, jax.sharding.NamedSharding(mesh, rows))
    jit = functools.partial(jax.jit, compiler_options=compiler_options())
    forward = jit(lambda *arrays: jax.vjp(step, *arrays))
    backward = jit(lambda pullback, cotangents: pullback(cotangents))

    def call() -> Any:
        with jax.enable_x64(True):
            values, pullback = forward(*arrays)
            return jax.block_until_ready(backward(pullback, jax.tree.map(jax.numpy.ones_like, values)))

    return call


def growth(settings: SpeedSettings) -> list[Row]:
    """Forward and backward by batch size, and by degrees of freedom, for the implicit gradient and differences."""
    rows: list[Row] = []
    for name in settings.of(SIZES):
        model, frame_skip = subject(name)
        steps = [DifferentiablePhysics(model, frame_skip, gradient) for gradient in ("implicit", "finite_difference")]
        for batch in BATCHES if name in GROWN else (COMMON_BATCH,):
            inputs = states(name, batch)
            implicit, difference = medians([gradient_call(step, inputs) for step in steps], settings.repeats)
            row: Row = {"model": name, "nv": model.nv, "batch": batch, "implicit_ms": round(implicit, 2)}
            rows.append(row | {"finite_difference_ms": round(difference, 2)})
    draw_growth(rows, script.output(settings.out, "physics_growth.png"))
    return rows


def draw_growth(rows: Sequence[Row], file: Path) -> None:
    figure, (by_batch, by_size) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    columns = {"implicit_ms": ("implicit gradient", "-"), "finite_difference_ms": ("finite difference", "--")}

    def curve(axis: Axes, chosen: Sequence[Row], x: str, colour: str, name: str = "") -> None:
        for column, (label, style) in columns.items():
            points = [row[x] for row in chosen], [row[column] for row in chosen]
            axis.plot(*points, f"{colour}{style}", marker=".", label=f"{name}{label}")

    for i, name in enumerate(GROWN):
        curve(by_batch, [row for row in rows if row["model"] == name], "batch", f"C{i}", f"{name}, ")
    common = [row for row in rows if row["batch"] == COMMON_BATCH]
    curve(by_size, common, "nv", "C2")
    for row in common:
        by_size.annotate(row["model"].replace("_", " "), (row["nv"], row["implicit_ms"]), fontsize=7, rotation=20)
    ylabel = "forward and backward of a control step [ms]"
    by_batch.set(xlabel="batch", ylabel=ylabel, xscale="log", yscale="log")
    by_size.set(xlabel=f"degrees of freedom (batch {COMMON_BATCH})", yscale="log")
    for axis in (by_batch, by_size):
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=150)


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns in a process of its own, in which nothing is compiled yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def compiling(settings: SpeedSettings) -> list[Row]:
    """Seconds until the first value and the first gradient, each model in processes of its own: cold, then warm."""
    rows = []
    for name in settings.of(LOCOMOTION):
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                forward, backward = apart(compile_once, name, settings, cache)
                row: Row = {"model": name, "batch": settings.batch, "cache": state}
                rows.append(row | {"forward_s": round(forward, 1), "backward_s": round(backward, 1)})
                script.show(rows[-1])
    return rows


def compile_once(name: str, settings: SpeedSettings, cache: str) -> tuple[float, float]:
    """Seconds of the first forward and the first backward pass in this process: tracing, compiling, running."""
    os.environ["DIFFMAAC_CACHE"] = cache
    torch.set_num_threads(settings.threads)
    step, inputs = DifferentiablePhysics(*subject(name), "implicit"), states(name, settings.batch)
    start = time.perf_counter()
    outputs = step(*(x.requires_grad_() for x in inputs[:3]))
    middle = time.perf_counter()
    torch.autograd.grad([x.sum() for x in outputs], inputs[:3])
    return middle - start, time.perf_counter() - middle


def memory(settings: SpeedSettings) -> list[Row]:
    """What is held between forward and backward pass over HORIZON control steps, each in a process of its own."""
    rows = []
    for horizon, remat in ((1, False), (HORIZON, False), (HORIZON, True)):
        held, ms = apart(memory_once, horizon, remat, settings)
        row: Row = {"model": "half_cheetah", "batch": settings.batch, "horizon": horizon, "remat": remat}
        rows.append(row | {"held_mb": round(held, 2), "ms": round(ms)})
    return rows


def memory_once(horizon: int, remat: bool, settings: SpeedSettings) -> tuple[float, float]:
    """Memory held between the passes [MB], and milliseconds of both, through `horizon` control steps."""
    torch.set_num_threads(settings.threads)
    step = DifferentiablePhysics(*subject("half_cheetah"), "implicit", remat=remat)
    qpos, qvel, ctrl, _ = (x.float() for x in states("half_cheetah", settings.batch))
    ctrl = ctrl.repeat(horizon, 1, 1).requires_grad_()

    def forward() -> torch.Tensor:
        position, velocity = qpos, qvel
        for t in range(horizon):
            position, velocity = step(position, velocity, ctrl[t])
        return position.sum()

    (ms,) = medians([lambda: torch.autograd.grad(forward(), ctrl)], repeats=3)
    before = live_megabytes()
    outputs = forward()
    held = live_megabytes() - before
    del outputs
    return held, ms


def live_megabytes() -> float:
    """What JAX holds. The process's own memory says little: its allocator keeps the compiler's gigabyte."""
    gc.collect()
    return sum(x.nbytes for x in jax.live_arrays()) / 1e6


PARTS = {"speed": speed, "bridge": bridge, "growth": growth, "compile": compiling, "memory": memory}


def main(settings: SpeedSettings) -> None:
    torch.set_num_threads(settings.threads)
    where = {"threads": settings.threads, **script.provenance("mujoco", "mujoco-mjx", "jax", "torch")}
    for part in settings.parts or PARTS:
        file, rows = script.output(settings.out, f"physics_{part}.csv"), PARTS[part](settings)
        script.write(file, rows, where)
        for row in rows:
            script.show({"part": part, **row})


if __name__ == "__main__":
    script.run(main, SpeedSettings)
