"""Settings as they are written: words name=value of the command line, and YAML files. Values stay texts."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from diffmaac.errors import SettingError, shortened
from diffmaac.settings.convert import build
from diffmaac.settings.schema import GROUPS

Command = TypeVar("Command")


def parse_words(words: Iterable[str]) -> dict[str, Any]:
    """``["horizon=4", "dynamics=true"]`` -> ``{"horizon": "4", "dynamics": "true"}``.

    Raises SettingError where a word has no ``=`` or no value, or a name is there twice.
    """
    settings: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name or not value:
            raise SettingError(
                f"'{shortened(word)}' is not a setting. Settings are written name=value; --help lists their names."
            )
        if name in settings:
            twice = f"{shortened(name)}= is given twice, {shortened(settings[name])} and {shortened(value)}"
            raise SettingError(f"{twice}. Leave one out.")
        settings[name] = value
    return settings


def parse_command(cls: type[Command], words: Iterable[str]) -> Command:
    """The settings of a command or script, a dataclass of `setting` fields, from words. Raises as `convert` does."""
    return build(cls, parse_words(words))


def runs_and_words(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Run directories, and words name=value; a directory is one though its name has an =."""
    split: dict[bool, list[str]] = {True: [], False: []}
    for argument in arguments:
        split["=" not in argument or Path(argument).is_dir()].append(argument)
    return split[True], split[False]


def read_file(path: str | Path) -> dict[str, Any]:
    """Settings from a YAML file, flat or in their groups, as a flat mapping. Scalars are texts, as on the command line.

    Raises SettingError where the file is missing, is not YAML, or holds something else than settings.
    """
    try:
        # The base loader knows texts, lists and mappings only: no tag makes an object of anything.
        content = yaml.load(Path(path).read_text(encoding="utf-8"), yaml.BaseLoader)
    except FileNotFoundError as error:
        raise SettingError(f"there is no settings file '{path}'.") from error
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise SettingError(f"settings file '{path}' cannot be read: {_first_line(error)}.") from error
    if not isinstance(content, dict):
        raise SettingError(f"settings file '{path}' must hold a mapping of names to values.")
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if name in GROUPS and isinstance(value, dict):
            flat.update(value)
        else:
            flat[str(name)] = value
    return flat


def with_file(words: Mapping[str, Any]) -> dict[str, Any]:
    """`words`, over the settings of the file that ``config=`` among them names. Raises as `read_file` does."""
    below = read_file(words["config"]) if "config" in words else {}
    return below | {name: value for name, value in words.items() if name != "config"}


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
