"""Gauss-Newton over parameters and the first states of all windows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from diffmaac.errors import DivergenceError
from diffmaac.identification.selection import Selection
from diffmaac.identification.trajectory import Windows
from diffmaac.physics import StepJacobians, TangentSpace

DAMPINGS = 12
"""Dampings that are tried for one step before it is given up."""
FARTHEST = 0.5
"""Most that a parameter moves in one step, relative to its value: where contacts switch, slopes hold nearby alone."""
FIRST_DAMPING, LEAST_DAMPING = 1e-6, 1e-12
NEGLIGIBLE = 1e-14
"""Fisher information of a relative change of a parameter, relative to the largest, below which it is rounding."""
UNDETERMINED, LOST = 1e-11, 1e-6
"""Eigenvalue of the scaled Fisher information, relative to the largest, below which a direction is not determined; and
the share of a parameter in such directions from which on it is not, either."""
DEGREES, NORMAL = 3, 1e6
"""Degrees of freedom of the noise's distribution: the fewest with which it has a variance, and so many that it is
normal."""
NORMAL_SCALE, NORMAL_COVARIANCE = 0.62966, 1.86816
"""For normal noise with a variance of 1: s^2 of `Noise`, and the covariance of what is sought, relative to the inverse
of the normal equations."""
LITTLE = 0.1
"""Trust below which a residual hardly counts: more than six times s."""
SCALINGS, CLOSE = 2000, 1e-6
"""Steps of the search for the noise's scale, at most, and the relative change with which it ends."""


@dataclass(frozen=True)
class Point:
    """Where the fit stands: the numbers sought, and the first states of the windows."""

    parameters: Float[np.ndarray, " size"]
    qpos: Float[np.ndarray, "n nq"]
    qvel: Float[np.ndarray, "n nv"]
    act: Float[np.ndarray, "n na"]


@dataclass(frozen=True)
class Prediction:
    """The states along the windows from a point, and how far the measured ones lie from them, (n, L + 1, x)."""

    qpos: Float[np.ndarray, "n samples nq"]
    qvel: Float[np.ndarray, "n samples nv"]
    act: Float[np.ndarray, "n samples na"]
    residuals: Float[np.ndarray, "n samples x"]


@dataclass(frozen=True)
class Normal:
    """The normal equations: H (d parameters, d states) = g, the windows' first states apart from each other."""

    parameters: Float[np.ndarray, "size size"]
    mixed: Float[np.ndarray, "n x size"]
    states: Float[np.ndarray, "n x x"]
    of_parameters: Float[np.ndarray, " size"]
    of_states: Float[np.ndarray, "n x"]

    def step(self, damping: float, free: Bool[np.ndarray, " size"], most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The damped step of the free parameters, at most so long, and of the states."""
        states = self.states + damping * _diagonal(self.states)
        inner = np.linalg.solve(states, np.concatenate([self.mixed, self.of_states[..., None]], axis=2))
        reduced = self.parameters + damping * np.diag(np.diag(self.parameters))
        reduced = reduced - np.einsum("nxi,nxj->ij", self.mixed, inner[..., :-1])
        right = self.of_parameters - np.einsum("nxi,nx->i", self.mixed, inner[..., -1])
        step = np.zeros(len(right))
        scale = 1 / np.sqrt(np.maximum(np.diag(reduced)[free], np.finfo(np.float64).tiny))
        scaled = reduced[np.ix_(free, free)] * np.outer(scale, scale)
        step[free] = scale * np.linalg.lstsq(scaled, scale * right[free], rcond=UNDETERMINED)[0]
        step = np.clip(step, -most, most)
        return step, inner[..., -1] - inner[..., :-1] @ step

    def excited(self, size: Float[np.ndarray, " size"]) -> Bool[np.ndarray, " size"]:
        """Which parameters of these sizes the motion shows at all."""
        shown = np.diag(self.parameters) * size**2
        return shown > NEGLIGIBLE * shown.max(initial=0.0)

    def information(self) -> Float[np.ndarray, "size size"]:
        """The Fisher information of the parameters, with the states unknown as well."""
        return self.parameters - np.einsum("nxi,nxj->ij", self.mixed, np.linalg.solve(self.states, self.mixed))


class WindowFit:
    """Predictions, residuals and normal equations of all windows."""

    def __init__(self, selection: Selection, windows: Windows, jacobians: StepJacobians):
        self._selection, self._windows, self._jacobians = selection, windows, jacobians
        self._tangent = TangentSpace(selection.space.model)
        start = np.abs(selection.space.values[selection.entries])
        self._size = float(start.max(initial=0.0)) or 1.0
        self._usual = np.where(start > 0, start, self._size)

    def start(self) -> Point:
        """The model's values, and the states as measured."""
        w, selection = self._windows, self._selection
        return Point(selection.space.values[selection.entries], w.qpos[:, 0], w.qvel[:, 0], w.act[:, 0])

    def observed(self, parameters: Float[np.ndarray, " size"], gain: float) -> Point:
        """With the first states of an observer: the model's motion, corrected by a share `gain` of what is measured.

        A noise of a millimetre throws a body that lies on the floor into the air; the model's motion does not.
        """
        w, step = self._windows, self._jacobians.stepper(self.values(parameters))
        starts: list[tuple[np.ndarray, ...]] = []
        state = (w.qpos[:1, 0], w.qvel[:1, 0], w.act[:1, 0])
        for window in range(len(w.ctrl)):
            if not w.follows[window]:
                state = tuple(x[window : window + 1, 0] for x in (w.qpos, w.qvel, w.act))
            starts.append(state)
            for k in range(int(w.counts[window].sum()) - 1):
                qpos, qvel, act = state
                after = step(qpos, qvel, act, w.ctrl[window : window + 1, k])
                measured = tuple(x[window : window + 1, k + 1] for x in (w.qpos, w.qvel, w.act))
                state = self._corrected(after, measured, gain)
        qpos, qvel, act = (np.concatenate(column) for column in zip(*starts, strict=True))
        return Point(parameters, qpos, qvel, act)

    def _corrected(
        self, state: tuple[np.ndarray, ...], measured: tuple[np.ndarray, ...], gain: float
    ) -> tuple[np.ndarray, ...]:
        """A state, moved towards the measured one; that one where the model's is not finite."""
        if not all(np.isfinite(x).all() for x in state):
            return measured
        qpos = self._tangent.displace(state[0], gain * self._tangent.difference(state[0], measured[0]))
        return (qpos, *(x + gain * (y - x) for x, y in zip(state[1:], measured[1:], strict=True)))

    def sizes(self, point: Point) -> Float[np.ndarray, " size"]:
        """Of the parameters: at least that of the start value, and of the largest one where it is zero."""
        return np.maximum(self._usual, np.abs(point.parameters))

    def values(self, parameters: Float[np.ndarray, " size"]) -> np.ndarray:
        """All of the space, with these numbers."""
        out = self._selection.space.values.copy()
        out[self._selection.entries] = parameters
        return out

    def predict(self, point: Point) -> Prediction:
        """Along the windows."""
        w, first = self._windows, (point.qpos, point.qvel, point.act)
        after = self._jacobians.rollout((*first, w.ctrl), self.values(point.parameters))
        qpos, qvel, act = (np.concatenate([x[:, None], y], axis=1) for x, y in zip(first, after, strict=True))
        with np.errstate(invalid="ignore", over="ignore"):
            off = np.concatenate([self._tangent.difference(qpos, w.qpos), w.qvel - qvel, w.act - act], axis=2)
        return Prediction(qpos, qvel, act, np.where(w.counts[..., None], off, 0.0))

    def normal(self, point: Point, prediction: Prediction, weights: Float[np.ndarray, "n samples x"]) -> Normal:
        """At a point, with weights of the residuals: inverse variances."""
        w, (n, length) = self._windows, self._windows.ctrl.shape[:2]
        x, size = weights.shape[2], len(point.parameters)
        inputs = (prediction.qpos[:, :-1], prediction.qvel[:, :-1], prediction.act[:, :-1], w.ctrl)
        qpos, qvel, act, ctrl = (a.reshape(n * length, a.shape[2]) for a in inputs)
        by_state, by_parameters = self._jacobians((qpos, qvel, act, ctrl), self.values(point.parameters))
        by_state, by_parameters = by_state.reshape(n, length, x, x), by_parameters.reshape(n, length, x, size)
        forward = np.concatenate([np.tile(np.eye(x), (n, 1, 1)), np.zeros((n, x, size))], axis=2)
        hessian, gradient = np.zeros((n, x + size, x + size)), np.zeros((n, x + size))
        for k in range(length + 1):
            weighed = forward * (weights[:, k, :, None] * w.counts[:, k, None, None])
            hessian += weighed.mT @ forward
            gradient += (weighed.mT @ prediction.residuals[:, k, :, None])[..., 0]
            if k < length:
                forward = by_state[:, k] @ forward
                forward[..., x:] += by_parameters[:, k]
        return Normal(
            hessian[:, x:, x:].sum(0), hessian[:, :x, x:], hessian[:, :x, :x], gradient[:, x:].sum(0), gradient[:, :x]
        )

    def moved(self, point: Point, normal: Normal, damping: float) -> Point:
        """After one damped step, within the bounds."""
        low, high = self._selection.low, self._selection.high
        free = ~((point.parameters <= low) & (normal.of_parameters < 0))
        free &= ~((point.parameters >= high) & (normal.of_parameters > 0))
        most = FARTHEST * np.where(point.parameters != 0, np.abs(point.parameters), self._size)
        free &= normal.excited(self.sizes(point))
        step, states = normal.step(damping, free, most)
        nv = point.qvel.shape[1]
        to_qpos, to_qvel, to_act = np.split(states, [nv, 2 * nv], axis=1)
        return Point(
            np.clip(point.parameters + step, low, high),
            self._tangent.displace(point.qpos, to_qpos),
            point.qvel + to_qvel,
            point.act + to_act,
        )


class Noise:
    """The likelihood of residuals whose noise is unknown, of each coordinate its own: Student's t distribution.

    Where a contact begins within a window, Gauss-Newton may not find the way to the measured motion. Under a normal
    distribution a few such windows pass for the noise of all; in heavy tails they count for little. The negative
    logarithm is

        sum_i (N / 2 (log s_i^2 + quiet_i^2 / s_i^2) + (d + 1) / 2 sum_k log(1 + r_ki^2 / (d s_i^2))),

    but for a constant, with d degrees of freedom and the scales s_i at which it is least. `quiet` is the least noise
    that is believed. The Gauss-Newton weights are (d + 1) / (d + r^2 / s^2) / s^2. `spread` and `certainty` are for
    `DEGREES` degrees of freedom alone.

    Source: Lange, Little, Taylor, "Robust statistical modeling using the t distribution" (JASA 1989).
    """

    def __init__(self, counted: int, quiet: Float[np.ndarray, " x"], degrees: float = DEGREES):
        self._counted, self._quiet, self._degrees = counted, quiet, degrees

    def weights(self, prediction: Prediction) -> Float[np.ndarray, "n samples x"]:
        """Of Gauss-Newton, for each residual."""
        scale = self._scale(prediction)
        return self._trust(prediction, scale) / scale

    def trust(self, prediction: Prediction) -> Float[np.ndarray, "n samples x"]:
        """What each residual counts relative to normal noise; about one, and next to nothing far away."""
        return self._trust(prediction, self._scale(prediction))

    def certainty(self, prediction: Prediction, freedom: float) -> Float[np.ndarray, "n samples x"]:
        """Weights with which the normal equations tell the covariance under normal noise, where so many numbers were
        sought for each coordinate."""
        return self.weights(prediction) / NORMAL_COVARIANCE * self._left(freedom)

    def spread(self, prediction: Prediction, freedom: float) -> Float[np.ndarray, " x"]:
        """The standard deviation of the noise, where so many numbers were sought for each coordinate."""
        return np.sqrt(self._scale(prediction) / NORMAL_SCALE / self._left(freedom))

    def cost(self, prediction: Prediction) -> float:
        """The negative logarithm of the likelihood; infinite where the prediction diverges."""
        with np.errstate(invalid="ignore", over="ignore"):
            scale = self._scale(prediction)
            tails = float(np.log1p(prediction.residuals**2 / (self._degrees * scale)).sum())
            each = float((np.log(scale) + self._quiet**2 / scale).sum())
            value = 0.5 * self._counted * each + 0.5 * (self._degrees + 1) * tails
        return value if np.isfinite(value) else np.inf

    def _scale(self, prediction: Prediction) -> Float[np.ndarray, " x"]:
        """s^2, at which it is the mean of the residuals' squares times their trust."""
        squares = prediction.residuals**2
        scale = squares.sum(axis=(0, 1)) / self._counted + self._quiet**2
        for _ in range(SCALINGS):
            before, trust = scale, self._trust(prediction, scale)
            scale = (squares * trust).sum(axis=(0, 1)) / self._counted + self._quiet**2
            if not np.abs(scale / before - 1).max() > CLOSE:
                break
        return scale

    def _left(self, freedom: float) -> float:
        return max(self._counted - freedom, 1.0) / self._counted

    def _trust(self, prediction: Prediction, scale: Float[np.ndarray, " x"]) -> Float[np.ndarray, "n samples x"]:
        return (self._degrees + 1) / (self._degrees + prediction.residuals**2 / scale)


def descend(fit: WindowFit, point: Point, noise: Noise, damping: float) -> tuple[Point, float, float, bool]:
    """One step: the new point, its cost, the damping to go on with, and whether the cost has fallen.

    Raises DivergenceError where the motion from `point` is not finite.
    """
    prediction = fit.predict(point)
    here = noise.cost(prediction)
    if np.isinf(here):
        raise DivergenceError(
            "the model's motion from the measured states is not finite. Try shorter windows, or other start values."
        )
    normal = fit.normal(point, prediction, noise.weights(prediction))
    for _ in range(DAMPINGS):
        candidate = fit.moved(point, normal, damping)
        ahead = noise.cost(fit.predict(candidate))
        if ahead < here:
            return candidate, ahead, max(damping / 10, LEAST_DAMPING), True
        damping = max(10 * damping, FIRST_DAMPING)
    return point, here, damping, False


def correlation(
    prediction: Prediction, trust: Float[np.ndarray, "n samples x"], windows: Windows
) -> Float[np.ndarray, " x"]:
    """Of the residuals of each coordinate with those of the next sample: of white noise 0 +- 1 / sqrt(samples). They
    count as much as they are trusted."""
    residuals, pairs = np.sqrt(trust) * prediction.residuals, windows.counts[:, 1:, None]
    products = (residuals[:, 1:] * residuals[:, :-1] * pairs).sum((0, 1))
    return products / np.maximum((residuals**2).sum((0, 1)), np.finfo(np.float64).tiny)


def covariance(normal: Normal, sizes: Float[np.ndarray, " size"]) -> Float[np.ndarray, "size size"]:
    """Of parameters of these sizes, from the Fisher information; an infinite variance of what the motion does not
    determine."""
    raw, information = np.diag(normal.parameters), normal.information()
    excited = np.flatnonzero(normal.excited(sizes))
    scale = 1 / np.sqrt(raw[excited])
    eigenvalues, vectors = np.linalg.eigh(information[np.ix_(excited, excited)] * np.outer(scale, scale))
    determined = eigenvalues > UNDETERMINED * eigenvalues.max(initial=0.0)
    factor = scale[:, None] * vectors[:, determined] / np.sqrt(eigenvalues[determined])
    found = (vectors[:, ~determined] ** 2).sum(1) <= LOST
    out = np.diag(np.full(len(raw), np.inf))
    own = excited[found]
    out[np.ix_(own, own)] = factor[found] @ factor[found].T
    return out


def _diagonal(matrices: np.ndarray) -> np.ndarray:
    return matrices * np.eye(matrices.shape[-1])
