"""Our tasks under Gymnasium's ids, so that `gymnasium.make("diffmaac/HalfCheetah-v0")` works once we are imported.

Neither of the two waits for the other: where Gymnasium is loaded already, the ids are registered at once, and otherwise
right after it is. So `import diffmaac` stays quick, and either may be imported first.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec

    from diffmaac.env import AbstractTaskEnv

NAMESPACE = "diffmaac"
REGISTRY = "gymnasium.envs.registration"
"""The module that holds Gymnasium's registry."""


def gymnasium_id(task: str) -> str:
    """half_cheetah -> diffmaac/HalfCheetah-v0."""
    return f"{NAMESPACE}/{''.join(word[:1].upper() + word[1:] for word in task.split('_'))}-v0"


def register_tasks(registration: ModuleType) -> None:
    """Registers every task that an installed package announces. Loads none of them, nor torch."""
    from diffmaac.tasks import task_names

    for name in task_names():
        if (full := gymnasium_id(name)) not in registration.registry:
            entry = "diffmaac.registration:make_task_env"
            registration.register(full, entry_point=entry, kwargs={"task": name})


def make_task_env(task: str, render_mode: str | None = None, **options: Any) -> "AbstractTaskEnv":
    """The environment of the task of that name: what `gymnasium.make` calls.

    `options` replace fields of the task, such as `episode_steps`, after which it truncates.
    """
    import dataclasses

    from diffmaac.tasks import get_task

    return dataclasses.replace(get_task(task), **options).make_env(render_mode)


def register_now_or_later() -> None:
    """Registers at once where Gymnasium is loaded, and else when it is."""
    loaded = sys.modules.get(REGISTRY)
    if loaded is not None and hasattr(loaded, "make_vec"):
        register_tasks(loaded)
    else:
        sys.meta_path.insert(0, _AfterGymnasium())  # pyright: ignore[reportArgumentType]


class _AfterGymnasium:
    """A finder (`sys.meta_path`) that finds Gymnasium's registry as all others do, once, and registers when it is run.

    It is no subclass of `importlib.abc.MetaPathFinder`, which takes longer to import than all of this package.
    """

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None", target: ModuleType | None = None
    ) -> "ModuleSpec | None":
        if fullname != REGISTRY:
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(fullname, path, target) for finder in sys.meta_path)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            _run_after(spec.loader, register_tasks)
        return spec


def _run_after(loader: Any, then: "Callable[[ModuleType], None]") -> None:
    """Lets the loader, which is this module's own, call `then` once it has executed the module."""
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        then(module)

    loader.exec_module = exec_module
