"""What an exact gradient is exact of: where a thrown cube lies after a second, against its launch speed.

    python docs/results/inquiries/cube_toss.py

Two throws that bounce: one turns about a single axis and lands softly, one tumbles about all three on MuJoCo's default
contacts. The derivative by the implicit gradient, through all 500 time steps, beside central differences of the same
discrete simulation by the C engine, for difference steps from 0.1 to 1e-8. Writes cube_toss.csv and .png.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import mujoco
import numpy as np
import torch

from diffmaac import DifferentiablePhysics
from diffmaac.errors import exit_on_error
from diffmaac.files import write_table
from diffmaac.physics import Engine
from diffmaac.provenance import versions
from diffmaac.settings import parse_command, setting

XML = """
<mujoco>
  <option timestep="0.002" integrator="implicitfast" cone="elliptic"/>
  <default><geom friction="0.6 0.005 0.0001" solref="{solref}"/></default>
  <worldbody>
    <geom type="plane" size="20 20 0.1"/>
    <body pos="0 0 0.5"><freejoint/><geom type="box" size="0.05 0.05 0.05" density="400"/></body>
  </worldbody>
</mujoco>"""
THROWS = {
    "one axis, soft contact": {"solref": "0.05 0.5", "spin": (0.0, 4.0, 0.0)},
    "all axes, default contact": {"solref": "0.02 1", "spin": (1.0, 4.0, 0.5)},
}
"""Contact parameters, and the spin at launch [rad/s]."""
TIME_STEPS = 500
SPEEDS = np.linspace(1.0, 3.0, 101)
"""Launch speeds along x [m/s]; along z it is 1."""
STEPS = 10.0 ** -np.arange(1, 8.5, 0.5)
Row = dict[str, Any]


@dataclass(frozen=True)
class CubeTossSettings:
    """Where the results go."""

    out: str = setting("docs/results/inquiries", "directory of the table and the figure")


def launch(model: mujoco.MjModel, speeds: np.ndarray, spin: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """qpos, qvel, act and ctrl of the cube leaving the hand."""
    qvel = np.concatenate([np.zeros((len(speeds), 3)), np.tile(spin, (len(speeds), 1))], axis=1)
    qvel[:, 0], qvel[:, 2] = speeds, 1.0
    nothing = np.zeros((len(speeds), 0))
    return np.tile(model.qpos0, (len(speeds), 1)), qvel, nothing, nothing


def measure(name: str) -> list[Row]:
    throw = THROWS[name]
    model = mujoco.MjModel.from_xml_string(XML.format(solref=throw["solref"]))
    engine = Engine(model, TIME_STEPS, threads=torch.get_num_threads())

    def distance(speeds: np.ndarray) -> np.ndarray:
        return engine.step(*launch(model, speeds, throw["spin"]))[0][:, 0]

    qpos, qvel, _, ctrl = (torch.from_numpy(x) for x in launch(model, SPEEDS, throw["spin"]))
    final, _ = DifferentiablePhysics(model, TIME_STEPS, "implicit")(qpos, qvel.requires_grad_(), ctrl)
    (gradient,) = torch.autograd.grad(final[:, 0].sum(), qvel)
    rows: list[Row] = [
        {"throw": name, "speed": speed, "distance": x, "distance_c_engine": y, "implicit": g}
        for speed, x, y, g in zip(SPEEDS, final[:, 0].tolist(), distance(SPEEDS), gradient[:, 0].tolist(), strict=True)
    ]
    for step in STEPS:
        for row, slope in zip(rows, (distance(SPEEDS + step) - distance(SPEEDS - step)) / (2 * step), strict=True):
            row[f"difference_{step:.1e}"] = slope
    return rows


def disagreement(rows: list[Row]) -> np.ndarray:
    """|difference - implicit| / |implicit|: (steps, speeds)."""
    implicit = np.array([row["implicit"] for row in rows])
    differences = np.array([[row[f"difference_{step:.1e}"] for row in rows] for step in STEPS])
    return np.abs(differences - implicit) / np.abs(implicit)


def draw(results: dict[str, list[Row]], file: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained", sharex="col")
    for (name, rows), (slopes, errors) in zip(results.items(), axes, strict=True):
        for step, style in ((1e-1, ":"), (1e-2, "--")):
            slope = [row[f"difference_{step:.1e}"] for row in rows]
            slopes.plot(SPEEDS, slope, f"C1{style}", linewidth=1, label=f"central difference, step {step:g} m/s")
        slopes.plot(SPEEDS, [row["implicit"] for row in rows], "C0.", markersize=4, label="implicit gradient")
        error = disagreement(rows)
        errors.loglog(STEPS, np.median(error, axis=1), "C0.-", label="median over speeds")
        errors.loglog(STEPS, np.quantile(error, 0.9, axis=1), "C1.-", label="90th percentile")
        slopes.set(title=name, ylabel="d distance / d launch speed [s]")
        errors.set(title=name, ylabel="|difference - implicit| / |implicit|")
        slopes.set_ylim(*np.clip(slopes.get_ylim(), -1, 3))
    axes[1, 0].set_xlabel("launch speed [m/s]")
    axes[1, 1].set_xlabel("step of the central difference [m/s]")
    axes[0, 0].legend(frameon=False, fontsize=8)
    axes[0, 1].legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=150)


def main(settings: CubeTossSettings) -> None:
    out = Path(settings.out)
    results = {name: measure(name) for name in THROWS}
    where = {"versions": versions("mujoco", "mujoco-mjx", "jax"), "command": " ".join(["python", *sys.argv])}
    write_table(out / "cube_toss.csv", [{**row, **where} for rows in results.values() for row in rows])
    for name, rows in results.items():
        off = max(abs(row["distance"] - row["distance_c_engine"]) for row in rows)
        print(f"{name}: largest distance between MJX and the C engine after {TIME_STEPS} steps: {off:.1e} m")
        for step, error in zip(STEPS, disagreement(rows), strict=True):
            print(f"  step {step:.1e}: median {np.median(error):.1e}, 90th percentile {np.quantile(error, 0.9):.1e}")
    draw(results, out / "cube_toss.png")


if __name__ == "__main__":
    with exit_on_error():
        main(parse_command(CubeTossSettings, sys.argv[1:]))
