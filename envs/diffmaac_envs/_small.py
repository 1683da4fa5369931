"""What the preset `quick` of the three small tasks shares: small networks, large steps."""

from typing import Any

SMALL: dict[str, Any] = {
    "initial_alpha": 0.1,
    "actor_lr": 1e-3,
    "critic_lr": 1e-3,
    "alpha_lr": 1e-3,
    "tau": 0.01,
    "hidden": [64, 64],
    "model_hidden": [64, 64],
}
