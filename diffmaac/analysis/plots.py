"""Figures. The only place that loads matplotlib."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffmaac.analysis.statistics import at_common_steps, bootstrap_interval, interquartile_mean
from diffmaac.files import replacing
from diffmaac.runs.metrics import evaluations

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

    Runs that share a label share a colour, and are drawn as one set. Raises as `evaluations` does.
    """
    names = list(labels) if labels is not None else [Path(run).name for run in runs]
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(names))}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axis = figure.subplots()
        drawn = set()
        for run, name in zip(runs, names, strict=True):
            rows = evaluations(Path(run))
            step, mean, std = (np.array([float(row[key]) for row in rows]) for key in ("step", "return", "return_std"))
            axis.plot(step, mean, color=colours[name], label=None if name in drawn else name)
            axis.fill_between(step, mean - std, mean + std, color=colours[name], alpha=0.15, linewidth=0)
            drawn.add(name)
        axis.set_title(title)
        axis.set_xlabel("environment steps")
        axis.set_ylabel("undiscounted return of an episode")
        axis.legend(frameon=False, fontsize=8)
        _save(figure, out)


def _save(figure: Figure, out: str | Path) -> None:
    """In the format that the file's ending names. Raises OSError, naming the file, where it cannot be written."""
    with replacing(Path(out)) as partial:
        figure.savefig(partial, dpi=150, format=Path(out).suffix.removeprefix("."))


Curves = Mapping[str, Sequence[Sequence[Mapping[str, str]]]]
"""Label -> runs -> the rows of their metrics.csv."""


def comparison(curves: Curves, out: str | Path, title: str = "") -> None:
    """Return against environment steps and against wall time, one curve for each label."""
    with matplotlib.rc_context(STYLE):
        lines = {label: textwrap.wrap(label, LEGEND_WIDTH) for label in curves}
        columns = min(len(lines), max(1, LEGEND_WIDTH // (max(map(len, lines)) + 10)))
        height = -(-sum(map(len, lines.values())) // columns)
        figure = Figure(figsize=(9.6, 4.2 + 0.18 * height), layout="constrained")
        by_step, by_time = figure.subplots(1, 2, sharey=True)
        wrapped = {"\n".join(lines[label]): runs for label, runs in curves.items()}
        _draw(wrapped, {label: f"C{i}" for i, label in enumerate(wrapped)}, by_step, by_time)
        by_step.set_ylabel("undiscounted return of an episode")
        by_time.set_xlabel("wall time [min]")
        handles = by_step.get_legend_handles_labels()[0]
        figure.legend(handles=handles, loc="outside lower left", ncols=columns, **LEGEND)  # labels may be long
        figure.suptitle(title)
        _save(figure, out)


def comparisons(tasks: Mapping[str, Curves], out: str | Path) -> None:
    """Return against environment steps, one panel for each task; a label has the same colour in all of them."""
    labels = dict.fromkeys(label for curves in tasks.values() for label in curves)
    colours = {label: f"C{i}" for i, label in enumerate(labels)}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(tasks) + 0.6, 3.9), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(tasks)))
        for axis, (task, curves) in zip(axes, tasks.items(), strict=True):
            _draw(curves, colours, axis)
            axis.set_title(task, fontsize=10)
            _legend(axis)
        axes[0].set_ylabel("undiscounted return of an episode")
        _save(figure, out)


def _draw(curves: Curves, colours: Mapping[str, str], by_step: Any, by_time: Any = None) -> None:
    """The interquartile mean over the runs of a label at the steps that all of them have reached.

    The band is its 95 % bootstrap interval over runs; a single run has none. Raises as `at_common_steps` does.
    """
    for label, runs in curves.items():
        step, returns, seconds = at_common_steps(runs, "return", "seconds")
        centre = interquartile_mean(returns)
        low, high = bootstrap_interval([returns])
        for axis, x in ((by_step, step), (by_time, seconds.mean(0) / 60)):
            if axis is not None:
                axis.plot(x, centre, color=colours[label], label=f"{label} ({len(runs)})")
                axis.fill_between(x, low, high, color=colours[label], alpha=0.2, linewidth=0)
    by_step.set_xlabel("environment steps")


LEGEND: Any = {
    "frameon": False,
    "fontsize": 8,
    "title": "interquartile mean (runs), 95 % bootstrap interval",
    "title_fontsize": 8,
    "alignment": "left",
}
LEGEND_WIDTH = 130
"""Characters of a line of a legend below a figure."""


def _legend(axis: Any) -> None:
    axis.legend(**{**LEGEND, "title": "interquartile mean (runs)"})  # no wider than it must: it lies upon the curves


PANELS = {
    "return": "return of an episode",
    "model_mse": "model: held-out error [squared std]",
    "eps_f": "model: error of the derivative",
    "critic_loss": "critic: loss",
    "q": "critic: mean value",
    "actor_grad_norm": "policy: norm of the gradient",
    "entropy": "policy: entropy [nats]",
    "alpha": "temperature",
    "horizon": "horizon chosen",
}
"""Columns of metrics.csv that `metrics_svg` draws, and how they are called."""
LOGARITHMIC = frozenset({"model_mse", "critic_loss", "actor_grad_norm", "alpha"})


def metrics_svg(rows: Sequence[Mapping[str, str]]) -> str:
    """What a run logged against environment steps, a panel for each of `PANELS` that it has: an <svg> element."""
    names = [name for name in PANELS if any(row.get(name) for row in rows)]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    with matplotlib.rc_context({**STYLE, "font.size": 8, "svg.fonttype": "path"}):
        figure = Figure(figsize=(3.2 * columns, 2.3 * lines), layout="constrained")
        axes = np.ravel(figure.subplots(lines, columns, squeeze=False))
        for axis, name in zip(axes, names, strict=False):
            points = np.array([(float(row["step"]), float(row[name])) for row in rows if row.get(name)])
            axis.plot(*points.T, marker="." if len(points) < 30 else "")
            axis.set_title(PANELS[name], fontsize=8)
            if name in LOGARITHMIC and (points[:, 1] > 0).all():
                axis.set_yscale("log")
        for axis in axes[len(names) :]:
            axis.set_axis_off()
        figure.supxlabel("environment steps", fontsize=8)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def gradient_error(records: Sequence[Mapping[str, Any]], out: str | Path) -> None:
    """Relative gradient error against the horizon, one panel for each reference; bands: two standard errors over seeds.

    `records` are rows of `analysis.gradient_error`. Beside the error of learned dynamics stand its two parts.
    """
    references = list(dict.fromkeys(record["reference"] for record in records))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(references) + 0.6, 3.8), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(references), sharey=True))
        for axis, reference in zip(axes, references, strict=True):
            chosen = [record for record in records if record["reference"] == reference]
            for name, colour in (("learned", "C0"), ("true", "C1")):
                _band(axis, [r for r in chosen if r["dynamics"] == name], "relative", colour, "-", f"{name} dynamics")
            learned = [record for record in chosen if record["dynamics"] == "learned"]
            if reference == "objective":
                _band(axis, learned, "model_part", "C2", "--", "learned, its model's part")
            axis.set_xscale("symlog", base=2, linthresh=1)
            axis.set_yscale("log")
            horizons = sorted({record["horizon"] for record in chosen})
            axis.set_xticks(horizons, [str(horizon) for horizon in horizons])
            axis.set_xlabel("horizon H [dynamics steps]")
            axis.set_title(f"against the gradient of the {_REFERENCES[reference]}", fontsize=10)
        axes[0].set_ylabel("relative error of the policy gradient")
        if axes[0].get_legend_handles_labels()[0]:  # of a horizon of 0 alone there is nothing to draw
            axes[0].legend(frameon=False, fontsize=8)
        _save(figure, out)


_REFERENCES = {"objective": "same J_H through the truth", "return": "return"}


def _band(axis: Any, records: Sequence[Mapping[str, Any]], column: str, colour: str, style: str, label: str) -> None:
    """Geometric mean over seeds against the horizon, and the range of a 95 % interval of it (two standard errors).

    Horizons at which the column is zero (a model has no part in H = 0) have no place on a logarithmic axis.
    """
    horizons = sorted({record["horizon"] for record in records if record[column] > 0})
    if not horizons:
        return
    logs = [np.log([r[column] for r in records if r["horizon"] == h]) for h in horizons]
    mean = np.array([x.mean() for x in logs])
    error = np.array([x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else 0.0 for x in logs])
    axis.plot(horizons, np.exp(mean), style, color=colour, marker=".", label=label)
    axis.fill_between(horizons, np.exp(mean - 2 * error), np.exp(mean + 2 * error), color=colour, alpha=0.2, lw=0)


def jacobian_error(entries: np.ndarray, obs_size: int, out: str | Path, title: str = "") -> None:
    """A heat map of the error of the model's derivatives: rows are outputs, columns state, then action."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(6.0, 4.4), layout="constrained")
        axis = figure.subplots()
        image = axis.imshow(entries, norm=LogNorm(vmin=1e-2, vmax=max(10.0, float(entries.max()))), cmap="viridis")
        axis.axvline(obs_size - 0.5, color="white", linewidth=1)
        axis.set_xlabel("input: observation | action")
        axis.set_ylabel("output: next observation")
        axis.set_title(title)
        figure.colorbar(image, label="error of the derivative, in units of the row's own size")
        _save(figure, out)


def open_loop(errors: np.ndarray, dt: float, out: str | Path, title: str = "") -> None:
    """Error of the predicted state against the number of steps: (steps, members), one thin line a member."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.8), layout="constrained")
        axis = figure.subplots()
        steps = np.arange(1, len(errors) + 1)
        axis.semilogy(steps, errors, color="C0", alpha=0.4, linewidth=0.8)
        axis.semilogy(steps, errors.mean(1), color="C0", linewidth=2, label="mean of the members")
        axis.axhline(1.0, color="grey", linewidth=0.8, linestyle=":")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel(f"steps without correction [{dt:g} s each]")
        axis.set_ylabel("error of the state [standard deviations]")
        axis.set_title(title)
        axis.legend(frameon=False, fontsize=8)
        _save(figure, out)
