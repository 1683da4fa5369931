"""The tasks of diffmaac: the paper's four, two swing-ups of our own and a linear-quadratic one.

One file a task, each with a function that returns its `diffmaac.task.Task`; nothing is imported before it is asked for.
"""

import importlib
from collections.abc import Callable

from diffmaac.task import Task

NAMES = ("double_integrator", "pendulum", "cartpole", "half_cheetah", "hopper", "walker2d", "ant")


def _factory(name: str) -> Callable[[], Task]:
    return lambda: getattr(importlib.import_module(f"diffmaac_envs.{name}"), name)()


FACTORIES: dict[str, Callable[[], Task]] = {name: _factory(name) for name in NAMES}
"""A task's name -> the function that makes it."""
