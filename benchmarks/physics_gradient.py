"""Time and memory of the differentiable step: three gradients, growth with batch and model, the bridge, recomputation.

    python benchmarks/physics_gradient.py [threads=2] [repeats=15] [parts=speed,bridge,growth,compile,memory]

Contact states under random controls, float64 (memory: float32, as in training); medians, in one process for all times
of a part, what is compared taking turns. Run it on a quiet machine. Writes docs/results/physics_<part>.csv and
physics_growth.png.
"""

import functools
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import jax
import matplotlib.pyplot as plt
import mujoco
import numpy as np
import torch

from diffmaac import DifferentiablePhysics, MujocoSystem, get_task
from diffmaac.analysis.gradient_check import visited_states
from diffmaac.analysis.record import machine, versions, write_table
from diffmaac.config import parse_words
from diffmaac.physics import (
    Engine,
    FiniteDifference,
    ImplicitGradient,
    UnrolledGradient,
    batched_control_step,
    compiler_options,
    host_devices,
)

RESULTS = Path("docs/results")
ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
BATCH = 256
LOCOMOTION = ("half_cheetah", "hopper", "walker2d", "ant")
PROTOTYPE_MS = {"half_cheetah": (75, 201), "hopper": (126, 592), "walker2d": (250, 586)}
"""Forward, and forward and backward, of the plain composition around `mjx.step` that this library began with, on two
cores of the same kind."""
UNROLLED = (4, 6, 8, 10, 15, 20)
"""Iterations to try: the fewest that reach the accuracy of the implicit gradient's step are timed."""
ACCURACY = 1e-9
"""Error of the step, in qpos and qvel, that counts as equal to the C engine."""
BATCHES = (1, 4, 16, 64, 256, 1024)
HORIZON = 16
Inputs = tuple[torch.Tensor, ...]


def subject(name: str) -> tuple[mujoco.MjModel, int]:
    """Model and frame skip of a task, or of one of Gymnasium's files."""
    if name == "inverted_double_pendulum":
        return mujoco.MjModel.from_xml_path(str(ASSETS / f"{name}.xml")), 5
    system = get_task(name).system
    assert isinstance(system, MujocoSystem)
    return system.model, system.frame_skip


def states(name: str, batch: int) -> Inputs:
    qpos, qvel, act, ctrl = visited_states(*subject(name), batch).inputs
    return tuple(torch.from_numpy(x) for x in (qpos, qvel, ctrl, act))


def gradient_call(step: DifferentiablePhysics, inputs: Inputs) -> Callable[[], Any]:
    """Forward and backward pass with cotangents of ones."""

    def call() -> Any:
        given = [x.detach().requires_grad_() for x in inputs]
        return torch.autograd.grad([x.sum() for x in step(*given)], given[:3])

    return call


def milliseconds(*functions: Callable[[], Any], repeats: int) -> list[float]:
    """Medians, the functions taking turns, after a first call of each that compiles."""
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, kept in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            kept.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(kept) for kept in times]


def speed(repeats: int) -> list[dict[str, Any]]:
    rows = []
    for name in LOCOMOTION:
        model, frame_skip = subject(name)
        inputs = states(name, BATCH)
        exact = Engine(model, frame_skip).step(*(inputs[i].numpy() for i in (0, 1, 3, 2)))
        unrolled = next(
            gradient
            for gradient in map(UnrolledGradient, UNROLLED)
            if gradient.iterations == UNROLLED[-1]
            or step_error(DifferentiablePhysics(model, frame_skip, gradient), inputs, exact) < ACCURACY
        )
        gradients = (ImplicitGradient(), unrolled, FiniteDifference())
        steps = [DifferentiablePhysics(model, frame_skip, gradient) for gradient in gradients]
        both = milliseconds(*(gradient_call(step, inputs) for step in steps), repeats=repeats)
        forward = milliseconds(*(functools.partial(value, step, inputs) for step in steps), repeats=repeats)
        for step, one, two in zip(steps, forward, both, strict=True):
            row = {"model": name, "gradient": str(step.gradient), "batch": BATCH, "forward_ms": round(one, 1)}
            row |= {"forward_backward_ms": round(two, 1), "relative_to_implicit": round(two / both[0], 2)}
            prototype = PROTOTYPE_MS.get(name, (float("nan"),) * 2)[1]
            row |= {"prototype_over_this": round(prototype / two, 2)}
            rows.append(row | {"step_error": f"{step_error(step, inputs, exact):.0e}"})
            print(rows[-1], flush=True)
    return rows


def step_error(step: DifferentiablePhysics, inputs: Inputs, exact: Sequence[np.ndarray]) -> float:
    """Of MJX where that is what is differentiated: `step` without gradients takes the C engine."""
    found = step(inputs[0].clone().requires_grad_(), *inputs[1:])
    return max(float(np.abs(x.detach().numpy() - y).max(initial=0)) for x, y in zip(found, exact, strict=False))


def value(step: DifferentiablePhysics, inputs: Inputs) -> Any:
    with torch.no_grad():
        return step(*inputs)


def bridge(repeats: int) -> list[dict[str, Any]]:
    """The same programs, split over the cores, from JAX arrays and from torch tensors."""
    rows = []
    for name in LOCOMOTION[:2]:
        model, frame_skip = subject(name)
        inputs = states(name, BATCH)
        with jax.enable_x64(True):
            arrays = tuple(jax.numpy.asarray(inputs[i].numpy()) for i in (0, 1, 3, 2))
        mesh = jax.sharding.Mesh(np.array(host_devices()), ("batch",))
        rows_of = jax.sharding.PartitionSpec("batch")
        step = batched_control_step(model, frame_skip)
        step = jax.shard_map(step, mesh=mesh, in_specs=rows_of, out_specs=rows_of, check_vma=False)
        arrays = jax.device_put(arrays, jax.sharding.NamedSharding(mesh, rows_of))
        jit = functools.partial(jax.jit, compiler_options=compiler_options())
        forward = jit(lambda *arrays, step=step: jax.vjp(step, *arrays))
        backward = jit(lambda pullback, cotangents: pullback(cotangents))

        def pure(arrays=arrays, forward=forward, backward=backward) -> Any:
            with jax.enable_x64(True):
                values, pullback = forward(*arrays)
                return jax.block_until_ready(backward(pullback, jax.tree.map(jax.numpy.ones_like, values)))

        torched = gradient_call(DifferentiablePhysics(model, frame_skip, "implicit"), inputs)
        jax_ms, torch_ms = milliseconds(pure, torched, repeats=repeats)
        row = {"model": name, "batch": BATCH, "jax_ms": round(jax_ms, 2), "torch_ms": round(torch_ms, 2)}
        rows.append(row | {"overhead": f"{torch_ms / jax_ms - 1:.1%}"})
    return rows


def growth(repeats: int) -> list[dict[str, Any]]:
    """Forward and backward by batch size, and by degrees of freedom, for the implicit gradient and differences."""
    rows = []
    for name in ("pendulum", "cartpole", "inverted_double_pendulum", "hopper", "half_cheetah", "ant"):
        model, frame_skip = subject(name)
        batches = BATCHES if name in ("cartpole", "half_cheetah") else (64,)
        steps = [DifferentiablePhysics(model, frame_skip, gradient) for gradient in ("implicit", "finite_difference")]
        for batch in batches:
            inputs = states(name, batch)
            calls = [gradient_call(step, inputs) for step in steps]
            implicit, difference = milliseconds(*calls, repeats=repeats)
            row = {"model": name, "nv": model.nv, "batch": batch, "implicit_ms": round(implicit, 2)}
            rows.append(row | {"finite_difference_ms": round(difference, 2)})
    draw_growth(rows)
    return rows


def draw_growth(rows: list[dict[str, Any]]) -> None:
    figure, (by_batch, by_size) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    columns = {"implicit_ms": ("implicit gradient", "-"), "finite_difference_ms": ("finite difference", "--")}
    for i, name in enumerate(("cartpole", "half_cheetah")):
        chosen = [row for row in rows if row["model"] == name]
        for column, (label, style) in columns.items():
            times = [row[column] for row in chosen]
            by_batch.loglog(BATCHES, times, f"C{i}{style}", marker=".", label=f"{name}, {label}")
    chosen = [row for row in rows if row["batch"] == 64]
    for column, (label, style) in columns.items():
        by_size.semilogy(
            [row["nv"] for row in chosen], [row[column] for row in chosen], f"C2{style}", marker=".", label=label
        )
    for row in chosen:
        by_size.annotate(row["model"].replace("_", " "), (row["nv"], row["implicit_ms"]), fontsize=7, rotation=20)
    by_batch.set(xlabel="batch", ylabel="forward and backward of a control step [ms]")
    by_size.set(xlabel="degrees of freedom (batch 64)")
    for axis in (by_batch, by_size):
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(RESULTS / "physics_growth.png", dpi=150)


def compiling(repeats: int) -> list[dict[str, Any]]:
    """Seconds until the first value and the first gradient, each model in processes of its own: cold, then warm."""
    rows = []
    for name in LOCOMOTION:
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                forward, backward = measured_apart(f"compile={name}", DIFFMAAC_CACHE=cache)
                row = {"model": name, "batch": BATCH, "cache": state, "forward_s": round(forward, 1)}
                rows.append(row | {"backward_s": round(backward, 1)})
                print(rows[-1], flush=True)
    return rows


def compile_once(name: str) -> None:
    """Seconds of the first forward and the first backward pass in this process: tracing, compiling, running."""
    step, inputs = DifferentiablePhysics(*subject(name), "implicit"), states(name, BATCH)
    start = time.perf_counter()
    outputs = step(*(x.requires_grad_() for x in inputs[:3]))
    middle = time.perf_counter()
    torch.autograd.grad([x.sum() for x in outputs], inputs[:3])
    print(middle - start, time.perf_counter() - middle)


def measured_apart(*words: str, **environment: str) -> tuple[float, float]:
    """The two numbers that this file prints last when called with `words`."""
    command = [sys.executable, __file__, *words]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment})
    first, second = (float(word) for word in output.stdout.split()[-2:])
    return first, second


def memory(repeats: int) -> list[dict[str, Any]]:
    """What is held between forward and backward pass over HORIZON control steps, each in a process of its own."""
    rows = []
    for horizon, remat in ((1, False), (HORIZON, False), (HORIZON, True)):
        held, ms = measured_apart(f"horizon={horizon}", f"remat={str(remat).lower()}")
        rows.append(
            {
                "model": "half_cheetah",
                "batch": BATCH,
                "horizon": horizon,
                "remat": remat,
                "held_mb": round(held, 2),
                "ms": round(ms),
            }
        )
    return rows


def memory_once(horizon: int, remat: bool) -> None:
    """Memory held between the passes [MB], and milliseconds of both, through `horizon` control steps."""
    model, frame_skip = subject("half_cheetah")
    step = DifferentiablePhysics(model, frame_skip, "implicit", remat=remat)
    qpos, qvel, ctrl, _ = (x.float() for x in states("half_cheetah", BATCH))
    ctrl = ctrl.repeat(horizon, 1, 1).requires_grad_()

    def forward() -> torch.Tensor:
        position, velocity = qpos, qvel
        for t in range(horizon):
            position, velocity = step(position, velocity, ctrl[t])
        return position.sum()

    def backpropagate() -> torch.Tensor:
        return torch.autograd.grad(forward(), ctrl)[0]

    (ms,) = milliseconds(backpropagate, repeats=3)
    before = live_megabytes()
    outputs = forward()
    print(live_megabytes() - before, ms)
    del outputs


def live_megabytes() -> float:
    """What JAX holds. The process's own memory says little: its allocator keeps the compiler's gigabyte."""
    gc.collect()
    return sum(x.nbytes for x in jax.live_arrays()) / 1e6


def write(part: str, rows: list[dict[str, Any]]) -> None:
    where = {
        "threads": torch.get_num_threads(),
        "versions": versions("mujoco", "mujoco-mjx", "jax", "torch"),
        "machine": machine(),
        "command": " ".join(["python", *sys.argv]),
    }
    write_table(RESULTS / f"physics_{part}.csv", [{**row, **where} for row in rows])
    for row in rows:
        print(part, *(f"{name}={value}" for name, value in row.items()))


def main() -> None:
    settings = {"threads": 2, "repeats": 15, "parts": "speed,bridge,growth,compile,memory", **parse_words(sys.argv[1:])}
    torch.set_num_threads(settings["threads"])
    if "horizon" in settings:
        memory_once(settings["horizon"], settings["remat"])
        return
    if "compile" in settings:
        compile_once(settings["compile"])
        return
    functions = {"speed": speed, "bridge": bridge, "growth": growth, "compile": compiling, "memory": memory}
    for part in settings["parts"].split(","):
        write(part, functions[part](settings["repeats"]))


if __name__ == "__main__":
    main()
