"""What the presets change for each task. Loads no torch, so that settings can be checked at once."""

from collections.abc import Mapping
from typing import Any

from diffmaac.settings.presets import BODY, BODY_TRUE, SMALL

Presets = dict[str, Mapping[str, Any]]

LOCOMOTION: dict[str, Any] = {**BODY, "reset_every": 250}
"""Preset `quick`. A body that has fallen seldom rises, so short training episodes waste less."""

BALANCE: dict[str, Any] = {
    "critic_target": "td",
    "n_step": 10,
    "rollout_length": [10, 10],
    "layer_norm": True,
    "fall_ends": True,
    "fall_reward": -2.0,
    "reset_every": 0,
    "updates_per_step": 4,
    "actor_batch_size": 64,
    "policy_tau": 0.0002,
}
"""Preset `quick/learned` of a body that falls when it hurries. A fall has to be worth what a lying body earns, and has
to be known long before it comes: targets over ten imagined steps carry it back ten times as far in each update. Single
policies of a run that stands still fall; their mean over a thousand environment steps does not."""

CALM: dict[str, Any] = {**BALANCE, "fall_reward": -20.0, "target_entropy": -0.5}
"""Preset `quick/learned` of a body that walks before it can stand. With the fall's price of `BALANCE` it walks fast and
falls after some 300 steps: at gamma = 0.99 that is worth more than to stand. The higher price brings it to stand first
and then to walk, and noisier actions make it walk so that a disturbance does not fell it."""

CRAWL: dict[str, Any] = {**BALANCE, "target_entropy": -0.5, "actor_every": 2}
"""Preset `quick/learned` of a body that stands by itself, and falls once it runs. Noisier actions, and a policy that
learns half as often as its critics, which saves a third of the time."""

SPEED: dict[str, Any] = {
    "critic_target": "td",
    "updates_per_step": 4,
    "actor_every": 2,
    "fall_ends": True,
    "fall_reward": -1.0,
    "policy_tau": 0.0004,
}
"""Preset `quick/learned` of a body that seldom falls. Targets of one step are cheap, so that there can be more updates;
an episode ends with the body on its back, which would fill the data with states that it does not leave; and the mean of
its policies over a thousand environment steps falls less often than each."""

AHEAD: dict[str, Any] = {**BODY_TRUE, "critic_target": "td", "n_step": 5, "rollout_length": [5, 5]}
"""Preset `quick/true` of half_cheetah. Its imagined steps are true ones: a target over five of them has no error of a
model, and costs nothing more, where STEVE's targets step the physics in every update."""

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
    "quick/learned": SPEED,
    "quick/true": {**AHEAD, "steps": 11_000},
}
HOPPER: Presets = {
    "paper": {"steps": 200_000, "horizon": 4, "rollout_length": [1, 15]},
    "quick": {**LOCOMOTION, "steps": 30_000},
    "quick/learned": BALANCE,
    "quick/true": {**BODY_TRUE, "steps": 5_000},
}
WALKER2D: Presets = {
    "paper": {"steps": 200_000, "horizon": 2},
    "quick": {**LOCOMOTION, "steps": 80_000, "horizon": 2},
    "quick/learned": CALM,
    "quick/true": {**BODY_TRUE, "steps": 20_000},
}
ANT: Presets = {
    "paper": {"steps": 300_000, "horizon": 4, "rollout_length": [1, 25]},
    "quick": {**LOCOMOTION, "steps": 40_000},
    "quick/learned": CRAWL,
    "quick/true": {**BODY_TRUE, "steps": 20_000},
}
