"""diffmaac: policy optimisation by backpropagation through learned or true dynamics.

    run = diffmaac.train(env="pendulum", dynamics="true", horizon=5)
    action = diffmaac.load(run.path).act(obs)

    step = diffmaac.DifferentiablePhysics(mujoco.MjModel.from_xml_path("robot.xml"), frame_skip=5)
    qpos, qvel = step(qpos, qvel, ctrl)

Each command of the command line is a function here, with the same words: `train`, `evaluate`, `plot`, `report`,
`export`, `sweep`, `list_runs`, `reproduce`, `check_gradients`, `gradient_error`, `model_error`.

A name is loaded when it is first used, and with it what it needs (torch, MuJoCo, JAX, matplotlib). Gymnasium knows our
tasks from here on: `gymnasium.make("diffmaac/HalfCheetah-v0")`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from diffmaac.registration import register_now_or_later

if TYPE_CHECKING:
    from diffmaac.analysis.check_gradients import check_gradients as check_gradients
    from diffmaac.analysis.evaluate import evaluate as evaluate
    from diffmaac.analysis.export import export as export
    from diffmaac.analysis.gradient_error import gradient_error as gradient_error
    from diffmaac.analysis.model_error import model_error as model_error
    from diffmaac.analysis.report import report as report
    from diffmaac.differentiable import Closeness as Closeness
    from diffmaac.differentiable import DifferentiablePhysics as DifferentiablePhysics
    from diffmaac.differentiable import ensure_close as ensure_close
    from diffmaac.errors import CheckpointError as CheckpointError
    from diffmaac.errors import DiffmaacError as DiffmaacError
    from diffmaac.errors import DivergenceError as DivergenceError
    from diffmaac.errors import GradientError as GradientError
    from diffmaac.errors import SettingError as SettingError
    from diffmaac.errors import StorageError as StorageError
    from diffmaac.errors import TaskError as TaskError
    from diffmaac.experiments.comparison import plot as plot
    from diffmaac.experiments.listing import list_runs as list_runs
    from diffmaac.experiments.reproduce import reproduce as reproduce
    from diffmaac.experiments.sweep import sweep as sweep
    from diffmaac.identification import Identification as Identification
    from diffmaac.identification import Trajectory as Trajectory
    from diffmaac.identification import identify as identify
    from diffmaac.result import Result as Result
    from diffmaac.session import Run as Run
    from diffmaac.session import train as train
    from diffmaac.system import LinearSystem as LinearSystem
    from diffmaac.system import MujocoSystem as MujocoSystem
    from diffmaac.task import Criterion as Criterion
    from diffmaac.task import Task as Task
    from diffmaac.tasks import get_task as get_task
    from diffmaac.tasks import register as register
    from diffmaac.training.agent import Agent as Agent
    from diffmaac.training.agent import load as load

_HOMES = {
    "analysis.check_gradients": ["check_gradients"],
    "analysis.evaluate": ["evaluate"],
    "analysis.export": ["export"],
    "analysis.gradient_error": ["gradient_error"],
    "analysis.model_error": ["model_error"],
    "analysis.report": ["report"],
    "differentiable": ["Closeness", "DifferentiablePhysics", "ensure_close"],
    "errors": [
        "CheckpointError",
        "DiffmaacError",
        "DivergenceError",
        "GradientError",
        "SettingError",
        "StorageError",
        "TaskError",
    ],
    "experiments.comparison": ["plot"],
    "experiments.listing": ["list_runs"],
    "experiments.reproduce": ["reproduce"],
    "experiments.sweep": ["sweep"],
    "identification": ["Identification", "Trajectory", "identify"],
    "result": ["Result"],
    "system": ["LinearSystem", "MujocoSystem"],
    "task": ["Criterion", "Task"],
    "tasks": ["get_task", "register"],
    "training.agent": ["Agent", "load"],
    "session": ["Run", "train"],
}
"""Module -> the public names that come from it."""
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
__version__ = "0.1.0"
register_now_or_later()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'diffmaac' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"diffmaac.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
