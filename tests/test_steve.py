"""STEVE's targets, written out, and their weights."""

import pytest
import torch
from support.loop import ACTION, ALPHA, BATCH, OBS, discount, generator, reward, some_terminate, transition, two_steps

from diffmaac.algorithms import ActorCritic, actor_critic
from diffmaac.dynamics import GaussianEnsemble, LearnedDynamics, Noise
from diffmaac.objectives import ClosedLoop, World, sample_steve_noise, soft_td_target, steve_candidates, steve_target
from diffmaac.tasks import resolve_task
from diffmaac.types import Transition


def candidates(dynamics, policy, critics, horizon):
    noise = sample_steve_noise(dynamics, horizon, BATCH, (OBS, ACTION), generator(5), torch.float64)
    with torch.no_grad():
        return noise, steve_candidates(
            ClosedLoop(policy, critics, World(dynamics, reward, discount)), transition(), noise, ALPHA
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
    batch, noise = transition(), sample_steve_noise(ensemble, 2, BATCH, (OBS, ACTION), generator(5), torch.float64)
    loop = ClosedLoop(policy, critics, World(ensemble, reward, some_terminate))
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


def test_a_single_estimate_weighs_all_horizons_alike():
    """It has no variance at any of them: one member and one critic."""
    values = torch.arange(5.0).expand(4, 1, 1, 5).permute(3, 1, 2, 0)
    assert steve_target(values, 0.5)[0].tolist() == [2.0] * 4


def test_targets_in_chunks_are_those_of_all_rows_at_once(monkeypatch):
    task, settings = resolve_task("double_integrator", {"steve_horizon": 2, "hidden": [16]})
    model = LearnedDynamics(GaussianEnsemble(OBS, ACTION, 3, [16], generator(2)))
    agent = ActorCritic(task, settings.agent, model, generator(), noise := generator(1))
    batch, targets = Transition(*(x.float() for x in transition())), []
    for rows in (BATCH, BATCH // 3):  # the last of four chunks has a single row
        monkeypatch.setattr(actor_critic, "STEVE_ROWS", rows)
        noise.manual_seed(3)
        targets.append(agent._critic_target(batch)[0])
    torch.testing.assert_close(*targets)
    assert targets[0].std() > 0.1
