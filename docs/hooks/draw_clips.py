"""Draws the moving pictures of the tasks' pages and of the README, with the library itself.

python docs/hooks/draw_clips.py walker2d ant                 random actions
python docs/hooks/draw_clips.py runs/hopper-... runs/...     best or last policy of each run, on the clip of its task

Each clip is the beginning of an episode; clips.csv beside them has the return of the whole episode, for the captions.
"""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import diffmaac
from diffmaac.runs.layout import BEST
from diffmaac.system import MujocoSystem
from diffmaac.task import Task
from diffmaac.tasks import task_names

TASKS = Path(__file__).parent.parent / "reference" / "tasks"
TABLE = TASKS / "clips.csv"
COLUMNS = ["task", "policy", "dynamics", "steps", "seconds", "return"]
SHOWN = (360, 276)
"""Pixels of a picture."""
SECONDS, FRAME_SECONDS = 4.0, 0.05
SEED = 0
Action = Callable[[np.ndarray], np.ndarray]
Draw = Callable[[np.ndarray, np.ndarray], Image.Image]
"""(observation, action) -> a picture."""


def drawn(task: Task) -> tuple[gymnasium.Env[np.ndarray, np.ndarray], Draw]:
    """An environment of the task, and what draws its present state."""
    if not isinstance(task.system, MujocoSystem):
        return task.make_env(), mass_on_a_line
    env = task.make_env("rgb_array")

    def draw(
        _: np.ndarray, __: np.ndarray
    ) -> Image.Image:  # the environment knows what an observation hides: the place
        return Image.fromarray(np.asarray(env.render())).resize(SHOWN, Image.Resampling.LANCZOS)

    return env, draw


def mass_on_a_line(obs: np.ndarray, action: np.ndarray) -> Image.Image:
    """The double integrator has no model to render: a mass, its aim at the origin, and its acceleration."""
    figure, axes = plt.subplots(figsize=(SHOWN[0] / 100, SHOWN[1] / 100), dpi=100)
    position, acceleration = float(obs[0]), float(action[0])
    axes.axhline(0, color="0.3")
    axes.plot(0, 0, "|", markersize=30, color="C3")
    axes.plot(position, 0, "s", markersize=22, color="C0")
    tip = (position + 0.15 * acceleration, 0.006)
    axes.annotate("", tip, (position, 0.006), arrowprops={"arrowstyle": "->", "color": "C1", "lw": 2})
    axes.text(position, 0.008, "a", color="C1", fontsize=12, ha="center")
    axes.set(xlim=(-0.3, 0.3), ylim=(-0.02, 0.02), yticks=[], xlabel="position x [m]")
    figure.tight_layout()
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())  # pyright: ignore[reportAttributeAccessIssue]
    plt.close(figure)
    return picture


def episode(task: Task, act: Action, out: Path) -> tuple[float, float]:
    """Saves the beginning of an episode as an animated WebP; the seconds shown, and the return of the whole episode."""
    env, draw = drawn(task)
    every = max(1, round(FRAME_SECONDS / task.dt))
    obs, _ = env.reset(seed=SEED)
    total, step, over, frames = 0.0, 0, False, []
    while not over:
        action = act(obs)
        if step % every == 0 and step * task.dt < SECONDS:
            frames.append(draw(obs, action))
        obs, reward, terminated, truncated, _ = env.step(action)
        total, step, over = total + float(reward), step + 1, terminated or truncated
    duration = round(1000 * task.dt * every)
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=duration, loop=0, quality=40, method=6)
    return len(frames) * duration / 1000, total


def of_run(folder: Path) -> dict[str, str]:
    """Draws the best policy of a run, or the last where it has kept none; its row of the table."""
    which = BEST if (folder / BEST).is_dir() else "last"
    agent = diffmaac.load(folder, which=which)
    seconds, total = episode(agent.task, agent.act, TASKS / f"{agent.task.name}_moving.webp")
    return row(agent.task.name, which, agent.settings.run.dynamics, str(agent.step), seconds, total)


def of_chance(name: str) -> dict[str, str]:
    """Draws random actions on a task; its row of the table."""
    task, rng = diffmaac.get_task(name), np.random.default_rng(SEED)
    seconds, total = episode(
        task, lambda _: rng.uniform(-1, 1, task.action_size).astype(np.float32), TASKS / f"{name}_moving.webp"
    )
    return row(name, "random", "", "", seconds, total)


def row(*cells: str | float) -> dict[str, str]:
    return {name: x if isinstance(x, str) else f"{x:.6g}" for name, x in zip(COLUMNS, cells, strict=True)}


def main(words: list[str]) -> None:
    with TABLE.open(newline="") as file:
        table = {known["task"]: known for known in csv.DictReader(file)}
    for word in words:
        line = of_chance(word) if word in task_names() else of_run(Path(word))
        table[line["task"]] = line
        print(line)
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table[name] for name in sorted(table))


if __name__ == "__main__":
    main(sys.argv[1:])
