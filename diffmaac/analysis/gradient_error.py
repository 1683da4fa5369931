"""How wrong is the policy gradient, at which horizon, and through whose fault?"""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import torch
from rich.console import Console
from rich.progress import Progress

from diffmaac.analysis import plots
from diffmaac.analysis.bound import Bound, bounds, rank_correlation
from diffmaac.analysis.linear_study import BOUND_SAMPLES, Study, StudySettings
from diffmaac.analysis.policy_gradient import (
    ENOUGH,
    GradientError,
    Parts,
    RolloutCritic,
    gradient_errors,
    most_chunks,
)
from diffmaac.analysis.settings import OF_A_RUN, OF_A_TASK, GradientErrorSettings
from diffmaac.dynamics import AbstractDynamics, LearnedDynamics, true_dynamics
from diffmaac.errors import SettingError, TaskError
from diffmaac.files import check_folder, write_table
from diffmaac.keywords import GradientErrorKeywords
from diffmaac.provenance import versions
from diffmaac.result import Result, Table
from diffmaac.runs.layout import FIGURES
from diffmaac.settings import build, changed
from diffmaac.tasks import get_task
from diffmaac.training.trainer import Trainer
from diffmaac.typed import single_precision
from diffmaac.types import QFunction

Bounds = dict[int, list[Bound]]
"""Seed -> the bound of each horizon."""
RUN_BOUND_SAMPLES = 32
"""Samples for the constants of the bound: their Jacobians cost two engine steps for every state and input."""


@single_precision()
def gradient_error(
    run: str | Path = "", *, progress: bool = True, **words: Unpack[GradientErrorKeywords]
) -> Result[list[GradientError]]:
    """Measures the error of the policy gradient against the horizon, as ``diffmaac gradient-error`` does.

    `words` are that command's settings: env= for a task with a closed form, where model and critic are trained here,
    or else `run`, the directory of a run.

    Raises SettingError, TaskError or CheckpointError where these cannot be used.
    """
    settings = build(GradientErrorSettings, words)
    _check_subject(str(run), settings)
    default = Path(run) / FIGURES if run else Path(f"runs/gradient-error-{settings.env}")
    out = Path(settings.out) if settings.out else default
    check_folder(out)  # now, lest what is measured has nowhere to go
    errors, bounds_of = of_run(Path(run), settings, progress) if run else of_task(settings, progress)
    out.mkdir(parents=True, exist_ok=True)
    records = with_bounds(errors, bounds_of)
    files = [out / "gradient_error.csv", out / "gradient_error.png"]
    made = {"versions": versions("diffmaac", "torch", "mujoco", "jax")}
    write_table(files[0], [{**record, **made} for record in records])
    plots.gradient_error(records, files[1])
    return Result(errors, _table(errors), notes(errors, bounds_of), files=files)


def _check_subject(run: str, settings: GradientErrorSettings) -> None:
    """Raises SettingError unless a run or env= is there, and no setting that only the other has."""
    if bool(run) == bool(settings.env):
        raise SettingError(
            f"{'a run and env=' if run else 'nothing'} was given; say exactly one, for example"
            " `diffmaac gradient-error env=double_integrator` or `diffmaac gradient-error runs/...`."
        )
    owner, other = ("env=, where model and critic are trained", "a run") if run else ("a run", "env=")
    for name, value in changed(settings, OF_A_TASK if run else OF_A_RUN).items():
        raise SettingError(f"{name}={value} is a setting of {owner}; {other} has none. Leave it out.")


def with_bounds(rows: Sequence[GradientError], bounds: Bounds) -> list[dict[str, Any]]:
    """The rows as flat records, with the bound of their seed and horizon beside those of learned dynamics."""
    records = []
    for row in rows:
        record = dataclasses.asdict(row)
        bound = {bound.horizon: bound for bound in bounds.get(row.seed, [])}.get(row.horizon)
        shown = bound if row.dynamics == "learned" and row.reference == "objective" else None
        names = ("eps_f", "eps_q", "trajectory", "growth", "c_1", "c_2")
        record["bound"] = shown.value if shown else ""
        records.append(record | {name: getattr(shown, name) if shown else "" for name in names})
    return records


def of_task(settings: GradientErrorSettings, progress: bool = False) -> tuple[list[GradientError], Bounds]:
    """Errors and, by seed, bounds of a task with closed forms. Raises SettingError or TaskError as `Study.of` does."""
    horizons, dynamics = sorted(set(settings.horizons)), settings.dynamics
    chosen = StudySettings(
        gamma=settings.gamma,
        process_std=settings.process_std,
        transitions=settings.transitions,
        caution=settings.caution,
        critic_transitions=settings.critic_transitions,
        critic_updates=settings.critic_updates,
    )
    study = Study.of(get_task(settings.env), chosen)
    errors: list[GradientError] = []
    bounds_of: Bounds = {}
    s = study.settings
    with _bar(f"gradient-error {settings.env}", settings.seeds, progress) as advance:
        for seed in range(settings.seed, settings.seed + settings.seeds):
            parts = study.parts(dynamics, seed)
            errors += _of(dynamics, gradient_errors(parts, horizons, s.samples, s.chunk, seed))
            if "learned" in dynamics:
                bounds_of[seed] = bounds(parts, horizons, BOUND_SAMPLES, seed)
            advance()
    return errors, bounds_of


def of_run(run: Path, settings: GradientErrorSettings, progress: bool = False) -> tuple[list[GradientError], Bounds]:
    """Errors and bounds of a run, learned against true dynamics. Raises SettingError where it has no model."""
    horizons, dynamics = sorted(set(settings.horizons)), settings.dynamics
    trainer = Trainer.load(run)
    model = trainer.fitted_model("Give dynamics=true.") if "learned" in dynamics else None
    parts = run_parts(trainer, model, settings.rollout)
    with _bar("gradient-error", most_chunks(settings.samples, settings.chunk), progress) as advance:
        errors = gradient_errors(parts, horizons, settings.samples, settings.chunk, settings.seed, advance)
    bounds_of: Bounds = {}
    if "learned" in dynamics:
        cheap = true_dynamics(trainer.task.system, "finite_difference")
        bounds_of[settings.seed] = bounds(parts, horizons, RUN_BOUND_SAMPLES, settings.seed, cheap)
    return _of(dynamics, errors), bounds_of


def _of(dynamics: Sequence[str], errors: Sequence[GradientError]) -> list[GradientError]:
    return [error for error in errors if error.dynamics in dynamics]


def run_parts(trainer: Trainer, model: LearnedDynamics | None, rollout: int) -> Parts:
    """Policy, critic, model (None: without), truth and start states of a run, in float64 on the CPU.

    The true critic is that of rollouts of the true dynamics; with rollout=0 the run's own takes its place, so that only
    the dynamics are compared. (Through stiff contacts a gradient over a few more true steps needs very many samples.)
    """
    agent, task = trainer.agent, trainer.task
    task.check_true()
    dynamics: dict[str, AbstractDynamics] = {"true": true_dynamics(task.system)}
    if model is not None:
        model.network.cpu().double().requires_grad_(False)
        dynamics["learned"] = model
    states = trainer.experience.real.all().obs_t.cpu().double()
    if len(states) == 0:
        raise TaskError("the run has not taken a step yet: there is no state to start from. Train it first.")

    def start(size: int, generator: torch.Generator) -> torch.Tensor:
        return states[torch.randint(len(states), (size,), generator=generator)]

    def true_critic(size: int, generator: torch.Generator) -> QFunction:
        if rollout == 0:
            return parts.critic
        shape = (rollout, size, task.action_size)
        return RolloutCritic(parts, torch.randn(shape, generator=generator, dtype=torch.float64))

    parts = Parts(
        task=task,
        policy=agent.policy.cpu().double(),
        critic=agent.critics.cpu().double().requires_grad_(False),
        true_critic=true_critic,
        dynamics=dynamics,
        start=start,
        alpha=float(agent.alpha),
        gamma=trainer.settings.agent.gamma,
    )
    return parts


@contextmanager
def _bar(title: str, total: int, enabled: bool) -> Iterator[Callable[[], None]]:
    with Progress(console=Console(stderr=True), disable=not enabled) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


def _table(errors: Sequence[GradientError]) -> Table:
    """Means over seeds: one line for each dynamics, reference and horizon."""
    header = ["dynamics", "reference", "H", "relative error", "model part", "critic part", "cosine", "MC error"]
    columns = ("relative", "model_part", "critic_part", "cosine", "monte_carlo")
    cells: list[list[str]] = []
    for key in dict.fromkeys((error.dynamics, error.reference, error.horizon) for error in errors):
        same = [error for error in errors if (error.dynamics, error.reference, error.horizon) == key]
        means = [statistics.fmean(getattr(error, name) for error in same) for name in columns]
        cells.append([*map(str, key), *(f"{mean:.3g}" for mean in means)])
    return Table(header, cells)


def notes(errors: Sequence[GradientError], bounds: Bounds) -> list[str]:
    """What to know about the table: Monte Carlo error, gradients that are not finite, correlation with the bound."""
    worst = max((error.monte_carlo / error.relative for error in errors if error.relative > 0), default=0.0)
    state = "below a tenth" if worst < ENOUGH else f"up to {worst:.2f}"
    lines = [f"Monte Carlo error (one standard error): {state} of the error shown, in every row."]
    for horizon in sorted({error.horizon for error in errors if error.not_finite}):
        broken = sum(error.not_finite for error in errors if error.horizon == horizon)
        lines.append(f"H={horizon}: {broken} chunks had a gradient that is not finite; they are left out of the means.")
    ranks = [rank for seed, same in bounds.items() if (rank := _correlation(errors, seed, same)) is not None]
    if ranks:
        lines.append(
            f"Rank correlation of Lemma 4.1's bound and the error over horizons (learned, objective):"
            f" {statistics.fmean(ranks):.2f}."
        )
    return lines


def _correlation(errors: Sequence[GradientError], seed: int, bounds: Sequence[Bound]) -> float | None:
    """Over the horizons of one seed; None where there are fewer than three."""
    sizes = {
        error.horizon: error.l2
        for error in errors
        if error.seed == seed and error.dynamics == "learned" and error.reference == "objective"
    }
    common = [bound for bound in bounds if bound.horizon in sizes]
    if len(common) < 3:
        return None
    return rank_correlation([bound.value for bound in common], [sizes[bound.horizon] for bound in common])
