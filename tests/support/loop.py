"""A small closed loop in float64: reward and discount, start states, noise, and what is checked of two objectives."""

import torch

from diffmaac import seeding
from diffmaac.objectives import flat_gradient, sample_pathwise_noise
from diffmaac.types import Transition

OBS, ACTION, BATCH = 2, 1, 16
ALPHA = torch.tensor(0.3, dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return seeding.torch_generator(seed, "test")


def reward(obs, action):
    return -obs.square().sum(-1) - 0.1 * action.square().sum(-1)


def discount(obs):
    return obs.new_full(obs.shape[:-1], 0.9)


def some_terminate(obs):
    """Episodes with s_0 < 0 have terminated: about half of a batch."""
    return 0.9 * (obs[..., 0] >= 0).to(obs.dtype)


def start():
    return torch.randn(BATCH, OBS, generator=generator(4), dtype=torch.float64)


def transition():
    obs = start()
    rewards = obs[:, 0].clone()
    action = torch.zeros(BATCH, ACTION).double()
    return Transition(obs, action, rewards, torch.full_like(rewards, 0.9), obs + 0.1, torch.zeros_like(rewards))


def common_noise(dynamics, horizon):
    return sample_pathwise_noise(dynamics, horizon, BATCH, ACTION, generator(3), torch.float64)


def two_steps(policy, step, obs, noise):
    """States 0 to 2, and each one's action and log density: (s_0, a_0, l_0), ..."""
    trajectory = []
    for h in range(3):
        action, log_prob = policy.sample(obs, noise[h])
        trajectory.append((obs, action, log_prob))
        obs = step(obs, action, h) if h < 2 else obs
    return trajectory


def check_clipping(loss_at, policy):
    """Of `loss_at(adjoint_clip)` clipping changes the gradient and not the value, which is returned."""
    plain, same, clipped = (loss_at(clip) for clip in (0.0, 1e6, 0.5))
    gradient, loose, tight = (flat_gradient(loss, policy) for loss in (plain, same, clipped))
    assert torch.equal(plain, same) and torch.equal(plain, clipped)
    torch.testing.assert_close(loose, gradient)
    assert not torch.allclose(tight, gradient, rtol=0.05)
    return plain.detach()
