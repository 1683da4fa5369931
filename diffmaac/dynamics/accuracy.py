"""How good are a learned model's predictions, and how good its derivatives? On real states that no fit has seen.

The policy gradient multiplies Jacobians of the model, so eps_f = |df^/d(s,a) - df/d(s,a)| decides its error, and a
model that predicts well can still be wrong there. The truth is the C engine: its next states and their differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics import AbstractDynamics, LearnedDynamics
from diffmaac.dynamics.jacobian import jacobian
from diffmaac.errors import DivergenceError
from diffmaac.typed import matrix_norm

ENSEMBLE = "ensemble"
TINY = 1e-12
ROUNDING = 1e-6
"""Of a float32, relative: a reward, or the change of an observation, that varies by less is constant."""


@dataclass(frozen=True)
class JacobianError:
    """eps_f of one member, or of the mean of all, averaged over states: of matrices, in the Frobenius norm.

    `absolute` |J^ - J| in the observations' units, `relative` |J^ - J| / |J|, `cosine` of the angle between the two.
    `entries` is the root mean square error of every entry (rows: next obs; columns: obs, then action), in units of the
    root mean square of the true row, so that outputs of different units can be compared.
    """

    member: str
    absolute: float
    relative: float
    cosine: float
    entries: Float[Tensor, "obs obs_plus_action"]


@dataclass(frozen=True)
class Predictions:
    """One step of the ensemble on held-out transitions, an entry for each observation.

    `error`: root mean square of mean prediction - truth, in standard deviations of the change that is predicted, or, of
    an observation whose change is constant, in the rounding of the observation.
    `within_1`, `within_2`: share of truths within one and two standard deviations of the ensemble's own (variance of
    its mixture); 0.68 and 0.95 if it were Gaussian and calibrated.
    """

    error: Float[Tensor, " obs"]
    within_1: Float[Tensor, " obs"]
    within_2: Float[Tensor, " obs"]


def jacobian_errors(
    model: LearnedDynamics,
    truth: AbstractDynamics,
    obs: Float[Tensor, "batch obs"],
    action: Float[Tensor, "batch action"],
) -> list[JacobianError]:
    """eps_f of each member, and of the mean of the ensemble, last. Noise-free predictions are differentiated."""
    exact = jacobian(lambda s, a: truth.step(s, a, None), obs, action)
    jacobians = [jacobian(lambda s, a, m=m: _member_step(model, m, s, a), obs, action) for m in range(model.members)]
    jacobians.append(torch.stack(jacobians).mean(0))
    names = [*map(str, range(model.members)), ENSEMBLE]
    return [_compare(name, ours, exact) for name, ours in zip(names, jacobians, strict=True)]


def _compare(name: str, ours: Tensor, exact: Tensor) -> JacobianError:
    error = ours - exact
    absolute, size = matrix_norm(error), matrix_norm(exact)
    cosine = (ours * exact).sum((1, 2)) / (matrix_norm(ours) * size).clamp_min(TINY)
    scale = exact.square().mean((0, 2)).sqrt().clamp_min(TINY)
    return JacobianError(
        member=name,
        absolute=float(absolute.mean()),
        relative=float((absolute / size.clamp_min(TINY)).mean()),
        cosine=float(cosine.mean()),
        entries=error.square().mean(0).sqrt() / scale[:, None],
    )


@torch.no_grad()
def predictions(model: LearnedDynamics, obs: Tensor, action: Tensor, obs_tp1: Tensor) -> Predictions:
    """One-step error and calibration on real transitions: (batch, obs), (batch, action), (batch, obs)."""
    mean, spread = _moments(model, obs, action, slice(obs.shape[-1]), obs)
    scale = torch.maximum((obs_tp1 - obs).std(0), ROUNDING * obs_tp1.abs().amax(0))
    return _predictions(mean - obs_tp1, spread, scale)


def _moments(
    model: LearnedDynamics, obs: Tensor, action: Tensor, columns: slice, offset: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the ensemble's mixture, of `offset` + those columns of its data: (batch, columns) each."""
    network = model.network
    mean, log_var, _ = network(torch.cat([obs, action], -1).expand(model.members, -1, -1))
    mean = offset + network.y_mean[columns] + network.y_std[columns] * mean[..., columns]
    spread = (network.y_std[columns] ** 2 * log_var[..., columns].exp()).mean(0) + mean.var(0, correction=0)
    return mean.mean(0), spread


def _predictions(error: Tensor, spread: Tensor, scale: Tensor) -> Predictions:
    """From errors and predicted variances, both (batch, size); errors are told in units of `scale` (size)."""
    standard = error.abs() / spread.sqrt().clamp_min(TINY)
    within = [(standard <= width).to(error).mean(0) for width in (1.0, 2.0)]
    return Predictions(error.square().mean(0).sqrt() / scale.clamp_min(TINY), *within)


@torch.no_grad()
def reward_predictions(
    model: LearnedDynamics, obs: Tensor, action: Tensor, reward: Float[Tensor, " batch"]
) -> Predictions | None:
    """As `predictions`, of the learned reward (one entry), in standard deviations of the reward, or in its own unit
    where it `is_constant`; None: not learned."""
    if not model.network.heads.reward:
        return None
    mean, spread = _moments(model, obs, action, slice(-1, None), 0.0)
    scale = torch.ones_like(reward[:1]) if is_constant(reward) else reward.std(0, keepdim=True)
    return _predictions(mean - reward[:, None], spread, scale)


def is_constant(reward: Float[Tensor, " batch"]) -> bool:
    """Whether a reward does not vary, so that its standard deviation is no unit for errors."""
    return bool(reward.std() <= ROUNDING * reward.abs().amax())


@dataclass(frozen=True)
class EndError:
    """How well the learned probability of termination fits held-out transitions.

    `brier` is its mean squared error, mean (p - ended)^2; `base` that of always saying the share of terminations.
    `predicted` is the mean probability, `ended` the share of transitions that did end: equal where it is calibrated.
    """

    brier: float
    base: float
    predicted: float
    ended: float


@torch.no_grad()
def end_error(model: LearnedDynamics, obs: Tensor, action: Tensor, ended: Float[Tensor, " batch"]) -> EndError | None:
    """None where terminations are not learned."""
    repeated = [x.expand(model.members, -1, -1) for x in (obs, action)]
    continues = model.outcome_members(repeated[0], repeated[1], None).continues_tp1
    if continues is None:
        return None
    p, share = 1 - continues.mean(0), float(ended.mean())
    brier = float((p - ended).square().mean())
    return EndError(brier, share * (1 - share), float(p.mean()), share)


@torch.no_grad()
def open_loop_errors(
    model: LearnedDynamics,
    truth: AbstractDynamics,
    obs: Float[Tensor, "batch obs"],
    actions: Float[Tensor, "steps batch action"],
) -> Float[Tensor, "steps members"]:
    """Root mean square error of the state after 1, 2, ... steps of the same actions, each member on its own.

    In standard deviations of the true states at that step. Rows whose true motion diverges are an error of the task:
    DivergenceError.
    """
    ours, theirs = obs.expand(model.members, -1, -1), obs
    rows: list[Tensor] = []
    for action in actions:
        ours = model.step_members(ours, action.expand(model.members, -1, -1), None)
        theirs = truth.step(theirs, action, None)
        if not torch.isfinite(ours).all():
            raise DivergenceError(f"the model's state is not finite after {len(rows) + 1} steps. Give fewer steps.")
        scale = theirs.std(0).clamp_min(TINY)
        rows.append(((ours - theirs) / scale).square().mean((1, 2)).sqrt())
    return torch.stack(rows)


def _member_step(model: LearnedDynamics, member: int, obs: Tensor, action: Tensor) -> Tensor:
    """The mean prediction of one member, out of all, which are one batched product."""
    members = model.members
    return model.step_members(obs.expand(members, -1, -1), action.expand(members, -1, -1), None)[member]


def summary(errors: Sequence[JacobianError]) -> dict[str, float]:
    """The ensemble's eps_f as metrics of a training run."""
    last = errors[-1]
    return {"eps_f": last.absolute, "eps_f_relative": last.relative, "eps_f_cosine": last.cosine}
