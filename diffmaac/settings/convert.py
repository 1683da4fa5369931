"""From what was written to values of a setting's type, in its range; texts are read as that type."""

import dataclasses
import math
import reprlib
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from diffmaac.errors import SettingError, shortened, unknown
from diffmaac.settings.field import about, allowed_range, default_value

Fields = Mapping[str, dataclasses.Field[Any]]
Group = TypeVar("Group")
LISTING = "diffmaac settings"
"""The command that lists all settings."""
MOST_ITEMS = 100
"""Entries of a list, at most: none of ours is a list of data."""


class _Mistyped(Exception):
    """A value that its setting's type has no place for."""


def fields_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The settings of a dataclass by name."""
    return {f.name: f for f in dataclasses.fields(cls)}


def convert(values: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """`values` with each of its declared type and in its allowed range.

    Raises SettingError for a name that does not exist, a value of another type or one out of range.
    """
    for name in values:
        if name not in fields:
            raise SettingError(unknown("setting", name, fields, LISTING))
    return {name: _convert_one(fields[name], value) for name, value in values.items()}


def build(cls: type[Group], values: Mapping[str, Any]) -> Group:
    """The settings of a command, a dataclass of `setting` fields. Raises as `convert` does."""
    return cls(**convert(values, fields_of(cls)))


def changed(command: Any, names: Iterable[str]) -> dict[str, Any]:
    """Of the settings `names` of a command those that are not their defaults."""
    wanted = frozenset(names)
    pairs = {f.name: (getattr(command, f.name), default_value(f)) for f in dataclasses.fields(command)}
    return {name: value for name, (value, default) in pairs.items() if name in wanted and value != default}


def check_file(name: str, file: Path, endings: tuple[str, ...] = ()) -> None:
    """Raises SettingError where setting `name` gives a `file` whose directory is not there, or that ends otherwise."""
    what = f"{name}={shortened(file)}"
    if endings and file.suffix not in endings:
        *others, last = endings
        raise SettingError(f"{what}: must end in {', '.join(others) + ' or ' if others else ''}{last}.")
    try:
        folder, taken = file.parent.is_dir(), file.is_dir()
    except OSError as error:  # a name that is too long
        raise SettingError(f"{what}: cannot be a file: {error.strerror}.") from error
    if not folder:
        there = f"there is no directory '{shortened(file.parent)}'"
        raise SettingError(f"{what}: {there}. Make it, or give another {name}=.")
    if taken:
        raise SettingError(f"{what}: is a directory. Give the name of a file.")


def _convert_one(f: dataclasses.Field[Any], value: Any) -> Any:
    known = about(f)
    value = value.item() if getattr(value, "shape", None) == () else value  # a number of numpy's or torch's
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text in known.words:
        return text
    try:
        typed = _typed(_value_type(f), value)
    except (_Mistyped, ValueError, OverflowError):
        kind = f"must be of type {_type_name(f)}"
        raise SettingError(f"{f.name}={reprlib.repr(value)}: {kind}. {known.help}.") from None
    _check_range(f, typed)
    if known.file is not None and typed:
        check_file(f.name, Path(typed), known.file)
    return typed


def _check_range(f: dataclasses.Field[Any], typed: Any) -> None:
    known = about(f)
    items = typed if isinstance(typed, list) else [typed]
    if isinstance(typed, list):
        length = known.length
        if length is not None and len(typed) != length:
            raise SettingError(
                f"{f.name}={reprlib.repr(typed)}: must be {length} numbers, got {len(typed)}. {known.help}."
            )
        if not known.fewest <= len(typed) <= MOST_ITEMS:
            bounds = f"between {known.fewest} and {MOST_ITEMS}"
            raise SettingError(f"{f.name}: must have {bounds} entries, got {len(typed)}. {known.help}.")
    for item in items:
        if isinstance(item, bool):
            continue
        if isinstance(item, str):
            if known.choices and item not in known.choices:
                raise SettingError(unknown(f.name, reprlib.repr(item)[1:-1], known.choices))
            continue
        inside = (known.low is None or item >= known.low) and (known.high is None or item <= known.high)
        if not inside or (isinstance(item, float) and not math.isfinite(item)):
            allowed = allowed_range(f) or "finite"
            raise SettingError(f"{f.name}={reprlib.repr(typed)}: must be {allowed}. {known.help}.")


def _typed(kind: Any, value: Any) -> Any:
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return [_typed(item, x) for x in _items(value)]
    return {int: _integer, float: _number, bool: _boolean, str: _text}[kind](value)


def _items(value: Any) -> Iterable[Any]:
    """A list, or its text: "[1, 2]" and "1,2" are the same."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str):
        inner = value.strip()
        inner = inner[1:-1] if inner[:1] == "[" and inner[-1:] == "]" else inner
        return [item.strip() for item in inner.split(",")] if inner.strip() else []
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value]
    raise _Mistyped


def _integer(value: Any) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            value = float(value)  # 1e5
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise _Mistyped
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _Mistyped
    return float(value.replace(".inf", "inf").replace(".nan", "nan") if isinstance(value, str) else value)  # as in YAML


def _boolean(value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise _Mistyped
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):  # YAML and Python have the word true as a boolean: dynamics=true
        return str(value).lower()
    if not isinstance(value, str | int | float | PathLike):
        raise _Mistyped
    text = str(value)
    if not text.isprintable():
        raise _Mistyped
    return text


def _value_type(f: dataclasses.Field[Any]) -> Any:
    """The type of a setting, words aside."""
    return next(kind for kind in get_args(f.type) if kind is not str) if about(f).words else f.type


def _type_name(f: dataclasses.Field[Any]) -> str:
    names = {int: "int", float: "float", str: "printable text", bool: "true or false"}
    kind = _value_type(f)
    return names.get(kind, f"list of {get_args(kind)[0].__name__}" if get_args(kind) else str(kind))
