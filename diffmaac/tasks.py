"""Tasks by name. Installed packages announce theirs by entry points, so that nothing here imports any of them.

[project.entry-points."diffmaac.tasks"]         name = "module:function", the function returns a `Task`
[project.entry-points."diffmaac.presets"]       name = "module:MAPPING", its presets, in a module that loads no torch
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from diffmaac.errors import SettingError, TaskError, unknown
from diffmaac.settings import Presets, Settings, flatten, resolve, uses_dynamics

if TYPE_CHECKING:
    from diffmaac.task import Task

TASKS, PRESETS = "diffmaac.tasks", "diffmaac.presets"
"""Groups of entry points."""
_FOREIGN = re.compile(r"(?=.*(?:[:/]|-v\d+$))(?:[\w.-]+:)?(?:[\w-]+/)?[\w.-]+")
"""What ids of Gymnasium look like, and names of tasks do not: package:Name-v0, namespace/Name, Name-v0."""
_registered: dict[str, "Callable[[], Task]"] = {}


@cache
def _announced(group: str) -> dict[str, Any]:
    """Name -> entry point; of a class of `importlib_metadata` where another package has loaded that."""
    return {entry.name: entry for entry in entry_points(group=group)}


def _loaded(entry: Any) -> Any:
    """What an entry point names. Raises TaskError where its package cannot give it."""
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise TaskError(f"'{entry.name}' is announced as {entry.value}, which cannot be loaded: {error}.") from error


def register(name: str, task: "Task | Callable[[], Task]") -> None:
    """Makes ``env=name`` mean that task, or the one that a function returns, in this process."""
    _registered[name] = task if callable(task) else lambda: task


def task_names() -> list[str]:
    """The names that `get_task` knows."""
    return list(dict.fromkeys([*_announced(TASKS), *_registered]))


def get_task(env: "str | Task") -> "Task":
    """The task of that name, or of that Gymnasium id; a Task is returned as it is.

    Raises SettingError for a name that does not exist, TaskError for one whose package cannot be loaded, and as
    `Task.from_gymnasium` does.
    """
    if not isinstance(env, str):
        from diffmaac.task import Task  # tasks load torch, names do not

        if isinstance(env, Task):
            return env
        raise SettingError(f"env={env!r}: must be a task's name or a diffmaac.Task, got {type(env).__name__}.")
    check_name(env)
    if is_foreign(env):
        from diffmaac.task import Task

        return Task.from_gymnasium(env)
    return _registered[env]() if env in _registered else _loaded(_announced(TASKS)[env])()


def check_name(env: str) -> None:
    """Raises SettingError for a name that `get_task` does not know."""
    if env not in (names := task_names()) and not is_foreign(env):
        advice = "Any Gymnasium environment is named by its id, for example Pendulum-v1 or package:Name-v0."
        raise SettingError(f"{unknown('env', env, names)} {advice}")


def is_foreign(env: str) -> bool:
    """Whether `env` is an id of Gymnasium, which may not exist, and not the name of a task."""
    return env not in task_names() and _FOREIGN.fullmatch(env) is not None


def presets_of(env: str) -> Presets:
    """The presets that are announced for a task, without loading it; none where it announces none."""
    return _loaded(_announced(PRESETS)[env]) if env in _announced(PRESETS) else {}


def check_settings(words: Mapping[str, Any]) -> None:
    """Raises SettingError as `resolve_task` does, for the words of a new run on a task that is announced.

    It loads neither torch nor MuJoCo, so that a mistake is answered at once.
    """
    env = words.get("env", "pendulum")
    if isinstance(env, str):
        check_name(env)
    if env in _announced(TASKS) and env not in _registered:
        resolve(env, presets_of(env), words)


def resolve_task(env: "str | Task", words: Mapping[str, Any]) -> "tuple[Task, Settings]":
    """The task, and the complete settings of a run on it.

    Raises SettingError as `get_task` and `resolve` do, and where a setting asks what the task does not say.
    """
    task = get_task(env)
    settings = resolve(task.name, task.presets, words)
    if settings.data.fall_ends and task.fallen is None:
        raise SettingError(
            f"fall_ends=true: task '{task.name}' does not say when its body lies (Task.fallen). Leave it out."
        )
    if settings.data.fall_reward and task.learns_reward:
        raise SettingError(
            f"fall_reward: the reward of task '{task.name}' is learned, and so is that of a fall. Leave it out."
        )
    if settings.data.fall_reward and settings.agent.gamma == 1:
        raise SettingError(
            "fall_reward with gamma=1: the sum of the rewards after a fall has no limit. Give gamma < 1."
        )
    if settings.run.dynamics != "learned" and uses_dynamics(flatten(settings)):
        task.check_true()
    if settings.report.log_model_error:
        task.system.physics()
    return task, settings
