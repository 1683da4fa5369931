"""The runs in a folder: what tells them apart, how far they are, what has become of them."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack

from diffmaac.errors import DiffmaacError, SettingError
from diffmaac.experiments.budget import duration
from diffmaac.experiments.settings import RunsSettings
from diffmaac.keywords import RunsKeywords
from diffmaac.result import Result, Table
from diffmaac.runs.layout import CONFIG
from diffmaac.runs.state import STATES, RunState, state_of
from diffmaac.settings import FIELDS, about, build, flatten
from diffmaac.settings.field import shown

TOLD = ("seed",)
"""Settings that are told where they differ, though runs that differ in them are the same experiment."""
ORDERS: dict[str, Callable[[RunState], Any]] = {
    "name": lambda run: str(run.path),
    "return": lambda run: -run.value if run.value is not None else float("inf"),
    "step": lambda run: -run.step,
    "state": lambda run: STATES.index(run.state),
    "time": lambda run: -run.seconds,
}


def list_runs(folder: str | Path = "runs", **words: Unpack[RunsKeywords]) -> Result[list[RunState]]:
    """The runs in `folder` and in the folders in it, as ``diffmaac runs`` lists them.

    Raises SettingError where there is no such folder, or no run in it.
    """
    order = ORDERS[build(RunsSettings, words).sort]
    folder = Path(folder)
    if not folder.is_dir():
        raise SettingError(f"there is no folder '{folder}'. Name the one in which runs lie, for example runs.")
    runs: list[RunState] = []
    broken: list[str] = []
    for path in found(folder):
        try:
            runs.append(state_of(path))
        except (DiffmaacError, OSError) as error:
            broken.append(str(error))
    if not runs:
        raise SettingError(f"there is no run in '{folder}'. {broken[0] if broken else '`diffmaac train` makes one.'}")
    runs.sort(key=lambda run: (order(run), str(run.path)))
    counts = {state: sum(run.state == state for run in runs) for state in STATES}
    notes = [", ".join(f"{count} {state}" for state, count in counts.items() if count)]
    notes += [f"{run.path}: {run.reason}" for run in runs if run.reason]
    return Result(runs, _table(runs, folder), notes, broken)


def found(folder: Path) -> Iterator[Path]:
    """The run directories in `folder`, itself among them; what lies in a run is none."""
    for at, inner, files in os.walk(folder):
        inner.sort()
        if CONFIG in files:
            inner.clear()
            yield Path(at)


def _table(runs: list[RunState], folder: Path) -> Table:
    flat = {run.path: flatten(run.settings) for run in runs}
    differing = [name for name in FIELDS if _is_told(name) and len({str(s[name]) for s in flat.values()}) > 1]
    header = ["run", *differing, "step", "return", "time", "state"]
    return Table(header, [_line(run, flat[run.path], differing, folder) for run in runs])


def _is_told(name: str) -> bool:
    return name in TOLD or not about(FIELDS[name]).incidental


def _line(run: RunState, settings: Mapping[str, Any], differing: list[str], folder: Path) -> list[str]:
    value = "" if run.value is None else f"{run.value:.4g}"
    steps = f"{run.step:,} of {run.settings.run.steps:,}"
    name = str(run.path.relative_to(folder)) if run.path != folder else str(folder)
    return [
        name,
        *(shown(settings[setting]) for setting in differing),
        steps,
        value,
        duration(run.seconds / 3600),
        run.state,
    ]
