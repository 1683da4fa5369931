"""Draws the pictures of the tasks' pages, the kink, and the moving picture of the README, with the library itself.

python docs/hooks/draw_tasks.py                            pictures and the kink
python docs/hooks/draw_tasks.py runs/half_cheetah-...      and the first seconds of an episode of this run's policy
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

import diffmaac
from diffmaac.render import Renderer
from diffmaac.system import MujocoSystem
from diffmaac.tasks import task_names

DOCS = Path(__file__).parent.parent
SHOWN = (360, 276)
"""Pixels of a picture."""
CLIP_SECONDS, CLIP_SKIP = 5.0, 1
"""Of the moving picture, and how many control steps a frame stands for."""
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
    """A start state of a task after a second of random actions."""
    task = diffmaac.get_task(name)
    if not isinstance(task.system, MujocoSystem):
        return line(out)
    env, renderer = task.make_env(), Renderer(task.system.model)
    obs, _ = env.reset(seed=1)
    rng = np.random.default_rng(0)
    for _ in range(int(0.4 / task.dt)):
        obs, *_ = env.step(rng.uniform(-1, 1, task.action_size).astype(np.float32))
    qpos, qvel = task.physics_state(torch.as_tensor(obs))
    Image.fromarray(renderer.frame(qpos.numpy(), qvel.numpy())).resize(SHOWN, Image.Resampling.LANCZOS).save(
        out, quality=80
    )
    renderer.close()


def line(out: Path) -> None:
    """The double integrator has no model to render: a mass on a line."""
    figure, axes = plt.subplots(figsize=(3.6, 2.76), dpi=100)
    axes.axhline(0, color="0.3")
    axes.plot(0.15, 0, "s", markersize=22, color="C0")
    axes.plot(0, 0, "|", markersize=30, color="C3")
    axes.annotate("a", (-0.02, 0.0), (0.12, 0.008), fontsize=14)
    axes.annotate("", (0.03, 0.006), (0.14, 0.006), arrowprops={"arrowstyle": "->", "color": "C1", "lw": 2})
    axes.set(xlim=(-0.3, 0.3), ylim=(-0.02, 0.02), yticks=[], xlabel="position x [m]")
    figure.tight_layout()
    figure.savefig(out, pil_kwargs={"quality": 85})
    plt.close(figure)


def clip(run: str, out: Path) -> None:
    """The first seconds of an episode of a run's best policy, as an animated WebP."""
    agent = diffmaac.load(run, which="best")
    env = agent.task.make_env("rgb_array")
    obs, _ = env.reset(seed=0)
    frames = []
    for step in range(int(CLIP_SECONDS / agent.task.dt)):
        if step % CLIP_SKIP == 0:
            drawn = env.render()
            assert isinstance(drawn, np.ndarray)
            frames.append(Image.fromarray(drawn).resize(SHOWN, Image.Resampling.LANCZOS))
        obs, *_ = env.step(agent.act(obs))
    duration = int(1000 * agent.task.dt * CLIP_SKIP)
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=duration, loop=0, quality=60, method=6)


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


def main(words: list[str]) -> None:
    for name in task_names():
        picture(name, DOCS / "reference" / "tasks" / f"{name}.webp")
    kink(DOCS / "explained" / "kink.png")
    for run in words:
        clip(run, DOCS / "assets" / "half_cheetah.webp")


if __name__ == "__main__":
    main(sys.argv[1:])
