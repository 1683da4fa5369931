"""The fit of an ensemble: what it recovers, when it stops, and that it goes on where it was."""

import copy

import pytest
import torch
from support.loop import generator
from torch import Tensor

from diffmaac.dynamics import GaussianEnsemble, Heads
from diffmaac.settings import ModelSettings
from diffmaac.training import fit
from diffmaac.training.fit import EnsembleFitter

A, B = torch.tensor([[0.5, 0.1], [-0.3, 0.7]]), torch.tensor([[0.4], [0.8]])


def ensemble() -> GaussianEnsemble:
    return GaussianEnsemble(2, 1, 3, [32, 32], generator())


def linear_data(count: int, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """s' = A s + B a + 0.1 eps."""
    obs, action = torch.randn(count, 2, generator=g), torch.rand(count, 1, generator=g) * 2 - 1
    return obs, action, obs @ A.T + action @ B.T + 0.1 * torch.randn(count, 2, generator=g)


def test_fit_recovers_a_linear_system_and_its_noise():
    """s' = A s + B a + 0.1 eps: the held-out error must fall to the noise, and the variance must name it."""
    g, network = generator(1), ensemble()
    obs, action, next_obs = linear_data(2000, g)
    EnsembleFitter(network, ModelSettings()).fit(obs, action, next_obs, g)
    x = torch.cat([obs, action], -1).expand(3, -1, -1)
    with torch.no_grad():
        mean = obs + network.predict(x, None).change.mean(0)
        _, log_var, _ = network(x)
        std = (log_var / 2).exp().mean((0, 1)) * network.y_std
    error = (mean - (obs @ A.T + action @ B.T)).square().mean().sqrt()
    assert error < 0.03
    torch.testing.assert_close(std, torch.full((2,), 0.1), rtol=0.15, atol=0)


def test_the_unit_of_the_data_does_not_matter():
    """What varies is scaled to one whatever its size; what varies by its own rounding, or not at all, is constant."""
    g, network = generator(1), GaussianEnsemble(2, 1, 3, [8], generator(), Heads(reward=True))
    data = torch.randn(500, 2, generator=g)
    for size in (1e-12, 1.0, 1e12):
        obs = torch.stack([size * data[:, 0], size * (1e6 + data[:, 1])], 1)
        action = torch.full((500, 1), 0.1 * size)
        after = torch.stack([0.5 * obs[:, 0], obs[:, 1].nextafter(torch.tensor(torch.inf))], 1)
        columns = network.columns(obs, after, size * data[:, 0], torch.zeros(500))
        network.fit_normaliser(torch.cat([obs, action], 1), columns)
        expected = [obs[:, 0].std(), obs[:, 1].std(), 1.0, 0.5 * obs[:, 0].std(), 1.0, size * data[:, 0].std()]
        torch.testing.assert_close(torch.cat([network.x_std, network.y_std]), torch.tensor(expected), rtol=0.01, atol=0)
    network.fit_normaliser(torch.zeros(500, 3), torch.zeros(500, 3))
    assert (torch.cat([network.x_std, network.y_std]) == 1).all()


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


def test_a_bound_above_what_the_passes_take_changes_nothing():
    """Eight passes over 7,000 rows in batches of 256 take 224 gradient steps."""
    networks = []
    for steps in (0, 224):
        networks.append(ensemble())
        g, settings = generator(1), ModelSettings(model_epochs=8, model_steps=steps)
        EnsembleFitter(networks[-1], settings).fit(*linear_data(8750, g), g)
    pairs = zip(networks[0].parameters(), networks[1].parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)


def test_a_bounded_fit_takes_its_gradient_steps_whatever_the_data(monkeypatch):
    taken, looked = [], []
    descend, look = EnsembleFitter._descend, EnsembleFitter._held_out_mse
    monkeypatch.setattr(EnsembleFitter, "_descend", lambda self, x, y: (taken.append(x), descend(self, x, y)))
    monkeypatch.setattr(
        EnsembleFitter, "_held_out_mse", lambda self, x, y: (looked.append(len(x)), look(self, x, y))[1]
    )
    for count in (20_000, 60_000):
        g, settings = generator(1), ModelSettings(model_epochs=8, model_steps=80, model_patience=8)
        EnsembleFitter(ensemble(), settings).fit(*linear_data(count, g), g)
    assert len(taken) == 2 * 80 and max(looked) == fit.LOOKED_AT
    assert {tuple(x.shape) for x in taken} == {(3, 256, 3)}


def test_a_bounded_fit_draws_its_share_of_recent_rows():
    settings = ModelSettings(model_epochs=1, model_steps=50, model_recent=0.25)
    rows = torch.stack(list(next(EnsembleFitter(ensemble(), settings)._mixtures(20_000, generator()))))
    recent = (rows >= 20_000 - fit.RECENT).float().mean()
    assert rows.shape == (50, 3, 256) and int(rows.max()) < 20_000
    # A quarter of all draws, and a tenth of the others by chance.
    assert float(recent) == pytest.approx(0.25 + 0.75 * 0.1, abs=0.01)


def test_a_bounded_fit_recovers_a_linear_system():
    g, network = generator(1), ensemble()
    fitter = EnsembleFitter(network, ModelSettings(model_epochs=8, model_steps=120))
    for _ in range(4):  # weights and moments stay from fit to fit
        fitter.fit(*linear_data(20_000, g), g)
    obs, action, _ = linear_data(1000, g)
    with torch.no_grad():
        mean = obs + network.predict(torch.cat([obs, action], -1).expand(3, -1, -1), None).change.mean(0)
    assert (mean - (obs @ A.T + action @ B.T)).square().mean().sqrt() < 0.03
