"""`diffmaac gradient-error`: how wrong is the policy gradient, at which horizon, and through whose fault?"""

import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from diffmaac.analysis.record import versions, write_table
from diffmaac.commands.report import Report
from diffmaac.config import given_of, setting
from diffmaac.errors import SettingError, TaskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffmaac.analysis.bound import Bound
    from diffmaac.analysis.gradient_error import GradientError, Parts
    from diffmaac.training.trainer import Trainer

DYNAMICS = ("learned", "true")


@dataclass(frozen=True)
class GradientErrorSettings:
    """What is compared. Give env= (a task with a closed form) or the directory of a run."""

    env: str = setting("", "task with linear dynamics and quadratic reward: model and critic are trained here")
    horizons: str = setting("0,1,2,4,8,16,32", "horizons, whole numbers from 0 on")
    dynamics: str = setting("learned,true", "whose gradient: learned, true, or both")
    seeds: int = setting(8, "env=: how many times model and critic are trained", 1)
    gamma: float = setting(0.9, "env=: discount", 0.1, 0.999)
    process_std: float = setting(0.05, "env=: standard deviation of the noise that a step adds", 0.0)
    transitions: int = setting(1000, "env=: real transitions that model and critic learn from", 100)
    samples: int = setting(4096, "a run: trajectories for each gradient, at most; but no fewer than eight chunks", 1)
    chunk: int = setting(256, "a run: trajectories at a time", 2)
    rollout: int = setting(0, "a run: steps of the true rollouts in place of the true critic; 0: its own critic", 0)
    seed: int = setting(0, "first seed", 0)
    out: str = setting("", "directory of gradient_error.csv and .png; default: RUN/figures, runs/gradient-error-ENV")


def measure(run: str, settings: GradientErrorSettings, progress: bool = True) -> Report:
    """Raises SettingError, TaskError or CheckpointError where what was given cannot be used."""
    from diffmaac.analysis import plots

    horizons, dynamics = parse_horizons(settings.horizons), _parse_dynamics(settings.dynamics)
    if bool(run) == bool(settings.env):
        raise SettingError(
            f"{'a run and env=' if run else 'nothing'} was given; say exactly one, for example"
            " `diffmaac gradient-error env=double_integrator` or `diffmaac gradient-error runs/...`."
        )
    _check_meant(run, settings)
    out = Path(settings.out or (f"{run}/figures" if run else f"runs/gradient-error-{settings.env}"))
    if settings.out:
        out.mkdir(parents=True, exist_ok=True)  # now, lest what is measured has nowhere to go
    rows, bounds = (
        of_run(run, horizons, dynamics, settings, progress)
        if run
        else of_task(settings.env, horizons, dynamics, settings, progress)
    )
    out.mkdir(parents=True, exist_ok=True)
    records = with_bounds(rows, bounds)
    table, figure = out / "gradient_error.csv", out / "gradient_error.png"
    where = {"versions": versions("diffmaac", "torch", "mujoco", "jax")}
    write_table(table, [{**record, **where} for record in records])
    plots.gradient_error(records, figure)
    return Report(_table(rows), list(lines(rows, bounds)), [table, figure])


OF_A_TASK = ("seeds", "gamma", "process_std", "transitions")
OF_A_RUN = ("samples", "chunk", "rollout")


def _check_meant(run: str, settings: GradientErrorSettings) -> None:
    """Raises SettingError where a setting is given that only the other kind of measurement has."""
    kinds = ("env=, where model and critic are trained", "a run") if run else ("a run", "env=")
    for name, value in given_of(settings, OF_A_TASK if run else OF_A_RUN).items():
        raise SettingError(f"{name}={value} is a setting of {kinds[0]}; {kinds[1]} has none. Leave it away.")


def parse_horizons(text: str) -> list[int]:
    """ "0,1,2" -> [0, 1, 2]. Raises SettingError where one is negative or not a whole number, or there is none."""
    words = [word.strip() for word in str(text).strip("[]").split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise SettingError(f"horizons={text}: must be whole numbers from 0 on, for example horizons=0,1,2,4,8.")
    return sorted({int(word) for word in words})


def _parse_dynamics(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(DYNAMICS) or len(set(names)) != len(names):
        raise SettingError(f"dynamics={text}: must be learned, true, or learned,true.")
    return names


def with_bounds(rows: "Sequence[GradientError]", bounds: "dict[int, list[Bound]]") -> list[dict[str, Any]]:
    """The rows as flat records, with the bound of their seed and horizon beside those of learned dynamics."""
    records = []
    for row in rows:
        record = dataclasses.asdict(row)
        found = {bound.horizon: bound for bound in bounds.get(row.seed, [])}.get(row.horizon)
        shown = found if row.dynamics == "learned" and row.reference == "objective" else None
        names = ("eps_f", "eps_q", "trajectory", "growth", "c_1", "c_2")
        record["bound"] = shown.value if shown else ""
        records.append(record | {name: getattr(shown, name) if shown else "" for name in names})
    return records


def of_task(
    env: str, horizons: list[int], dynamics: list[str], settings: GradientErrorSettings, progress: bool
) -> "tuple[list[GradientError], dict[int, list[Bound]]]":
    """Errors and, by seed, bounds of a task with closed forms. Raises SettingError or TaskError as `Study.of` does."""
    from diffmaac.analysis.bound import bounds
    from diffmaac.analysis.gradient_error import gradient_errors
    from diffmaac.analysis.linear_study import BOUND_SAMPLES, Study, StudySettings
    from diffmaac.task import get_task

    given = StudySettings(gamma=settings.gamma, process_std=settings.process_std, transitions=settings.transitions)
    study = Study.of(get_task(env), given)
    rows: list[GradientError] = []
    found: dict[int, list[Bound]] = {}
    s = study.settings
    with _bar(f"gradient-error {env}", settings.seeds, progress) as advance:
        for seed in range(settings.seed, settings.seed + settings.seeds):
            parts = study.parts(dynamics, seed)
            rows += [
                row for row in gradient_errors(parts, horizons, s.samples, s.chunk, seed) if row.dynamics in dynamics
            ]
            if "learned" in dynamics:
                found[seed] = bounds(parts, horizons, BOUND_SAMPLES, seed)
            advance()
    return rows, found


def of_run(
    run: str, horizons: list[int], dynamics: list[str], settings: GradientErrorSettings, progress: bool
) -> "tuple[list[GradientError], dict[int, list[Bound]]]":
    """Errors and bounds of a run, learned against true dynamics. Raises SettingError where it has no model."""
    from diffmaac.analysis.bound import bounds
    from diffmaac.analysis.gradient_error import gradient_errors, most_chunks
    from diffmaac.dynamics import true_dynamics
    from diffmaac.training.trainer import Trainer

    trainer = Trainer.load(Path(run))
    if "learned" in dynamics:
        trainer.fitted_model("Give dynamics=true.")
    parts = run_parts(trainer, "learned" in dynamics, settings.rollout)
    with _bar("gradient-error", most_chunks(settings.samples, settings.chunk), progress) as advance:
        rows = gradient_errors(parts, horizons, settings.samples, settings.chunk, settings.seed, advance)
    found = {}
    if "learned" in dynamics:
        cheap = true_dynamics(trainer.task.system, "finite_difference")
        found[settings.seed] = bounds(parts, horizons, RUN_BOUND_SAMPLES, settings.seed, cheap)
    return [row for row in rows if row.dynamics in dynamics], found


RUN_BOUND_SAMPLES = 32
"""Samples for the constants of the bound: their Jacobians cost two engine steps for every state and input."""


def run_parts(trainer: "Trainer", learned: bool, rollout: int) -> "Parts":
    """Policy, critic, model, truth and start states of a run, in float64 on the CPU.

    The true critic is that of rollouts of the true dynamics; with rollout=0 the run's own takes its place, so that only
    the dynamics are compared. (Through stiff contacts a gradient over a few more true steps needs very many samples.)
    """
    import torch

    from diffmaac.analysis.gradient_error import Parts, RolloutCritic
    from diffmaac.dynamics import AbstractDynamics, true_dynamics
    from diffmaac.types import QFunction

    agent, task = trainer.agent, trainer.task
    found: dict[str, AbstractDynamics] = {"true": true_dynamics(task.system)}
    if learned:
        assert trainer.model is not None
        trainer.model.network.cpu().double().requires_grad_(False)
        found["learned"] = trainer.model
    states = trainer.replay.all().obs_t.cpu().double()
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
        dynamics=found,
        start=start,
        alpha=float(agent.alpha),
        gamma=trainer.settings.agent.gamma,
    )
    return parts


@contextmanager
def _bar(title: str, total: int, enabled: bool) -> "Iterator[Callable[[], None]]":
    with Progress(console=Console(stderr=True), disable=not enabled) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


def _table(rows: "Sequence[GradientError]") -> Table:
    """Means over seeds: one line for each dynamics, reference and horizon."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("dynamics", "reference", "H", "relative error", "model part", "critic part", "cosine", "MC error"):
        table.add_column(column, justify="left" if column in ("dynamics", "reference") else "right")
    for key in dict.fromkeys((row.dynamics, row.reference, row.horizon) for row in rows):
        chosen = [row for row in rows if (row.dynamics, row.reference, row.horizon) == key]
        columns = ("relative", "model_part", "critic_part", "cosine", "monte_carlo")
        means = [statistics.fmean(getattr(row, name) for row in chosen) for name in columns]
        table.add_row(key[0], key[1], str(key[2]), *(f"{mean:.3g}" for mean in means))
    return table


def lines(rows: "Sequence[GradientError]", bounds: "dict[int, list[Bound]]") -> Iterable[str]:
    """What to know about the table: Monte Carlo error, gradients that are not finite, correlation with the bound."""
    from diffmaac.analysis.gradient_error import ENOUGH

    worst = max((row.monte_carlo / row.relative for row in rows if row.relative > 0), default=0.0)
    state = "below a tenth" if worst < ENOUGH else f"up to {worst:.2f}"
    yield f"Monte Carlo error (one standard error): {state} of the error shown, in every row."
    for horizon in sorted({row.horizon for row in rows if row.not_finite}):
        broken = sum(row.not_finite for row in rows if row.horizon == horizon)
        yield f"H={horizon}: {broken} chunks had a gradient that is not finite; they are left out of the means."
    correlations = [rank for seed, found in bounds.items() if (rank := _correlation(rows, seed, found)) is not None]
    if correlations:
        yield (
            f"Rank correlation of Lemma 4.1's bound and the error over horizons (learned, objective):"
            f" {statistics.fmean(correlations):.2f}."
        )


def _correlation(rows: "Sequence[GradientError]", seed: int, found: "list[Bound]") -> float | None:
    from diffmaac.analysis.bound import rank_correlation

    errors = {
        row.horizon: row.l2
        for row in rows
        if row.seed == seed and row.dynamics == "learned" and row.reference == "objective"
    }
    chosen = [bound for bound in found if bound.horizon in errors]
    if len(chosen) < 3:
        return None
    return rank_correlation([bound.value for bound in chosen], [errors[bound.horizon] for bound in chosen])
