"""Recorded motion: checked, and cut into windows of about equal length."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from diffmaac.errors import DiffmaacError

GAP = 1e-3
"""Relative deviation of the time between two samples from the control step, above which there is a gap."""


@dataclass(frozen=True)
class Trajectory:
    """T control steps: states before, between and after them, and the controls that were held in each.

    Args:
        qpos: (T + 1, nq), as measured.
        qvel: (T + 1, nv), as measured.
        ctrl: (T, nu); None for a model without actuators.
        act: (T + 1, na) for a model with activations.
        time: (T + 1,) [s], looked at for gaps.
    """

    qpos: ArrayLike
    qvel: ArrayLike
    ctrl: ArrayLike | None = None
    act: ArrayLike | None = None
    time: ArrayLike | None = None


@dataclass(frozen=True)
class Windows:
    """n windows of at most so many control steps; shorter ones are filled up, and what fills them does not count."""

    qpos: Float[np.ndarray, "n samples nq"]
    qvel: Float[np.ndarray, "n samples nv"]
    act: Float[np.ndarray, "n samples na"]
    ctrl: Float[np.ndarray, "n steps nu"]
    counts: Bool[np.ndarray, "n samples"]
    follows: Bool[np.ndarray, " n"]
    """Whether a window begins where the one before ends."""


def windows(model: mujoco.MjModel, trajectories: Sequence[Trajectory], frame_skip: int, length: int) -> Windows:
    """The trajectories, cut. Raises DiffmaacError where one of them cannot be used."""
    if not trajectories:
        raise DiffmaacError("there is no trajectory to identify from; pass at least one.")
    pieces: list[tuple[np.ndarray, ...]] = []
    follows = list[bool]()
    for index, trajectory in enumerate(trajectories):
        whole = _checked(model, trajectory, model.opt.timestep * frame_skip, f"trajectory {index}")
        steps = len(whole[3])
        bounds = np.linspace(0, steps, -(-steps // length) + 1).astype(int)
        for first, end in itertools.pairwise(bounds):
            follows.append(first > 0)
            pieces.append((*(x[first : end + 1] for x in whole[:3]), whole[3][first:end]))
    longest = max(len(piece[3]) for piece in pieces)
    qpos, qvel, act, ctrl = (np.stack([_filled(piece[i], longest + (i < 3)) for piece in pieces]) for i in range(4))
    counts: np.ndarray = np.arange(longest + 1) <= np.array([len(piece[3]) for piece in pieces])[:, None]
    return Windows(qpos, qvel, act, ctrl, counts, np.array(follows))


def _filled(rows: np.ndarray, length: int) -> np.ndarray:
    """With the last row repeated."""
    return np.concatenate([rows, np.repeat(rows[-1:], length - len(rows), axis=0)])


def _array(given: ArrayLike, field: str, name: str) -> np.ndarray:
    """Raises DiffmaacError for what is no array of numbers."""
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise DiffmaacError(
            f"{field} of {name} is no array of numbers: {str(error).rstrip('.')}. Give one row of numbers a state."
        ) from error


def _checked(
    model: mujoco.MjModel, trajectory: Trajectory, seconds: float, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    qpos, qvel = _array(trajectory.qpos, "qpos", name), _array(trajectory.qvel, "qvel", name)
    samples = len(qpos) if qpos.ndim else 0
    act = np.zeros((samples, 0)) if trajectory.act is None else _array(trajectory.act, "act", name)
    empty = np.zeros((max(samples - 1, 0), 0))
    ctrl = empty if trajectory.ctrl is None else _array(trajectory.ctrl, "ctrl", name)
    expected = {
        "qpos": (qpos, samples, model.nq),
        "qvel": (qvel, samples, model.nv),
        "act": (act, samples, model.na),
        "ctrl": (ctrl, samples - 1, model.nu),
    }
    if samples < 2:
        raise DiffmaacError(f"{name} has {samples} states; it needs at least two, with a control between them.")
    for field, (x, rows, width) in expected.items():
        if x.shape != (rows, width):
            raise DiffmaacError(
                f"{field} of {name} has the shape {x.shape}; expected {(rows, width)}: a row a state, and of ctrl one"
                " row less."
            )
        bad = np.flatnonzero(~np.isfinite(x).all(1))
        if len(bad):
            raise DiffmaacError(
                f"{field} of {name} is not finite in row {bad[0]}{' and others' if len(bad) > 1 else ''}. Cut the"
                " trajectory there, and pass the parts as trajectories of their own."
            )
    _check_time(trajectory, samples, seconds, name)
    return qpos, qvel, act, ctrl


def _check_time(trajectory: Trajectory, samples: int, seconds: float, name: str) -> None:
    if trajectory.time is None:
        return
    time = _array(trajectory.time, "time", name)
    if time.shape != (samples,):
        raise DiffmaacError(f"time of {name} has the shape {time.shape}; expected {(samples,)}.")
    gaps = np.flatnonzero(~(np.abs(np.diff(time) - seconds) <= GAP * seconds))
    if len(gaps):
        raise DiffmaacError(
            f"{name} has a gap: {np.diff(time)[gaps[0]]:.6g} s between rows {gaps[0]} and {gaps[0] + 1}, where a"
            f" control step takes {seconds:.6g} s. Cut it there, or choose frame_skip and timestep so that they agree."
        )
