"""What a setting is: a dataclass field whose metadata says all that is known of it. Knows no torch."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Values: TypeAlias = Mapping[str, Any]
"""Settings by their flat names."""
EMPTY = "''"
"""An empty text, as a shell has it."""


@dataclass(frozen=True)
class Idle:
    """When a setting has no effect: `holds` of all values, and why, a format string over them."""

    why: str
    holds: Callable[[Values], bool]


@dataclass(frozen=True)
class About:
    """What is known of one setting, beside its type and default."""

    help: str
    """Its meaning, in a few words."""
    low: float | None = None
    high: float | None = None
    """Bounds of numbers, inclusive."""
    choices: tuple[str, ...] = ()
    """The texts allowed; empty: all."""
    words: tuple[str, ...] = ()
    """Texts allowed beside numbers."""
    length: int | None = None
    """How many items a list has, exactly; None: from `fewest` on."""
    fewest: int = 0
    resumes: bool = False
    """Whether it may change when a run is taken up again; the others are part of what the run is."""
    in_checkpoint: bool = False
    """Whether a checkpoint holds what it decides (the task, sizes of networks, the temperature, random streams)."""
    incidental: bool = False
    """Whether runs that differ in it are still the same experiment."""
    idle: tuple[Idle, ...] = ()
    """When it has no effect; of several that hold the first tells why."""
    file: tuple[str, ...] | None = None
    """Of a file that is written: the endings allowed (empty: all). None: not a file that is written."""


def setting(default: Any, help: str, low: float | None = None, high: float | None = None, **about: Any) -> Any:
    """A dataclass field with its `About`; `low` and `high` are inclusive, further words are fields of `About`."""
    metadata = {"about": About(help, low, high, **about)}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def about(f: dataclasses.Field[Any]) -> About:
    """What is known of a setting."""
    return f.metadata["about"]


def default_value(f: dataclasses.Field[Any]) -> Any:
    """The default of a setting (a fresh copy where it is a list)."""
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


def allowed_range(f: dataclasses.Field[Any]) -> str:
    """The allowed values of a setting, in words; empty where everything of its type is allowed."""
    known = about(f)
    if known.choices:
        return "|".join(known.choices)
    words = "".join(f"{word}, or " for word in known.words)
    if known.low is not None and known.high is not None:
        return f"{words}between {known.low:,} and {known.high:,}"
    return f"{words}at least {known.low:,}" if known.low is not None else ""


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe(fields: Iterable[dataclasses.Field[Any]], in_force: Values | None = None, beside: str = "") -> list[str]:
    """A line for each setting: its name, default, meaning and allowed values.

    `in_force` are values that stand in the place of the defaults; the default is then told as that of `beside`.
    """
    lines = []
    for f in fields:
        default = default_value(f)
        value = (in_force or {}).get(f.name, default)
        other = f" ({beside}: {shown(default)})" if value != default else ""
        allowed = f" [{values}]" if (values := allowed_range(f)) else ""
        setting = f"  {f.name}={shown(value) or EMPTY}"
        lines.append(f"{setting:34} {about(f).help}{allowed}{other}")
    return lines
