"""The soft actor-critic that every algorithm of the table is a row of: one critic update, one actor update."""

import copy
import math
from typing import Any

import torch
from torch import Tensor

from diffmaac.algorithms.horizon import gradient_spread
from diffmaac.dynamics.base import AbstractDynamics
from diffmaac.errors import DivergenceError
from diffmaac.finite import FiniteFlags
from diffmaac.nn import Critics, SquashedGaussianPolicy, frozen, restore_optimizer
from diffmaac.objectives import (
    ClosedLoop,
    World,
    critic_loss,
    infer_svg_noise,
    pathwise_loss,
    sample_pathwise_noise,
    sample_steve_noise,
    soft_actor_loss,
    soft_td_target,
    steve_candidates,
    steve_target,
    svg_loss,
    temperature_loss,
)
from diffmaac.settings import AgentSettings
from diffmaac.task import Task
from diffmaac.typed import global_norm, largest, lerp_, scale_
from diffmaac.types import Transition

Metrics = dict[str, Tensor]

STEVE_ROWS = 512
"""Rows of a chunk of targets. Of 1,280 at once each activation of the ensemble has 5 MB, which leaves the cache, and
which malloc gives back to the system and takes anew, page by page: 1.45 times the time."""
CRITIC, ACTOR, TEMPERATURE = "the critic's loss", "the gradient norm of the actor's loss", "the temperature's loss"
SMALLER = "Try a smaller horizon, actor_lr, critic_lr, alpha_lr or max_grad_norm."
ADVICE = {CRITIC: SMALLER, ACTOR: SMALLER, TEMPERATURE: SMALLER}
"""What to do where a loss is not finite."""


class ActorCritic:
    """Policy, critics and temperature, and how they learn from a batch.

    `dynamics` serves the actor's objective (horizon > 0) and STEVE's targets; None where neither is asked for.
    `evaluated_policy` is an exponential mean of `policy` over its updates where policy_tau < 1, and else itself.

    An update only queues work for the device and reads nothing back: a loss that is not finite is noted there, and
    `check_finite` raises. Where the dynamics are recordable, `update_critic` and `update_actor` are so too.
    """

    def __init__(
        self,
        task: Task,
        settings: AgentSettings,
        dynamics: AbstractDynamics | None,
        init: torch.Generator,
        noise: torch.Generator,
    ):
        self.horizon = settings.auto_horizons[0] if isinstance(settings.horizon, str) else settings.horizon
        if dynamics is None and (settings.horizon != 0 or settings.critic_target == "steve"):
            raise ValueError("horizon > 0 and critic_target='steve' need dynamics, got None.")
        if dynamics is None and settings.actor_objective == "svg":
            raise ValueError("actor_objective='svg' needs dynamics, got None.")
        self.task, self.settings, self.dynamics, self._noise = task, settings, dynamics, noise
        self.policy = SquashedGaussianPolicy(task.obs_size, task.action_size, settings.hidden, init)
        sizes = task.obs_size, task.action_size
        self.critics = Critics(*sizes, settings.hidden, init, settings.critics, settings.layer_norm)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_alpha = torch.full((), math.log(settings.initial_alpha), device=init.device, requires_grad=True)
        self._frozen_policy = frozen(self.policy)
        self._averages = settings.policy_tau < 1
        self.evaluated_policy = copy.deepcopy(self.policy).requires_grad_(False) if self._averages else self.policy
        self._target_entropy = settings.target_entropy * task.action_size
        self._policy_parameters: list[Tensor] = list(self.policy.parameters())
        self._evaluated_parameters: list[Tensor] = list(self.evaluated_policy.parameters())
        self._critic_parameters: list[Tensor] = list(self.critics.parameters())
        self._target_parameters: list[Tensor] = list(self.target_critics.parameters())
        self._policy_optimizer = torch.optim.Adam(self._policy_parameters, settings.actor_lr, fused=True)
        self._critic_optimizer = torch.optim.Adam(self._critic_parameters, settings.critic_lr, fused=True)
        self._alpha_optimizer = torch.optim.Adam([self.log_alpha], settings.alpha_lr, fused=True)
        self._finite = FiniteFlags(ADVICE, init.device)

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        """Those of policy, critics and temperature."""
        return self._policy_optimizer, self._critic_optimizer, self._alpha_optimizer

    @property
    def recordable(self) -> bool:
        """Whether a CUDA graph can record an update."""
        s = self.settings
        through = self.horizon != 0 or s.horizon == "auto" or s.actor_objective == "svg" or s.critic_target == "steve"
        return self.dynamics is None or not through or self.dynamics.recordable

    @property
    def loop(self) -> ClosedLoop:
        """`loop_in` the agent's own dynamics. Raises ValueError where it has none."""
        if self.dynamics is None:
            raise ValueError("this agent has no dynamics of its own. Give some to loop_in.")
        return self.loop_in(self.dynamics)

    def loop_in(self, dynamics: AbstractDynamics) -> ClosedLoop:
        """The policy in these dynamics, closed by the critics."""
        world = World(dynamics, self.task.reward, self._discount, self.task.transition_reward)
        return ClosedLoop(self.policy, self.critics, world)

    @property
    def alpha(self) -> Tensor:
        """The temperature, without gradient; 0 where entropy has no part."""
        return self.log_alpha.detach().exp() if self.settings.entropy else torch.zeros_like(self.log_alpha)

    def update_critic(self, transition: Transition) -> Metrics:
        """One step of the critics towards their target, and of the target critics towards them."""
        target_t, target_metrics = self._critic_target(transition)
        loss, metrics = critic_loss(self.critics(transition.obs_t, transition.action_t), target_t)
        self._finite.note(CRITIC, _descend(loss, self._critic_parameters, self._critic_optimizer))
        with torch.no_grad():  # else each update would add to a graph that nothing frees
            lerp_(self._target_parameters, self._critic_parameters, self.settings.tau)
        return {"critic_loss": loss.detach(), **metrics, **target_metrics}

    def update_actor(self, transition: Transition) -> Metrics:
        """One step of the policy up its objective from the states of `transition`, and of the temperature."""
        s, alpha = self.settings, self.alpha
        loss, log_prob_t, extra = self._actor_loss(transition, alpha)
        norm = _descend(loss, self._policy_parameters, self._policy_optimizer, s.max_grad_norm)
        self._finite.note(ACTOR, norm)
        if self._averages:
            with torch.no_grad():
                lerp_(self._evaluated_parameters, self._policy_parameters, s.policy_tau)
        if s.entropy:
            alpha_loss = temperature_loss(self.log_alpha, log_prob_t, self._target_entropy)
            self._finite.note(TEMPERATURE, _descend(alpha_loss, [self.log_alpha], self._alpha_optimizer))
        metrics = {"actor_loss": loss.detach(), "actor_grad_norm": norm, "alpha": alpha, "entropy": -log_prob_t.mean()}
        return {**metrics, **extra}

    def _actor_loss(self, transition: Transition, alpha: Tensor) -> tuple[Tensor, Tensor, Metrics]:
        """Loss, log densities of actions of the present policy, metrics."""
        if self.dynamics is None:
            return self._sac(transition, alpha)
        loop = self.loop_in(self.dynamics)
        return (self._svg if self.settings.actor_objective == "svg" else self._pathwise)(loop, transition, alpha)

    def _sac(self, transition: Transition, alpha: Tensor) -> tuple[Tensor, Tensor, Metrics]:
        obs_t = self._start(transition)
        loss, extra = soft_actor_loss(self.policy, self.critics, obs_t, self._normal(len(obs_t)), alpha)
        return loss, extra["log_prob_t"], {}

    def _pathwise(self, loop: ClosedLoop, transition: Transition, alpha: Tensor) -> tuple[Tensor, Tensor, Metrics]:
        obs_t = self._start(transition)
        noise = sample_pathwise_noise(loop.dynamics, self.horizon, len(obs_t), self.task.action_size, self._noise)
        loss, extra = pathwise_loss(loop, obs_t, noise, alpha, self.settings.adjoint_clip)
        return loss, extra["log_prob_t"], {}

    def _svg(self, loop: ClosedLoop, transition: Transition, alpha: Tensor) -> tuple[Tensor, Tensor, Metrics]:
        """Through the replayed transition."""
        s, noise = self.settings, infer_svg_noise(loop, transition, self._noise)
        loss, extra = svg_loss(loop, self._frozen_policy, transition, noise, alpha, s.importance_clip, s.adjoint_clip)
        with torch.no_grad():  # the replayed actions are those of older policies
            _, log_prob_t = self.policy.sample(transition.obs_t, self._normal(len(transition.obs_t)))
        return loss, log_prob_t, extra

    def _start(self, transition: Transition) -> Tensor:
        """The states from which the policy learns, each as often as there are samples."""
        obs_t, samples = transition.obs_t, self.settings.samples
        return obs_t.repeat_interleave(samples, 0) if samples > 1 else obs_t

    def _normal(self, batch: int) -> Tensor:
        """A policy's noise (batch, action)."""
        return torch.randn(batch, self.task.action_size, generator=self._noise, device=self._noise.device)

    def choose_horizon(self, obs_t: Tensor) -> Metrics:
        """Sets `horizon` to the one of `auto_horizons` whose gradient ensemble and critics agree most about.

        A horizon over which a gradient is not finite is not chosen; where none is, the present one stays.
        Returns the estimated relative error of each, and the choice. Raises ValueError where there are no dynamics.
        """
        s = self.settings
        spread = gradient_spread(self.loop, s.critics, obs_t, s.auto_horizons, self.alpha, self._noise, s.adjoint_clip)
        known = {h: x for h, x in zip(s.auto_horizons, map(float, spread), strict=True) if math.isfinite(x)}
        if known:
            self.horizon = min(known, key=known.__getitem__)
        errors = {f"gradient_error_{h}": x for h, x in zip(s.auto_horizons, spread.sqrt(), strict=True)}
        return {**errors, "horizon": torch.tensor(float(self.horizon))}

    def check_finite(self) -> None:
        """Raises DivergenceError where a loss of an update so far was not finite, or a parameter is not.

        It waits for the device. A policy that has passed is finite, so that no other is kept.
        """
        self._finite.check()
        if not torch.isfinite(largest([*self._policy_parameters, *self._critic_parameters, self.log_alpha])).all():
            raise DivergenceError("a parameter is no longer finite. Try a smaller actor_lr, critic_lr or alpha_lr.")

    def state_dict(self) -> dict[str, Any]:
        """Networks, temperature and optimisers, as a tree that `checkpoint.save` writes."""
        return {
            "policy": self.policy.state_dict(),
            **({"evaluated_policy": self.evaluated_policy.state_dict()} if self._averages else {}),
            "critics": self.critics.state_dict(),
            "target_critics": self.target_critics.state_dict(),
            "log_alpha": self.log_alpha.detach(),
            "horizon": self.horizon,
            "policy_optimizer": self._policy_optimizer.state_dict(),
            "critic_optimizer": self._critic_optimizer.state_dict(),
            "alpha_optimizer": self._alpha_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; step sizes and a fixed horizon are those of the settings."""
        self.policy.load_state_dict(state["policy"])
        if self._averages:
            self.evaluated_policy.load_state_dict(state["evaluated_policy"])
        self.critics.load_state_dict(state["critics"])
        self.target_critics.load_state_dict(state["target_critics"])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])
        if self.settings.horizon == "auto":
            self.horizon = state.get("horizon", self.horizon)
        restore_optimizer(self._policy_optimizer, state["policy_optimizer"])
        restore_optimizer(self._critic_optimizer, state["critic_optimizer"])
        restore_optimizer(self._alpha_optimizer, state["alpha_optimizer"])

    def _discount(self, obs_tp1: Tensor) -> Tensor:
        return self.task.discount(obs_tp1, self.settings.gamma)

    @torch.no_grad()
    def _critic_target(self, transition: Transition) -> tuple[Tensor, Metrics]:
        alpha = self.alpha
        batch = len(transition.obs_t)
        if self.settings.critic_target == "td" or self.dynamics is None:
            action_tp1, log_prob_tp1 = self.policy.sample(transition.obs_tp1, self._normal(batch))
            q_tp1 = self.target_critics(transition.obs_tp1, action_tp1)
            return soft_td_target(transition.reward_t, transition.discount_tp1, q_tp1, log_prob_tp1, alpha), {}
        sizes = (self.task.obs_size, self.task.action_size)
        steve_noise = sample_steve_noise(self.dynamics, self.settings.steve_horizon, batch, sizes, self._noise)
        loop = self.loop_in(self.dynamics)._replace(critics=self.target_critics)
        chunks = zip(transition.split(STEVE_ROWS), steve_noise.split(STEVE_ROWS), strict=True)
        candidates = torch.cat([steve_candidates(loop, *chunk, alpha) for chunk in chunks], -1)
        return steve_target(candidates, self.settings.steve_floor)


def _descend(
    loss: Tensor,
    parameters: list[Tensor],
    optimizer: torch.optim.Optimizer,
    max_norm: float | None = None,
) -> Tensor:
    """One optimiser step along the gradient with respect to `parameters` alone, clipped to `max_norm` where given.

    Returns the norm before clipping, or the loss where none is asked.
    """
    grads = torch.autograd.grad(loss, parameters)
    size = loss.detach()
    if max_norm is not None:
        size = global_norm(grads)
        scale_(grads, (max_norm / size).clamp_max(1.0))  # times one changes nothing, and no branch waits for the norm
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad
    optimizer.step()
    return size
