"""How accurate are a run's model and its derivatives, and does the policy exploit it?"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac import seeding
from diffmaac.analysis import plots
from diffmaac.analysis.imagined_return import MODE, SAMPLED, Episodes, ImaginedReturn, imagined_return
from diffmaac.analysis.settings import ModelErrorSettings
from diffmaac.dynamics import LearnedDynamics, true_dynamics
from diffmaac.dynamics.accuracy import (
    ENSEMBLE,
    EndError,
    JacobianError,
    Predictions,
    end_error,
    is_constant,
    jacobian_errors,
    open_loop_errors,
    predictions,
    reward_predictions,
)
from diffmaac.errors import SettingError, TaskError
from diffmaac.files import check_folder, write_table
from diffmaac.keywords import ModelErrorKeywords
from diffmaac.provenance import versions
from diffmaac.result import Result, Table
from diffmaac.runs.layout import FIGURES
from diffmaac.settings import build
from diffmaac.training.trainer import Trainer
from diffmaac.typed import single_precision
from diffmaac.types import Transition

LABELS = {MODE: "the policy's mode", SAMPLED: "its sampled actions"}


@dataclass(frozen=True)
class ModelError:
    """What was measured of a run's model."""

    derivatives: list[JacobianError]
    """eps_f of each member and, last, of the ensemble; none where the true motion is not known."""
    predictions: Predictions
    open_loop: Float[Tensor, "steps members"] | None
    """Error of the state after 1, 2, ... steps, in standard deviations; None where the true motion is not known."""
    rewards: list[ImaginedReturn]
    """What the policy earns in the world and in the model: its mode, and its sampled actions."""
    reward: Predictions | None = None
    """Of the reward (one entry), in its standard deviations, or in its own unit where it is constant; None where the
    task gives it."""
    end: EndError | None = None
    """Of the probability of termination; None where the task gives terminations."""
    constant_reward: bool = False
    """Whether the reward is the same in all transitions."""
    truth: str = ""
    """Why the true motion is not known; empty where it is."""


@single_precision()
def model_error(run: str | Path, **words: Unpack[ModelErrorKeywords]) -> Result[ModelError]:
    """Measures a run's model on held-out real states, as ``diffmaac model-error`` does; `words` are its settings.

    Derivatives and open-loop errors need the true motion; a task that hides it is measured without them.

    Raises SettingError or CheckpointError where the run has no model, or is no run.
    """
    settings = build(ModelErrorSettings, words)
    trainer = Trainer.load(Path(run))
    model = trainer.fitted_model("Give a run with dynamics=learned.")
    out = Path(settings.out or Path(run) / FIGURES)
    check_folder(out)  # now, lest what is measured has nowhere to go
    real = _held_out(trainer)
    episodes = Episodes(settings.episodes, settings.copies, min(settings.episode_steps, trainer.task.episode_steps))
    model.network.cpu().requires_grad_(False)
    rewards = _rewards(trainer, model, episodes, settings.seed)
    model.network.double()
    last = Transition(*(column[-settings.states :] for column in real))
    obs, action, ended = real.obs_t, real.action_t, trainer.ended(real)
    measured = ModelError(
        [],
        predictions(model, obs, action, real.obs_tp1),
        None,
        rewards,
        reward_predictions(model, obs, action, real.reward_t),
        end_error(model, obs, action, ended),
        is_constant(real.reward_t),
    )
    try:
        truth = true_dynamics(trainer.task.system, "finite_difference")
    except TaskError as error:
        measured = dataclasses.replace(measured, truth=str(error).rstrip("."))
    else:
        derivatives = jacobian_errors(model, truth, last.obs_t, last.action_t)
        ahead = open_loop_errors(model, truth, last.obs_t, _policy_actions(trainer, last.obs_t, settings))
        measured = dataclasses.replace(measured, derivatives=derivatives, open_loop=ahead)
    files = _write(measured, trainer, out, len(last.obs_t), episodes)
    return Result(measured, _table(measured.derivatives), _notes(measured, len(obs), episodes), files=files)


def _held_out(trainer: Trainer) -> Transition:
    """The real transitions that no fit has seen, in float64."""
    real = trainer.held_out()
    if (count := len(real.obs_t)) < 2:
        raise SettingError(
            f"the run '{trainer.folder}' has {count} held-out transitions, and two are needed. Train it first."
        )
    return Transition(*(column.cpu().double() for column in real))


def _rewards(trainer: Trainer, model: LearnedDynamics, episodes: Episodes, seed: int) -> list[ImaginedReturn]:
    """In float32, as in training."""
    task, policy = trainer.task, trainer.agent.policy.cpu()
    return [imagined_return(task, policy, model, actions, episodes, seed) for actions in LABELS]


@torch.no_grad()
def _policy_actions(trainer: Trainer, obs: Tensor, settings: ModelErrorSettings) -> Tensor:
    """What the policy would do in `obs`, drawn anew for each step: (steps, batch, action)."""
    policy, shape = trainer.agent.policy.cpu(), (settings.steps, len(obs), trainer.task.action_size)
    noise = torch.randn(shape, generator=seeding.torch_generator(settings.seed, "open-loop"))
    return torch.stack([policy.sample(obs.float(), n)[0] for n in noise]).double()


def _write(measured: ModelError, trainer: Trainer, out: Path, states: int, episodes: Episodes) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    run = {"run": str(trainer.folder), "step": trainer.step}
    made = {"versions": versions("diffmaac", "torch")}
    rewards = [dataclasses.asdict(row) for row in measured.rewards]
    tables = {
        "model_error.csv": [{**row, **run, "states": states, **made} for row in _records(measured.derivatives)],
        "imagined_return.csv": [{**run, **row, **dataclasses.asdict(episodes), **made} for row in rewards],
        "learned_reward.csv": [{**run, **row, **made} for row in _heads(measured)],
    }
    files = [out / name for name, rows in tables.items() if rows]
    for file in files:
        write_table(file, tables[file.name])
    title = f"{trainer.task.name}, {trainer.step:,} environment steps"
    if measured.open_loop is not None:
        files += [out / "jacobian_error.png", out / "open_loop_error.png"]
        entries = next(error for error in measured.derivatives if error.member == ENSEMBLE).entries
        plots.jacobian_error(entries.numpy(), trainer.task.obs_size, files[-2], title)
        plots.open_loop(measured.open_loop.numpy(), trainer.task.dt, files[-1], title)
    return files


def _heads(measured: ModelError) -> list[dict[str, Any]]:
    """What was measured of the learned reward and termination, a row; none where both are given."""
    row: dict[str, Any] = {}
    if (reward := measured.reward) is not None:
        names = ("error", "within_1", "within_2")
        row |= {f"reward_{name}": getattr(reward, name).item() for name in names}
        row["reward_constant"] = measured.constant_reward
    if (end := measured.end) is not None:
        row |= {f"end_{name}": value for name, value in dataclasses.asdict(end).items()}
    return [row] if row else []


def _records(errors: list[JacobianError]) -> list[dict[str, Any]]:
    names = ("member", "absolute", "relative", "cosine")
    return [{name: getattr(error, name) for name in names} for error in errors]


def _table(errors: list[JacobianError]) -> Table | None:
    if not errors:
        return None
    cells = [[error.member, *(f"{x:.3g}" for x in (error.absolute, error.relative, error.cosine))] for error in errors]
    return Table(["member", "eps_f", "relative", "cosine"], cells, "derivatives: model against truth")


def _notes(measured: ModelError, count: int, episodes: Episodes) -> list[str]:
    predicted, ahead = measured.predictions, measured.open_loop
    error, one, two = (x.mean().item() for x in (predicted.error, predicted.within_1, predicted.within_2))
    worst = int(predicted.error.argmax())
    lines = [
        f"One step, {count} held-out transitions: error {error:.3g} standard deviations of the change"
        f" (worst: observation {worst}, {predicted.error[worst].item():.3g}).",
        f"Calibration: {one:.0%} of the truths within one predicted standard deviation, {two:.0%} within two"
        " (68 % and 95 % if the ensemble were right about itself).",
    ]
    if ahead is not None:
        lines.append(
            f"Open loop: {ahead[0].mean().item():.3g} standard deviations of the state after one step,"
            f" {ahead[-1].mean().item():.3g} after {len(ahead)}."
        )
    else:
        lines.append(f"Derivatives and open loop are not measured, as the truth is not known: {measured.truth}.")
    if (reward := measured.reward) is not None:
        error, one, two = (x.item() for x in (reward.error, reward.within_1, reward.within_2))
        unit = (
            ", absolute, as the reward is constant"
            if measured.constant_reward
            else " standard deviations of the reward"
        )
        lines.append(
            f"Learned reward: error {error:.3g}{unit}; {one:.0%} of the truths within one predicted standard deviation,"
            f" {two:.0%} within two."
        )
    if (end := measured.end) is not None and end.ended == end.predicted == 0:
        lines.append("Learned termination: none was seen, and none is predicted.")
    elif end is not None:
        lines.append(
            f"Learned termination: Brier score {end.brier:.3g} ({end.base:.3g} for always saying the share);"
            f" {end.predicted:.3g} predicted a step, {end.ended:.3g} seen."
        )
    return [*lines, *(_reward_note(row, episodes) for row in measured.rewards)]


def _reward_note(row: ImaginedReturn, episodes: Episodes) -> str:
    left_out = f"; {row.diverged} of them not finite and left out" if row.diverged else ""
    return (
        f"Reward a step over at most {episodes.steps} steps, {LABELS[row.actions]}: {row.real:.4g} +-"
        f" {row.real_std:.2g} in {episodes.starts} real episodes, {row.imagined:.4g} +- {row.imagined_std:.2g} in"
        f" {episodes.starts * episodes.copies} imagined ones{left_out} (std over episodes)."
    )
