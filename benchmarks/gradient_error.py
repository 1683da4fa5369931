"""The error of the policy gradient against the horizon, and of the model's derivatives against its data.

    python benchmarks/gradient_error.py parts=linear [seeds=24] [regimes=noise,quiet]   the double integrator
    python benchmarks/gradient_error.py parts=runs runs=RUN,RUN      trained runs, learned against true physics
    python benchmarks/gradient_error.py parts=data run=RUN [sizes=1000,5000,20000,50000]

Writes docs/results/gradient_error_<name>.csv and .png (linear, runs) and model_data.csv and .png (data), and prints
what the text of docs/results quotes: slopes, minima and their significance, rank correlations.
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from diffmaac import seeding
from diffmaac.analysis import plots
from diffmaac.analysis.linear_study import Study, StudySettings
from diffmaac.analysis.model_error import jacobian_errors, predictions
from diffmaac.analysis.record import machine, versions, write_table
from diffmaac.commands import gradient_error
from diffmaac.commands.gradient_error import GradientErrorSettings
from diffmaac.config import parse_words
from diffmaac.dynamics import GaussianEnsemble, LearnedDynamics, true_dynamics
from diffmaac.task import Task, get_task
from diffmaac.training.fit import EnsembleFitter
from diffmaac.training.trainer import Trainer

RESULTS = Path("docs/results")
REGIMES = {"noise": 0.05, "quiet": 0.0}
"""Standard deviation of process noise: with it, a model of 1,000 transitions is wrong enough to be seen."""
HORIZONS = "0,1,2,4,8,16,32"
TAIL = 8
"""Slopes are fitted from this horizon on: before, the trajectory's own derivative still grows (rho^8 = 0.17)."""
CHECKED = 500
"""States on which derivatives are compared."""
Record = Mapping[str, Any]


def where() -> dict[str, Any]:
    return {
        "versions": versions("torch", "mujoco", "mujoco-mjx", "jax"),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "command": " ".join(["python", *sys.argv]),
    }


def linear(seeds: int, regimes: Sequence[str]) -> None:
    for name in regimes:
        noise = REGIMES[name]
        start = time.perf_counter()
        settings = GradientErrorSettings(env="double_integrator", seeds=seeds, process_std=noise)
        rows, bounds = gradient_error.of_task(
            settings.env, gradient_error.parse_horizons(HORIZONS), ["learned", "true"], settings, progress=True
        )
        seconds = time.perf_counter() - start
        records = [{**record, "process_std": noise} for record in gradient_error.with_bounds(rows, bounds)]
        write_table(RESULTS / f"gradient_error_{name}.csv", [{**record, **where()} for record in records])
        plots.gradient_error(records, RESULTS / f"gradient_error_{name}.png")
        study = Study.of(get_task(settings.env), StudySettings(process_std=noise))
        print(f"{name}: {seconds:.0f} s; rho = {study.problem.spectral_radius(study.gain):.3f}")
        print(f"  truth alone: {[f'{study.estimator_error(h, 2**18, 0):.1e}' for h in (0, 4, 16, 32)]}")
        for reference in ("objective", "return"):
            print(f"  {reference}: slope with true dynamics {slope(records, reference)}, log gamma {math.log(0.9):.4f}")
            print(f"  {reference}: learned dynamics {minimum(records, reference)}")
        for line in gradient_error.lines(rows, bounds):
            print("  " + line)


def slope(records: Sequence[Record], reference: str) -> str:
    """Of log L1 error over H, from TAIL on: mean over seeds and its standard error."""
    chosen = [r for r in records if r["dynamics"] == "true" and r["reference"] == reference and r["horizon"] >= TAIL]
    found = []
    for seed in sorted({r["seed"] for r in chosen}):
        points = np.array([(r["horizon"], math.log(r["l1"])) for r in chosen if r["seed"] == seed])
        found.append(np.polyfit(points[:, 0], points[:, 1], 1)[0])
    return f"{np.mean(found):.4f} +- {np.std(found, ddof=1) / math.sqrt(len(found)):.4f}"


def minimum(records: Sequence[Record], reference: str) -> str:
    """Where the mean log error is least, and by how many standard errors both ends lie above it (paired by seed)."""
    chosen = [r for r in records if r["dynamics"] == "learned" and r["reference"] == reference]
    horizons = sorted({r["horizon"] for r in chosen})
    logs = np.array([[math.log(r["relative"]) for r in chosen if r["horizon"] == h] for h in horizons])
    best = int(logs.mean(1).argmin())
    text = f"least at H={horizons[best]} ({math.exp(logs[best].mean()):.3f})"
    for end in (0, -1):
        rise = logs[end] - logs[best]
        error = rise.std(ddof=1) / math.sqrt(len(rise))
        above = "itself" if not rise.any() else f"{rise.mean() / error:.1f} standard errors above"
        text += f"; H={horizons[end]}: {math.exp(logs[end].mean()):.3f}, {above}"
    return text


def runs(folders: Sequence[str], settings: GradientErrorSettings) -> None:
    records: list[dict[str, Any]] = []
    for folder in folders:
        horizons = gradient_error.parse_horizons(settings.horizons)
        rows, bounds = gradient_error.of_run(folder, horizons, ["learned", "true"], settings, progress=True)
        step = Trainer.load(Path(folder)).step
        found = gradient_error.with_bounds(rows, bounds)
        records += [{"step": step, **record} for record in found]
        for row in rows:
            print(
                f"{row.task} step {step} {row.dynamics} H={row.horizon}: error {row.relative:.3f}, model"
                f" {row.model_part:.3f}, critic {row.critic_part:.3f}, cosine {row.cosine:.3f}, MC"
                f" {row.monte_carlo:.3f}, {row.samples} samples, {row.not_finite} not finite",
                flush=True,
            )
        for line in gradient_error.lines(rows, bounds):
            print("  " + line, flush=True)
        write_table(RESULTS / "gradient_error_runs.csv", [{**record, **where()} for record in records])
        draw_runs(records)


def draw_runs(records: Sequence[Record]) -> None:
    """A row for each task: error, cosine and variance, a colour for each point of training; bars: Monte Carlo error."""
    tasks = list(dict.fromkeys(r["task"] for r in records))
    figure, axes = plt.subplots(
        len(tasks), 3, figsize=(11, 3.2 * len(tasks)), layout="constrained", squeeze=False, sharex="col"
    )
    for row, task in zip(axes, tasks, strict=True):
        steps = sorted({r["step"] for r in records if r["task"] == task})
        for i, step in enumerate(steps):
            learned = [r for r in records if (r["task"], r["step"], r["dynamics"]) == (task, step, "learned")]
            learned.sort(key=lambda r: r["horizon"])
            horizons = [r["horizon"] for r in learned]
            moved = learned[1:] if horizons[0] == 0 else learned  # with H = 0 the dynamics have no part
            steps_ahead = [r["horizon"] for r in moved]
            errors, noise = ([r[name] for r in moved] for name in ("relative", "monte_carlo"))
            row[0].errorbar(steps_ahead, errors, noise, fmt=f"C{i}.-", capsize=2, label=f"{step:,} environment steps")
            row[1].plot(horizons, [r["cosine"] for r in learned], f"C{i}.-")
            for dynamics, style in (("learned", "-"), ("true", "--")):
                found = [r for r in records if (r["task"], r["step"], r["dynamics"]) == (task, step, dynamics)]
                found.sort(key=lambda r: r["horizon"])
                row[2].plot(horizons, [r["variance"] for r in found], f"C{i}{style}", marker=".")
        row[0].set(ylabel=f"{task}\nrelative error of the gradient", yscale="log", ylim=(0.08, 4))
        row[1].set(ylabel="cosine with the true gradient", ylim=(-0.4, 1.05))
        row[2].set(ylabel="variance of one sample\n(solid: learned, dashed: true)", yscale="log")
        row[0].legend(frameon=False, fontsize=7)
        for axis in row:
            axis.set_xscale("symlog", base=2, linthresh=1)
            axis.set_xticks(horizons, [str(h) for h in horizons])
            axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("horizon H [dynamics steps]")
    figure.savefig(RESULTS / "gradient_error_runs.png", dpi=150)


def data(run: str, sizes: Sequence[int]) -> None:
    """eps_f and prediction error of fresh ensembles, fitted to more and more of one stream of real transitions."""
    trainer = Trainer.load(Path(run))
    task, settings = trainer.task, trainer.settings.model
    obs, action, obs_tp1 = collect(trainer, max(sizes) + CHECKED)
    truth = true_dynamics(task.system, "finite_difference")
    rows = []
    for size in sizes:
        start = time.perf_counter()
        sizes, generator = (task.obs_size, task.action_size), seeding.torch_generator(0, "fresh")
        model = LearnedDynamics(GaussianEnsemble(*sizes, settings.members, settings.model_hidden, generator))
        report = EnsembleFitter(model.network, settings).fit(
            obs[:size], action[:size], obs_tp1[:size], seeding.torch_generator(0, "fit")
        )
        seconds = time.perf_counter() - start
        model.network.double().requires_grad_(False)
        unseen = [x[-CHECKED:].double() for x in (obs, action, obs_tp1)]
        predicted = predictions(model, *unseen)
        for error in jacobian_errors(model, truth, unseen[0], unseen[1]):
            row = {"task": task.name, "transitions": size, "member": error.member, "eps_f": error.absolute}
            row |= {"relative": error.relative, "cosine": error.cosine, "one_step": predicted.error.mean().item()}
            rows.append(row | {"epochs": report.epochs, "fit_s": round(seconds, 1)})
        print(rows[-1], flush=True)
    write_table(RESULTS / "model_data.csv", [{**row, **where()} for row in rows])
    draw_data(rows, task)


@torch.no_grad()
def collect(trainer: Trainer, count: int) -> list[torch.Tensor]:
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


def draw_data(rows: Sequence[Record], task: Task) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
    sizes = sorted({row["transitions"] for row in rows})
    for member in dict.fromkeys(row["member"] for row in rows):
        chosen = [row for row in rows if row["member"] == member]
        whole = member == "ensemble"
        look = {"color": "C0", "linewidth": 2 if whole else 0.8, "alpha": 1 if whole else 0.4}
        for axis, column in zip(axes, ("relative", "cosine"), strict=False):
            axis.plot(sizes, [row[column] for row in chosen], marker=".", label=member if whole else None, **look)
    one_step = [next(r["one_step"] for r in rows if r["transitions"] == size) for size in sizes]
    axes[2].plot(sizes, one_step, "C1.-")
    axes[0].set(ylabel=r"$|\partial\hat f - \partial f|\,/\,|\partial f|$", yscale="log")
    axes[1].set(ylabel="cosine of model's and true derivative")
    axes[2].set(ylabel="one-step error [std of the change]", yscale="log")
    axes[0].legend(frameon=False, fontsize=8, title=f"{task.name}; thin: members", title_fontsize=8)
    for axis in axes:
        axis.set(xscale="log", xlabel="real transitions")
        axis.grid(alpha=0.3)
    figure.savefig(RESULTS / "model_data.png", dpi=150)


def main() -> None:
    settings = {
        "parts": "linear",
        "regimes": ",".join(REGIMES),
        "seeds": 24,
        "threads": 2,
        "samples": 4096,
        "chunk": 256,
        "rollout": 0,
    }
    settings |= {
        "horizons": "0,1,2,4,8,16",
        "sizes": "1000,5000,20000,50000",
        "runs": "",
        "run": "",
        **parse_words(sys.argv[1:]),
    }
    torch.set_num_threads(settings["threads"])
    for part in settings["parts"].split(","):
        if part == "linear":
            linear(settings["seeds"], settings["regimes"].split(","))
        elif part == "runs":
            names = ("horizons", "samples", "chunk", "rollout")
            runs(settings["runs"].split(","), GradientErrorSettings(**{name: settings[name] for name in names}))
        else:
            data(settings["run"], gradient_error.parse_horizons(str(settings["sizes"])))


if __name__ == "__main__":
    main()
