"""The same words as on the command line, from Python."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import diffmaac.training.checkpoint as checkpoint
from diffmaac.analysis.record import EVALUATION, circumstances, write_json
from diffmaac.config import Settings, read_file
from diffmaac.errors import SettingError
from diffmaac.presets import remarks, resolve
from diffmaac.task import Task
from diffmaac.training.evaluate import Evaluation
from diffmaac.training.run import (
    CHECKPOINT,
    FIGURES,
    Agent,
    check_device,
    claimed,
    create_directory,
    load,
    read_settings,
    write_settings,
)
from diffmaac.training.trainer import Trainer

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run: where it lies, its agent, and its evaluation over `final_episodes` episodes."""

    path: Path
    agent: Agent
    evaluation: Evaluation


def train(env: str | Task | None = None, *, progress: bool = True, **given: Any) -> Run:
    """Trains a new run, or takes up an old one with ``resume=path``.

    `env` is a task's name or a Task; every other setting is given by its name (``diffmaac train --help`` lists them),
    or in a YAML file with ``config=path``. Raises SettingError, TaskError or CheckpointError for input that cannot be
    used, DivergenceError where training turns non-finite (the last checkpoint is then on disk). A setting that has no
    effect beside the others is named by a warning in the log.
    """
    return complete(prepare(env, given), progress)


def complete(trainer: Trainer, progress: bool = True) -> Run:
    """Trains a prepared trainer to its last step, and evaluates it; nobody else can train the run meanwhile.

    Raises as `train` does, and SettingError where the run is being trained already, or has been since the trainer was
    prepared.
    """
    folder = trainer.folder
    with claimed(folder):
        if (now := checkpoint.saved_step(folder / CHECKPOINT)) != trainer.step:
            raise SettingError(f"the run in '{folder}' has gone on from step {trainer.step} to {now}. Resume it anew.")
        write_settings(folder, trainer.settings)
        trainer.train(progress)
        return _finish(trainer)


def _finish(trainer: Trainer) -> Run:
    """Evaluates a trainer that has reached its last step (kept in evaluation.json), and draws its learning curve."""
    from diffmaac.analysis.plots import learning_curve  # matplotlib is loaded only where it is used

    evaluation = trainer.evaluate(trainer.settings.report.final_episodes)
    kept = {"step": trainer.step, **evaluation.metrics(), "returns": evaluation.returns, "scores": evaluation.scores}
    write_json(trainer.folder / EVALUATION, kept | circumstances())
    (trainer.folder / FIGURES).mkdir(exist_ok=True)
    figure = trainer.folder / FIGURES / "learning_curve.png"
    learning_curve([trainer.folder], figure, title=trainer.task.name)
    return Run(trainer.folder, load(trainer.folder, trainer.task), evaluation)


def prepare(env: str | Task | None, given: dict[str, Any]) -> Trainer:
    """The trainer that `complete` runs: settings checked, run directory made or checkpoint read."""
    given = dict(given)
    if "config" in given:
        given = {**read_file(str(given.pop("config"))), **given}
    resume = given.pop("resume", None)
    if resume is None:
        task, settings = resolve(env if env is not None else given.get("env", "pendulum"), given)
        use_machine(settings)
        task.check()
        for line in remarks(settings, given):
            _LOGGER.warning(line)
        trainer = Trainer(task, settings)
        trainer.begin(create_directory(settings))
        return trainer
    folder = Path(str(resume))  # the command line reads a name of digits as a number
    task, settings = read_settings(folder, given, env)
    use_machine(settings)
    trainer = Trainer(task, settings)
    trainer.restore(folder)
    return trainer


def use_machine(settings: Settings) -> None:
    """Sets torch's threads if asked. Raises SettingError where the device is not there."""
    check_device(settings)
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)
