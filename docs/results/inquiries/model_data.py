"""Does a model with more data have better derivatives? Fresh ensembles, fitted to more and more of one stream.

    python docs/results/inquiries/model_data.py run=RUN [sizes=[1000,5000,20000,50000]]

The run's policy, with its exploration noise, collects real transitions; eps_f and the one-step error are measured on
500 later ones. Writes model_data.csv and .png.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from diffmaac import seeding
from diffmaac.dynamics import GaussianEnsemble, LearnedDynamics, true_dynamics
from diffmaac.dynamics.accuracy import jacobian_errors, predictions
from diffmaac.errors import exit_on_error
from diffmaac.files import write_table
from diffmaac.provenance import circumstances
from diffmaac.settings import parse_command, setting
from diffmaac.training.fit import EnsembleFitter
from diffmaac.training.trainer import Trainer

CHECKED = 500
"""States on which derivatives are compared."""
Record = Mapping[str, Any]


@dataclass(frozen=True)
class ModelDataSettings:
    """Whose data, and how many."""

    run: str = setting("", "run directory")
    sizes: list[int] = setting([1000, 5000, 20_000, 50_000], "transitions that an ensemble is fitted to", 10)
    threads: int = setting(2, "torch's threads", 1)
    out: str = setting("docs/results/inquiries", "directory of the table and the figure")


def measure(trainer: Trainer, data: Sequence[Tensor], size: int) -> list[dict[str, Any]]:
    """A row for each member of an ensemble that is fitted to the first `size` transitions, and for their mean."""
    task, settings, start = trainer.task, trainer.settings.model, time.perf_counter()
    sizes = (task.obs_size, task.action_size, settings.members, settings.model_hidden)
    model = LearnedDynamics(GaussianEnsemble(*sizes, seeding.torch_generator(0, "fresh")))
    obs, action, obs_tp1 = (x[:size] for x in data)
    report = EnsembleFitter(model.network, settings).fit(obs, action, obs_tp1, seeding.torch_generator(0, "fit"))
    seconds = time.perf_counter() - start
    model.network.double().requires_grad_(False)
    obs, action, obs_tp1 = (x[-CHECKED:].double() for x in data)
    one_step = predictions(model, obs, action, obs_tp1).error.mean().item()
    rows = []
    for error in jacobian_errors(model, true_dynamics(task.system, "finite_difference"), obs, action):
        row = {"task": task.name, "transitions": size, "member": error.member, "eps_f": error.absolute}
        row |= {"relative": error.relative, "cosine": error.cosine, "one_step": one_step}
        rows.append(row | {"epochs": report.epochs, "fit_s": round(seconds, 1)})
    return rows


@torch.no_grad()
def collect(trainer: Trainer, count: int) -> list[Tensor]:
    """Real transitions of the run's policy, with its exploration noise, in episodes of the training's length."""
    task, policy, generator = trainer.task, trainer.agent.policy, seeding.torch_generator(0, "collect")
    env, length = task.make_env(), trainer.settings.data.reset_every or task.episode_steps
    columns: list[list[np.ndarray]] = [[], [], []]
    obs, _ = env.reset(seed=0)
    for step in range(count):
        state = torch.as_tensor(obs, dtype=torch.float32)
        action = policy.sample(state, torch.randn(task.action_size, generator=generator))[0].numpy()
        after, *_ = env.step(action)
        for column, x in zip(columns, (obs, action, after), strict=True):
            column.append(x)
        obs = env.reset()[0] if (step + 1) % length == 0 else after
    return [torch.tensor(np.stack(column), dtype=torch.float32) for column in columns]


def draw(rows: Sequence[Record], file: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
    sizes = sorted({row["transitions"] for row in rows})
    for member in dict.fromkeys(row["member"] for row in rows):
        chosen = [row for row in rows if row["member"] == member]
        whole = member == "ensemble"
        look = {"color": "C0", "linewidth": 2 if whole else 0.8, "alpha": 1 if whole else 0.4}
        for axis, column in zip(axes, ("relative", "cosine"), strict=False):
            axis.plot(sizes, [row[column] for row in chosen], marker=".", label=member if whole else None, **look)
    axes[2].plot(sizes, [next(r["one_step"] for r in rows if r["transitions"] == size) for size in sizes], "C1.-")
    axes[0].set(ylabel=r"$|\partial\hat f - \partial f|\,/\,|\partial f|$", yscale="log")
    axes[1].set(ylabel="cosine of model's and true derivative")
    axes[2].set(ylabel="one-step error [std of the change]", yscale="log")
    axes[0].legend(frameon=False, fontsize=8, title=f"{rows[0]['task']}; thin: members", title_fontsize=8)
    for axis in axes:
        axis.set(xscale="log", xlabel="real transitions")
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=150)


def main(settings: ModelDataSettings) -> None:
    torch.set_num_threads(settings.threads)
    trainer, out = Trainer.load(Path(settings.run)), Path(settings.out)
    data = collect(trainer, max(settings.sizes) + CHECKED)
    rows: list[dict[str, Any]] = []
    for size in sorted(settings.sizes):
        rows += measure(trainer, data, size)
        print(rows[-1], flush=True)
    where = {**circumstances(), "threads": settings.threads, "command": " ".join(["python", *sys.argv])}
    write_table(out / "model_data.csv", [{**row, **where} for row in rows])
    draw(rows, out / "model_data.png")


if __name__ == "__main__":
    with exit_on_error():
        main(parse_command(ModelDataSettings, sys.argv[1:]))
