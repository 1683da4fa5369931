"""The error of the policy gradient against the horizon, where it is known in closed form and on trained runs.

    python benchmarks/policy_gradient.py parts=linear [seeds=24] [regimes=noise,quiet]   the double integrator
    python benchmarks/policy_gradient.py parts=runs runs=RUN,RUN      trained runs, learned against true physics

Writes gradient_error_<regime>.csv and .png (linear) and gradient_error_runs.csv and .png (runs), and prints what the
text of docs/results quotes: slopes, minima and their significance, rank correlations.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from diffmaac.analysis import plots
from diffmaac.analysis.gradient_error import notes, of_run, of_task, with_bounds
from diffmaac.analysis.linear_study import Study, StudySettings
from diffmaac.analysis.settings import GradientErrorSettings
from diffmaac.errors import SettingError
from diffmaac.settings import setting
from diffmaac.tasks import get_task
from diffmaac.training.trainer import Trainer
from shared import script

ENV = "double_integrator"
REGIMES = {"noise": 0.05, "quiet": 0.0}
"""Standard deviation of process noise: with it, a model of 1,000 transitions is wrong enough to be seen."""
LINEAR_HORIZONS = [0, 1, 2, 4, 8, 16, 32]
TAIL = 8
"""Slopes are fitted from this horizon on: before, the trajectory's own derivative still grows (rho^8 = 0.17)."""
Record = Mapping[str, Any]


@dataclass(frozen=True)
class PolicyGradientSettings:
    """What is compared."""

    parts: list[str] = setting(["linear"], "what is measured", choices=("linear", "runs"), fewest=1)
    regimes: list[str] = setting(list(REGIMES), "linear: with process noise, without it", choices=tuple(REGIMES))
    seeds: int = setting(24, "linear: how many times model and critic are trained, twice at least for a spread", 2)
    runs: list[str] = setting([], "runs: run directories")
    horizons: list[int] = setting([0, 1, 2, 4, 8, 16], "runs: horizons", 0)
    samples: int = setting(4096, "runs: trajectories for each gradient, at most", 1)
    chunk: int = setting(256, "runs: trajectories at a time", 2)
    rollout: int = setting(0, "runs: steps of the true rollouts in place of the true critic; 0: the run's critic", 0)
    threads: int = setting(2, "torch's threads", 1)
    out: str = setting(script.RESULTS, "directory of tables and figures")


def provenance() -> dict[str, Any]:
    return {**script.provenance("torch", "mujoco", "mujoco-mjx", "jax"), "threads": torch.get_num_threads()}


def linear(settings: PolicyGradientSettings) -> None:
    """The double integrator in each regime, against the closed forms."""
    for regime in settings.regimes:
        noise, table = REGIMES[regime], script.output(settings.out, f"gradient_error_{regime}.csv")
        start = time.perf_counter()
        asked = GradientErrorSettings(env=ENV, horizons=LINEAR_HORIZONS, seeds=settings.seeds, process_std=noise)
        rows, bounds = of_task(asked, progress=True)
        print(f"{regime}: {time.perf_counter() - start:.0f} s")
        records = [{**record, "process_std": noise} for record in with_bounds(rows, bounds)]
        script.write(table, records, provenance())
        plots.gradient_error(records, table.with_suffix(".png"))
        for line in (*closed_form(noise), *slopes_and_minima(records), *notes(rows, bounds)):
            print("  " + line)


def closed_form(noise: float) -> list[str]:
    """The stability of the closed loop, and the estimator's error where nothing is learned."""
    study = Study.of(get_task(ENV), StudySettings(process_std=noise))
    errors = [f"{study.estimator_error(h, 2**18, 0):.1e}" for h in (0, 4, 16, 32)]
    return [f"rho = {study.problem.spectral_radius(study.gain):.3f}", f"truth alone: {errors}"]


def slopes_and_minima(records: Sequence[Record]) -> list[str]:
    """Of both references: how fast the critic's error is forgotten, and which horizon is best through the model."""
    out = []
    for reference in ("objective", "return"):
        falls = f"slope with true dynamics {slope(records, reference)}, log gamma {math.log(0.9):.4f}"
        out += [f"{reference}: {falls}", f"{reference}: learned dynamics {minimum(records, reference)}"]
    return out


def slope(records: Sequence[Record], reference: str) -> str:
    """Of log L1 error over H, from TAIL on: mean over seeds and its standard error."""
    chosen = [r for r in records if r["dynamics"] == "true" and r["reference"] == reference and r["horizon"] >= TAIL]
    slopes = []
    for seed in sorted({r["seed"] for r in chosen}):
        points = np.array([(r["horizon"], math.log(r["l1"])) for r in chosen if r["seed"] == seed])
        slopes.append(np.polyfit(points[:, 0], points[:, 1], 1)[0])
    return f"{np.mean(slopes):.4f} +- {np.std(slopes, ddof=1) / math.sqrt(len(slopes)):.4f}"


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


def runs(settings: PolicyGradientSettings) -> None:
    """Each run, learned against true physics. The table and the figure grow with every run."""
    if not settings.runs:
        raise SettingError("parts=runs was given without runs. Say which, for example runs=RUN,RUN.")
    table = script.output(settings.out, "gradient_error_runs.csv")
    asked = GradientErrorSettings(
        horizons=settings.horizons, samples=settings.samples, chunk=settings.chunk, rollout=settings.rollout
    )
    records: list[Record] = []
    for folder in map(Path, settings.runs):
        rows, bounds = of_run(folder, asked, progress=True)
        step = Trainer.load(folder).step
        for row in rows:
            shown = ("relative", "model_part", "critic_part", "cosine", "monte_carlo")
            numbers = {name: f"{getattr(row, name):.3f}" for name in shown}
            head = {"task": row.task, "step": step, "dynamics": row.dynamics, "H": row.horizon}
            script.show({**head, **numbers, "samples": row.samples, "not_finite": row.not_finite})
        print(*notes(rows, bounds), sep="\n", flush=True)
        records += [{"step": step, **record} for record in with_bounds(rows, bounds)]
        script.write(table, records, provenance())
        draw_runs(records, table.with_suffix(".png"))


def draw_runs(records: Sequence[Record], file: Path) -> None:
    """A row for each task: error, cosine and variance, a colour for each point of training; bars: Monte Carlo error."""
    tasks = list(dict.fromkeys(r["task"] for r in records))
    size = (11, 3.2 * len(tasks))
    figure, axes = plt.subplots(len(tasks), 3, figsize=size, layout="constrained", squeeze=False, sharex="col")
    for row, task in zip(axes, tasks, strict=True):
        draw_task([r for r in records if r["task"] == task], row)
        row[0].set(ylabel=f"{task}\nrelative error of the gradient", yscale="log", ylim=(0.08, 4))
        row[1].set(ylabel="cosine with the true gradient", ylim=(-0.4, 1.05))
        row[2].set(ylabel="variance of one sample\n(solid: learned, dashed: true)", yscale="log")
        row[0].legend(frameon=False, fontsize=7)
        horizons = sorted({r["horizon"] for r in records})
        for axis in row:
            axis.set_xscale("symlog", base=2, linthresh=1)
            axis.set_xticks(horizons, [str(h) for h in horizons])
            axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("horizon H [dynamics steps]")
    figure.savefig(file, dpi=150)
    plt.close(figure)


def draw_task(records: Sequence[Record], axes: np.ndarray) -> None:
    """Its curves, one colour for each point of training."""
    for i, step in enumerate(sorted({r["step"] for r in records})):
        learned, true = (
            sorted((r for r in records if (r["step"], r["dynamics"]) == (step, name)), key=lambda r: r["horizon"])
            for name in ("learned", "true")
        )
        moved = [r for r in learned if r["horizon"] > 0]  # with H = 0 the dynamics have no part
        ahead, errors, noise = ([r[name] for r in moved] for name in ("horizon", "relative", "monte_carlo"))
        axes[0].errorbar(ahead, errors, noise, fmt=f"C{i}.-", capsize=2, label=f"{step:,} environment steps")
        horizons = [r["horizon"] for r in learned]
        axes[1].plot(horizons, [r["cosine"] for r in learned], f"C{i}.-")
        for curve, style in ((learned, "-"), (true, "--")):
            axes[2].plot(horizons, [r["variance"] for r in curve], f"C{i}{style}", marker=".")


PARTS = {"linear": linear, "runs": runs}


def main(settings: PolicyGradientSettings) -> None:
    torch.set_num_threads(settings.threads)
    for part in settings.parts:
        PARTS[part](settings)


if __name__ == "__main__":
    script.run(main, PolicyGradientSettings)
