"""How accurate is a run's model, and how accurate are its derivatives?"""

from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from diffmaac import seeding
from diffmaac.analysis import plots
from diffmaac.analysis.settings import ModelErrorSettings
from diffmaac.dynamics import true_dynamics
from diffmaac.dynamics.accuracy import (
    ENSEMBLE,
    JacobianError,
    Predictions,
    jacobian_errors,
    open_loop_errors,
    predictions,
)
from diffmaac.errors import SettingError
from diffmaac.files import write_table
from diffmaac.keywords import ModelErrorKeywords
from diffmaac.provenance import versions
from diffmaac.result import Result, Table
from diffmaac.runs.layout import FIGURES
from diffmaac.settings import build
from diffmaac.training.fit import held_out_rows
from diffmaac.training.trainer import Trainer


def model_error(run: str | Path, **words: Unpack[ModelErrorKeywords]) -> Result[list[JacobianError]]:
    """Measures a run's model on held-out real states, as ``diffmaac model-error`` does.

    `words` are that command's settings. The value is eps_f of each member and of the ensemble.

    Raises SettingError, TaskError or CheckpointError where the run has no model, no truth, or is no run.
    """
    settings = build(ModelErrorSettings, words)
    trainer = Trainer.load(Path(run))
    model = trainer.fitted_model("Give a run with dynamics=learned.")
    out = Path(settings.out or Path(run) / FIGURES)
    out.mkdir(parents=True, exist_ok=True)  # now, lest what is measured has nowhere to go
    model.network.cpu().double().requires_grad_(False)
    truth = true_dynamics(trainer.task.system, "finite_difference")
    obs, action, obs_tp1 = _held_out(trainer)
    last = slice(-settings.states, None)
    errors = jacobian_errors(model, truth, obs[last], action[last])
    predicted = predictions(model, obs, action, obs_tp1)
    ahead = open_loop_errors(model, truth, obs[last], _policy_actions(trainer, obs[last], settings))
    files = [out / name for name in ("model_error.csv", "jacobian_error.png", "open_loop_error.png")]
    made = {"run": run, "step": trainer.step, "states": len(obs[last]), "versions": versions("diffmaac", "torch")}
    write_table(files[0], [{**record, **made} for record in _records(errors)])
    title = f"{trainer.task.name}, {trainer.step:,} environment steps"
    entries = next(error for error in errors if error.member == ENSEMBLE).entries
    plots.jacobian_error(entries.numpy(), trainer.task.obs_size, files[1], title)
    plots.open_loop(ahead.numpy(), trainer.task.dt, files[2], title)
    return Result(errors, _table(errors), _notes(predicted, ahead, len(obs)), files=files)


def _held_out(trainer: Trainer) -> tuple[Tensor, Tensor, Tensor]:
    """The real transitions that no fit has seen, in float64: obs, action, next obs."""
    real = trainer.replay.all()
    rows = held_out_rows(len(real.obs_t), trainer.settings.model.validation).nonzero()[:, 0]
    if len(rows) < 2:
        raise SettingError(
            f"the run '{trainer.folder}' has {len(rows)} held-out transitions, and two are needed. Train it first."
        )
    return real.obs_t.cpu()[rows].double(), real.action_t.cpu()[rows].double(), real.obs_tp1.cpu()[rows].double()


@torch.no_grad()
def _policy_actions(trainer: Trainer, obs: Tensor, settings: ModelErrorSettings) -> Tensor:
    """What the policy would do in `obs`, drawn anew for each step: (steps, batch, action)."""
    policy, shape = trainer.agent.policy.cpu(), (settings.steps, len(obs), trainer.task.action_size)
    noise = torch.randn(shape, generator=seeding.torch_generator(settings.seed, "open-loop"))
    return torch.stack([policy.sample(obs.float(), n)[0] for n in noise]).double()


def _records(errors: list[JacobianError]) -> list[dict[str, Any]]:
    names = ("member", "absolute", "relative", "cosine")
    return [{name: getattr(error, name) for name in names} for error in errors]


def _table(errors: list[JacobianError]) -> Table:
    cells = [[error.member, *(f"{x:.3g}" for x in (error.absolute, error.relative, error.cosine))] for error in errors]
    return Table(["member", "eps_f", "relative", "cosine"], cells, "derivatives: model against truth")


def _notes(predicted: Predictions, ahead: Tensor, count: int) -> list[str]:
    error, one, two = (x.mean().item() for x in (predicted.error, predicted.within_1, predicted.within_2))
    worst = int(predicted.error.argmax())
    return [
        f"One step, {count} held-out transitions: error {error:.3g} standard deviations of the change"
        f" (worst: observation {worst}, {predicted.error[worst].item():.3g}).",
        f"Calibration: {one:.0%} of the truths within one predicted standard deviation, {two:.0%} within two"
        " (68 % and 95 % if the ensemble were right about itself).",
        f"Open loop: {ahead[0].mean().item():.3g} standard deviations of the state after one step,"
        f" {ahead[-1].mean().item():.3g} after {len(ahead)}.",
    ]
