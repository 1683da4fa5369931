"""The bound of Lemma 4.1 (Clavera, Fu, Abbeel 2020), with measured constants: error <= c_1(H) eps_f + c_2(H) eps_Q.

Two trajectories under common noise, x = (s, a): the model's, x^_t, and the true one, x_t. Write G_t = dx_t/dtheta. As

    ds_{t+1}/dtheta = grad f(x_t) G_t,      G_t = [I; dpi/ds] ds_t/dtheta + [0; dpi/dtheta],

the difference of the two obeys, up to the change of reward and policy derivatives between x^_t and x_t (which is of the
order of the model's error in the state, and left out),

    |G^_t - G_t| <= L_pi |D_t|,    |D_{t+1}| <= eps_f K + L |D_t|,    so |D_t| <= eps_f K (1 + L + ... + L^{t-1}),

and with the gradients of reward and critic

    c_1(H) = K L_pi (sum_{0<t<H} gamma^t L_r S_t + gamma^H L_Q S_H),   S_t = 1 + L + ... + L^{t-1},
    c_2(H) = gamma^H K.

The constants are maxima over samples and steps of the same trajectories:

    eps_f   |grad f^(x^_t) - grad f(x_t)|, t < H          eps_Q   |grad Q^(x^_H) - grad Q(x_H)|
    K       |dx^_t/dtheta| (Frobenius, from random directions in theta), t <= H
    L_f     |grad f(x_t)|         L_pi   |[I; dpi/ds]|    L = L_f L_pi
    L_r     |grad r(x_t)|         L_Q    |grad Q(x_H)|

Matrix norms are spectral. The derivation and the reading of the constants are ours; the form is the paper's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from diffmaac import seeding
from diffmaac.analysis.policy_gradient import LEARNED, TRUE, Parts, common_noise
from diffmaac.dynamics.base import AbstractDynamics, Noise
from diffmaac.dynamics.jacobian import jacobian
from diffmaac.objectives import PathwiseNoise, lower_bound
from diffmaac.typed import matrix_norm
from diffmaac.types import QFunction

DIRECTIONS = 8
"""Random directions in the space of parameters from which K is estimated."""


@dataclass(frozen=True)
class Bound:
    """c_1(H) eps_f + c_2(H) eps_Q and what it is made of."""

    horizon: int
    eps_f: float
    eps_q: float
    trajectory: float
    """K."""
    growth: float
    """L = L_f L_pi."""
    c_1: float
    c_2: float

    @property
    def value(self) -> float:
        return self.c_1 * self.eps_f + self.c_2 * self.eps_q


def bounds(
    parts: Parts, horizons: Sequence[int], samples: int, seed: int, derivatives: AbstractDynamics | None = None
) -> list[Bound]:
    """The bound for each horizon, of the learned dynamics in `parts`.

    `derivatives` are true dynamics whose Jacobians are cheap (central differences of the C engine); default: the true
    dynamics of `parts`.
    """
    generator = seeding.torch_generator(seed, "bound")
    longest = max(horizons)
    start, noise = parts.start(samples, generator), common_noise(parts, longest, samples, generator)
    truth, learned = derivatives or parts.dynamics[TRUE], parts.dynamics[LEARNED]
    with torch.no_grad():
        ours, theirs = (_trajectory(parts, dynamics, start, noise) for dynamics in (learned, truth))
    true_critic = parts.true_critic(samples, generator)
    errors, growths = [], []
    for t in range(longest):
        repeated = _repeat(noise.dynamics[t], start.shape[1])
        modelled = jacobian(lambda s, a, n=repeated: learned.step(s, a, n), *ours[t])
        exact = jacobian(lambda s, a, n=repeated: truth.step(s, a, n), *theirs[t])
        errors.append(_largest(modelled - exact))
        growths.append(_largest(exact))
    world = parts.world(truth)
    earned = parts.task.reward or (lambda s, a: world.step(s, a, None).reward_t)
    rewards = [_gradient_norm(earned, *x) for x in theirs]
    widening = [_policy_norm(parts, obs, noise.policy[t]) for t, (obs, _) in enumerate(theirs)]
    sensitivities = _sensitivities(parts, start, noise)
    results = []
    for horizon in horizons:
        l_pi = max(widening[: horizon + 1])
        growth = max(growths[:horizon], default=0.0) * l_pi
        k = max(sensitivities[: horizon + 1])
        l_q = _gradient_norm(lambda s, a: lower_bound(true_critic(s, a)), *theirs[horizon])
        powers = torch.tensor(growth, dtype=torch.float64) ** torch.arange(horizon)  # inf where a float would raise
        sums = [0.0, *powers.cumsum(0).tolist()]
        inner = sum(parts.gamma**t * rewards[t] * sums[t] for t in range(1, horizon))
        c_1 = k * l_pi * (inner + parts.gamma**horizon * l_q * sums[horizon])
        eps_q = _critic_error(parts.critic, true_critic, ours[horizon], theirs[horizon])
        eps_f = max(errors[:horizon], default=0.0)
        results.append(Bound(horizon, eps_f, eps_q, k, growth, c_1, parts.gamma**horizon * k))
    return results


def rank_correlation(bound: Sequence[float], error: Sequence[float]) -> float:
    """Spearman's, of the bound and the error over horizons; NaN where there are fewer than three."""
    if len(bound) < 3:
        return math.nan
    return float(np.corrcoef(rankdata(bound), rankdata(error))[0, 1])


Visited = tuple[Tensor, Tensor]
"""States and actions, (batch, obs) and (batch, action)."""


def _trajectory(parts: Parts, dynamics: AbstractDynamics, obs: Tensor, noise: PathwiseNoise) -> list[Visited]:
    visited = []
    for t in range(len(noise.policy)):
        action, _ = parts.policy.sample(obs, noise.policy[t])
        visited.append((obs, action))
        if t < len(noise.dynamics):
            obs = dynamics.step(obs, action, noise.dynamics[t])
    return visited


def _sensitivities(parts: Parts, start: Tensor, noise: PathwiseNoise) -> list[float]:
    """K_t = max over samples of |dx^_t/dtheta|_F, by derivatives along random directions v: E|Gv|^2 = |G|_F^2.

    Gv comes out of two backward passes: G'u is linear in u, and its derivative with respect to u along v is Gv.
    """
    generator = seeding.torch_generator(0, "directions")
    parameters = list(parts.policy.parameters())
    visited = torch.stack([torch.cat(x, -1) for x in _trajectory(parts, parts.dynamics[LEARNED], start, noise)])
    cotangent = torch.zeros_like(visited, requires_grad=True)
    pulled = torch.autograd.grad(visited, parameters, cotangent, create_graph=True)
    squares = torch.zeros(visited.shape[:2], dtype=visited.dtype)
    for _ in range(DIRECTIONS):
        direction = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in parameters]
        (pushed,) = torch.autograd.grad(pulled, cotangent, direction, retain_graph=True)
        squares += pushed.square().sum(-1)
    return (squares / DIRECTIONS).sqrt().amax(1).tolist()


def _policy_norm(parts: Parts, obs: Tensor, noise: Tensor) -> float:
    """|[I; dpi/ds]|, at most."""
    size = parts.policy.action_size
    x = obs.detach().repeat_interleave(size, 0).requires_grad_()
    action, _ = parts.policy.sample(x, noise.repeat_interleave(size, 0))
    (rows,) = torch.autograd.grad(action, x, torch.eye(size, dtype=x.dtype).repeat(len(obs), 1))
    slope = matrix_norm(rows.view(len(obs), size, -1), ord=2)
    return float((1 + slope.square()).sqrt().max())


def _gradient(function, obs: Tensor, action: Tensor) -> Float[Tensor, "batch obs_plus_action"]:
    x = torch.cat([obs, action], -1).detach().requires_grad_()
    split = obs.shape[-1]
    return torch.autograd.grad(function(x[:, :split], x[:, split:]).sum(), x)[0]


def _gradient_norm(function, obs: Tensor, action: Tensor) -> float:
    return float(_gradient(function, obs, action).norm(dim=-1).max())


def _critic_error(critic: QFunction, true_critic: QFunction, ours: Visited, theirs: Visited) -> float:
    learned = _gradient(lambda s, a: lower_bound(critic(s, a)), *ours)
    exact = _gradient(lambda s, a: lower_bound(true_critic(s, a)), *theirs)
    return float((learned - exact).norm(dim=-1).max())


def _largest(matrices: Float[Tensor, "batch rows columns"]) -> float:
    return float(matrix_norm(matrices, ord=2).max())


def _repeat(noise: Noise | None, times: int) -> Noise | None:
    if noise is None:
        return None
    return Noise(noise.member.repeat_interleave(times, 0), noise.gaussian.repeat_interleave(times, 0))
