"""A sweep's words as a grid: the alternatives of each setting. Loads no torch, so that mistakes are told at once."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from diffmaac.errors import SettingError, shortened, unknown
from diffmaac.experiments.settings import SweepSettings
from diffmaac.settings import FIELDS, build, convert, fields_of, with_file
from diffmaac.settings.convert import LISTING
from diffmaac.settings.field import shown
from diffmaac.tasks import check_name

Grid = Mapping[str, Sequence[Any]]
"""Setting -> its values."""
MOST = 1000
"""Runs of a sweep that need no `yes=true`."""
LARGEST = 100_000
"""Runs of a sweep at most."""
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_OUTSIDE_BRACKETS = re.compile(r",(?![^\[]*\])")


def split(words: Mapping[str, Any]) -> tuple[SweepSettings, dict[str, Any]]:
    """What is said of the sweep, and the words of its runs. Raises SettingError as `convert` does."""
    words = with_file(words)
    if "resume" in words:
        raise SettingError("resume= is of one run. A sweep goes on where the same words are said again.")
    known = fields_of(SweepSettings)
    own = build(SweepSettings, {name: value for name, value in words.items() if name in known})
    own.check()
    if own.search == "grid" and "trials" in words:
        raise SettingError("trials= is for search=optuna; a grid has as many runs as it has combinations.")
    return own, {name: value for name, value in words.items() if name not in known}


def grid_of(words: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The alternatives of each setting, converted: ``{"horizon": "0,2", "seed": "0..4"}``, or lists as in YAML.

    Raises SettingError for a setting that there is not, a value that it does not allow, or no alternative at all.
    """
    for name in words:
        if name not in FIELDS:
            raise SettingError(unknown("setting", name, FIELDS, LISTING))
    if not words:
        raise SettingError("a sweep of no run: no setting is given. Give those that differ, for example seed=0..4.")
    grid = {name: _alternatives(name, given) for name, given in words.items()}
    if empty := [name for name, values in grid.items() if not values]:
        raise SettingError(f"a sweep of no run: {empty[0]}={shortened(words[empty[0]])} has no value. Give one.")
    for env in grid.get("env", ()):
        check_name(env)
    return grid


def _alternatives(name: str, given: Any) -> list[Any]:
    """The values that `given` names, each once."""
    is_list = get_origin(FIELDS[name].type) is list
    if isinstance(given, str):
        items: list[Any] = _OUTSIDE_BRACKETS.split(given) if "[" in given or not is_list else [given]
    elif isinstance(given, list | tuple | range):
        items = [given] if is_list and given and not any(isinstance(x, list | tuple) for x in given) else [*given]
    else:
        items = [given]
    values: dict[str, Any] = {}
    for item in items:
        values |= {shown(value): value for value in _values(name, item)}
    return list(values.values())


def _values(name: str, item: Any) -> Sequence[Any]:
    """The whole numbers of a range, both ends among them; else the item alone."""
    match = _RANGE.fullmatch(item.strip()) if isinstance(item, str) else None
    if match is None:
        return [convert({name: item}, FIELDS)[name]]
    low, high = (convert({name: end}, FIELDS)[name] for end in match.groups())
    if not isinstance(low, int):
        raise SettingError(f"{name}={shortened(item)}: a range is for whole numbers. Give each value, a,b,c.")
    if high - low >= LARGEST:
        raise SettingError(f"{name}={shortened(item)}: must be at most {LARGEST:,} values.")
    return range(low, high + 1)


def check_size(grid: Grid, yes: bool) -> int:
    """The number of runs. Raises SettingError where it is more than `MOST` without `yes`, or more than `LARGEST`."""
    count, each = 1, " x ".join(f"{len(values):,} of {name}" for name, values in grid.items() if len(values) > 1)
    for values in grid.values():
        count *= len(values)
    if count > LARGEST:
        raise SettingError(f"a sweep of {count:,} runs ({each}): at most {LARGEST:,} are one sweep. Give fewer values.")
    if count > MOST and not yes:
        raise SettingError(f"a sweep of {count:,} runs ({each}). If you mean it, say yes=true.")
    return count


def digest(grid: Grid) -> str:
    """Eight digits that are the same for the same grid, whatever its order."""
    return hashlib.sha256(json.dumps(grid, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Space:
    """What `search=` draws from, and what all trials share."""

    env: str
    seeds: Sequence[int]
    """Each trial is trained on all of them."""
    ranges: Mapping[str, tuple[float, float]]
    """Setting -> both ends; whole numbers where the setting is one."""
    choices: Mapping[str, Sequence[Any]]
    fixed: Mapping[str, Any]


def space_of(words: Mapping[str, Any]) -> Space:
    """``{"actor_lr": "1e-4..1e-2", "horizon": "0,2,4", "seed": "0..2"}`` as a space.

    Raises SettingError as `grid_of` does, where nothing is to be searched, or where there are several tasks.
    """
    ranges = {name: ends for name, given in words.items() if name != "seed" and (ends := _ends(name, given))}
    others = {name: given for name, given in words.items() if name not in ranges}
    grid = grid_of(others) if others or not words else {}
    envs = grid.pop("env", ["pendulum"])
    if len(envs) > 1:
        raise SettingError(f"search=optuna is on one task, and env={','.join(envs)}: returns differ in scale.")
    seeds = grid.pop("seed", [0])
    choices = {name: values for name, values in grid.items() if len(values) > 1}
    if not ranges and not choices:
        raise SettingError("search=optuna has nothing to search. Give a range, actor_lr=1e-4..1e-2, or alternatives.")
    return Space(envs[0], seeds, ranges, choices, {name: x[0] for name, x in grid.items() if name not in choices})


def _ends(name: str, given: Any) -> tuple[float, float] | None:
    """Both ends of a range of numbers; None where `given` is none."""
    match = re.fullmatch(r"([^,\[\]]+?)\.\.([^,\[\]]+)", given.strip()) if isinstance(given, str) else None
    if match is None:
        return None
    if name not in FIELDS:
        raise SettingError(unknown("setting", name, FIELDS, LISTING))
    low, high = (convert({name: end}, FIELDS)[name] for end in match.groups())
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)) or low >= high:
        raise SettingError(f"{name}={shortened(given)}: a range is low..high, two numbers, the first below the second.")
    return low, high
