"""Learning curves of any runs of one task, against environment steps and against wall time."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from diffmaac.analysis import plots
from diffmaac.analysis.statistics import at_common_steps
from diffmaac.errors import DiffmaacError, SettingError
from diffmaac.experiments.plan import check_any
from diffmaac.experiments.settings import PlotSettings
from diffmaac.keywords import PlotKeywords
from diffmaac.result import Result
from diffmaac.runs.metrics import evaluations
from diffmaac.runs.settings import stored_settings
from diffmaac.settings import BASIS, FIELDS, about, build, flatten, usual
from diffmaac.tasks import presets_of

Rows = Sequence[Mapping[str, str]]


def plot(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], **words: Unpack[PlotKeywords]
) -> Result[dict[str, int]]:
    """Draws runs of one task, or one run, in a figure, as ``diffmaac plot`` does.

    The value is the number of runs of each curve.

    `words` are that command's settings. Runs whose settings differ in nothing but the seed become one curve. A run
    named twice counts once; one that cannot be read is left out.

    Raises SettingError where no run can be read, where runs are of different tasks, or where `out` has no folder.
    """
    out = Path(build(PlotSettings, words).out)
    settings: dict[Path, Mapping[str, Any]] = {}
    rows: dict[Path, Rows] = {}
    broken: list[str] = []
    if isinstance(runs, str | os.PathLike):
        runs = [runs]
    for run in {os.path.realpath(run): Path(run) for run in runs}.values():  # `resolve` fails at a link to itself
        try:
            stored = flatten(stored_settings(run))
            rows[run] = evaluations(run)
            settings[run] = stored
        except DiffmaacError as error:
            broken.append(str(error))
    check_any(settings, broken)
    tasks = sorted({str(stored["env"]) for stored in settings.values()})
    if len(tasks) > 1:
        raise SettingError(f"the runs are of different tasks, {', '.join(tasks)}. Plot one task at a time.")
    curves, notes = _curves(settings, rows, broken)
    check_any(curves, broken)
    plots.comparison({label: list(members.values()) for label, members in curves.items()}, out, title=tasks[0])
    counts = {label: len(members) for label, members in curves.items()}
    return Result(counts, notes=notes, left_out=broken, files=[out])


def _curves(
    settings: Mapping[Path, Mapping[str, Any]], rows: Mapping[Path, Rows], broken: list[str]
) -> tuple[dict[str, dict[Path, Rows]], list[str]]:
    """Label -> run -> its rows, and what there is to know; curves that cannot be drawn go to `broken`."""
    curves: dict[str, dict[Path, Rows]] = {}
    for run, label in zip(settings, tell_apart(list(settings.values())), strict=True):
        curves.setdefault(label, {})[run] = rows[run]
    notes: list[str] = []
    for label, members in list(curves.items()):
        try:
            notes += _notes(label, members, [settings[run]["seed"] for run in members])
        except SettingError as error:
            broken.append(f"{label}: {error}")
            del curves[label]
    return curves, notes


def _notes(label: str, runs: Mapping[Path, Sequence[Mapping[str, str]]], seeds: Sequence[int]) -> list[str]:
    """What there is to know of a curve. Raises SettingError where its runs have no step in common."""
    last, notes = int(at_common_steps(list(runs.values()))[0][-1]), []
    further = [str(run) for run, rows in runs.items() if int(rows[-1]["step"]) > last]
    if further:
        longer = ", ".join(further)
        notes.append(f"{label} is drawn to step {last:,}, the last that all its runs have; {longer} goes on.")
    if len(set(seeds)) < len(seeds):
        counted = ", ".join(map(str, sorted(seeds)))
        notes.append(f"{label} has a seed more than once (seeds {counted}): copies of a run?")
    return notes


def tell_apart(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each run the settings that not all share, in words; the algorithm where all share all.

    Where algorithms differ, what each run has by its algorithm is left out, and what one has in spite of it is told;
    preset and dynamics are where runs of one algorithm differ in them.
    """
    names = [name for name in settings[0] if not about(FIELDS[name]).incidental]
    differing = [name for name in names if len({str(run[name]) for run in settings}) > 1]
    if "algorithm" in differing:
        pairs = [(run, usual(run, presets_of(run["env"]))) for run in settings]
        odd = {name: {str(run[name]) != str(usually[name]) for run, usually in pairs} for name in names}
        kinds = len({run["algorithm"] for run in settings})
        split = [name for name in BASIS if len({(run["algorithm"], run[name]) for run in settings}) > kinds]
        told = [n for n in names if n in split or len(odd[n]) > 1 or (n in differing and True in odd[n])]
        differing = ["algorithm", *told]
    short = {"algorithm": "{}", "dynamics": "{} dynamics"}
    words = [[short.get(name, name + "={}").format(run[name]) for name in differing] for run in settings]
    return [", ".join(w) or str(run["algorithm"]) for w, run in zip(words, settings, strict=True)]
