"""The presets: changes to the defaults, which are the paper's settings."""

from collections.abc import Mapping
from typing import Any

Presets = Mapping[str, Mapping[str, Any]]
"""Name of a preset -> flat settings. "quick/true" adds to "quick" what differs for the true dynamics."""

PRESETS: Presets = {
    "paper": {},
    "quick": {
        "horizon": 3,
        "samples": 1,
        "updates_per_step": 2,
        "steve_horizon": 1,
        "members": 5,
        "random_steps": 1000,
        "imagined_states": 25_000,
        "initial_alpha": 0.2,
        "model_epochs": 30,
    },
    "quick/true": {"samples": 1, "actor_batch_size": 64, "actor_every": 2, "imagined_states": 10_000},
}
"""Changes to the defaults. "quick" is sized for two cores."""
BASIS = ("preset", "dynamics", "mixed_values", "algorithm")
"""What the usual values of all other settings follow from, beside the task."""
OF_THE_GRADIENT = frozenset({"actor_batch_size", "actor_every", "adjoint_clip", "policy_tau"})
"""What of "quick/true" makes a policy gradient through the truth affordable and tame, or follows from its few updates;
for no other is it wanted."""
