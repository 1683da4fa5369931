"""How much of a policy gradient is signal: over horizons, with and without clipped adjoints, on the states of runs.

    python docs/results/inquiries/gradient_noise.py runs=RUN,RUN

Draws independent batches of 64 start states from each run's own data. With g the gradient of one batch, `signal` is
|E g|^2 / E |g|^2, estimated without bias from the products of different batches: 1 where every batch agrees, 0 where
the direction is chance. `cosine` is that between the clipped and the plain mean gradient: the price in bias (itself
noisy where the signal is small). Writes gradient_noise.csv.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffmaac import seeding
from diffmaac.errors import exit_on_error
from diffmaac.files import write_table
from diffmaac.objectives import flat_gradient, pathwise_loss, sample_pathwise_noise
from diffmaac.settings import parse_command, setting
from diffmaac.training.trainer import Trainer

BATCHES, STARTS = 48, 64
HORIZONS, CLIPS = (0, 1, 2, 3), (0.0, 2.0, 1.0, 0.5)


@dataclass(frozen=True)
class GradientNoiseSettings:
    """Whose gradients."""

    runs: list[str] = setting([], "run directories")
    out: str = setting("docs/results/inquiries", "directory of the table")


def gradients(trainer: Trainer, horizon: int, clip: float) -> Tensor:
    """(BATCHES, parameters), on common start states and noise for every horizon and clip."""
    agent, task = trainer.agent, trainer.task
    generator = seeding.torch_generator(0, "gradient noise")
    rows = []
    for _ in range(BATCHES):
        start = trainer.experience.real.sample(STARTS, generator).obs_t
        noise = sample_pathwise_noise(agent.loop.dynamics, horizon, STARTS, task.action_size, generator)
        loss, _ = pathwise_loss(agent.loop, start, noise, agent.alpha, clip)
        rows.append(flat_gradient(loss, agent.policy))
    return torch.stack(rows)


def measure(path: Path) -> list[dict[str, Any]]:
    trainer = Trainer.load(path)
    rows = []
    for horizon in HORIZONS:
        plain = None
        for clip in CLIPS if horizon else (0.0,):
            g = gradients(trainer, horizon, clip)
            plain = g.mean(0) if plain is None else plain
            squares = g.square().sum(1)
            signal = (g.sum(0).square().sum() - squares.sum()) / (len(g) - 1) / squares.sum()
            row: dict[str, Any] = {"run": path.name, "step": trainer.step, "horizon": horizon, "adjoint_clip": clip}
            row |= {"median_norm": f"{squares.sqrt().median():.2f}", "max_norm": f"{squares.sqrt().max():.2f}"}
            row |= {"signal": f"{signal:.4f}", "cosine": f"{torch.cosine_similarity(g.mean(0), plain, dim=0):.3f}"}
            print(*row.values(), sep="\t", flush=True)
            rows.append(row)
    return rows


def main(settings: GradientNoiseSettings) -> None:
    torch.set_num_threads(1)
    rows = [row for path in settings.runs for row in measure(Path(path))]
    command = " ".join(["python", *sys.argv])
    write_table(Path(settings.out) / "gradient_noise.csv", [{**row, "command": command} for row in rows])


if __name__ == "__main__":
    with exit_on_error():
        main(parse_command(GradientNoiseSettings, sys.argv[1:]))
