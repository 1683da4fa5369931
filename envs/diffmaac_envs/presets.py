"""What the presets change for each task. Loads no torch, so that settings can be checked at once."""

from typing import Any

Presets = dict[str, dict[str, Any]]

SMALL: dict[str, Any] = {
    "initial_alpha": 0.1,
    "actor_lr": 1e-3,
    "critic_lr": 1e-3,
    "alpha_lr": 1e-3,
    "tau": 0.01,
    "hidden": [64, 64],
    "model_hidden": [64, 64],
}
"""Preset `quick` of the three small tasks: small networks, large steps."""
LOCOMOTION: dict[str, Any] = {
    "reset_every": 250,
    "model_every": 250,
    "model_epochs": 8,
    "model_steps": 100,
    "tau": 0.01,
    "policy_tau": 0.001,
}
"""Preset `quick`. A body that has fallen seldom rises, so short training episodes waste less; a policy that moves on is
met by a model fitted soon after, at a cost that does not grow with the data; with few updates a step the target critics
must follow faster to look as far ahead; the mean of the last thousand updates' policies falls less often than each."""
LOCOMOTION_TRUE: dict[str, Any] = {"adjoint_clip": 1.0, "policy_tau": 1.0}
"""Preset `quick` with `dynamics=true`, where the stiffness of contacts is the true one. There are too few updates to
take a mean over."""

DOUBLE_INTEGRATOR: Presets = {
    "paper": {"steps": 10_000, "random_steps": 500},
    "quick": {
        **SMALL,
        "steps": 3_000,
        "random_steps": 300,
        "epoch_steps": 300,
        "eval_episodes": 10,
        "model_every": 300,
        "updates_per_step": 1,
        "imagined_states": 5_000,
    },
}
PENDULUM: Presets = {
    "paper": {"steps": 10_000, "random_steps": 500},
    "quick": {
        **SMALL,
        "steps": 4_000,
        "random_steps": 400,
        "epoch_steps": 500,
        "model_every": 250,
        "model_epochs": 40,
        "horizon": 5,
        "imagined_states": 10_000,
    },
    "quick/true": {"steps": 3_000},
}
CARTPOLE: Presets = {
    "paper": {"steps": 20_000, "random_steps": 1000},
    "quick": {
        **SMALL,
        "steps": 7_000,
        "random_steps": 500,
        "epoch_steps": 1000,
        "model_every": 500,
        "model_epochs": 40,
        "horizon": 5,
        "updates_per_step": 1,
        "imagined_states": 10_000,
    },
}
HALF_CHEETAH: Presets = {
    "paper": {"steps": 200_000, "horizon": 4},
    "quick": {**LOCOMOTION, "steps": 15_000},
    "quick/true": {**LOCOMOTION_TRUE, "steps": 11_000},
}
HOPPER: Presets = {
    "paper": {"steps": 200_000, "horizon": 4, "rollout_length": [1, 15]},
    "quick": {**LOCOMOTION, "steps": 15_000},
    "quick/true": {**LOCOMOTION_TRUE, "steps": 5_000},
}
WALKER2D: Presets = {
    "paper": {"steps": 200_000, "horizon": 2},
    "quick": {**LOCOMOTION, "steps": 20_000, "horizon": 2},
    "quick/true": LOCOMOTION_TRUE,
}
ANT: Presets = {
    "paper": {"steps": 300_000, "horizon": 4, "rollout_length": [1, 25]},
    "quick": {**LOCOMOTION, "steps": 20_000},
    "quick/true": LOCOMOTION_TRUE,
}
