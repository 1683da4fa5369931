"""The table of algorithms: equal columns train alike, bit for bit, and SAC is stable-baselines3's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor

import diffmaac
from diffmaac import get_task, seeding
from diffmaac.errors import SettingError
from diffmaac.nn import Critics, SquashedGaussianPolicy
from diffmaac.objectives import (
    critic_loss,
    importance_weights,
    soft_actor_loss,
    soft_td_target,
)
from diffmaac.session import prepare
from diffmaac.settings import ALGORITHMS
from diffmaac.tasks import resolve_task
from diffmaac.types import Transition

WORDS = {"env": "double_integrator", "steps": 60, "random_steps": 30, "epoch_steps": 30, "final_episodes": 1}
WORDS |= {"log": "csv", "members": 2, "model_epochs": 2, "imagined_states": 200, "hidden": [16]}


def trained(folder: Path, **words) -> dict[str, Tensor]:
    run = diffmaac.train(**WORDS, **words, out=str(folder), progress=False)
    assert (run.path / "metrics.csv").is_file()
    return run.agent.policy.state_dict()


@pytest.mark.parametrize(
    ("algorithm", "ablated"),
    [
        ("sac", {"horizon": 0, "critic_target": "td", "data": "real"}),
        ("mbpo", {"horizon": 0, "critic_target": "td"}),
        ("steve", {"horizon": 0, "data": "real", "critics": 4}),
    ],
)
@pytest.mark.parametrize("dynamics", ["learned", "true"])
def test_equal_columns_train_alike_bit_for_bit(algorithm: str, ablated: dict, dynamics: str, tmp_path: Path) -> None:
    one = trained(tmp_path / "one", algorithm=algorithm, dynamics=dynamics)
    other = trained(tmp_path / "other", algorithm="maac", **ablated, dynamics=dynamics)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_different_columns_do_not(tmp_path: Path) -> None:
    states = {name: trained(tmp_path / name, algorithm=name) for name in ALGORITHMS}
    flat = {name: torch.cat([x.flatten() for x in state.values()]) for name, state in states.items()}
    names = list(flat)
    assert not any(torch.equal(flat[a], flat[b]) for i, a in enumerate(names) for b in names[:i])


@pytest.mark.parametrize("mean", [0.0, 8.0, 12.0])
def test_an_action_weighs_one_under_the_policy_that_took_it(mean: float, tmp_path: Path) -> None:
    """Also where it is rounded onto the border, since tanh(9) is 1 in single precision."""
    trainer = prepare(None, {**WORDS, "algorithm": "svg", "out": str(tmp_path / "run")})
    policy, random = trainer.agent.policy, trainer.settings.data.random_steps
    with torch.no_grad():
        policy.net.weights[-1].zero_()
        policy.net.biases[-1].copy_(torch.tensor([mean, -1.0]))
        for _ in range(random + 20):
            trainer._collect()
        taken = Transition(*(column[random:] for column in trainer.experience.real.all()))
        weight = importance_weights(policy.log_prob(taken.obs_t, taken.action_t), taken.log_prob_t, 5.0)
    torch.testing.assert_close(weight, torch.ones(20))


def test_without_entropy_the_temperature_is_zero(tmp_path: Path) -> None:
    diffmaac.train(**WORDS, algorithm="sac", entropy=False, out=str(tmp_path / "run"), progress=False)
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("alpha")
    assert float(rows[-1].split(",")[column]) == 0.0


def test_an_ablation_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(SettingError, match="samples=5 contradicts horizon=0"):
        resolve_task("pendulum", {"horizon": 0, "samples": 5})
    assert resolve_task("pendulum", {"horizon": 0, "preset": "paper"})[1].agent.samples == 1
    with pytest.raises(SettingError, match="fixes data=real"):
        resolve_task("pendulum", {"algorithm": "steve", "data": "mixed"})


def test_sac_is_that_of_stable_baselines3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Critic's loss, then actor's loss with the critics after their step, on one batch with the same noise."""
    task, batch, alpha, gamma, lr = get_task("pendulum"), 64, 0.2, 0.99, 1e-3
    peer = SAC("MlpPolicy", task.make_env(), lr, batch_size=batch, gamma=gamma, ent_coef=alpha, device="cpu", seed=0)
    peer.set_logger(Logger(None, []))
    g = seeding.torch_generator(0, "batch")
    obs, after = (torch.randn(batch, task.obs_size, generator=g) for _ in range(2))
    action = 2 * torch.rand(batch, task.action_size, generator=g) - 1
    reward, done = torch.randn(batch, 1, generator=g), (torch.rand(batch, 1, generator=g) < 0.2).float()
    samples = ReplayBufferSamples(obs, action, after, done, reward)
    monkeypatch.setattr(peer.replay_buffer, "sample", lambda *_, **__: samples)

    policy = SquashedGaussianPolicy(task.obs_size, task.action_size, [256, 256], g)
    critics = Critics(task.obs_size, task.action_size, [256, 256], g)
    actor = peer.policy.actor
    copy(policy.net, [*actor.latent_pi, actor.mu, actor.log_std])
    for net, theirs in zip(critics.nets, peer.policy.critic.q_networks, strict=True):
        copy(net, theirs)
    target_critics = Critics(task.obs_size, task.action_size, [256, 256], g)
    for net, theirs in zip(target_critics.nets, peer.policy.critic_target.q_networks, strict=True):
        copy(net, theirs)

    torch.manual_seed(1)
    noise_t, noise_tp1 = (torch.normal(torch.zeros(batch, task.action_size), 1.0) for _ in range(2))
    with torch.no_grad():
        action_tp1, log_prob_tp1 = policy.sample(after, noise_tp1)
        discount = gamma * (1 - done[:, 0])
        q_tp1 = target_critics(after, action_tp1)
        target = soft_td_target(reward[:, 0], discount, q_tp1, log_prob_tp1, torch.tensor(alpha))
    optimizer = torch.optim.Adam(critics.parameters(), lr)
    loss, _ = critic_loss(critics(obs, action), target)
    loss.backward()
    optimizer.step()
    actor_loss, _ = soft_actor_loss(policy, critics, obs, noise_t, torch.tensor(alpha))

    torch.manual_seed(1)
    peer.train(gradient_steps=1, batch_size=batch)
    theirs = peer.logger.name_to_value
    np.testing.assert_allclose(loss.item(), theirs["train/critic_loss"], rtol=1e-5)
    np.testing.assert_allclose(actor_loss.item(), theirs["train/actor_loss"], rtol=1e-5, atol=1e-5)


def copy(net, layers) -> None:
    """The weights of stable-baselines3's linear `layers` into `net`; mean and log std are one layer here."""
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    inner, heads = linear[: len(net.weights) - 1], linear[len(net.weights) - 1 :]
    with torch.no_grad():
        for i, layer in enumerate(inner):
            net.weights[i].copy_(layer.weight)
            net.biases[i].copy_(layer.bias)
        net.weights[-1].copy_(torch.cat([head.weight for head in heads]))
        net.biases[-1].copy_(torch.cat([head.bias for head in heads]))
