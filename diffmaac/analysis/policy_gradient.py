"""The error of the policy gradient, against the horizon: which part the model has in it, and which the critic.

The gradient of J_H is made of dynamics f and a critic Q, each learned or true, the same policy, start states and noise
for all four combinations. What is compared are differences of paired samples, so that the noise that they share drops
out. Two references, named in the results:

    objective   grad J_H with the true f and the true Q, at the same H
    return      the gradient of the RL objective itself, where a closed form has it (linear-quadratic problems)

The model part is the error that remains with the true Q, the critic part the one that remains with the true f. Where
there is no closed form, the true Q is that of true rollouts (`RolloutCritic`), or the learned one stands in for it, and
the error is the model's alone.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac import seeding
from diffmaac.dynamics.base import AbstractDynamics
from diffmaac.errors import DivergenceError, SettingError
from diffmaac.nn import AbstractPolicy
from diffmaac.objectives import (
    ClosedLoop,
    PathwiseNoise,
    World,
    flat_gradient,
    lower_bound,
    pathwise_loss,
    sample_pathwise_noise,
)
from diffmaac.task import Task
from diffmaac.types import QFunction

LEARNED, TRUE = "learned", "true"
FEWEST = 8
"""Chunks of samples, at least: the Monte Carlo error is estimated from their spread."""
ENOUGH = 0.1
"""Monte Carlo error, in units of the error that is shown, at which sampling stops."""


@dataclass(frozen=True)
class ClosedForm:
    """The gradients that are known: of J_H with true f and Q, and of the return. Flat, in the order of parameters."""

    objective: Callable[[int], Float[Tensor, " parameters"]]
    expected_return: Float[Tensor, " parameters"]


@dataclass(frozen=True)
class Parts:
    """What a policy gradient is made of. All tensors float64, on one device."""

    task: Task
    policy: AbstractPolicy
    critic: QFunction
    """The learned one."""
    true_critic: Callable[[int, torch.Generator], QFunction]
    """The true one, for a batch of a given size: a rollout draws its own noise."""
    dynamics: Mapping[str, AbstractDynamics]
    """"true" and, where there is a model, "learned"."""
    start: Callable[[int, torch.Generator], Tensor]
    """Start states: size -> (size, obs)."""
    alpha: float
    gamma: float
    closed_form: ClosedForm | None = None

    def world(self, dynamics: str | AbstractDynamics) -> World:
        """The task's reward and discount in these dynamics, or in those of that name."""
        moved = self.dynamics[dynamics] if isinstance(dynamics, str) else dynamics
        return World(moved, self.task.reward, self._discount, self.task.transition_reward)

    def _discount(self, obs_tp1: Tensor) -> Tensor:
        return self.task.discount(obs_tp1, self.gamma)


@dataclass(frozen=True)
class GradientError:
    """A row of the results. L1 and L2 are norms of the error, `relative` is L2 in units of the reference's norm.

    `model_part` and `critic_part` are relative as well; so is `monte_carlo`, one standard error of the error vector.
    `variance` is that of the gradient of a single sample, summed over parameters. `not_finite` counts chunks of
    `chunk` samples whose gradient was not finite; they are left out of the means.
    """

    task: str
    dynamics: str
    horizon: int
    seed: int
    reference: str
    l1: float
    l2: float
    relative: float
    cosine: float
    variance: float
    model_part: float
    critic_part: float
    monte_carlo: float
    samples: int
    not_finite: int


class RolloutCritic:
    """Q of a frozen policy by rollouts of the true dynamics: `length` rewarded steps, then the learned critic.

    The longer, the less of the learned critic remains (gamma^length of it), and the more the derivative of chaotic
    motion weighs. (batch, obs), (batch, action) -> (1, batch).
    """

    def __init__(self, parts: "Parts", noise: Float[Tensor, "length batch action"]):
        self._parts, self._noise = parts, noise
        self._policy = copy.deepcopy(parts.policy).requires_grad_(False)

    def __call__(self, obs: Tensor, action: Tensor) -> Tensor:
        parts, world = self._parts, self._parts.world(TRUE)
        value, weight = torch.zeros_like(obs[:, 0]), torch.ones_like(obs[:, 0])
        for noise in self._noise:
            obs, reward, discount = world.step(obs, action, None)
            value = value + weight * reward
            weight = weight * discount
            action, log_prob = self._policy.sample(obs, noise)
            value = value - weight * parts.alpha * log_prob
        return (value + weight * lower_bound(parts.critic(obs, action)))[None]


def gradient(
    parts: Parts,
    dynamics: AbstractDynamics,
    critic: QFunction,
    start: Float[Tensor, "batch obs"],
    noise: PathwiseNoise,
) -> Float[Tensor, " parameters"]:
    """The ascent direction grad J_H, flat; H is the number of dynamics noises."""
    alpha = start.new_tensor(parts.alpha)
    loop = ClosedLoop(parts.policy, critic, parts.world(dynamics))
    loss, _ = pathwise_loss(loop, start, noise, alpha)
    return -flat_gradient(loss, parts.policy)


class _Moments:
    """Running mean and spread of vectors (Welford)."""

    def __init__(self) -> None:
        self.count, self._mean, self._square = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        self.count += 1
        delta = x - self._mean
        self._mean = self._mean + delta / self.count
        self._square = self._square + delta * (x - self._mean)

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def variance(self) -> float:
        """Of one vector, summed over its components."""
        return float(self._square.sum()) / max(self.count - 1, 1)

    @property
    def standard_error(self) -> float:
        """Of the mean, in L2."""
        return (self.variance / max(self.count, 1)) ** 0.5


class _Tally:
    """The gradients of one horizon: each combination (dynamics, critic), and its difference from (true, true)."""

    def __init__(self, dynamics: Sequence[str]):
        self.keys = [(f, q) for f in dynamics for q in (LEARNED, TRUE)]
        self.raw = {key: _Moments() for key in self.keys}
        self.difference = {key: _Moments() for key in self.keys}
        self.not_finite = dict.fromkeys(dynamics, 0)

    def add(self, gradients: Mapping[tuple[str, str], Tensor | None]) -> None:
        """None stands for a gradient that is not finite; the chunk then counts as broken, and nothing else."""
        finite = {key: x for key, x in gradients.items() if x is not None}
        for f in {f for f, _ in gradients.keys() - finite.keys()}:
            self.not_finite[f] += 1
        if len(finite) < len(gradients):
            return
        for key, x in finite.items():
            self.raw[key].add(x)
            self.difference[key].add(x - finite[TRUE, TRUE])


def gradient_errors(
    parts: Parts,
    horizons: Sequence[int],
    samples: int,
    chunk: int,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> list[GradientError]:
    """The error for every horizon, dynamics and reference, from at most `samples` trajectories, `chunk` at a time, but
    no fewer than `FEWEST` chunks.

    Sampling stops when the Monte Carlo error of every row is below a tenth of the error that it shows.

    Raises:
        SettingError: horizons that are empty or negative.
        DivergenceError: no chunk of some horizon had a finite gradient.
    """
    check_horizons(horizons)
    tallies = {horizon: _Tally(list(parts.dynamics)) for horizon in horizons}
    rows: dict[int, list[GradientError]] = {}
    unsure = list(horizons)
    for index in range(most_chunks(samples, chunk)):
        generator = seeding.torch_generator(seed, f"gradient-error-{index}")
        for horizon, gradients in _chunk(parts, unsure, chunk, generator).items():
            tallies[horizon].add(gradients)
        advance()
        if index + 1 >= FEWEST:
            rows |= {horizon: _rows(parts, horizon, tallies[horizon], chunk, seed) for horizon in unsure}
            unsure = [h for h in unsure if any(row.monte_carlo > ENOUGH * row.relative for row in rows[h])]
            if not unsure:
                break
    return [row for horizon in horizons for row in rows[horizon]]


def most_chunks(samples: int, chunk: int) -> int:
    """How many chunks `samples` trajectories are, `FEWEST` at least."""
    return max(FEWEST, -(-samples // chunk))


def check_horizons(horizons: Sequence[int]) -> None:
    """Raises SettingError where there is none, or one is not a whole number from 0 on."""
    whole = all(isinstance(h, int) and not isinstance(h, bool) and h >= 0 for h in horizons)
    if not horizons or not whole:
        raise SettingError(f"horizons={list(horizons)}: must be whole numbers from 0 on, for example horizons=0,1,2,4.")


def common_noise(parts: Parts, horizon: int, batch: int, generator: torch.Generator) -> PathwiseNoise:
    """Noise for `horizon` steps that every dynamics can use: the learned one's, if there is one. In float64."""
    source = parts.dynamics.get(LEARNED, parts.dynamics[TRUE])
    return sample_pathwise_noise(source, horizon, batch, parts.task.action_size, generator, torch.float64)


def _chunk(
    parts: Parts, horizons: Sequence[int], chunk: int, generator: torch.Generator
) -> dict[int, dict[tuple[str, str], Tensor | None]]:
    start = parts.start(chunk, generator)
    noise = common_noise(parts, max(horizons), chunk, generator)
    critics = {LEARNED: parts.critic, TRUE: parts.true_critic(chunk, generator)}
    out = {}
    for horizon in horizons:
        cut = PathwiseNoise(noise.policy[: horizon + 1], noise.dynamics[:horizon])
        gradients = {}
        for f, dynamics in parts.dynamics.items():
            for q, critic in critics.items():
                known = q == TRUE and critic is critics[LEARNED]
                gradients[f, q] = (
                    gradients[f, LEARNED] if known else _finite_gradient(parts, dynamics, critic, start, cut)
                )
        out[horizon] = gradients
    return out


def _finite_gradient(
    parts: Parts, dynamics: AbstractDynamics, critic: QFunction, start: Tensor, noise: PathwiseNoise
) -> Tensor | None:
    try:
        ascent = gradient(parts, dynamics, critic, start, noise)
    except DivergenceError:
        return None
    return ascent if torch.isfinite(ascent).all() else None


def _rows(parts: Parts, horizon: int, tally: _Tally, chunk: int, seed: int) -> list[GradientError]:
    exact = tally.raw[TRUE, TRUE]
    if exact.count == 0:
        raise DivergenceError(
            f"no gradient over {horizon} steps was finite, in {sum(tally.not_finite.values())} tries. Give shorter"
            " horizons, or a shorter rollout."
        )
    closed = parts.closed_form
    objective = closed.objective(horizon) if closed else exact.mean
    references = {"objective": objective} | ({"return": closed.expected_return} if closed else {})
    rows = []
    for f in parts.dynamics:
        for name, reference in references.items():
            shift = objective - reference  # known exactly, so only the paired difference is sampled
            size = float(reference.norm())
            error = tally.difference[f, LEARNED].mean + shift
            estimate = reference + error
            rows.append(
                GradientError(
                    task=parts.task.name,
                    dynamics=f,
                    horizon=horizon,
                    seed=seed,
                    reference=name,
                    l1=float(error.abs().sum()),
                    l2=float(error.norm()),
                    relative=float(error.norm()) / size,
                    cosine=float(torch.cosine_similarity(estimate, reference, dim=0)),
                    variance=tally.raw[f, LEARNED].variance * chunk,
                    model_part=float((tally.difference[f, TRUE].mean + shift).norm()) / size,
                    critic_part=float((tally.difference[TRUE, LEARNED].mean + shift).norm()) / size,
                    monte_carlo=tally.difference[f, LEARNED].standard_error / size,
                    samples=exact.count * chunk,
                    not_finite=tally.not_finite[f],
                )
            )
    return rows
