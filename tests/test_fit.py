"""The fit of an ensemble: what it recovers, when it stops, and that it goes on where it was."""

import copy

import torch
from support.loop import generator

from diffmaac.dynamics import GaussianEnsemble
from diffmaac.settings import ModelSettings
from diffmaac.training.fit import EnsembleFitter


def ensemble() -> GaussianEnsemble:
    return GaussianEnsemble(2, 1, 3, [32, 32], generator())


def test_fit_recovers_a_linear_system_and_its_noise():
    """s' = A s + B a + 0.1 eps: the held-out error must fall to the noise, and the variance must name it."""
    g = generator(1)
    obs, action = torch.randn(2000, 2, generator=g), torch.rand(2000, 1, generator=g) * 2 - 1
    A, B = torch.tensor([[0.5, 0.1], [-0.3, 0.7]]), torch.tensor([[0.4], [0.8]])
    next_obs = obs @ A.T + action @ B.T + 0.1 * torch.randn(2000, 2, generator=g)
    network = ensemble()
    EnsembleFitter(network, ModelSettings()).fit(obs, action, next_obs, g)
    x = torch.cat([obs, action], -1).expand(3, -1, -1)
    with torch.no_grad():
        mean = obs + network.change(x, None).mean(0)
        _, log_var = network(x)
        std = (log_var / 2).exp().mean((0, 1)) * network.y_std
    error = (mean - (obs @ A.T + action @ B.T)).square().mean().sqrt()
    assert error < 0.03
    torch.testing.assert_close(std, torch.full((2,), 0.1), rtol=0.15, atol=0)


def test_a_fit_stops_early():
    g = generator(1)
    obs = torch.randn(200, 2, generator=g)
    action, next_obs = torch.randn(200, 1, generator=g), torch.randn(200, 2, generator=g)
    report = EnsembleFitter(ensemble(), ModelSettings()).fit(obs, action, next_obs, g)
    assert report.epochs < ModelSettings().model_epochs


def test_the_state_of_a_fitter_round_trips():
    first, second = (EnsembleFitter(ensemble(), ModelSettings()) for _ in range(2))
    g = generator(1)
    data = torch.randn(300, 2, generator=g), torch.randn(300, 1, generator=g), torch.randn(300, 2, generator=g)
    first.fit(*data, g)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    a, b = generator(5), generator(5)
    first.fit(*data, a)
    second.fit(*data, b)
    pairs = zip(first.network.parameters(), second.network.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
