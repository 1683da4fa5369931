"""An environment that is given as an object: is it as its id alone makes it, and if not, a copy that is as it is."""

import copy
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.wrappers import PassiveEnvChecker
from torch import Tensor

DEPTH = 8
"""Objects within objects into which `attributes` looks, at most."""
STEPS = 3
"""Of the episode that tells state, which changes in it, from settings."""
Environment = gymnasium.Env[Any, Any]


def changed(env: Environment, make: Callable[[], Environment]) -> str:
    """An attribute that somebody has set on `env`, since it is not that of a new one; empty where none is known.

    What an episode changes in a new one is state, which each reset gives anew.
    """
    new, used = make(), make()
    before = attributes(new)
    used.action_space.seed(0)
    used.reset(seed=0)
    for _ in range(STEPS):
        used.step(used.action_space.sample())
    after, ours = attributes(used), attributes(env)
    new.close()
    used.close()
    for name, value in ours.items():
        patched = name not in before and name not in after and value.startswith("<code ")  # env.step = function
        if patched or (name in before and value != before[name] == after.get(name)):
            return name
    return ""


def copied(env: Environment) -> tuple[Environment, str]:
    """A copy, and the name of an attribute that it does not share; empty where it has them all.

    EzPickle, from which many environments derive, copies by calling the constructor, which forgets what was set since:
    of such a one the attributes themselves are copied.
    """
    inner, memo = env.unwrapped, dict[int, Any]()
    if isinstance(inner, gymnasium.utils.EzPickle):
        memo[id(inner)] = twin = object.__new__(type(inner))
        vars(twin).update(copy.deepcopy(vars(inner), memo))
    twin = copy.deepcopy(env, memo)
    ours, theirs = attributes(env), attributes(twin)
    return twin, next((name for name, value in ours.items() if theirs.get(name) != value), "")


def attributes(env: Environment) -> dict[str, str]:
    """What can be compared of an environment, by its name: numbers, texts, arrays, functions, MuJoCo's models.

    Those of a wrapper stand behind its class; Gymnasium's checker is left out, since not every way of making has it.
    """
    found, layers = dict[str, str](), [env]
    while isinstance(layer := layers[-1], gymnasium.Wrapper):
        layers.append(layer.env)
    seen = set(map(id, layers))
    for layer in layers:
        if not isinstance(layer, PassiveEnvChecker):
            _walk(layer, type(layer).__name__ if isinstance(layer, gymnasium.Wrapper) else "", found, seen)
    return found


def _walk(value: Any, path: str, found: dict[str, str], seen: set[int]) -> None:
    for name, item in _parts(value).items():
        where = f"{path}.{name}" if path else str(name)
        if (text := _text(item)) is not None:
            found[where] = text
        elif id(item) not in seen and where.count(".") < DEPTH:
            seen.add(id(item))
            _walk(item, where, found, seen)


def _parts(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    return {} if isinstance(value, type | ModuleType) else getattr(value, "__dict__", {})


def _text(value: Any) -> str | None:
    """By which a value is compared; None where it has parts, or cannot be."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, FunctionType | MethodType):
        return f"<code {hash(value.__code__)}>"
    if isinstance(value, mujoco.MjModel):
        buffer = np.empty(mujoco.mj_sizeModel(value), np.uint8)
        mujoco.mj_saveModel(value, None, buffer)
        return str(hash(buffer.tobytes()))
    if isinstance(value, np.ndarray | np.generic | Tensor):
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        return None if array.dtype.hasobject else f"{array.dtype}{array.shape}{hash(array.tobytes())}"
    return None
