"""The settings of the commands that measure one run, task or model."""

from dataclasses import dataclass, fields

from diffmaac.runs.layout import POLICIES
from diffmaac.settings import PlanSettings, setting
from diffmaac.settings.schema import MOST_ROWS, MOST_STEPS

GRADIENTS = ("auto", "engine", "implicit", "unrolled", "finite_difference")
"""How a step of MuJoCo can be differentiated, see `diffmaac.DifferentiablePhysics`."""
OF_A_TASK = ("seeds", "gamma", "process_std", "transitions", "caution", "critic_transitions", "critic_updates")
OF_A_RUN = ("samples", "chunk", "rollout")
"""Settings of `gradient-error` that only one of its two kinds of measurement has."""


@dataclass(frozen=True)
class EvaluateSettings(PlanSettings):
    """What is evaluated, over how many episodes; the first four, and `dynamics`, are the planner's."""

    episodes: int | str = setting("run", "episodes to run; run: its final_episodes", 1, 10_000, words=("run",))
    seed: int | str = setting("run", "seed of the start states; run: its own", 0, 2**31 - 1, words=("run",))
    which: str = setting("last", "policy of the last checkpoint, or of the best evaluation", choices=tuple(POLICIES))
    planner: str = setting("none", "what chooses the actions; none: the policy's mode", choices=("none", "cem"))
    dynamics: str = setting(
        "run",
        "what the planner looks ahead through; run: its model, or the physics",
        choices=("run", "learned", "true"),
    )
    video: str = setting("", "MP4 file for the first episode, drawn without a screen (EGL or OSMesa)")


OF_THE_PLANNER = frozenset({"dynamics", *(f.name for f in fields(PlanSettings))})
"""Settings of `evaluate` that only a planner has."""


@dataclass(frozen=True)
class ExportSettings:
    """Which policy."""

    which: str = setting("last", "policy of the last checkpoint, or of the best evaluation", choices=tuple(POLICIES))


@dataclass(frozen=True)
class CheckSettings:
    """What is checked, and on how many states."""

    env: str = setting("", "task whose MuJoCo model is checked")
    model: str = setting("", "path of an MJCF to check in place of a task's")
    run: str = setting("", "run directory: states that its policy visits, of its task")
    frame_skip: int = setting(0, "time steps of a control step; 0: the task's own, 1 for model=", 0, MOST_STEPS)
    states: int = setting(64, "states to compare in, with an active constraint where they can be found", 1, MOST_ROWS)
    gradient: list[str] = setting(["auto"], "one or more, separated by commas", choices=GRADIENTS, fewest=1)
    precision: str = setting("float64", "precision of the inputs", choices=("float32", "float64"))
    seed: int = setting(0, "seed of controls and cotangents", 0, 2**31 - 1)
    out: str = setting("", "file for the numbers, as CSV", file=())


@dataclass(frozen=True)
class GradientErrorSettings:
    """What is compared. Give env= (a task with a closed form) or the directory of a run."""

    env: str = setting("", "task with linear dynamics and quadratic reward: model and critic are trained here")
    horizons: list[int] = setting([0, 1, 2, 4, 8, 16, 32], "horizons, whole numbers", 0, MOST_STEPS, fewest=1)
    dynamics: list[str] = setting(
        ["learned", "true"], "whose gradient: learned, true, or both", choices=("learned", "true"), fewest=1
    )
    seeds: int = setting(8, "env=: how many times model and critic are trained", 1, 10_000)
    gamma: float = setting(0.9, "env=: discount", 0.1, 0.999)
    process_std: float = setting(0.05, "env=: standard deviation of the noise that a step adds", 0.0)
    transitions: int = setting(1000, "env=: real transitions that model and critic learn from", 20, 10**7)
    caution: float = setting(
        0.1, "env=: the policy is optimal for a control cost so many times the task's: above 1 slow, below quick", 1e-6
    )
    critic_transitions: int = setting(0, "env=: other transitions for the critic; 0: those of the model", 0, 10**7)
    critic_updates: int = setting(2000, "env=: gradient steps that the critic learns for", 1, 10**6)
    samples: int = setting(
        4096, "a run: trajectories for each gradient, at most; but no fewer than eight chunks", 1, 10**9
    )
    chunk: int = setting(256, "a run: trajectories at a time", 2, MOST_ROWS)
    rollout: int = setting(
        0, "a run: steps of the true rollouts in place of the true critic; 0: its own critic", 0, MOST_STEPS
    )
    seed: int = setting(0, "first seed", 0, 2**31 - 1)
    out: str = setting("", "directory of gradient_error.csv and .png; default: RUN/figures, runs/gradient-error-ENV")


@dataclass(frozen=True)
class ModelErrorSettings:
    """On what, and how much of it."""

    states: int = setting(
        256, "held-out real states on which derivatives are compared, the last ones first", 2, MOST_ROWS
    )
    steps: int = setting(20, "steps of the open-loop prediction", 1, MOST_STEPS)
    episodes: int = setting(8, "real episodes whose reward a step is compared with that of imagined ones", 1, 1000)
    copies: int = setting(8, "imagined episodes from each of their start states", 1, 100)
    episode_steps: int = setting(300, "steps of these episodes, at most the task's own", 1, 10**6)
    seed: int = setting(0, "seed of start states and of the actions' noise", 0, 2**31 - 1)
    out: str = setting("", "directory for the tables and the figures; default: RUN/figures")


@dataclass(frozen=True)
class PageSettings:
    """What goes on the page, and where it goes."""

    out: str = setting("", "HTML file; empty: RUN/report.html", file=())
    video: str = setting("", "MP4 file to show; empty: those in RUN/videos")
