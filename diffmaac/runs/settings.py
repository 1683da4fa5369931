"""The settings of a run on disk: config.yaml."""

from pathlib import Path
from typing import Any

from diffmaac.errors import CheckpointError, SettingError
from diffmaac.files import replace_text
from diffmaac.runs.layout import CONFIG
from diffmaac.settings import GROUPS, Settings, assemble, check_resumable, fields_of, read_file, to_yaml
from diffmaac.task import Task
from diffmaac.tasks import get_task, is_foreign, resolve_task


def write_settings(path: Path, settings: Settings) -> None:
    """Writes the resolved settings of the run in `path`, in one rename."""
    replace_text(path / CONFIG, to_yaml(settings))


def read_settings(path: Path, words: dict[str, Any], env: str | Task | None = None) -> tuple[Task, Settings]:
    """Task and settings of the run in `path`, changed by `words`.

    Raises CheckpointError as `stored_settings` does, SettingError for a setting that cannot change on resuming.
    """
    stored, _ = _stored(path)
    name = env.name if isinstance(env, Task) else env
    if name is not None and name != stored["env"]:
        raise SettingError(f"env={name}: the run in '{path}' was made with env={stored['env']}. Leave env= out.")
    check_resumable(words)
    try:
        task = get_task(env if env is not None else stored["env"])
    except SettingError as error:
        hint = "" if is_foreign(stored["env"]) else _of_a_program(stored["env"])
        raise CheckpointError(f"the run in '{path}' cannot be loaded: {error}{hint}") from error
    return resolve_task(task, {**stored, **words})


def _of_a_program(env: str) -> str:
    """What to do where the run's task is an object that a program made."""
    return (
        f" If '{env}' is a Task of a program, call `diffmaac.register('{env}', lambda: task)` there and read the run in"
        " that program, or let a package announce the task."
    )


def stored_settings(path: Path) -> Settings:
    """The settings of the run in `path`, whose task need not be registered.

    Raises CheckpointError where there is no run, or its settings are not such as `write_settings` writes.
    """
    return _stored(path)[1]


def _stored(path: Path) -> tuple[dict[str, Any], Settings]:
    """What config.yaml says, and the complete settings that it makes."""
    file = path / CONFIG
    if not file.is_file():
        raise CheckpointError(f"'{path}' is not a run directory: it has no {CONFIG}. `diffmaac train` makes one.")
    try:
        stored = _with_log(read_file(file))
        settings = assemble(stored)
    except SettingError as error:
        raise CheckpointError(f"'{file}' is damaged or was edited: {error} Restore it from a copy.") from error
    missing = [key for key, group in GROUPS.items() if not stored.keys() & fields_of(group).keys()]
    if missing or "env" not in stored:
        raise CheckpointError(
            f"'{file}' holds no settings of {', '.join(missing) or 'env'}: it is truncated or was edited."
            " Restore it from a copy."
        )
    return stored, settings


def _with_log(stored: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run that was made before `log=` took the place of `tensorboard=`."""
    if "tensorboard" not in stored:
        return stored
    events = ["tensorboard"] if stored["tensorboard"] == "true" else []
    return {name: value for name, value in stored.items() if name != "tensorboard"} | {"log": ["csv", *events]}
