"""`diffmaac plot`: learning curves of any runs of one task, against environment steps and against wall time."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffmaac.config import check_file, flatten, setting
from diffmaac.errors import DiffmaacError, SettingError
from diffmaac.presets import BASIS, usual
from diffmaac.training.run import INCIDENTAL


@dataclass(frozen=True)
class PlotSettings:
    """Where the figure goes."""

    out: str = setting("comparison.png", "file of the figure: .png, .pdf or .svg")


@dataclass(frozen=True)
class Plotted:
    """What was drawn, and what could not be."""

    file: Path
    groups: dict[str, int]
    """Label -> number of runs."""
    broken: list[str]
    """One line for each run, or curve, that cannot be drawn."""
    noted: list[str]
    """One line for each curve that ends before one of its runs does, or counts a seed twice."""


def plot(runs: Sequence[str], settings: PlotSettings) -> Plotted:
    """Draws `runs`; those whose settings differ in nothing but the seed become one curve.

    A run named twice counts once.
    Raises SettingError where no run can be read, where runs are of different tasks, or where `out` has no folder.
    """
    from diffmaac.analysis import plots
    from diffmaac.analysis.record import evaluations
    from diffmaac.training.run import stored_settings

    out = Path(settings.out)
    check_file("out", out, (".png", ".pdf", ".svg"))
    sound: dict[Path, Mapping[str, Any]] = {}
    curves, broken = {}, []
    for run in {Path(run).resolve(): Path(run) for run in runs}.values():
        try:
            given = flatten(stored_settings(run))
            curves[run] = evaluations(run)
            sound[run] = given
        except DiffmaacError as error:
            broken.append(str(error))
    _check_any(sound, broken)
    tasks = sorted({str(given["env"]) for given in sound.values()})
    if len(tasks) > 1:
        raise SettingError(f"the runs are of different tasks, {', '.join(tasks)}. Plot one task at a time.")
    groups: dict[str, dict[Path, Sequence[Mapping[str, str]]]] = {}
    for run, label in zip(sound, tell_apart(list(sound.values())), strict=True):
        groups.setdefault(label, {})[run] = curves[run]
    noted: list[str] = []
    for label, members in list(groups.items()):
        try:
            noted += _notes(label, members, [sound[run]["seed"] for run in members])
        except SettingError as error:
            broken.append(f"{label}: {error}")
            del groups[label]
    _check_any(groups, broken)
    plots.comparison({label: list(members.values()) for label, members in groups.items()}, out, title=tasks[0])
    return Plotted(out, {label: len(members) for label, members in groups.items()}, broken, noted)


def _check_any(found: Sized, broken: Sequence[str]) -> None:
    if not found:
        raise SettingError(f"nothing to plot. {' '.join(broken) or 'Name at least one run directory.'}")


def _notes(label: str, runs: Mapping[Path, Sequence[Mapping[str, str]]], seeds: Sequence[int]) -> list[str]:
    """What there is to know of a curve. Raises SettingError where its runs have no step in common."""
    from diffmaac.analysis.statistics import at_common_steps

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

    Where algorithms differ, what each run has by its algorithm is not said, and what one has in spite of it is; preset
    and dynamics are where runs of one algorithm differ in them.
    """
    names = [name for name in settings[0] if name not in INCIDENTAL]
    differing = [name for name in names if len({str(given[name]) for given in settings}) > 1]
    if "algorithm" in differing:
        pairs = [(given, usual(given)) for given in settings]
        odd = {name: {str(given[name]) != str(usual[name]) for given, usual in pairs} for name in names}
        kinds = len({given["algorithm"] for given in settings})
        split = [name for name in BASIS if len({(given["algorithm"], given[name]) for given in settings}) > kinds]
        said = [n for n in names if n in split or len(odd[n]) > 1 or (n in differing and True in odd[n])]
        differing = ["algorithm", *said]
    short = {"algorithm": "{}", "dynamics": "{} dynamics"}
    words = [[short.get(name, name + "={}").format(given[name]) for name in differing] for given in settings]
    return [", ".join(w) or str(given["algorithm"]) for w, given in zip(words, settings, strict=True)]
