"""The cross-entropy method over action sequences, started from the policy and closed by the critic."""

import operator
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffmaac.dynamics.base import Noise
from diffmaac.errors import DivergenceError
from diffmaac.objectives import ClosedLoop, Step, World, lower_bound
from diffmaac.settings import PlanSettings

REVISION = 2
"""Raised when the same settings come to plan otherwise, so that what an earlier planner reached is measured again."""
LEAST_STD = 0.05
"""Standard deviation below which candidates are no longer spread apart, in units of the action's half range."""


class CrossEntropyPlanner:
    """Plans for a batch of states at once: ``planner(obs) -> action``.

    The first candidates are the stochastic policy's own rollouts through the dynamics; each later iteration draws
    Gaussian sequences around its elites (de Boer et al. 2005). A candidate's value is

        sum_{t<T} W_t r_t + W_T min_i Q_i(s_T, mode(s_T)),    W_t = prod_{i<t} gamma c_i

    with c_i the probability that the episode goes on after step i, through the dynamics' mean: without its Gaussian
    noise, and, of an ensemble, each step by one member, the same for all candidates of a state and drawn anew for each
    iteration. A draw of the noise that all candidates shared would be known to the plan, whose first action would
    answer to what is not going to happen.

    The next call's first candidates contain the plan so far, moved on by one step. A candidate that diverges ranks
    last; `diverged` counts them since the start.
    """

    def __init__(self, loop: ClosedLoop, settings: PlanSettings, generator: torch.Generator):
        self._loop, self._settings, self._generator = loop, settings, generator
        self._plan: Tensor | None = None
        self.diverged = 0

    @torch.no_grad()
    def __call__(self, obs: Float[Tensor, "batch obs"]) -> Float[Tensor, "batch action"]:
        """The first action of each state's plan, in [-1, 1]; the rest of the plan is kept for the next call.

        A plan is the mean of its elites; where all candidates of a state diverge, it is the policy's mode there.
        """
        s = self._settings
        candidates = self._policys_own(obs)
        if self._plan is not None and self._plan.shape[1] == len(obs):
            moved_on = torch.cat([self._plan[1:], candidates[-1:, :, 0]])
            candidates[:, :, 0] = moved_on
        count = max(1, round(s.elites * s.candidates))
        mean, mode = candidates[:, :, 0], self._loop.policy.mode(obs)
        for iteration in range(s.iterations):
            value, best = self.values(obs, candidates, self._members_drawn(len(obs))).topk(count, dim=1)
            elites = candidates.gather(2, best[None, ..., None].expand(len(candidates), -1, -1, candidates.shape[-1]))
            mean, std = _moments(elites, torch.isfinite(value), mode)
            if iteration + 1 < s.iterations:
                drawn = mean[:, :, None] + std.clamp_min(LEAST_STD)[:, :, None] * self._normal(candidates.shape)
                candidates = drawn.clamp(-1.0, 1.0)
                candidates[:, :, 0] = elites[:, :, 0]  # the best so far stays
        self._plan = mean
        return mean[0]

    def values(
        self,
        obs: Float[Tensor, "batch obs"],
        sequences: Float[Tensor, "steps batch candidates action"],
        noise: tuple[Noise | None, ...],
    ) -> Float[Tensor, "batch candidates"]:
        """The value of every candidate; -inf where it diverges."""
        _, batch, candidates, _ = sequences.shape
        state = obs.repeat_interleave(candidates, 0)
        total, weight = torch.zeros_like(state[:, 0]), torch.ones_like(state[:, 0])
        alive = torch.ones_like(total, dtype=torch.bool)
        for action, step_noise in zip(sequences.flatten(1, 2), noise, strict=True):
            step, alive = self._advance(state, action, step_noise, alive)
            total = total + weight * step.reward_t
            state, weight = step.obs_tp1, weight * step.discount_tp1
        last = lower_bound(self._loop.critics(state, self._loop.policy.mode(state)))
        total = total + weight * last
        alive = alive & torch.isfinite(total)
        self.diverged += int((~alive).sum())
        return torch.where(alive, total, -torch.inf).view(batch, candidates)

    def _policys_own(self, obs: Tensor) -> Float[Tensor, "steps batch candidates action"]:
        """Actions of the stochastic policy along its own rollouts."""
        s = self._settings
        state = obs.repeat_interleave(s.candidates, 0)
        alive = torch.ones_like(state[:, 0], dtype=torch.bool)
        actions = []
        for step_noise in self._members_drawn(len(obs)):
            normal = self._normal((len(state), self._loop.policy.action_size))
            action = self._loop.policy.sample(state, normal)[0].clamp(-1.0, 1.0)
            actions.append(action.view(len(obs), s.candidates, -1))
            step, alive = self._advance(state, action, step_noise, alive)
            state = step.obs_tp1
        return torch.stack(actions)

    def _advance(
        self, state: Tensor, action: Tensor, noise: Noise | None, alive: Bool[Tensor, " samples"]
    ) -> tuple[Step, Bool[Tensor, " samples"]]:
        """The step and which are still alive; one that diverges stays where it was."""
        step = _step_each(self._loop.world, state, action, noise)
        finite = torch.isfinite(step.obs_tp1).all(1)
        return step._replace(obs_tp1=torch.where(finite[:, None], step.obs_tp1, state)), alive & finite

    def _members_drawn(self, batch: int) -> tuple[Noise | None, ...]:
        """For each step a member for each state, the same for all its candidates; no Gaussian noise."""
        repeats = self._settings.candidates
        drawn = (self._loop.dynamics.sample_noise(batch, self._generator) for _ in range(self._settings.plan_horizon))
        quiet = (n and n._replace(gaussian=torch.zeros_like(n.gaussian)) for n in drawn)
        return tuple(n and _columns(n, lambda column: column.repeat_interleave(repeats, 0)) for n in quiet)

    def _normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self._generator.device)


def _moments(
    elites: Float[Tensor, "steps batch elites action"],
    alive: Bool[Tensor, "batch elites"],
    otherwise: Float[Tensor, "batch action"],
) -> tuple[Float[Tensor, "steps batch action"], Float[Tensor, "steps batch action"]]:
    """Mean and standard deviation over the elites that are alive; where none is, `otherwise` and 0."""
    weight = alive[None, ..., None] / alive.sum(1).clamp_min(1)[None, :, None, None]
    mean = torch.where(alive.any(1)[None, :, None], (weight * elites).sum(2), otherwise)
    variance = (weight * (elites - mean[:, :, None]).square()).sum(2)
    return mean, variance.sqrt()


def _columns(noise: Noise, change: Callable[[Tensor], Tensor]) -> Noise:
    """Noise of other samples. How many of them a member moves is not known."""
    return Noise(change(noise.member), change(noise.gaussian))


def _step_each(world: World, obs: Tensor, action: Tensor, noise: Noise | None) -> Step:
    """One step of every sample; NaN for those that diverge, where `step` refuses the batch that they are in."""
    try:
        return world.step(obs, action, noise)
    except DivergenceError:
        if len(obs) == 1:
            nothing = torch.full_like(obs[:, 0], torch.nan)
            return Step(torch.full_like(obs, torch.nan), nothing, nothing)
    middle = len(obs) // 2
    halves = [slice(None, middle), slice(middle, None)]
    parts = [noise and _columns(noise, operator.itemgetter(half)) for half in halves]
    steps = [_step_each(world, obs[h], action[h], n) for h, n in zip(halves, parts, strict=True)]
    return Step(*(torch.cat(column) for column in zip(*steps, strict=True)))
