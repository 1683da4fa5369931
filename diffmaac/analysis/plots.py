"""Figures. The only place that loads matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from diffmaac.errors import SettingError
from diffmaac.training.logging import read_metrics

STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 10,
}


def learning_curve(
    runs: Sequence[str | Path], out: str | Path, labels: Sequence[str] | None = None, title: str = ""
) -> None:
    """Return against environment steps, one line for each run (shaded: one standard deviation over episodes).

    Runs that share a label share a colour, and are drawn as one set. Raises SettingError where a run has no metrics.
    """
    names = list(labels) if labels is not None else [Path(run).name for run in runs]
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(names))}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axis = figure.subplots()
        drawn = set()
        for run, name in zip(runs, names, strict=True):
            rows = read_metrics(Path(run) / "metrics.csv")
            if not rows:
                raise SettingError(f"'{run}' has no metrics.csv to plot. Is it a run directory?")
            step, mean, std = (np.array([float(row[key]) for row in rows]) for key in ("step", "return", "return_std"))
            axis.plot(step, mean, color=colours[name], label=None if name in drawn else name)
            axis.fill_between(step, mean - std, mean + std, color=colours[name], alpha=0.15, linewidth=0)
            drawn.add(name)
        axis.set_title(title)
        axis.set_xlabel("environment steps")
        axis.set_ylabel("undiscounted return of an episode")
        axis.legend(frameon=False, fontsize=8)
        figure.savefig(out, dpi=150)
