"""The fit from beginning to end: windows, weights, steps, standard errors, a table and a figure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from diffmaac.differentiable import compiled_model
from diffmaac.errors import DiffmaacError
from diffmaac.identification.figure import draw
from diffmaac.identification.fit import (
    FIRST_DAMPING,
    LITTLE,
    NORMAL,
    Noise,
    Point,
    WindowFit,
    correlation,
    covariance,
    descend,
)
from diffmaac.identification.found import Identification
from diffmaac.identification.selection import Selection, select
from diffmaac.identification.trajectory import Trajectory, Windows, windows
from diffmaac.physics import StepJacobians, TangentSpace
from diffmaac.result import Result, Table

GAINS = 0.1, 0.01
"""Shares of the measured states that the observer's take, one after the other."""
SETTLED = 1e-3
"""Decrease of the negative log likelihood by a step that ends a descent: statistics see a decrease of one."""
CORRELATED, DEVIATIONS = 0.3, 5.0
"""Correlation of a residual with the next one, and how many times that of chance, from which on it is no noise."""
LOUD = 100.0
"""Noise, in units of `QUIET`, from which on it is more than rounding."""
QUIET = 1e-9
"""Least noise that is believed, relative to the range of a coordinate: measurements are rounded, at least."""


def identify(
    model: mujoco.MjModel | mujoco.MjSpec | str | Path,
    trajectories: Trajectory | Sequence[Trajectory],
    parameters: Sequence[str],
    *,
    frame_skip: int = 1,
    window: int = 50,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    iterations: int = 100,
    figure: str | Path | None = None,
    progress: bool = True,
) -> Result[Identification]:
    """The parameters with which the model moves as it was recorded: Gauss-Newton over multiple-shooting windows.

    The motion is cut into windows; each begins in a state of its own, which is sought as well, since it was measured
    with noise. The noise of each coordinate is found from the data, and has heavy tails (Student's t distribution), so
    that a few windows that cannot be explained do not spoil the fit. Standard errors are those of the Fisher
    information under normal noise, with the first states unknown; infinite for what the motion does not determine.

    Args:
        model: with the values to begin with; anything that `DifferentiablePhysics` takes.
        trajectories: recorded motion, see `Trajectory`.
        parameters: "body_mass[box]", "geom_friction[floor, 0]", "dof_damping[hinge]", or a whole field.
        frame_skip: time steps from one state to the next.
        window: control steps of a window, at most. Long ones tell more, and are harder to fit from afar.
        bounds: parameter -> least and most, beside those that its field has.
        iterations: Gauss-Newton steps at most.
        figure: file for a picture of the motion before and after, and of the values.
        progress: whether a line on the terminal shows the cost.

    Raises:
        DiffmaacError: a trajectory has gaps, other sizes or numbers that are not finite; a parameter does not exist.
        DivergenceError: the model's motion from the measured states is not finite.
    """
    if window < 1 or iterations < 1 or frame_skip < 1:
        raise DiffmaacError(
            f"window={window}, iterations={iterations}, frame_skip={frame_skip}; each must be at least 1."
        )
    compiled = compiled_model(model)
    recorded = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
    selection = select(compiled, parameters, bounds)
    cut = windows(compiled, recorded, frame_skip, window)
    fit = WindowFit(selection, cut, StepJacobians(selection.space, frame_skip, selection.entries))
    counted = int(cut.counts.sum())
    quiet = _quiet(compiled, cut)
    noise = Noise(counted, quiet)

    def doubts(point: Point) -> list[str]:
        prediction = fit.predict(point)
        loud = np.sqrt((prediction.residuals**2).sum((0, 1)) / counted) > LOUD * quiet
        trust = noise.trust(prediction)
        share = float((trust < LITTLE).sum()) / (counted * trust.shape[-1])
        related = np.where(loud, correlation(prediction, trust, cut), 0.0)
        return [*_left_out(share), *_correlated(compiled, related, counted)]

    with _line(progress) as say:
        point, used = _descended(fit, Noise(counted, quiet, NORMAL), noise, doubts, iterations, say)
    prediction = fit.predict(point)
    freedom = len(cut.qpos) + len(point.parameters) / prediction.residuals.shape[2]
    spread = covariance(fit.normal(point, prediction, noise.certainty(prediction, freedom)), fit.sizes(point))
    result = _result(selection, cut, fit, point, spread, noise.spread(prediction, freedom), used, iterations, figure)
    return replace(result, notes=[*result.notes, *doubts(point)])


def _left_out(share: float) -> list[str]:
    """A note where some of what was measured hardly counts."""
    if share == 0:
        return []
    return [
        f"{share:.1%} of the measured numbers lie more than six times the noise away and hardly count: wrong"
        " measurements, contacts that begin at another time, or something that the model lacks."
    ]


def _correlated(model: mujoco.MjModel, related: Float[np.ndarray, " x"], counted: int) -> list[str]:
    """A note where the residuals are no noise; none where they may be."""
    worst = int(related.argmax())
    if related[worst] < max(CORRELATED, DEVIATIONS / np.sqrt(counted)):
        return []
    kind, nv = ("displacement", "qvel", "act"), model.nv
    place = f"{kind[min(worst // nv, 2)]} {worst % nv if worst < 2 * nv else worst - 2 * nv}"
    return [
        f"The residuals of {place} are no noise: the correlation of one with the next is {related[worst]:.2f}. The fit"
        " ended in a poor place, or the model lacks something, and the standard errors promise too much. Try another"
        " window, other start values, or contacts that begin gently (solimp with a first number of 0)."
    ]


def _descended(
    fit: WindowFit,
    normal: Noise,
    heavy: Noise,
    doubts: Callable[[Point], list[str]],
    iterations: int,
    say: "_Say",
) -> tuple[Point, int]:
    """The point where the cost falls no more, and the steps taken.

    Normal noise leaves no window behind; heavy tails then let go those that cannot be explained. Most descents begin
    with first states from an observer, which believes the model more from one to the next. They end where there are no
    doubts.
    """
    best, used = fit.start(), 0
    for noise, most, gains in ((normal, iterations // 3, GAINS), (heavy, iterations, (None, *GAINS))):
        least = noise.cost(fit.predict(best))
        for gain in gains:
            if used >= most or (gain is not gains[0] and not doubts(best)):
                break
            point = best if gain is None else fit.observed(best.parameters, gain)
            damping, before = FIRST_DAMPING, np.inf
            while used < most:
                point, now, damping, falls = descend(fit, point, noise, damping)
                used += 1
                say.show(used, min(now, least))
                if now < least:
                    best, least = point, now
                if not falls or before - now < SETTLED:
                    break
                before = now
    return best, used


def _quiet(model: mujoco.MjModel, cut: Windows) -> Float[np.ndarray, " x"]:
    """The least noise of each coordinate."""
    moved = TangentSpace(model).difference(np.broadcast_to(model.qpos0, cut.qpos.shape), cut.qpos)
    spread = np.abs(np.concatenate([moved, cut.qvel, cut.act], axis=2)).max(axis=(0, 1))
    return QUIET * np.maximum(spread, float(spread.max(initial=1.0)) * 1e-3)


class _Say:
    """A line on the terminal, or nothing."""

    def __init__(self, progress: Progress | None):
        self._progress = progress
        self._task = None if progress is None else progress.add_task("identify", steps=0, cost="")

    def show(self, steps: int, cost: float) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, steps=steps, cost=f"{cost:.6g}")


@contextmanager
def _line(wanted: bool) -> Iterator[_Say]:
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield _Say(None)
        return
    columns = (TextColumn("identify: step {task.fields[steps]}, cost {task.fields[cost]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Say(progress)


def _result(
    selection: Selection,
    cut: Windows,
    fit: WindowFit,
    point: Point,
    spread: np.ndarray,
    noise: np.ndarray,
    used: int,
    most: int,
    figure: str | Path | None,
) -> Result[Identification]:
    space, values = selection.space, fit.values(point.parameters)
    start = space.values[selection.entries]
    bounds = selection.low, selection.high
    found = Identification(
        selection.names, start, point.parameters, spread, *bounds, noise, used, space.model_with(values)
    )
    errors = found.standard_errors
    cells = [
        [name, f"{a:.6g}", f"{b:.6g}", f"{e:.2g}"]
        for name, a, b, e in zip(selection.names, start, point.parameters, errors, strict=True)
    ]
    lost = [name for name, error in zip(selection.names, errors, strict=True) if np.isinf(error)]
    notes = [f"{used} steps of Gauss-Newton over {len(cut.qpos)} windows."]
    if lost:
        notes.append(f"The motion does not determine {', '.join(lost)}: move what excites it, or leave it out.")
    if used >= most:
        notes.append(f"Stopped after {most} steps, before the cost had settled: allow more iterations.")
    files = []
    if figure is not None:
        files.append(draw(Path(figure), cut, fit.predict(fit.start()), fit.predict(point), found))
    return Result(found, Table(("parameter", "start", "value", "standard error"), cells), notes, files=files)
