"""The return of a run's policy, or of a planner that looks ahead with the run's model and critics."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Unpack

import numpy as np
from torch import Tensor

from diffmaac import seeding
from diffmaac.analysis.settings import OF_THE_PLANNER, EvaluateSettings
from diffmaac.dynamics import AbstractDynamics, true_dynamics
from diffmaac.errors import SettingError
from diffmaac.keywords import EvaluateKeywords
from diffmaac.planning import CrossEntropyPlanner
from diffmaac.render import check_video
from diffmaac.result import Result
from diffmaac.runs.layout import VIDEOS
from diffmaac.settings import Settings, build, changed
from diffmaac.task import Task
from diffmaac.training.agent import load
from diffmaac.training.evaluation import Evaluation, run_episodes
from diffmaac.training.trainer import Trainer
from diffmaac.typed import single_precision

ALONE = 5
"""Steps of one episode that are planned to time them."""


@dataclass(frozen=True)
class Planning:
    """What a planner took, and how often it failed."""

    ms: float
    """Milliseconds of planning for a step of one episode alone."""
    together_ms: float
    """Milliseconds of planning for a step of all episodes at once."""
    diverged: int
    """Candidates that diverged and were ranked last."""


@dataclass(frozen=True)
class RunEvaluation:
    """An evaluation of a run at one environment step of its training."""

    task: Task
    step: int
    evaluation: Evaluation
    planning: Planning | None = None
    """None without a planner."""


@single_precision()
def evaluate(run: str | PathLike[str], **words: Unpack[EvaluateKeywords]) -> Result[RunEvaluation]:
    """Evaluates the run in directory `run`, as ``diffmaac evaluate`` does; `words` are that command's settings.

    Raises SettingError where the planner has no model or one never fitted, where something is said of a planner that is
    not asked for, or the video cannot be made; CheckpointError where there is no run or it is damaged.
    """
    settings, folder = build(EvaluateSettings, words), Path(run)
    video = _video_file(folder, settings.video)
    if settings.planner == "none":
        for name, value in changed(settings, OF_THE_PLANNER).items():
            raise SettingError(f"{name}={value} is the planner's, and none is asked for. Say planner=cem as well.")
        agent = load(folder, which=settings.which)
        episodes, seed = _amount(settings, agent.settings)
        evaluation = run_episodes(agent.task, agent.policy.mode, episodes, seed, video=video)
        return _result(RunEvaluation(agent.task, agent.step, evaluation), video)
    if settings.which != "last":
        raise SettingError(
            f"which={settings.which}: a planner looks ahead with model and critics, which only the last checkpoint has."
            " Say which=last."
        )
    trainer = Trainer.load(folder)
    return _result(_planned(trainer, settings, video), video)


def _planned(trainer: Trainer, settings: EvaluateSettings, video: Path | None) -> RunEvaluation:
    """Episodes of the planner, timed: all of them at once, then a few steps of one alone."""
    episodes, seed = _amount(settings, trainer.settings)
    device = trainer.device
    loop = trainer.agent.loop_in(_dynamics(trainer, settings.dynamics))
    planner = CrossEntropyPlanner(loop, settings, seeding.torch_generator(seed, "planner", device))
    act, seconds, last = _timed(planner)
    evaluation = run_episodes(trainer.task, act, episodes, seed, device, video)
    diverged, together = planner.diverged, 1e3 * float(np.median(seconds))
    seconds.clear()
    for _ in range(ALONE):
        act(last[0][:1])
    planning = Planning(1e3 * float(np.median(seconds)), together, diverged)
    return RunEvaluation(trainer.task, trainer.step, evaluation, planning)


def _timed(act: Callable[[Tensor], Tensor]) -> tuple[Callable[[Tensor], Tensor], list[float], list[Tensor]]:
    """The same; the seconds of each call; and the observations of the last."""
    seconds: list[float] = []
    last: list[Tensor] = []

    def timed(obs: Tensor) -> Tensor:
        start = time.perf_counter()
        action = act(obs)
        seconds.append(time.perf_counter() - start)
        last[:] = [obs]
        return action

    return timed, seconds, last


def _video_file(run: Path, name: str) -> Path | None:
    if not name:
        return None
    video = Path(name)
    if video.parent == run / VIDEOS and run.is_dir():
        video.parent.mkdir(exist_ok=True)
    check_video(video)
    return video


def _amount(settings: EvaluateSettings, run: Settings) -> tuple[int, int]:
    """Episodes and seed: the user's, or the run's own."""
    episodes = run.report.final_episodes if isinstance(settings.episodes, str) else settings.episodes
    return episodes, run.run.seed if isinstance(settings.seed, str) else settings.seed


def _dynamics(trainer: Trainer, name: str) -> AbstractDynamics:
    through_truth = trainer.settings.run.dynamics == "true"
    if name == "run" and through_truth and trainer.dynamics is not None:
        return trainer.dynamics  # which may be those of an identified model
    if name == "true" or (name == "run" and through_truth):
        trainer.task.check_true()
        return true_dynamics(trainer.task.system)
    return trainer.fitted_model("Plan through the physics, dynamics=true.")


def _result(value: RunEvaluation, video: Path | None) -> Result[RunEvaluation]:
    notes = [f"{value.task.name}, environment step {value.step}", *value.evaluation.lines(value.task.criterion)]
    if (planning := value.planning) is not None:
        at_once = f"{planning.together_ms:.1f} ms for {len(value.evaluation.returns)} episodes at once"
        notes.append(f"planning: {planning.ms:.1f} ms a step, {at_once}; {planning.diverged} candidates diverged")
    return Result(value, notes=notes, files=[video] if video else [])
