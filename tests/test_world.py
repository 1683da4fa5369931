"""A step in a world: given and learned rewards and terminations serve every objective alike."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from support.loop import (
    ACTION,
    ALPHA,
    BATCH,
    OBS,
    common_noise,
    discount,
    generator,
    reward,
    start,
    transition,
)

from diffmaac.dynamics import AbstractDynamics, GaussianEnsemble, Heads, LearnedDynamics, LinearDynamics, Outcome
from diffmaac.objectives import (
    ClosedLoop,
    SvgNoise,
    World,
    flat_gradient,
    pathwise_loss,
    sample_steve_noise,
    steve_candidates,
    svg_loss,
)
from diffmaac.planning import CrossEntropyPlanner
from diffmaac.rollout import imagine
from diffmaac.settings import ModelSettings, PlanSettings
from diffmaac.task import Task
from diffmaac.tasks import get_task
from diffmaac.training.fit import EnsembleFitter
from diffmaac.typed import matrix_norm

GAMMA = 0.9
C = 0.7
"""Probability of going on."""


@dataclass(frozen=True)
class Telling(AbstractDynamics):
    """Linear dynamics that tell, as a model does, the reward and how likely the episode goes on."""

    linear: LinearDynamics
    continues: float | torch.Tensor = 1.0
    """Constant, or the weights (obs + action) of a logit."""
    tells_reward: bool = False

    @property
    def members(self):
        return 1

    @property
    def stochastic(self):
        return False

    def sample_noise(self, batch, generator, dtype=torch.float32):
        return None

    def infer_noise(self, obs, action, obs_tp1, generator):
        return None

    def step(self, obs, action, noise=None):
        return self.linear.step(obs, action)

    def step_members(self, obs, action, gaussian=None):
        return self.linear.step(obs, action)

    def outcome(self, obs, action, noise):
        if isinstance(self.continues, float):
            continues = torch.full_like(obs[..., 0], self.continues)
        else:
            continues = torch.sigmoid(torch.cat([obs, action], -1) @ self.continues)
        return Outcome(self.step(obs, action), reward(obs, action) if self.tells_reward else None, continues)

    def outcome_members(self, obs, action, gaussian):
        return self.outcome(obs, action, None)


def scaled(factor):
    return lambda obs: factor * discount(obs)


def j_h(loop, horizon=3):
    loss, _ = pathwise_loss(loop, start(), common_noise(loop.dynamics, horizon), ALPHA)
    return loss, flat_gradient(loss, loop.policy)


def steve(loop):
    noise = sample_steve_noise(loop.dynamics, 3, BATCH, (OBS, ACTION), generator(5), torch.float64)
    candidates = steve_candidates(loop, transition(), noise, ALPHA)
    return candidates, flat_gradient(candidates.mean(), loop.policy)


def svg(loop):
    noise = SvgNoise(None, torch.randn(BATCH, ACTION, generator=generator(6), dtype=torch.float64))
    loss, _ = svg_loss(loop, loop.policy, transition(), noise, ALPHA, 5.0)
    return loss, flat_gradient(loss, loop.policy)


def plan(loop):
    planner = CrossEntropyPlanner(loop, PlanSettings(candidates=4, plan_horizon=3), generator())
    sequences = torch.rand(3, BATCH, 4, ACTION, generator=generator(7), dtype=torch.float64) * 2 - 1
    values = planner.values(start(), sequences, (None, None, None))
    return values, values


@pytest.mark.parametrize("look_ahead", [j_h, steve, svg, plan])
def test_a_constant_probability_of_going_on_is_a_smaller_discount(policy, critics, linear, look_ahead):
    """W_h = prod gamma c = (gamma c)^h, in value and gradient."""
    if look_ahead is plan:
        policy, critics = policy.requires_grad_(False), critics.requires_grad_(False)
    told = look_ahead(ClosedLoop(policy, critics, World(Telling(linear, C), reward, discount)))
    closed = look_ahead(ClosedLoop(policy, critics, World(linear, reward, scaled(C))))
    for ours, expected in zip(told, closed, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    undiminished = look_ahead(ClosedLoop(policy, critics, World(linear, reward, discount)))
    assert not torch.allclose(told[0], undiminished[0])


@pytest.mark.parametrize("look_ahead", [j_h, steve, svg, plan])
def test_a_reward_that_dynamics_tell_counts_as_a_given_one(policy, critics, linear, look_ahead):
    told = look_ahead(ClosedLoop(policy, critics, World(Telling(linear, tells_reward=True), None, discount)))
    given = look_ahead(ClosedLoop(policy, critics, World(linear, reward, discount)))
    for ours, expected in zip(told, given, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("look_ahead", [j_h, steve, svg, plan])
def test_a_reward_of_the_transition_is_that_of_where_it_leads(policy, critics, linear, look_ahead):
    """r(s, a, s') with s' = A s + B a written out as a function of s and a."""

    def of_transition(obs, action, obs_tp1):
        return reward(obs_tp1, action) - obs[..., 0]

    def written_out(obs, action):
        return reward(linear.step(obs, action), action) - obs[..., 0]

    ours = look_ahead(ClosedLoop(policy, critics, World(linear, None, discount, of_transition)))
    expected = look_ahead(ClosedLoop(policy, critics, World(linear, written_out, discount)))
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


def test_the_gradient_flows_through_the_probability_of_going_on(policy, critics, linear):
    """Against central differences along a random direction of the policy's parameters. With a step of 1e-6 their own
    error, of rounding (1e-16 / 1e-6) and of truncation (1e-12), is below 1e-9."""
    weights = torch.tensor([0.5, -0.3, 2.0], dtype=torch.float64)
    loop = ClosedLoop(policy, critics, World(Telling(linear, weights), reward, discount))
    _, gradient = j_h(loop)
    direction = torch.randn(gradient.shape, generator=generator(9), dtype=torch.float64)
    parameters = torch.nn.utils.parameters_to_vector(policy.parameters()).detach()

    def value(step):
        torch.nn.utils.vector_to_parameters(parameters + step * direction, policy.parameters())
        return j_h(loop)[0].item()

    slope = (value(1e-6) - value(-1e-6)) / 2e-6
    assert slope == pytest.approx(float(gradient @ direction), rel=1e-6)


def test_dynamics_without_a_reward_where_none_is_given_are_refused(policy, critics, linear):
    with pytest.raises(ValueError, match="no reward is given"):
        j_h(ClosedLoop(policy, critics, World(linear, None, discount)))


A = torch.tensor([[0.9, 0.2], [0.0, 0.8]])
B = torch.tensor([[0.1], [0.5]])


def data(count, g):
    """s' = A s + B a + 0.1 eps, r = s_0 - a + 0.2 eps, P(end) = sigmoid(3 s_1 - 2)."""
    obs, action = torch.randn(count, 2, generator=g), torch.rand(count, 1, generator=g) * 2 - 1
    after = obs @ A.T + action @ B.T + 0.1 * torch.randn(count, 2, generator=g)
    paid = obs[:, 0] - action[:, 0] + 0.2 * torch.randn(count, generator=g)
    ended = torch.rand(count, generator=g) < torch.sigmoid(3 * obs[:, 1] - 2)
    return obs, action, after, (paid, ended.float())


def test_a_fit_recovers_reward_its_noise_and_the_probability_of_termination():
    g = generator(1)
    network = GaussianEnsemble(2, 1, 3, [32, 32], g, Heads(reward=True, end=True))
    obs, action, after, learned = data(4000, g)
    EnsembleFitter(network, ModelSettings(model_epochs=40)).fit(obs, action, after, g, learned)
    x = torch.cat([obs, action], -1).expand(3, -1, -1)
    with torch.no_grad():
        change, paid, continues = network.predict(x, None)
        _, log_var, _ = network(x)
    assert paid is not None and continues is not None
    assert (change.mean(0) - (obs @ A.T + action @ B.T - obs)).square().mean().sqrt() < 0.05
    assert (paid.mean(0) - (obs[:, 0] - action[:, 0])).square().mean().sqrt() < 0.06
    std = (log_var[..., -1] / 2).exp().mean() * network.y_std[-1]
    assert float(std) == pytest.approx(0.2, rel=0.15)
    p = torch.sigmoid(3 * obs[:, 1] - 2)
    assert (1 - continues.mean(0) - p).square().mean().sqrt() < 0.07


def test_without_terminations_every_episode_goes_on():
    """Exactly, and without a gradient, whatever the head's first weights are."""
    g = generator(1)
    network = GaussianEnsemble(2, 1, 3, [8], g, Heads(end=True))
    obs, action, after, (paid, ended) = data(200, g)
    EnsembleFitter(network, ModelSettings(model_epochs=1)).fit(obs, action, after, g, (paid, 0 * ended))
    model = LearnedDynamics(network)
    continues = model.outcome(obs, action, model.sample_noise(200, g)).continues_tp1
    assert continues is not None and (continues == 1).all()


def test_heads_leave_the_motion_as_it_is():
    """The noise, `step` and its inverse are those of the change of state, whichever heads there are."""
    g = generator(1)
    for heads in (Heads(), Heads(reward=True), Heads(end=True), Heads(True, True)):
        network = GaussianEnsemble(2, 1, 3, [8], g, heads)
        obs, action, after, (paid, ended) = data(100, g)
        EnsembleFitter(network, ModelSettings(model_epochs=2)).fit(obs, action, after, g, (paid, ended))
        model = LearnedDynamics(network.requires_grad_(False))
        noise = model.infer_noise(obs, action, after, g)
        outcome = model.outcome(obs, action, noise)
        torch.testing.assert_close(outcome.obs_tp1, after, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(model.step(obs, action, noise), outcome.obs_tp1, rtol=0, atol=0)
        assert [x is not None for x in outcome[1:]] == list(heads)
        members = model.outcome_members(obs.expand(3, -1, -1), action.expand(3, -1, -1), None)
        for grouped, each in zip(outcome[1:], members[1:], strict=True):
            if grouped is not None and each is not None:
                chosen = each[noise.member, torch.arange(100)]
                torch.testing.assert_close(grouped, chosen, rtol=1e-4, atol=1e-5)


@pytest.fixture
def ending() -> Task:
    """A task whose environment alone knows reward and end."""
    return dataclasses.replace(get_task("double_integrator"), reward=None, learns_end=True)


def test_imagined_rollouts_go_on_with_the_probability_that_is_told(policy, linear, ending):
    """After n steps the share c^n is left: binomial, so within four standard deviations; discounts are gamma c."""
    world, start_states = Telling(linear, C, tells_reward=True), torch.randn(4000, OBS, generator=generator()).double()
    imagined = imagine(policy, world, ending, start_states, 3, GAMMA, generator(2))
    assert torch.equal(imagined.discount_tp1, torch.full_like(imagined.discount_tp1, GAMMA * C))
    torch.testing.assert_close(imagined.reward_t, reward(imagined.obs_t, imagined.action_t))
    expected = 4000 * (1 + C + C**2)
    assert abs(len(imagined.obs_t) - expected) < 4 * np.sqrt(4000 * 2)


def test_the_jacobian_of_the_reward_head_is_that_of_the_network():
    """d r / d (s, a) of the mean against central differences in float64 (step 1e-6, so below 1e-9)."""
    g = generator(3)
    network = GaussianEnsemble(2, 1, 1, [8], g, Heads(reward=True)).double().requires_grad_(False)
    x = torch.randn(1, 5, 3, generator=g, dtype=torch.float64, requires_grad=True)
    paid = network.predict(x, None).reward
    assert paid is not None
    (gradient,) = torch.autograd.grad(paid.sum(), x)
    columns = []
    for i in range(3):
        shift = torch.zeros_like(x)
        shift[..., i] = 1e-6
        up, down = (network.predict(x.detach() + sign * shift, None).reward for sign in (1, -1))
        assert up is not None and down is not None
        columns.append((up - down) / 2e-6)
    assert matrix_norm(gradient[0] - torch.stack(columns, -1)[0].detach()).item() < 1e-8
