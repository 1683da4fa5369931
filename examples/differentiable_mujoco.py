"""Gradients of MuJoCo in torch, without reinforcement learning: how to strike a ball so that it flies to a target.

A bat (two motors) strikes a ball that rests on the floor. The forces over time are optimised by Adam, for three targets
at once, with the gradient of the ball's final position through strike, flight and bounce.

python examples/differentiable_mujoco.py iterations=150
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import mujoco
import torch

import diffmaac
from diffmaac.settings import parse_command, setting

XML = """
<mujoco>
  <option timestep="0.0025" integrator="implicitfast" cone="elliptic"/>
  <worldbody>
    <geom type="plane" size="5 5 0.1"/>
    <body pos="-0.25 0 0.02" gravcomp="1">
      <joint name="along" type="slide" axis="1 0 0" damping="2"/>
      <joint name="up" type="slide" axis="0 0 1" damping="2"/>
      <geom type="capsule" fromto="0 -0.15 0 0 0.15 0" size="0.02" mass="0.5" contype="0" conaffinity="2"/>
    </body>
    <body pos="0 0 0.1">
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/><joint type="hinge" axis="0 1 0"/>
      <geom type="sphere" size="0.1" mass="0.2" contype="3" conaffinity="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="along"/><motor joint="up"/></actuator>
</mujoco>
"""
TARGETS = torch.tensor([[1.0, 0.2], [0.8, 0.5], [1.2, 0.4]], dtype=torch.float64)
"""Where the ball's centre is to be at the end: x, z [m]."""
CONTROL_STEPS, FRAME_SKIP, START = 10, 16, (30.0, 0.0)
"""0.4 s in all; forces [N] to begin with, which strike the ball: from a miss no gradient leads to a hit."""


@dataclass(frozen=True)
class Strike:
    """The words of this example."""

    iterations: int = setting(150, "steps of Adam", 1, 100_000)
    gradient: str = setting("implicit", "how MuJoCo is differentiated, see DifferentiablePhysics")


def fly(step: diffmaac.DifferentiablePhysics, forces: torch.Tensor) -> torch.Tensor:
    """The ball's centre (targets, CONTROL_STEPS + 1, 2) under `forces` (targets, CONTROL_STEPS, 2)."""
    qpos, qvel = forces.new_zeros(len(forces), 5), forces.new_zeros(len(forces), 5)
    path = [qpos]
    for t in range(CONTROL_STEPS):
        qpos, qvel = step(qpos, qvel, forces[:, t])
        path.append(qpos)
    return torch.stack(path, 1)[..., 2:4] + forces.new_tensor([0.0, 0.1])


def main(words: list[str], out: Path = Path("runs/differentiable_mujoco.png")) -> list[float]:
    settings = parse_command(Strike, words)
    step = diffmaac.DifferentiablePhysics(mujoco.MjModel.from_xml_string(XML), FRAME_SKIP, settings.gradient)
    forces = torch.tensor(START, dtype=torch.float64).repeat(len(TARGETS), CONTROL_STEPS, 1).requires_grad_()
    optimiser = torch.optim.Adam([forces], lr=1.0)
    with torch.no_grad():
        first = fly(step, forces)
    path, misses = first, []
    for iteration in range(settings.iterations):
        path = fly(step, forces)
        miss = (path[:, -1] - TARGETS).norm(dim=-1)
        optimiser.zero_grad()
        miss.square().sum().backward()
        optimiser.step()
        misses.append(miss.detach())
        if iteration % 10 == 0:
            print(f"iteration {iteration}: misses the targets by {', '.join(f'{m:.3f}' for m in misses[-1])} m")
    draw(first, path.detach(), torch.stack(misses), out)
    print(f"after {settings.iterations}: {', '.join(f'{m:.4f}' for m in misses[-1])} m; figure: {out}")
    return [float(m) for m in misses[-1]]


def draw(first: torch.Tensor, last: torch.Tensor, misses: torch.Tensor, out: Path) -> None:
    figure, (flight, learning) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    flight.plot(*first[0].T, color="0.6", linestyle="--", label="before")
    for i, target in enumerate(TARGETS):
        flight.plot(*last[i].T, color=f"C{i}", marker=".", label=f"after, target {i + 1}")
        flight.plot(*target, color=f"C{i}", marker="x", markersize=12, markeredgewidth=2)
        learning.semilogy(misses[:, i], color=f"C{i}")
    flight.axhline(0, color="k", linewidth=0.8)
    flight.set(xlabel="x [m]", ylabel="height of the ball's centre [m]", aspect="equal")
    flight.legend(frameon=False, fontsize=8)
    learning.set(xlabel="iteration of Adam", ylabel="distance from the target [m]")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main(sys.argv[1:])
