"""`diffmaac evaluate`: the return of a run's policy, or of a planner that looks ahead with its model and critics."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffmaac import seeding
from diffmaac.config import PlanSettings, Settings, given_of, setting
from diffmaac.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

    from diffmaac.dynamics import AbstractDynamics
    from diffmaac.task import Task
    from diffmaac.training.evaluate import Evaluation
    from diffmaac.training.trainer import Trainer


@dataclass(frozen=True)
class EvaluateSettings(PlanSettings):
    """What is evaluated, over how many episodes; the first four, and `dynamics`, are the planner's."""

    episodes: int | str = setting("run", "episodes to run; run: its final_episodes", 1, words=("run",))
    seed: int | str = setting("run", "seed of the start states; run: its own", 0, words=("run",))
    planner: str = setting("none", "what chooses the actions: the policy's mode, or it", choices=("none", "cem"))
    dynamics: str = setting(
        "run",
        "what the planner looks ahead through; run: its model, or the physics",
        choices=("run", "learned", "true"),
    )
    video: str = setting("", "MP4 file for the first episode, drawn without a screen (EGL or OSMesa)")


ALONE = 5
"""Steps of one episode that are planned to time them."""
PLANNERS = frozenset({"dynamics", *(f.name for f in dataclasses.fields(PlanSettings))})
"""Settings that only a planner has."""


@dataclass(frozen=True)
class Report:
    """An evaluation, and what the planner took."""

    task: "Task"
    step: int
    evaluation: "Evaluation"
    plan_ms: float | None = None
    """Milliseconds of planning for a step of one episode alone; None without a planner."""
    plan_together_ms: float | None = None
    """Milliseconds of planning for a step of all episodes at once."""
    diverged: int = 0
    """Candidates that diverged and were ranked last."""


def evaluate_run(run: str, settings: EvaluateSettings) -> Report:
    """Evaluates the run in `run`.

    Raises SettingError where the planner has no model or one never fitted, where something is said of a planner that is
    not asked for, or the video cannot be made; CheckpointError where there is no run or it is damaged.
    """
    import numpy as np

    from diffmaac.planning import CrossEntropyPlanner
    from diffmaac.render import check_video
    from diffmaac.training.evaluate import evaluate
    from diffmaac.training.run import VIDEOS, load
    from diffmaac.training.trainer import Trainer

    video = Path(settings.video) if settings.video else None
    if video is not None:
        if video.parent == Path(run) / VIDEOS and Path(run).is_dir():
            video.parent.mkdir(exist_ok=True)
        check_video(video)
    if settings.planner == "none":
        _check_no_planner(settings)
        agent = load(run)
        episodes, seed = _said(settings, agent.settings)
        return Report(agent.task, agent.step, evaluate(agent.task, agent.policy.mode, episodes, seed, video=video))
    trainer = Trainer.load(Path(run))
    episodes, seed = _said(settings, trainer.settings)
    loop = trainer.agent.loop._replace(dynamics=_dynamics(trainer, settings.dynamics))
    device = trainer.settings.run.device
    planner = CrossEntropyPlanner(loop, settings, seeding.torch_generator(seed, "planner", device))
    seen: list[Tensor] = []
    seconds: list[float] = []

    def act(obs: "Tensor") -> "Tensor":
        start = time.perf_counter()
        action = planner(obs)
        seconds.append(time.perf_counter() - start)
        seen[:] = [obs]
        return action

    result = evaluate(trainer.task, act, episodes, seed, device, video)
    diverged, together = planner.diverged, 1e3 * float(np.median(seconds))
    seconds.clear()
    for _ in range(ALONE):
        act(seen[0][:1])
    return Report(trainer.task, trainer.step, result, 1e3 * float(np.median(seconds)), together, diverged)


def _said(settings: EvaluateSettings, run: Settings) -> tuple[int, int]:
    """Episodes and seed: what was said, or the run's own."""
    episodes = run.report.final_episodes if isinstance(settings.episodes, str) else settings.episodes
    return episodes, run.run.seed if isinstance(settings.seed, str) else settings.seed


def _check_no_planner(settings: EvaluateSettings) -> None:
    """Raises SettingError where a planner's settings are given and none is asked for."""
    for name, value in given_of(settings, PLANNERS).items():
        raise SettingError(f"{name}={value} is the planner's, and none is asked for. Say planner=cem as well.")


def _dynamics(trainer: "Trainer", name: str) -> "AbstractDynamics":
    from diffmaac.dynamics import true_dynamics

    run = trainer.settings.run
    if name == "true" or (name == "run" and run.dynamics == "true"):
        return true_dynamics(trainer.task.system)
    return trainer.fitted_model("Plan through the physics, dynamics=true.")
