"""Error and time of an identification beside SciPy's `least_squares` with differences, as parameters grow.

    python benchmarks/identification.py [parameters=3,12,24,48]

A chain of eight hinges swings for 2 s under sines (noise of 1 mrad in positions, 10 mrad/s in velocities). Both seek
the same parameters and first states of the same windows, from the same start; SciPy knows the noise, takes differences
of residuals that the C engine computes in one call each, and knows which residuals belong to which window. Times are
those of the processor, on one thread, so that a busy machine does not count. Writes identification.csv and
identification.png, a row a number of parameters, and keeps the rows of other numbers.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import mujoco
import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import lil_matrix

import diffmaac
from diffmaac.files import read_table, write_table
from diffmaac.identification.fit import Point, WindowFit
from diffmaac.identification.selection import select
from diffmaac.identification.trajectory import windows
from diffmaac.physics import StepJacobians
from diffmaac.settings import setting
from shared import script

LINKS, STEPS, WINDOW, NOISE = 8, 500, 100, 1e-3
START = 0.8
"""What the sought values begin with, relative to the truth."""
SIZES = np.array([NOISE] * LINKS + [10 * NOISE] * LINKS)
FIELDS = ("dof_damping", "dof_armature", "jnt_stiffness", "body_mass", "body_inertia", "qpos_spring")
"""In the order in which their numbers are taken; of bodies those that move."""


@dataclass(frozen=True)
class IdentificationSettings:
    """How many parameters are sought."""

    parameters: list[int] = setting([3, 12, 24, 48], "numbers of parameters", 1, 72)
    out: str = setting(script.RESULTS, "directory of identification.csv")


def chain() -> mujoco.MjModel:
    """The hinges."""
    text = "".join(
        f'<body pos="0 0 {-0.2 * (i > 0)}"><joint name="j{i}" axis="{int(i % 2 == 0)} {int(i % 2)} 0"'
        f' damping="0.1" armature="0.02" stiffness="1" springref="20"/><inertial pos="0 0 -.1"'
        f' mass="0.5" diaginertia="0.004 0.004 0.002"/>'
        for i in range(LINKS)
    )
    motors = "".join(f'<motor joint="j{i}"/>' for i in range(LINKS))
    return mujoco.MjModel.from_xml_string(
        f'<mujoco><option timestep="0.004"/><worldbody>{text}{"</body>" * LINKS}</worldbody>'
        f"<actuator>{motors}</actuator></mujoco>"
    )


def names(count: int) -> list[str]:
    """The parameters, `count` of them."""
    every = []
    for field in FIELDS:
        rows = range(1, LINKS + 1) if field.startswith("body") else range(LINKS)
        columns = range(3) if field == "body_inertia" else [None]
        every += [f"{field}[{i}]" if c is None else f"{field}[{i}, {c}]" for i in rows for c in columns]
    return every[:count]


def record(model: mujoco.MjModel) -> diffmaac.Trajectory:
    rng, data, states, controls = np.random.default_rng(0), mujoco.MjData(model), [], []
    for t in range(STEPS + 1):
        states.append((data.qpos.copy(), data.qvel.copy()))
        controls.append(1.5 * np.sin(2 * np.pi * (0.8 + 0.3 * np.arange(LINKS)) * t * model.opt.timestep))
        data.ctrl[:] = controls[-1]
        mujoco.mj_step(model, data)
    qpos, qvel = (np.stack(column) for column in zip(*states, strict=True))
    noisy = qpos + NOISE * rng.normal(size=qpos.shape), qvel + 10 * NOISE * rng.normal(size=qvel.shape)
    return diffmaac.Trajectory(*noisy, np.array(controls[:-1]))


def by_scipy(model: mujoco.MjModel, motion: diffmaac.Trajectory, wanted: list[str]) -> tuple[np.ndarray, int]:
    """What `least_squares` finds, and its Jacobians."""
    selection, cut = select(model, wanted), windows(model, [motion], 1, WINDOW)
    fit = WindowFit(selection, cut, StepJacobians(selection.space, 1, selection.entries))
    begin, n = fit.start(), len(cut.qpos)
    size = len(selection.entries)

    def residuals(x: np.ndarray) -> np.ndarray:
        states = x[size:].reshape(n, 2 * LINKS)
        point = Point(x[:size] * begin.parameters, states[:, :LINKS], states[:, LINKS:], begin.act)
        return (fit.predict(point).residuals / SIZES).ravel()

    x = np.concatenate([np.ones(size), np.concatenate([begin.qpos, begin.qvel], axis=1).ravel()])
    pattern = lil_matrix((len(residuals(x)), len(x)), dtype=int)
    rows = len(residuals(x)) // n
    pattern[:, :size] = 1
    for window in range(n):
        own = slice(size + window * 2 * LINKS, size + (window + 1) * 2 * LINKS)
        pattern[window * rows : (window + 1) * rows, own] = 1
    found = least_squares(
        residuals, x, jac_sparsity=pattern, bounds=(np.r_[np.zeros(size), np.full(len(x) - size, -np.inf)], np.inf)
    )
    return found.x[:size] * begin.parameters, int(found.njev)


def measure(count: int) -> dict[str, Any]:
    """One row."""
    truth, wanted = chain(), names(count)
    selection = select(truth, wanted)
    values = selection.space.values.copy()
    values[selection.entries] *= START
    model = selection.space.model_with(values)
    motion, row = record(truth), {"parameters": count}
    start = time.process_time()
    found = diffmaac.identify(model, motion, wanted, window=WINDOW, progress=False).value
    row |= {"s": f"{time.process_time() - start:.2f}", "steps": found.iterations}
    start = time.process_time()
    others, jacobians = by_scipy(model, motion, wanted)
    row |= {"scipy_s": f"{time.process_time() - start:.2f}", "scipy_steps": jacobians}
    right = selection.space.values[selection.entries]
    for name, numbers in (("error", found.values), ("scipy_error", others)):
        row[name] = f"{np.median(np.abs(numbers / right - 1)):.2g}"
    apart = np.abs(others - found.values) / found.standard_errors
    return row | {"apart_in_standard_errors": f"{np.median(apart):.2g}"}


def main(settings: IdentificationSettings) -> None:
    file = script.output(settings.out, "identification.csv")
    for count in settings.parameters:
        row = measure(count)
        script.show(row)
        others = [o for o in (read_table(file) if file.is_file() else []) if int(o["parameters"]) != count]
        made_with = script.provenance("mujoco", "scipy")
        write_table(file, sorted([*others, {**row, **made_with}], key=lambda r: int(r["parameters"])))
        draw(file)


def draw(file: Path) -> None:
    """Time and error over the number of parameters, of all rows."""
    rows = read_table(file)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for axis, column, label in ((axes[0], "s", "seconds of one core"), (axes[1], "error", "median relative error")):
        for prefix, who in (("", "diffmaac.identify"), ("scipy_", "SciPy's least_squares, differences")):
            points = [(int(row["parameters"]), float(row[prefix + column])) for row in rows]
            axis.plot(*zip(*points, strict=True), "o-" if not prefix else "x--", label=who)
        axis.set(xlabel="parameters", ylabel=label, ylim=(0, None))
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(file.with_suffix(".png"), dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    script.run(main, IdentificationSettings)
