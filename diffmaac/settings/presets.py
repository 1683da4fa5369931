"""The presets: changes to the defaults, which are the paper's settings."""

from collections.abc import Mapping
from typing import Any

Presets = Mapping[str, Mapping[str, Any]]
"""Name of a preset -> flat settings. "quick/true" adds to "quick" what differs for the true dynamics; "quick/learned"
what has been tried without a policy gradient through them alone."""

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

SMALL: Mapping[str, Any] = {
    "initial_alpha": 0.1,
    "actor_lr": 1e-3,
    "critic_lr": 1e-3,
    "alpha_lr": 1e-3,
    "tau": 0.01,
    "hidden": [64, 64],
    "model_hidden": [64, 64],
}
"""Preset `quick` of small tasks: small networks, large steps."""
BODY: Mapping[str, Any] = {
    "model_every": 250,
    "model_epochs": 8,
    "model_steps": 100,
    "tau": 0.01,
    "policy_tau": 0.001,
}
"""Preset `quick` of moving bodies. A policy that moves on is met by a model fitted soon after, at a cost that does not
grow with the data; with few updates a step the target critics must follow faster to look as far ahead; the mean of the
last thousand updates' policies falls less often than each."""
BODY_TRUE: Mapping[str, Any] = {"adjoint_clip": 1.0, "policy_tau": 1.0}
"""Preset `quick` of moving bodies with `dynamics=true`, where the stiffness of contacts is the true one. There are too
few updates to take a mean over."""
FEW_OBSERVATIONS, FEW_ACTIONS = 8, 2
"""At most so many, and a task counts as small."""


def presets_for(obs_size: int, action_size: int) -> Presets:
    """For a task of which only its sizes are known: those of small tasks, or of moving bodies.

    Small networks and large steps learn few dimensions in minutes; a model of many is fitted soon and often.
    """
    if obs_size <= FEW_OBSERVATIONS and action_size <= FEW_ACTIONS:
        return {
            "paper": {"steps": 20_000, "random_steps": 1000},
            "quick": {
                **SMALL,
                "steps": 10_000,
                "random_steps": 500,
                "epoch_steps": 500,
                "model_every": 250,
                "model_epochs": 40,
                "imagined_states": 10_000,
            },
        }
    return {
        "paper": {"steps": 200_000},
        "quick": {**BODY, "steps": 20_000},
        "quick/true": BODY_TRUE,
    }
