"""SVG(1): noise inferred from transitions, importance weights, and its agreement with the pathwise objective."""

import pytest
import torch
from support.loop import ALPHA, check_clipping, common_noise, discount, generator, reward, some_terminate, start

from diffmaac.nn import frozen
from diffmaac.objectives import (
    ClosedLoop,
    PathwiseNoise,
    World,
    flat_gradient,
    importance_weights,
    infer_svg_noise,
    pathwise_loss,
    svg_loss,
)
from diffmaac.types import Transition


@pytest.mark.parametrize("which", ["linear", "ensemble"])
def test_inferred_noise_gives_the_transition_again(which, policy, request):
    dynamics = request.getfixturevalue(which)
    obs, noise = start(), common_noise(dynamics, 1)
    action, _ = policy.sample(obs, noise.policy[0])
    torch.testing.assert_close(policy.infer_noise(obs, action), noise.policy[0], rtol=1e-9, atol=1e-9)
    after = dynamics.step(obs, action, noise.dynamics[0])
    inferred = dynamics.infer_noise(obs, action, after, generator(7))
    torch.testing.assert_close(dynamics.step(obs, action, inferred), after, rtol=1e-12, atol=1e-12)


def test_importance_weights_of_known_numbers():
    now, before = torch.log(torch.tensor([0.5, 1.0, 8.0])), torch.log(torch.tensor([1.0, 1.0, 1.0]))
    weights = importance_weights(now, before, 2.5)
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.0, 2.5]))


def just_taken(dynamics, policy) -> tuple[PathwiseNoise, Transition]:
    """Transitions of the policy as it is, and the noise that they were made with."""
    noise, obs = common_noise(dynamics, 1), start()
    with torch.no_grad():
        action, log_prob = policy.sample(obs, noise.policy[0])
        after = dynamics.step(obs, action, noise.dynamics[0])
    return noise, Transition(obs, action, reward(obs, action), discount(obs), after, log_prob)


@pytest.mark.parametrize("which", ["linear", "ensemble"])
def test_svg_learns_nothing_from_actions_that_the_policy_would_not_take(which, policy, critics, request):
    """As many nats as an action is less likely, so much smaller is the gradient."""
    dynamics = request.getfixturevalue(which)
    loop = ClosedLoop(policy, critics, World(dynamics, reward, discount))
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
    loop = ClosedLoop(policy, critics, World(dynamics, reward, discount))
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
    for ours, wanted in pairs:
        torch.testing.assert_close(ours, wanted, rtol=1e-7, atol=1e-9)


def test_svg_ends_where_the_episode_ends_and_clips_adjoints(policy, critics, linear):
    loop = ClosedLoop(policy, critics, World(linear, reward, some_terminate))
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
