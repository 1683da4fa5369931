"""A training from beginning to end: prepared, trained, evaluated, drawn."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from diffmaac import seeding
from diffmaac.errors import CheckpointError, SettingError, StorageError
from diffmaac.keywords import TrainKeywords
from diffmaac.runs import checkpoint
from diffmaac.runs.layout import BEST, CHECKPOINT, FIGURES, IDENTIFICATION, create_directory
from diffmaac.runs.lock import claimed
from diffmaac.runs.loggers import check_installed
from diffmaac.runs.metrics import write_evaluation
from diffmaac.runs.settings import read_settings, write_settings
from diffmaac.runs.state import noted
from diffmaac.settings import remarks, with_file
from diffmaac.task import Task
from diffmaac.tasks import resolve_task
from diffmaac.training.agent import Agent, load
from diffmaac.training.evaluation import Evaluation
from diffmaac.training.machine import use_machine
from diffmaac.training.trainer import Trainer
from diffmaac.typed import single_precision

_LOGGER = logging.getLogger(__name__)
CURVE = "learning_curve.png"


@dataclass(frozen=True)
class Best:
    """The agent of the best evaluation in training, and its evaluation from start states that did not choose it."""

    agent: Agent
    evaluation: Evaluation


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: where it lies, its agent, and its evaluation over `final_episodes` episodes.

    `best` is None where no evaluation was long enough to choose one. A Run may be given wherever a run's path may.
    """

    path: Path
    agent: Agent
    evaluation: Evaluation
    best: Best | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        returns = {"return": self.evaluation} | ({} if self.best is None else {"best": self.best.evaluation})
        means = ", ".join(f"{name}={evaluation.metrics()['return']:.6g}" for name, evaluation in returns.items())
        return f"Run('{self.path}', step={self.agent.step}, {means})"

    @property
    def figure(self) -> Path:
        """Its learning curve."""
        return self.path / FIGURES / CURVE

    def lines(self) -> list[str]:
        """Its evaluations in words."""
        lines = self.evaluation.lines(self.agent.task.criterion)
        if self.best is not None:
            first, *more = self.best.evaluation.lines(self.agent.task.criterion)
            lines += [f"best policy, of step {self.best.agent.step:,}: {first}", *more]
        return lines


def train(env: str | Task | None = None, *, progress: bool = True, **words: Unpack[TrainKeywords]) -> Run:
    """Trains a new run, or takes up an old one with ``resume=path``.

    `env` is a task's name, a Gymnasium id or a Task; every other setting has its name as on the command line
    (``diffmaac train --help`` lists them), or stands in a YAML file, ``config=path``. Raises SettingError, TaskError or
    CheckpointError for input that cannot be used; DivergenceError where training turns non-finite, and StorageError
    where a file cannot be written (the last checkpoint is then on disk). The log warns of a setting that has no effect
    beside the others.
    """
    return complete(prepare(env, words), progress)


@single_precision()
def prepare(env: str | Task | None, words: Mapping[str, Any]) -> Trainer:
    """The trainer that `complete` runs: settings checked, run directory made or checkpoint read."""
    words = with_file(words)
    resume = words.pop("resume", None)
    if resume is not None:
        return _resumed(Path(resume), words, env)
    task, settings = resolve_task(env if env is not None else words.get("env", "pendulum"), words)
    use_machine(task, settings)
    check_installed(settings)
    task.check()
    for line in remarks(settings, task.presets, words):
        _LOGGER.warning(line)
    return _begun(Trainer(task, settings))


def _begun(trainer: Trainer) -> Trainer:
    """In a directory of its own; where that cannot be written, nothing is left of it."""
    folder = create_directory(trainer.settings.run)
    try:
        trainer.begin(folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StorageError(f"no run can be begun: {_reason(error, folder)} Make room, or give another out=.") from error
    return trainer


def _resumed(folder: Path, words: dict[str, Any], env: str | Task | None) -> Trainer:
    task, settings = read_settings(folder, words, env)
    use_machine(task, settings)
    check_installed(settings)
    trainer = Trainer(task, settings, identified=folder / IDENTIFICATION)
    trainer.restore(folder)
    return trainer


@single_precision()
def complete(trainer: Trainer, progress: bool = True) -> Run:
    """Trains a prepared trainer to its last step, and evaluates it; nobody else can train the run meanwhile.

    Raises as `train` does, and SettingError where the run is being trained already, or has been since the trainer was
    prepared.
    """
    folder = trainer.folder
    with claimed(folder):
        if (now := checkpoint.saved_step(folder / CHECKPOINT)) != trainer.step:
            raise SettingError(f"the run in '{folder}' has gone on from step {trainer.step} to {now}. Resume it anew.")
        try:
            with noted(folder):
                write_settings(folder, trainer.settings)
                trainer.train(progress)
                return _finish(trainer)
        except OSError as error:
            raise _stopped(trainer, error) from error


def _stopped(trainer: Trainer, error: OSError) -> StorageError:
    """Where a file of a run cannot be written: which, what of the run is on disk, and how to go on."""
    folder = trainer.folder
    stop = f"stopped at environment step {trainer.step}: {_reason(error, folder)}"
    try:
        step = checkpoint.saved_step(folder / CHECKPOINT)
    except (CheckpointError, OSError):
        return StorageError(f"{stop} There is no checkpoint in '{folder}' any more.")
    return StorageError(
        f"{stop} The checkpoint of step {step} is kept in {folder}. Make room, then go on with"
        f" `diffmaac train resume={folder}`."
    )


def _reason(error: OSError, folder: Path) -> str:
    return f"{error.filename or folder}: {error.strerror or error}."


def _finish(trainer: Trainer) -> Run:
    """Evaluates a trainer that has reached its last step (kept in evaluation.json), and draws its learning curve."""
    from diffmaac.analysis.plots import learning_curve  # matplotlib is loaded only where it is used

    folder, episodes = trainer.folder, trainer.settings.report.final_episodes
    evaluation = trainer.evaluate(episodes)
    best = _best(trainer, episodes)
    record = _record(trainer.step, evaluation)
    if best is not None:
        record["best"] = _record(best.agent.step, best.evaluation)
    write_evaluation(folder, record)
    (folder / FIGURES).mkdir(exist_ok=True)
    run = Run(folder, load(folder, trainer.task), evaluation, best)
    learning_curve([folder], run.figure, title=trainer.task.name)
    return run


def _best(trainer: Trainer, episodes: int) -> Best | None:
    if not (trainer.folder / BEST).is_dir():
        return None
    agent = load(trainer.folder, trainer.task, "best")
    other_starts = seeding.integer_seed(trainer.settings.run.seed, "best")
    return Best(agent, agent.evaluate(episodes, other_starts))


def _record(step: int, evaluation: Evaluation) -> dict[str, Any]:
    return {"step": step, **evaluation.metrics(), "returns": evaluation.returns, "scores": evaluation.scores}
