"""The runs of a grid: where each lies, and what tells it from the others."""

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffmaac.errors import DiffmaacError, SettingError
from diffmaac.experiments.grid import Grid
from diffmaac.experiments.plan import PlannedRun
from diffmaac.settings.field import shown
from diffmaac.task import Task
from diffmaac.tasks import get_task, resolve_task

LONGEST = 120
"""Characters of what differs in a directory's name."""
IN_WORDS = {"algorithm": "{}", "dynamics": "{} dynamics"}


def plan(grid: Grid, folder: Path) -> tuple[list[PlannedRun], list[str]]:
    """The runs of a grid, seed by seed, and a line for each combination that contradicts itself.

    Raises SettingError where two runs would share a directory.
    """
    envs, seeds = grid.get("env", ["pendulum"]), grid.get("seed", [0])
    others = {name: values for name, values in grid.items() if name not in ("env", "seed")}
    combinations = [dict(zip(others, values, strict=True)) for values in itertools.product(*others.values())]
    differing = [name for name, values in others.items() if len(values) > 1]
    runs: list[PlannedRun] = []
    broken: dict[str, None] = {}
    tasks: dict[str, Task] = {}
    for env, seed, words in itertools.product(envs, seeds, combinations):
        try:
            task = tasks.get(env) or tasks.setdefault(env, get_task(env))
            runs.append(planned(task, seed, words, differing, folder))
        except DiffmaacError as error:
            broken[f"{', '.join(filter(None, [env, label_of(words, differing)]))}: {error}"] = None
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SettingError(f"two runs would have the directory '{twice}'. Give them an out= each, in two sweeps.")
    return runs, list(broken)


def planned(task: Task, seed: int, words: Mapping[str, Any], differing: Sequence[str], folder: Path) -> PlannedRun:
    """One run, of whose `words` those in `differing` tell it from the others. Raises as `resolve_task` does."""
    asked = {"threads": 1, **words, "seed": seed}
    settings = resolve_task(task, asked)[1]
    label = label_of(words, differing) or settings.run.algorithm
    whole = {**asked, "steps": settings.run.steps}
    return PlannedRun(folder, task.name, _directory(words, differing) or settings.run.algorithm, label, whole)


def label_of(words: Mapping[str, Any], differing: Sequence[str]) -> str:
    """The differing settings in words."""
    return ", ".join(IN_WORDS.get(name, name + "={}").format(shown(words[name])) for name in differing)


def _directory(words: Mapping[str, Any], differing: Sequence[str]) -> str:
    """The differing settings as part of a directory's name: no character that a shell would ask to be quoted."""
    text = "-".join(f"{name}={shown(words[name])}" for name in differing)
    plain = re.sub(r"[^\w=.,+-]", "", text.replace(",", "_"))
    if len(plain) > LONGEST:
        plain = f"{plain[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return plain
