"""The pathwise objective against its sum written out, SAC, and finite differences of itself."""

import pytest
import torch
from support.loop import (
    ACTION,
    ALPHA,
    BATCH,
    OBS,
    check_clipping,
    common_noise,
    discount,
    generator,
    reward,
    some_terminate,
    start,
    two_steps,
)

from diffmaac.nn import Critics, SquashedGaussianPolicy
from diffmaac.objectives import (
    ClosedLoop,
    World,
    clip_adjoint,
    flat_gradient,
    pathwise_loss,
    sample_pathwise_noise,
    soft_actor_loss,
)


def test_horizon_zero_is_sacs_actor_loss_bit_for_bit(linear):
    policy = SquashedGaussianPolicy(OBS, ACTION, [16], generator())
    critics = Critics(OBS, ACTION, [16], generator(1))
    obs, alpha = start().float(), ALPHA.float()
    noise = sample_pathwise_noise(linear, 0, BATCH, ACTION, generator(3))
    assert noise.dynamics == ()
    loss, extra = pathwise_loss(ClosedLoop(policy, critics, World(linear, reward, discount)), obs, noise, alpha)
    without, same = soft_actor_loss(policy, critics, obs, noise.policy[0], alpha)
    action, log_prob = policy.sample(obs, noise.policy[0])
    sac = (alpha * log_prob - critics(obs, action).amin(0)).mean()
    assert torch.equal(loss, sac) and torch.equal(without, sac)
    assert torch.equal(extra["log_prob_t"], log_prob) and torch.equal(same["log_prob_t"], log_prob)
    gradients = [flat_gradient(x, policy) for x in (loss, without, sac)]
    assert torch.equal(gradients[0], gradients[2]) and torch.equal(gradients[1], gradients[2])


@pytest.mark.parametrize("which", ["linear", "ensemble"])
@pytest.mark.parametrize("horizon", [1, 3])
def test_gradient_is_the_finite_difference_on_common_noise(which, horizon, policy, critics, request):
    """Central differences in float64 along random directions; 1e-6 balances their error h^2 against rounding / h."""
    dynamics = request.getfixturevalue(which)
    noise, obs, h = common_noise(dynamics, horizon), start(), 1e-6
    parameters = list(policy.parameters())

    def loss():
        return pathwise_loss(ClosedLoop(policy, critics, World(dynamics, reward, discount)), obs, noise, ALPHA)[0]

    def displace(directions, step):
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.add_(direction, alpha=step)

    grads = torch.autograd.grad(loss(), parameters)
    for seed in range(3):
        directions = [torch.randn(p.shape, generator=generator(seed), dtype=torch.float64) for p in parameters]
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                displace(directions, sign * h)
                values.append(float(loss()))
                displace(directions, -sign * h)
        expected = (values[0] - values[1]) / (2 * h)
        got = sum(float((g * d).sum()) for g, d in zip(grads, directions, strict=True))
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, [1, 2, 3, 3, 3]), (2.0, [1, 2, 6, 3, 4]), (100.0, [1, 2, 100, 3, 4])]
)
def test_adjoints_are_clipped_to_multiples_of_the_median_norm(factor, expected):
    norms = torch.tensor([1.0, 2.0, 100.0, 3.0, 4.0])  # the median is 3
    cotangent = norms[:, None] * torch.tensor([0.6, -0.8])
    obs = torch.zeros(5, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(clip_adjoint(obs, factor), obs, cotangent)
    torch.testing.assert_close(grad, torch.tensor(expected)[:, None] * torch.tensor([0.6, -0.8]))


@pytest.mark.parametrize(("norms", "expected"), [([0, 0, 0, 1, 100], [0, 0, 0, 1, 1]), ([0] * 5, [0] * 5)])
def test_samples_without_a_gradient_do_not_count_in_the_median(norms, expected):
    obs = torch.zeros(5, 1, requires_grad=True)
    (grad,) = torch.autograd.grad(clip_adjoint(obs, 1.0), obs, torch.tensor(norms)[:, None].float())
    assert grad[:, 0].tolist() == expected


def test_clipped_adjoints_change_the_gradient_and_not_the_value(policy, critics, linear):
    noise, obs, loop = common_noise(linear, 3), start(), ClosedLoop(policy, critics, World(linear, reward, discount))
    check_clipping(lambda clip: pathwise_loss(loop, obs, noise, ALPHA, clip)[0], policy)


def test_value_is_the_discounted_sum_written_out(policy, critics, linear):
    noise, obs = common_noise(linear, 2), start()
    loss, extra = pathwise_loss(ClosedLoop(policy, critics, World(linear, reward, discount)), obs, noise, ALPHA)
    trajectory = two_steps(policy, lambda s, a, h: linear.step(s, a), obs, noise.policy)
    (_, a0, l0), (s1, a1, l1), (s2, a2, l2) = trajectory
    expected = reward(obs, a0) - ALPHA * l0 + 0.9 * (reward(s1, a1) - ALPHA * l1)
    expected = expected + 0.81 * (critics(s2, a2).amin(0) - ALPHA * l2)
    torch.testing.assert_close(loss, -expected.mean())
    torch.testing.assert_close(extra["log_prob_t"], l0.detach())


def test_each_samples_episode_ends_by_itself(policy, critics, linear):
    noise, obs = common_noise(linear, 2), start()
    loss, _ = pathwise_loss(ClosedLoop(policy, critics, World(linear, reward, some_terminate)), obs, noise, ALPHA)
    trajectory = two_steps(policy, lambda s, a, h: linear.step(s, a), obs, noise.policy)
    (_, a0, l0), (s1, a1, l1), (s2, a2, l2) = trajectory
    last = reward(s1, a1) - ALPHA * l1 + some_terminate(s2) * (critics(s2, a2).amin(0) - ALPHA * l2)
    assert len(some_terminate(s1).unique()) == 2
    torch.testing.assert_close(loss, -(reward(obs, a0) - ALPHA * l0 + some_terminate(s1) * last).mean())


def test_nothing_counts_after_termination(policy, critics, linear):
    noise, obs = common_noise(linear, 2), start()
    loss, _ = pathwise_loss(
        ClosedLoop(policy, critics, World(linear, reward, lambda s: 0 * s[..., 0])), obs, noise, ALPHA
    )
    action, log_prob = policy.sample(obs, noise.policy[0])
    torch.testing.assert_close(loss, -(reward(obs, action) - ALPHA * log_prob).mean())
