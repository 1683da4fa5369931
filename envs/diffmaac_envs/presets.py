"""What the presets change for each task. Loads no torch, so that settings can be checked at once."""

from collections.abc import Mapping
from typing import Any

from diffmaac.settings.presets import BODY, BODY_TRUE, SMALL

Presets = dict[str, Mapping[str, Any]]

LOCOMOTION: dict[str, Any] = {**BODY, "reset_every": 250}
"""Preset `quick`. A body that has fallen seldom rises, so short training episodes waste less."""

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
    "quick/true": {**BODY_TRUE, "steps": 11_000},
}
HOPPER: Presets = {
    "paper": {"steps": 200_000, "horizon": 4, "rollout_length": [1, 15]},
    "quick": {**LOCOMOTION, "steps": 15_000},
    "quick/true": {**BODY_TRUE, "steps": 5_000},
}
WALKER2D: Presets = {
    "paper": {"steps": 200_000, "horizon": 2},
    "quick": {**LOCOMOTION, "steps": 20_000, "horizon": 2},
    "quick/true": BODY_TRUE,
}
ANT: Presets = {
    "paper": {"steps": 300_000, "horizon": 4, "rollout_length": [1, 25]},
    "quick": {**LOCOMOTION, "steps": 20_000},
    "quick/true": BODY_TRUE,
}
