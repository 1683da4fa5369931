"""A training from beginning to end: prepared, trained, evaluated, drawn."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from diffmaac.errors import SettingError
from diffmaac.keywords import TrainKeywords
from diffmaac.runs import checkpoint
from diffmaac.runs.layout import CHECKPOINT, FIGURES, create_directory
from diffmaac.runs.lock import claimed
from diffmaac.runs.metrics import write_evaluation
from diffmaac.runs.settings import read_settings, write_settings
from diffmaac.settings import read_file, remarks
from diffmaac.task import Task
from diffmaac.tasks import resolve_task
from diffmaac.training.agent import Agent, load
from diffmaac.training.evaluation import Evaluation
from diffmaac.training.machine import use_machine
from diffmaac.training.trainer import Trainer

_LOGGER = logging.getLogger(__name__)
CURVE = "learning_curve.png"


@dataclass(frozen=True)
class Run:
    """A finished run: where it lies, its agent, and its evaluation over `final_episodes` episodes."""

    path: Path
    agent: Agent
    evaluation: Evaluation

    @property
    def figure(self) -> Path:
        """Its learning curve."""
        return self.path / FIGURES / CURVE


def train(env: str | Task | None = None, *, progress: bool = True, **words: Unpack[TrainKeywords]) -> Run:
    """Trains a new run, or takes up an old one with ``resume=path``.

    `env` is a task's name or a Task; every other setting has its name as on the command line (``diffmaac train --help``
    lists them), or stands in a YAML file, ``config=path``. Raises SettingError, TaskError or CheckpointError for input
    that cannot be used, DivergenceError where training turns non-finite (the last checkpoint is then on disk). The log
    warns of a setting that has no effect beside the others.
    """
    return complete(prepare(env, words), progress)


def prepare(env: str | Task | None, words: Mapping[str, Any]) -> Trainer:
    """The trainer that `complete` runs: settings checked, run directory made or checkpoint read."""
    words = {**(read_file(words["config"]) if "config" in words else {}), **words}
    words.pop("config", None)
    resume = words.pop("resume", None)
    if resume is not None:
        return _resumed(Path(resume), words, env)
    task, settings = resolve_task(env if env is not None else words.get("env", "pendulum"), words)
    use_machine(task, settings)
    task.check()
    for line in remarks(settings, task.presets, words):
        _LOGGER.warning(line)
    trainer = Trainer(task, settings)
    trainer.begin(create_directory(settings.run))
    return trainer


def _resumed(folder: Path, words: dict[str, Any], env: str | Task | None) -> Trainer:
    task, settings = read_settings(folder, words, env)
    use_machine(task, settings)
    trainer = Trainer(task, settings)
    trainer.restore(folder)
    return trainer


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
    record = {"step": trainer.step, **evaluation.metrics()}
    write_evaluation(trainer.folder, record | {"returns": evaluation.returns, "scores": evaluation.scores})
    (trainer.folder / FIGURES).mkdir(exist_ok=True)
    run = Run(trainer.folder, load(trainer.folder, trainer.task), evaluation)
    learning_curve([trainer.folder], run.figure, title=trainer.task.name)
    return run
