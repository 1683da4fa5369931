"""`diffmaac plot`: learning curves of any runs of one task, against environment steps and against wall time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffmaac.algorithms.table import ALGORITHMS, DEFAULTS
from diffmaac.config import check_file, flatten, setting
from diffmaac.errors import DiffmaacError, SettingError
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
    """One line for each run that cannot be read."""


def plot(runs: Sequence[str], settings: PlotSettings) -> Plotted:
    """Draws `runs`; those whose settings differ in nothing but the seed become one curve.

    Raises SettingError where no run can be read, where runs are of different tasks, or where `out` has no folder.
    """
    from diffmaac.analysis import plots
    from diffmaac.analysis.record import evaluations
    from diffmaac.training.run import stored_settings

    out = Path(settings.out)
    check_file("out", out, (".png", ".pdf", ".svg"))
    sound: dict[str, Mapping[str, Any]] = {}
    curves, broken = {}, []
    for run in runs:
        try:
            sound[run] = flatten(stored_settings(Path(run)))
            curves[run] = evaluations(Path(run))
        except DiffmaacError as error:
            sound.pop(run, None)
            broken.append(str(error))
    if not sound:
        raise SettingError(f"nothing to plot. {' '.join(broken) or 'Name at least one run directory.'}")
    tasks = sorted({str(given["env"]) for given in sound.values()})
    if len(tasks) > 1:
        raise SettingError(f"the runs are of different tasks, {', '.join(tasks)}. Plot one task at a time.")
    labels = tell_apart(list(sound.values()))
    groups: dict[str, list[Sequence[Mapping[str, str]]]] = {}
    for run, label in zip(sound, labels, strict=True):
        groups.setdefault(label, []).append(curves[run])
    plots.comparison(groups, out, title=tasks[0])
    return Plotted(out, {label: len(members) for label, members in groups.items()}, broken)


IMPLIED = frozenset({"algorithm", "samples"}.union(*ALGORITHMS.values(), *DEFAULTS.values()))
"""What need not be said where it differs between algorithms alone, since it follows from them."""


def tell_apart(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each run the settings that not all share, in words; the algorithm where all share all."""
    names = [name for name in settings[0] if name not in INCIDENTAL]
    differing = [name for name in names if len({str(given[name]) for given in settings}) > 1]
    if "algorithm" in differing:
        said = [name for name in differing if name not in IMPLIED or _differs_within_an_algorithm(name, settings)]
        differing = ["algorithm", *said]
    short = {"algorithm": "{}", "dynamics": "{} dynamics"}
    words = [[short.get(name, name + "={}").format(given[name]) for name in differing] for given in settings]
    return [", ".join(w) or str(given["algorithm"]) for w, given in zip(words, settings, strict=True)]


def _differs_within_an_algorithm(name: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    values: dict[str, set[str]] = {}
    for given in settings:
        values.setdefault(given["algorithm"], set()).add(str(given[name]))
    return any(len(found) > 1 for found in values.values())
