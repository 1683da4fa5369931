"""The policy: its density, the noise behind an action, and its twin without gradient."""

import torch
from support.loop import ACTION, BATCH, generator, start

from diffmaac.nn import frozen


def test_log_density_is_that_of_the_squashed_gaussian(policy):
    """Against torch's own transformed distribution."""
    obs = start()
    action, log_prob = policy.sample(obs, torch.randn(BATCH, ACTION, generator=generator(), dtype=torch.float64))
    mean, log_std = policy(obs)
    distribution = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_std.exp()), [torch.distributions.TanhTransform()]
    )
    torch.testing.assert_close(log_prob, distribution.log_prob(action).sum(-1), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(policy.log_prob(obs, action), log_prob, rtol=1e-8, atol=1e-8)


def test_actions_on_the_border_have_finite_noise(policy):
    noise = policy.infer_noise(start(), torch.ones(BATCH, ACTION).double())
    assert torch.isfinite(noise).all()


def test_a_frozen_policy_follows_its_original_and_has_no_gradient(policy):
    twin, obs = frozen(policy), start()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(0.5)
    assert torch.equal(twin.mode(obs), policy.mode(obs))
    assert not twin.mode(obs).requires_grad
