"""Draws the still pictures of the tasks' pages and the kink with the library itself: python docs/hooks/draw_tasks.py.

`draw_clips.py` draws the moving ones.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import diffmaac
from diffmaac.tasks import task_names
from draw_clips import drawn

DOCS = Path(__file__).parent.parent
SECONDS = 0.4
"""Of random actions before a picture."""
BALL = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <geom type="plane" size="5 5 0.1"/>
    <body pos="0 0 0.1">
      <joint type="slide" axis="0 0 1"/><joint type="slide" axis="1 0 0"/>
      <geom type="sphere" size="0.1" mass="1"/>
    </body>
  </worldbody>
</mujoco>
"""


def picture(name: str, out: Path) -> None:
    """A start state of a task after a little time of random actions."""
    task = diffmaac.get_task(name)
    (env, draw), rng = drawn(task), np.random.default_rng(0)
    obs, _ = env.reset(seed=1)
    action = rng.uniform(-1, 1, task.action_size).astype(np.float32)
    for _ in range(int(SECONDS / task.dt)):
        obs, *_ = env.step(action)
        action = rng.uniform(-1, 1, task.action_size).astype(np.float32)
    draw(obs, action).save(out, quality=80)


def kink(out: Path) -> None:
    """A ball's velocity after a time step against that before, 2 mm deep in the floor; the library's tangents."""
    step = diffmaac.DifferentiablePhysics(BALL, frame_skip=1, gradient="engine")

    def after(velocity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        velocity = velocity.clone().requires_grad_()
        still = torch.zeros(len(velocity), 1).double()
        qpos = torch.cat([still - 0.002, still], -1)
        _, qvel = step(qpos, torch.cat([velocity[:, None], still], -1), torch.zeros(len(velocity), 0).double())
        (slope,) = torch.autograd.grad(qvel[:, 0].sum(), velocity)
        return qvel[:, 0].detach(), slope

    velocities, at = torch.linspace(-0.6, 0.8, 401).double(), torch.tensor([-0.3, 0.5]).double()
    (curve, _), (values, slopes) = after(velocities), after(at)
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    axes.plot(velocities, curve, color="C0", label="one time step of MuJoCo")
    for v, w, s in zip(at.tolist(), values.tolist(), slopes.tolist(), strict=True):
        near = np.array([-0.2, 0.2])
        axes.plot(v + near, w + s * near, color="C1", linewidth=3, alpha=0.7)
        axes.plot(v, w, "o", color="C1")
    axes.plot([], [], color="C1", label="tangents by the implicit gradient")
    axes.set(xlabel="velocity before the step [m/s], upward", ylabel="velocity after it [m/s]")
    axes.legend(frameon=False)
    figure.savefig(out, dpi=130)


def main() -> None:
    for name in task_names():
        picture(name, DOCS / "reference" / "tasks" / f"{name}.webp")
    kink(DOCS / "explained" / "kink.png")


if __name__ == "__main__":
    main()
