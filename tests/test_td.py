"""Temporal differences, the temperature and the lower bound of the critics, in known numbers."""

import pytest
import torch

from diffmaac.nn import Critics
from diffmaac.objectives import critic_loss, lower_bound, soft_td_target, temperature_loss


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


def test_lower_bound_is_the_minimum_of_pairs():
    q = torch.tensor([[1.0, 4.0], [2.0, 3.0], [5.0, 0.0], [7.0, 9.0]])
    assert lower_bound(q[:1]).tolist() == [1, 4]
    assert torch.equal(lower_bound(q[:2]), q[:2].amin(0))
    assert lower_bound(q[:3]).tolist() == [3, 1.5] and lower_bound(q).tolist() == [3, 1.5]


def test_normalised_layers_do_not_know_the_scale_of_their_weights():
    """Layer normalisation divides by it; without, a value of ten times the weights is ten times as large."""
    obs, action = torch.randn(64, 3), torch.randn(64, 2)
    for layer_norm in (True, False):
        critics = Critics(3, 2, [32, 32], torch.Generator().manual_seed(0), layer_norm=layer_norm)
        before = critics(obs, action)
        with torch.no_grad():
            for name, parameter in critics.named_parameters():
                if not name.endswith(".2"):  # the last layer is not followed by a normalisation
                    parameter.mul_(10)
        assert torch.allclose(critics(obs, action), before, rtol=1e-3, atol=1e-4) == layer_norm
