"""Objectives against closed forms, finite differences of themselves, and each other."""

import numpy as np
import pytest
import torch

from diffmaac import seeding
from diffmaac.config import ModelSettings
from diffmaac.dynamics import LearnedDynamics, LinearDynamics, Noise
from diffmaac.nn import Critics, SquashedGaussianPolicy, frozen
from diffmaac.objectives import (
    ClosedLoop,
    PathwiseNoise,
    clip_adjoint,
    critic_loss,
    flat_gradient,
    importance_weights,
    infer_svg_noise,
    lower_bound,
    pathwise_loss,
    sample_pathwise_noise,
    sample_steve_noise,
    soft_td_target,
    steve_candidates,
    steve_target,
    svg_loss,
    temperature_loss,
)
from diffmaac.system import LinearSystem
from diffmaac.types import Transition

OBS, ACTION, BATCH = 2, 1, 16
ALPHA = torch.tensor(0.3, dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return seeding.torch_generator(seed, "test")


def reward(obs, action):
    return -obs.square().sum(-1) - 0.1 * action.square().sum(-1)


def discount(obs):
    return obs.new_full(obs.shape[:-1], 0.9)


@pytest.fixture
def policy():
    return SquashedGaussianPolicy(OBS, ACTION, [16], generator()).double()


@pytest.fixture
def critics():
    return Critics(OBS, ACTION, [16], generator(1)).double()


@pytest.fixture
def linear():
    return LinearDynamics(LinearSystem(np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]]), 0.1))


@pytest.fixture
def ensemble():
    dynamics = LearnedDynamics(OBS, ACTION, ModelSettings(members=3, model_hidden=[16]), generator(2))
    dynamics.network.double()
    return dynamics


def noise_in_double(dynamics, horizon):
    noise = sample_pathwise_noise(dynamics, horizon, BATCH, ACTION, generator(3))
    steps = tuple(n and n._replace(gaussian=n.gaussian.double()) for n in noise.dynamics)
    return noise._replace(policy=noise.policy.double(), dynamics=steps)


def start():
    return torch.randn(BATCH, OBS, generator=generator(4), dtype=torch.float64)


def transition():
    obs = start()
    rewards = obs[:, 0].clone()
    action = torch.zeros(BATCH, ACTION).double()
    return Transition(obs, action, rewards, torch.full_like(rewards, 0.9), obs + 0.1, torch.zeros_like(rewards))


def test_horizon_zero_is_sacs_actor_loss_bit_for_bit():
    policy = SquashedGaussianPolicy(OBS, ACTION, [16], generator())
    critics = Critics(OBS, ACTION, [16], generator(1))
    obs, alpha = start().float(), ALPHA.float()
    noise = sample_pathwise_noise(None, 0, BATCH, ACTION, generator(3))
    loss, _ = pathwise_loss(ClosedLoop(policy, critics, None, reward, discount), obs, noise, alpha)
    action, log_prob = policy.sample(obs, noise.policy[0])
    sac = (alpha * log_prob - critics(obs, action).amin(0)).mean()
    assert torch.equal(loss, sac)
    parameters = list(policy.parameters())
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(sac, parameters), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("which", ["linear", "ensemble"])
@pytest.mark.parametrize("horizon", [1, 3])
def test_gradient_is_the_finite_difference_on_common_noise(which, horizon, policy, critics, request):
    """Central differences in float64 along random directions; 1e-6 balances their error h^2 against rounding / h."""
    dynamics = request.getfixturevalue(which)
    noise, obs, h = noise_in_double(dynamics, horizon), start(), 1e-6
    parameters = list(policy.parameters())

    def loss():
        return pathwise_loss(ClosedLoop(policy, critics, dynamics, reward, discount), obs, noise, ALPHA)[0]

    grads = torch.autograd.grad(loss(), parameters)
    for seed in range(3):
        directions = [torch.randn(p.shape, generator=generator(seed), dtype=torch.float64) for p in parameters]
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                torch._foreach_add_(parameters, directions, alpha=sign * h)
                values.append(float(loss()))
                torch._foreach_add_(parameters, directions, alpha=-sign * h)
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


def check_clipping(loss_at, policy):
    """Of `loss_at(adjoint_clip)` clipping changes the gradient and not the value, which is returned."""
    plain, same, clipped = (loss_at(clip) for clip in (0.0, 1e6, 0.5))
    gradient, loose, tight = (flat_gradient(loss, policy) for loss in (plain, same, clipped))
    assert torch.equal(plain, same) and torch.equal(plain, clipped)
    torch.testing.assert_close(loose, gradient)
    assert not torch.allclose(tight, gradient, rtol=0.05)
    return plain.detach()


def test_clipped_adjoints_change_the_gradient_and_not_the_value(policy, critics, linear):
    noise, obs, loop = noise_in_double(linear, 3), start(), ClosedLoop(policy, critics, linear, reward, discount)
    check_clipping(lambda clip: pathwise_loss(loop, obs, noise, ALPHA, clip)[0], policy)


def two_steps(policy, step, obs, noise):
    """States 0 to 2, and each one's action and log density: (s_0, a_0, l_0), ..."""
    trajectory = []
    for h in range(3):
        action, log_prob = policy.sample(obs, noise[h])
        trajectory.append((obs, action, log_prob))
        obs = step(obs, action, h) if h < 2 else obs
    return trajectory


def test_value_is_the_discounted_sum_written_out(policy, critics, linear):
    noise, obs = noise_in_double(linear, 2), start()
    loss, extra = pathwise_loss(ClosedLoop(policy, critics, linear, reward, discount), obs, noise, ALPHA)
    trajectory = two_steps(policy, lambda s, a, h: linear.step(s, a), obs, noise.policy)
    (_, a0, l0), (s1, a1, l1), (s2, a2, l2) = trajectory
    expected = reward(obs, a0) - ALPHA * l0 + 0.9 * (reward(s1, a1) - ALPHA * l1)
    expected = expected + 0.81 * (critics(s2, a2).amin(0) - ALPHA * l2)
    torch.testing.assert_close(loss, -expected.mean())
    torch.testing.assert_close(extra["log_prob_t"], l0.detach())


def some_terminate(obs):
    """Episodes with s_0 < 0 have terminated: about half of a batch."""
    return 0.9 * (obs[..., 0] >= 0).to(obs.dtype)


def test_each_samples_episode_ends_by_itself(policy, critics, linear):
    noise, obs = noise_in_double(linear, 2), start()
    loss, _ = pathwise_loss(ClosedLoop(policy, critics, linear, reward, some_terminate), obs, noise, ALPHA)
    trajectory = two_steps(policy, lambda s, a, h: linear.step(s, a), obs, noise.policy)
    (_, a0, l0), (s1, a1, l1), (s2, a2, l2) = trajectory
    last = reward(s1, a1) - ALPHA * l1 + some_terminate(s2) * (critics(s2, a2).amin(0) - ALPHA * l2)
    assert len(some_terminate(s1).unique()) == 2
    torch.testing.assert_close(loss, -(reward(obs, a0) - ALPHA * l0 + some_terminate(s1) * last).mean())


def test_nothing_counts_after_termination(policy, critics, linear):
    noise, obs = noise_in_double(linear, 2), start()
    loss, _ = pathwise_loss(ClosedLoop(policy, critics, linear, reward, lambda s: 0 * s[..., 0]), obs, noise, ALPHA)
    action, log_prob = policy.sample(obs, noise.policy[0])
    torch.testing.assert_close(loss, -(reward(obs, action) - ALPHA * log_prob).mean())


def test_soft_td_target_of_known_numbers():
    target = soft_td_target(
        torch.tensor([1.0, 1.0]),
        torch.tensor([0.9, 0.0]),
        torch.tensor([[2.0, 5.0], [3.0, 4.0]]),
        torch.tensor([-1.0, 7.0]),
        torch.tensor(0.5),
    )
    assert target.tolist() == pytest.approx([1 + 0.9 * (2 + 0.5), 1.0])


def test_critic_and_temperature_loss_of_known_numbers():
    loss, _ = critic_loss(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([0.0, 0.0]))
    assert float(loss) == pytest.approx(0.5 * (1 + 4) / 2)
    log_alpha = torch.tensor(0.0, requires_grad=True)
    temperature_loss(log_alpha, torch.tensor([-3.0, -1.0]), target_entropy=-1.0).backward()
    assert log_alpha.grad is not None and float(log_alpha.grad) == pytest.approx(
        3.0
    )  # entropy 2 is above its target -1: alpha must fall


def candidates(dynamics, policy, critics, horizon):
    noise = sample_steve_noise(dynamics, horizon, BATCH, (OBS, ACTION), generator(5))
    noise = noise._replace(policy=noise.policy.double(), model=noise.model.double())
    with torch.no_grad():
        return noise, steve_candidates(
            ClosedLoop(policy, critics, dynamics, reward, discount), transition(), noise, ALPHA
        )


def test_steve_without_model_steps_and_one_member_is_td(policy, critics, linear):
    noise, values = candidates(linear, policy, critics, 0)
    target, metrics = steve_target(values, 0.5)
    batch = transition()
    with torch.no_grad():
        action, log_prob = policy.sample(batch.obs_tp1, noise.policy[0])
        expected = soft_td_target(batch.reward_t, batch.discount_tp1, critics(batch.obs_tp1, action), log_prob, ALPHA)
    torch.testing.assert_close(target, expected, rtol=1e-14, atol=0)
    assert float(metrics["steve_weight_0"]) == 1.0


def test_steve_candidates_written_out(policy, critics, linear):
    noise, values = candidates(linear, policy, critics, 1)
    batch = transition()
    with torch.no_grad():
        a1, l1 = policy.sample(batch.obs_tp1, noise.policy[0])
        s2 = linear.step(batch.obs_tp1, a1)
        a2, l2 = policy.sample(s2, noise.policy[1])
        expected = batch.reward_t + 0.9 * (reward(batch.obs_tp1, a1) - ALPHA * l1)
        expected = expected + 0.81 * (critics(s2, a2) - ALPHA * l2)
    torch.testing.assert_close(values[1, 0], expected)


def test_steve_candidates_of_an_ensemble_written_out(policy, critics, ensemble):
    """Two model steps: each member goes its own way on its own noise, and episodes end where they end."""
    batch, noise = transition(), sample_steve_noise(ensemble, 2, BATCH, (OBS, ACTION), generator(5))
    noise = noise._replace(policy=noise.policy.double(), model=noise.model.double())
    loop = ClosedLoop(policy, critics, ensemble, reward, some_terminate)
    with torch.no_grad():
        values = steve_candidates(loop, batch, noise, ALPHA)
        for m in range(3):

            def step(obs, action, h, m=m):
                return ensemble.step(obs, action, Noise(torch.full((BATCH,), m), noise.model[h, m]))

            (_, a1, l1), (s2, a2, l2), (s3, a3, l3) = two_steps(policy, step, batch.obs_tp1, noise.policy)
            last = reward(s2, a2) - ALPHA * l2 + some_terminate(s3) * (critics(s3, a3) - ALPHA * l3)
            first = reward(batch.obs_tp1, a1) - ALPHA * l1
            expected = batch.reward_t + 0.9 * (first + some_terminate(s2) * last)
            torch.testing.assert_close(values[2, m], expected)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_steve_weights_of_known_variances(scale):
    """Variances 0.25 and 2.25 in any units, floor half of their mean: weights as 1/0.875 to 1/2.875."""
    T = scale * torch.tensor([[[0.0, 1.0]], [[4.0, 7.0]]]).permute(0, 2, 1)[..., None]  # (horizon, member, critic, 1)
    target, metrics = steve_target(T, 0.5)
    weight = (1 / 0.875) / (1 / 0.875 + 1 / 2.875)
    assert float(metrics["steve_weight_0"]) == pytest.approx(weight)
    assert float(target) == pytest.approx(scale * (weight * 0.5 + (1 - weight) * 5.5))


def test_steve_does_not_collapse_onto_one_step(policy, critics, ensemble):
    """All members share the one-step target, so over members alone its variance is zero and its weight one."""
    _, values = candidates(ensemble, policy, critics, 2)
    assert values[0].var(0).abs().max() < 1e-20
    _, metrics = steve_target(values, 0.5)
    weights = [float(metrics[f"steve_weight_{h}"]) for h in range(3)]
    assert sum(weights) == pytest.approx(1.0)
    assert min(weights) > 0.05


def test_steve_leaves_an_uncertain_horizon_alone():
    certain, doubtful = torch.zeros(1, 2, 2, 4), 100 * torch.randn(1, 2, 2, 4, generator=generator())
    target, metrics = steve_target(torch.cat([certain + torch.tensor([0.0, 0.1])[:, None], doubtful]), 1e-4)
    assert float(metrics["steve_weight_1"]) < 0.01
    assert target.abs().max() < 1.0


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


def test_lower_bound_is_the_minimum_of_pairs():
    q = torch.tensor([[1.0, 4.0], [2.0, 3.0], [5.0, 0.0], [7.0, 9.0]])
    assert lower_bound(q[:1]).tolist() == [1, 4]
    assert torch.equal(lower_bound(q[:2]), q[:2].amin(0))
    assert lower_bound(q[:3]).tolist() == [3, 1.5] and lower_bound(q).tolist() == [3, 1.5]


@pytest.mark.parametrize("which", ["linear", "ensemble"])
def test_inferred_noise_gives_the_transition_again(which, policy, request):
    dynamics = request.getfixturevalue(which)
    obs, noise = start(), noise_in_double(dynamics, 1)
    action, _ = policy.sample(obs, noise.policy[0])
    torch.testing.assert_close(policy.infer_noise(obs, action), noise.policy[0], rtol=1e-9, atol=1e-9)
    after = dynamics.step(obs, action, noise.dynamics[0])
    inferred = dynamics.infer_noise(obs, action, after, generator(7))
    torch.testing.assert_close(dynamics.step(obs, action, inferred), after, rtol=1e-12, atol=1e-12)


def test_actions_on_the_border_have_finite_noise(policy):
    noise = policy.infer_noise(start(), torch.ones(BATCH, ACTION).double())
    assert torch.isfinite(noise).all()


def test_importance_weights_of_known_numbers():
    now, before = torch.log(torch.tensor([0.5, 1.0, 8.0])), torch.log(torch.tensor([1.0, 1.0, 1.0]))
    weights = importance_weights(now, before, 2.5)
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.0, 2.5]))


def just_taken(dynamics, policy) -> tuple[PathwiseNoise, Transition]:
    """Transitions of the policy as it is, and the noise that they were made with."""
    noise, obs = noise_in_double(dynamics, 1), start()
    with torch.no_grad():
        action, log_prob = policy.sample(obs, noise.policy[0])
        after = dynamics.step(obs, action, noise.dynamics[0])
    return noise, Transition(obs, action, reward(obs, action), discount(obs), after, log_prob)


@pytest.mark.parametrize("which", ["linear", "ensemble"])
def test_svg_learns_nothing_from_actions_that_the_policy_would_not_take(which, policy, critics, request):
    """As many nats as an action is less likely, so much smaller is the gradient."""
    dynamics = request.getfixturevalue(which)
    loop = ClosedLoop(policy, critics, dynamics, reward, discount)
    _, taken = just_taken(dynamics, policy)
    sizes = []
    for nats in (0.0, 5.0):
        batch = taken._replace(log_prob_t=taken.log_prob_t + nats)
        inferred = infer_svg_noise(loop, batch, generator(8))
        loss, _ = svg_loss(loop, frozen(policy), batch, inferred, ALPHA, importance_clip=10.0)
        sizes.append(torch.linalg.vector_norm(flat_gradient(loss, policy)))
    torch.testing.assert_close(sizes[1] / sizes[0], torch.exp(torch.tensor(-5.0, dtype=sizes[0].dtype)))


@pytest.mark.parametrize("which", ["linear", "ensemble"])
def test_svg_of_fresh_transitions_is_the_pathwise_objective_of_one_step(which, policy, critics, request):
    """Same value; and the same gradient where the second action's policy is frozen there too."""
    dynamics = request.getfixturevalue(which)
    loop = ClosedLoop(policy, critics, dynamics, reward, discount)
    noise, batch = just_taken(dynamics, policy)
    obs = batch.obs_t
    inferred = infer_svg_noise(loop, batch, generator(8))._replace(policy_tp1=noise.policy[1])
    if inferred.dynamics is not None:
        inferred = inferred._replace(dynamics=noise.dynamics[0])  # the member that moved the sample
    loss, _ = svg_loss(loop, frozen(policy), batch, inferred, ALPHA, importance_clip=10.0)
    expected, _ = pathwise_loss(loop, obs, noise, ALPHA)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)

    one_action, _ = policy.sample(obs, noise.policy[0])
    log_density = policy.sample(obs, noise.policy[0])[1]
    state = dynamics.step(obs, one_action, noise.dynamics[0])
    second, second_log_density = frozen(policy).sample(state, noise.policy[1])
    value = critics(state, second).amin(0) - ALPHA * second_log_density
    written_out = -(reward(obs, one_action) - ALPHA * log_density + 0.9 * value).mean()
    parameters = list(policy.parameters())
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(written_out, parameters), strict=True)
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


def test_svg_ends_where_the_episode_ends_and_clips_adjoints(policy, critics, linear):
    loop = ClosedLoop(policy, critics, linear, reward, some_terminate)
    noise, batch = just_taken(linear, policy)
    inferred = infer_svg_noise(loop, batch, generator(8))._replace(policy_tp1=noise.policy[1])
    value_of = check_clipping(
        lambda clip: svg_loss(loop, frozen(policy), batch, inferred, ALPHA, 10.0, clip)[0], policy
    )
    with torch.no_grad():
        a0, l0 = policy.sample(batch.obs_t, noise.policy[0])
        a1, l1 = policy.sample(batch.obs_tp1, noise.policy[1])
        value = critics(batch.obs_tp1, a1).amin(0) - ALPHA * l1
        expected = reward(batch.obs_t, a0) - ALPHA * l0 + some_terminate(batch.obs_tp1) * value
    torch.testing.assert_close(value_of, -expected.mean(), rtol=1e-9, atol=1e-9)


def test_a_frozen_policy_follows_its_original_and_has_no_gradient(policy):
    twin, obs = frozen(policy), start()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(0.5)
    assert torch.equal(twin.mode(obs), policy.mode(obs))
    assert not twin.mode(obs).requires_grad
