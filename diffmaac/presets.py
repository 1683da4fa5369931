"""From what the user says to complete settings: preset, then the task's own, then the algorithm's, then the user's."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from diffmaac.algorithms.table import ALGORITHMS, DEFAULTS, differentiates, uses_dynamics
from diffmaac.config import ModelSettings, Settings, assemble, convert, default_of, flatten
from diffmaac.errors import SettingError
from diffmaac.task import Task, get_task

PRESETS: dict[str, Mapping[str, Any]] = {
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
"""Changes to the defaults. "quick" is sized for two cores; "quick/true" adds what differs for the true dynamics."""
BASIS = ("preset", "dynamics", "mixed_values", "algorithm")
"""What the usual values of all other settings follow from, beside the task."""
OF_THE_GRADIENT = frozenset({"actor_batch_size", "actor_every", "adjoint_clip"})
"""What of "quick/true" makes a policy gradient through the truth affordable and tame; for no other is it wanted."""


def resolve(env: str | Task, given: Mapping[str, Any]) -> tuple[Task, Settings]:
    """The task and the complete settings of a run.

    Raises SettingError for unknown names, values out of range, and settings that contradict the algorithm.
    """
    task = get_task(env)
    given = convert({**given, "env": task.name})
    chosen = {name: given.get(name, default_of(name)) for name in BASIS}
    fixed = ALGORITHMS[chosen["algorithm"]]
    differentiated = {"mixed": "learned" if chosen["mixed_values"] == "true" else "true"}
    derivatives = differentiated.get(chosen["dynamics"], chosen["dynamics"])
    said = {**given, **fixed}
    keys: dict[str, frozenset[str]] = {chosen["preset"]: frozenset()}  # the layers, and what of each is left away
    if derivatives == "true" and uses_dynamics(said):
        keys[f"{chosen['preset']}/true"] = frozenset() if differentiates(said) else OF_THE_GRADIENT
    layers = [
        {name: value for name, value in presets.get(key, {}).items() if name not in unwanted}
        for presets in (PRESETS, task.presets)
        for key, unwanted in keys.items()
    ]
    for name, value in fixed.items():
        if name in given and given[name] != value:
            raise SettingError(
                f"{name}={given[name]} contradicts algorithm={chosen['algorithm']}, which fixes {name}={value}. "
                "Leave it away, or choose another algorithm."
            )
    settings = assemble(*layers, DEFAULTS.get(chosen["algorithm"], {}), fixed, given)
    if settings.agent.horizon == 0 and settings.agent.samples > 1:
        if "samples" in given:
            raise SettingError(
                f"samples={settings.agent.samples} contradicts horizon=0, where no trajectory leaves the start state."
                f" Leave samples away{'' if 'horizon' in fixed else ', or give a horizon of at least 1'}."
            )
        settings = assemble(flatten(settings), {"samples": 1})
    return task, settings


def usual(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run of which no more is said than task, preset, dynamics and algorithm are those of `given`."""
    said = {name: given[name] for name in BASIS}
    try:
        return flatten(resolve(given["env"], said)[1])
    except SettingError:  # a task of one's own, not registered here
        return flatten(resolve("double_integrator", said)[1])


def remarks(settings: Settings, given: Iterable[str]) -> list[str]:
    """A line for each setting of `given` that is not the usual and that nothing in a run of `settings` reads.

    That is no mistake, since algorithms are compared on equal words; but a sweep over such a setting is one run.
    And a line where all steps are random ones.
    """
    run, agent, data = settings.run, settings.agent, settings.data
    fit = [f.name for f in dataclasses.fields(ModelSettings)]
    model = [*fit, "log_model_error"]
    imagination = ["real_ratio", "imagined_states", "imagine_every", "imagined_keep", "rollout_length", "rollout_ramp"]
    values = flatten(settings)
    derived = run.dynamics == "mixed" and run.mixed_values == "true"
    rules = [
        (not uses_dynamics(values), f"algorithm={run.algorithm} has no dynamics here", model),
        (run.dynamics == "true", "dynamics=true has no model to fit", model),
        (run.dynamics != "mixed", f"dynamics={run.dynamics}", ["mixed_values"]),
        (derived and not differentiates(values), "the model gives derivatives only, and none is taken", fit),
        (data.data == "real", "data=real", imagination),
        (len(set(data.rollout_length)) == 1, f"rollout_length={data.rollout_length} does not grow", ["rollout_ramp"]),
        (agent.critic_target == "td", "critic_target=td", ["steve_horizon", "steve_floor"]),
        (agent.steve_horizon == 0, "steve_horizon=0 weighs one target", ["steve_floor"]),
        (agent.actor_objective != "svg", "replayed actions are not weighed", ["importance_clip"]),
        (not differentiates(values), "horizon=0 differentiates no dynamics", ["adjoint_clip"]),
        (agent.horizon != "auto", f"horizon={agent.horizon}", ["auto_horizons"]),
        (not agent.entropy, "entropy=false", ["initial_alpha", "alpha_lr", "target_entropy"]),
    ]
    reasons = {name: why for holds, why, names in reversed(rules) if holds for name in names}
    others = usual(values) | {"mixed_values": default_of("mixed_values")}
    idle = [name for name in given if name in reasons and values[name] != others[name]]
    lines = [f"{name}={values[name]} has no effect: {reasons[name]}." for name in idle]
    if run.steps <= data.random_steps:
        lines.append(f"steps={run.steps}: nothing is learned before the {data.random_steps} steps of random_steps=.")
    return lines
