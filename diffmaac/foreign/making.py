"""Making an environment from its id, and what is said where that fails."""

import difflib
import importlib
import importlib.util
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium
from gymnasium.utils.env_checker import check_env

from diffmaac.errors import DiffmaacError, TaskError, one_line, shortened
from diffmaac.foreign.instances import changed, copied

_LOGGER = logging.getLogger(__name__)

Source: TypeAlias = str | gymnasium.Env[Any, Any] | Callable[..., gymnasium.Env[Any, Any]]
"""An id of Gymnasium, an environment, or a function that makes one (with ``render_mode=``, if it is to be drawn)."""
Make: TypeAlias = Callable[[str | None], gymnasium.Env[Any, Any]]
"""``make(render_mode)``: a new environment."""
PACKAGES = {
    "ALE/": ("ale-py", "ale_py"),
    "Adroit": ("gymnasium-robotics", "gymnasium_robotics"),
    "AntMaze": ("gymnasium-robotics", "gymnasium_robotics"),
    "BabyAI": ("minigrid", "minigrid"),
    "Fetch": ("gymnasium-robotics", "gymnasium_robotics"),
    "FrankaKitchen": ("gymnasium-robotics", "gymnasium_robotics"),
    "HandManipulate": ("gymnasium-robotics", "gymnasium_robotics"),
    "HandReach": ("gymnasium-robotics", "gymnasium_robotics"),
    "MiniGrid": ("minigrid", "minigrid"),
    "Panda": ("panda-gym", "panda_gym"),
    "PointMaze": ("gymnasium-robotics", "gymnasium_robotics"),
    "dm_control/": ("shimmy[dm-control]", "shimmy"),
    "highway": ("highway-env", "highway_env"),
}
"""How ids of well-known packages begin -> the package to install, and the module to name before the colon."""


def maker(source: Source) -> tuple[str, Make]:
    """The name of what `source` gives, and how one more of it is made.

    Raises TaskError where an id does not exist, its package is missing, or an environment cannot be made again.
    """
    if isinstance(source, str):
        return source, lambda mode: _made(source, lambda: gymnasium.make(_registered(source), **_options(mode)))
    if isinstance(source, gymnasium.Env):
        return _of_instance(source)
    if not callable(source):
        raise TaskError(
            f"env={source!r}: must be an id of Gymnasium, an environment or a function that makes one,"
            f" got {type(source).__name__}."
        )
    name = getattr(source, "__name__", "") or type(source).__name__
    name = name if name.isidentifier() else "environment"
    return name, lambda mode: _made(name, lambda: source(**({} if mode is None else {"render_mode": mode})))


def _of_instance(env: gymnasium.Env[Any, Any]) -> tuple[str, Make]:
    """By its id where that makes an equal one; else copies of it, under the name of its class."""
    name = type(env.unwrapped).__name__
    with quiet():
        spec = env.spec
    attribute = ""
    if spec is not None:
        # Foreign code may raise anything: Gymnasium makes no other of a wrapper that does not record its arguments.
        with suppress(Exception), quiet():
            attribute = changed(env, lambda: gymnasium.make(spec, **_options(None)))
            if not attribute:
                return spec.id, lambda mode: _made(spec.id, lambda: gymnasium.make(spec, **_options(mode)))
    kept = _copied(name, env, attribute)

    def again(mode: str | None) -> gymnasium.Env[Any, Any]:
        if mode != kept.render_mode and mode is not None:
            raise TaskError(f"'{name}' was not made to be drawn. Give a function that takes render_mode=.")
        return _made(name, lambda: copied(kept)[0])

    return name, again


def _copied(name: str, env: gymnasium.Env[Any, Any], attribute: str) -> gymnasium.Env[Any, Any]:
    """Raises TaskError where that cannot be, naming the `attribute` that would otherwise be lost."""
    why = f" Its {attribute} was set after it was made, and a new one lacks that." if attribute else ""
    advice = f"{why} Give a function that makes it in its place."
    try:
        with quiet():
            twin, lost = copied(env)
    except Exception as error:  # an environment is foreign code
        raise TaskError(f"environment '{name}' cannot be copied: {_said(error)}{advice}") from error
    if lost:
        raise TaskError(f"environment '{name}' cannot be copied: a copy has another {lost}.{advice}")
    return twin


def _options(mode: str | None) -> dict[str, Any]:
    """Gymnasium's own checker has been asked once, see `check`: it need not look at every step."""
    return {"disable_env_checker": True} | ({} if mode is None else {"render_mode": mode})


def _made(name: str, make: Callable[[], gymnasium.Env[Any, Any]]) -> gymnasium.Env[Any, Any]:
    try:
        with quiet():
            env = make()
    except TaskError:
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise TaskError(f"environment '{name}' needs a package that is not installed: {one_line(error)}") from error
    except ModuleNotFoundError as error:
        extra = " (`pip install diffmaac[gymnasium]` brings it)" if error.name == "imageio" else ""
        raise TaskError(f"environment '{name}' needs the package '{error.name}', not installed{extra}.") from error
    except Exception as error:  # an environment is foreign code
        raise TaskError(f"environment '{name}' cannot be made: {_said(error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise TaskError(f"'{name}' makes a {type(env).__name__}, which is no gymnasium.Env.")
    return env


def _registered(env_id: str) -> str:
    """The id that Gymnasium knows, its module imported. Raises TaskError where there is none, with the nearest."""
    module, colon, name = env_id.rpartition(":")
    if colon:
        _import(module, env_id)
    try:
        with quiet():
            gymnasium.spec(name)
    except gymnasium.error.Error as error:
        raise TaskError(_missing(env_id, name, error)) from error
    return name


def _import(module: str, env_id: str) -> None:
    """Raises TaskError where the module that registers the id is not there, or fails."""
    try:
        with quiet():
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        packages = {known: package for package, known in PACKAGES.values()}
        missing = error.name or module
        advice = "Put the folder that it is in on PYTHONPATH, or install its package"
        if module in packages and missing == module:
            advice = f"`pip install {packages[module]}` brings it"
        raise TaskError(f"env={env_id}: there is no module '{missing}'. {advice}.") from error
    except Exception as error:  # foreign code
        raise TaskError(f"env={env_id}: importing '{module}' fails: {_said(error)}") from error


def _missing(env_id: str, name: str, error: Exception) -> str:
    """What is said of an id that is not registered."""
    known = next((known for start, known in PACKAGES.items() if name.startswith(start)), None)
    if known is not None and importlib.util.find_spec(known[1]) is None:
        return (
            f"unknown env '{shortened(env_id)}': it is in the package {known[0]}, which is not installed."
            f" `pip install {known[0]}`, then env={known[1]}:{name}."
        )
    if known is not None and ":" not in env_id:
        return (
            f"unknown env '{shortened(env_id)}': its package registers it when it is named. Say env={known[1]}:{name}."
        )
    near = difflib.get_close_matches(name, gymnasium.registry, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Gymnasium says: {one_line(error).rstrip('.')}."
    return (
        f"unknown env '{shortened(env_id)}'. {hint} An id of a package of its own is written package:Name-v0;"
        " `diffmaac envs` lists our own tasks."
    )


def check(name: str, env: gymnasium.Env[Any, Any]) -> None:
    """Raises TaskError where the environment breaks Gymnasium's contract, in the words of Gymnasium's own checker."""
    try:
        with quiet():
            check_env(env, skip_render_check=True, skip_close_check=True)
    except Exception as error:  # of the checker, or of the environment that is checked
        raise TaskError(
            f"environment '{name}' breaks Gymnasium's contract, as gymnasium.utils.env_checker.check_env has it:"
            f" {_said(error)}"
        ) from error


@contextmanager
def calling(name: str, call: str) -> Iterator[None]:
    """Raises TaskError where the environment's `call`, which is the block, fails, with its place."""
    try:
        yield
    except DiffmaacError:  # says itself what is wrong
        raise
    except Exception as error:  # foreign code
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f" ({Path(place.filename).name}, line {place.lineno})" if one_line(error) else ""
        raise TaskError(f"environment '{name}' fails in its {call}{where}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """What an error says, with its type where that tells something; of one that says nothing, where it was raised."""
    text, name = one_line(error).rstrip("."), type(error).__name__
    if not text:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{name} at `{place.line}` ({Path(place.filename).name}, line {place.lineno})."
    return f"{text}." if isinstance(error, AssertionError | gymnasium.error.Error) else f"{name}: {text}."


@contextmanager
def quiet() -> Iterator[None]:
    """What Gymnasium advises (wider spaces, newer versions) goes to the library's log, at level DEBUG."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        _LOGGER.debug("%s", warning.message)
