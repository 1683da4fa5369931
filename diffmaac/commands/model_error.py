"""`diffmaac model-error`: how accurate is a run's model, and how accurate are its derivatives?"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from diffmaac import seeding
from diffmaac.analysis.record import versions, write_table
from diffmaac.commands.report import Report
from diffmaac.config import setting
from diffmaac.errors import SettingError

if TYPE_CHECKING:
    from diffmaac.analysis.model_error import JacobianError, Predictions


@dataclass(frozen=True)
class ModelErrorSettings:
    """On what, and how much of it."""

    states: int = setting(256, "held-out real states on which derivatives are compared, the last ones first", 2)
    steps: int = setting(20, "steps of the open-loop prediction", 1)
    seed: int = setting(0, "seed of the actions' noise", 0)
    out: str = setting("", "directory for model_error.csv and the figures; default: RUN/figures")


def measure(run: str, settings: ModelErrorSettings) -> Report:
    """Raises SettingError, TaskError or CheckpointError where the run has no model, no truth, or is no run."""
    import torch

    from diffmaac.analysis import plots
    from diffmaac.analysis.model_error import ENSEMBLE, jacobian_errors, open_loop_errors, predictions
    from diffmaac.dynamics import held_out_rows, true_dynamics
    from diffmaac.training.trainer import Trainer

    trainer = Trainer.load(Path(run))
    model = trainer.fitted_model("Give a run with dynamics=learned.")
    out = Path(settings.out or f"{run}/figures")
    out.mkdir(parents=True, exist_ok=True)  # now, lest what is measured has nowhere to go
    model.network.cpu().double().requires_grad_(False)
    policy = trainer.agent.policy.cpu()
    truth = true_dynamics(trainer.task.system, "finite_difference")
    real = trainer.replay.all()
    rows = held_out_rows(len(real.obs_t), trainer.settings.model.validation).nonzero()[:, 0]
    if len(rows) < 2:
        raise SettingError(f"the run '{run}' has {len(rows)} held-out transitions, and two are needed. Train it first.")
    obs, action, obs_tp1 = (x.cpu()[rows].double() for x in (real.obs_t, real.action_t, real.obs_tp1))
    last = slice(-settings.states, None)
    errors = jacobian_errors(model, truth, obs[last], action[last])
    predicted = predictions(model, obs, action, obs_tp1)
    with torch.no_grad():
        shape = (settings.steps, len(obs[last]), trainer.task.action_size)
        noise = torch.randn(shape, generator=seeding.torch_generator(settings.seed, "open-loop"))
        actions = torch.stack([policy.sample(obs[last].float(), n)[0] for n in noise]).double()
    ahead = open_loop_errors(model, truth, obs[last], actions)
    files = [out / f"{name}" for name in ("model_error.csv", "jacobian_error.png", "open_loop_error.png")]
    where = {"run": run, "step": trainer.step, "states": len(obs[last]), "versions": versions("diffmaac", "torch")}
    write_table(files[0], [{**record, **where} for record in _records(errors)])
    title = f"{trainer.task.name}, {trainer.step:,} environment steps"
    entries = next(error for error in errors if error.member == ENSEMBLE).entries
    plots.jacobian_error(entries.numpy(), trainer.task.obs_size, files[1], title)
    plots.open_loop(ahead.numpy(), trainer.task.dt, files[2], title)
    return Report(_table(errors), _lines(predicted, ahead, len(rows)), files)


def _records(errors: "list[JacobianError]") -> list[dict[str, Any]]:
    names = ("member", "absolute", "relative", "cosine")
    return [{name: getattr(error, name) for name in names} for error in errors]


def _table(errors: "list[JacobianError]") -> Table:
    table = Table(title="derivatives: model against truth", title_justify="left", box=None, header_style="bold")
    for column in ("member", "eps_f", "relative", "cosine"):
        table.add_column(column, justify="right")
    for record in _records(errors):
        table.add_row(record["member"], *(f"{record[name]:.3g}" for name in ("absolute", "relative", "cosine")))
    return table


def _lines(predicted: "Predictions", ahead: Any, count: int) -> list[str]:
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
