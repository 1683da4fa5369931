"""From what a user writes to complete settings: preset, then the task's own, then the algorithm's, then the user's."""

from collections.abc import Iterable, Mapping
from typing import Any

from diffmaac.errors import SettingError
from diffmaac.settings.algorithms import ALGORITHMS, DEFAULTS, differentiates, uses_dynamics
from diffmaac.settings.convert import convert
from diffmaac.settings.field import about
from diffmaac.settings.presets import BASIS, OF_THE_GRADIENT, PRESETS, Presets
from diffmaac.settings.schema import FIELDS, Settings, assemble, default_of, flatten


def resolve(env: str, task_presets: Presets, words: Mapping[str, Any]) -> Settings:
    """The complete settings of a run on task `env`, which has `task_presets`, as the user's `words` want it.

    Raises SettingError for unknown names, values out of range, and settings that contradict the algorithm.
    """
    wanted = convert({**words, "env": env}, FIELDS)
    basis = {name: wanted.get(name, default_of(name)) for name in BASIS}
    fixed = ALGORITHMS[basis["algorithm"]]
    for name, value in fixed.items():
        if name in wanted and wanted[name] != value:
            raise SettingError(
                f"{name}={wanted[name]} contradicts algorithm={basis['algorithm']}, which fixes {name}={value}. "
                "Leave it out, or choose another algorithm."
            )
    layers = _preset_layers(basis, {**wanted, **fixed}, task_presets)
    settings = assemble(*layers, DEFAULTS.get(basis["algorithm"], {}), fixed, wanted)
    if settings.agent.horizon == 0 and settings.agent.samples > 1:
        if "samples" in wanted:
            raise SettingError(
                f"samples={settings.agent.samples} contradicts horizon=0, where no trajectory leaves the start state."
                f" Leave samples out{'' if 'horizon' in fixed else ', or give a horizon of at least 1'}."
            )
        settings = assemble(flatten(settings), {"samples": 1})
    return settings


def _preset_layers(basis: Mapping[str, Any], wanted: Mapping[str, Any], task_presets: Presets) -> list[dict[str, Any]]:
    """The library's and the task's changes under the chosen preset, the general ones first."""
    preset, dynamics = basis["preset"], basis["dynamics"]
    if dynamics == "mixed":
        dynamics = "learned" if basis["mixed_values"] == "true" else "true"  # whose derivatives they are
    through_truth = dynamics == "true" and differentiates(wanted)
    unwanted: dict[str, frozenset[str]] = {preset: frozenset()}
    if dynamics == "true" and uses_dynamics(wanted):
        unwanted[f"{preset}/true"] = frozenset() if through_truth else OF_THE_GRADIENT
    if not through_truth:
        unwanted[f"{preset}/learned"] = frozenset()
    return [
        {name: value for name, value in presets.get(layer, {}).items() if name not in left_out}
        for presets in (PRESETS, task_presets)
        for layer, left_out in unwanted.items()
    ]


def usual(settings: Mapping[str, Any], task_presets: Presets) -> dict[str, Any]:
    """The settings of a run of which only task, preset, dynamics and algorithm are given: those of `settings`."""
    return flatten(resolve(settings["env"], task_presets, {name: settings[name] for name in BASIS}))


def remarks(settings: Settings, task_presets: Presets, names: Iterable[str]) -> list[str]:
    """A line for each setting of `names` that is not the usual and that nothing in a run of `settings` reads.

    That is no mistake, since algorithms are compared on equal words; but a sweep over such a setting is one run.
    And a line where all steps are random ones.
    """
    values = flatten(settings)
    others = usual(values, task_presets) | {"mixed_values": default_of("mixed_values")}
    lines = []
    for name in names:
        reason = next((idle.why for idle in about(FIELDS[name]).idle if idle.holds(values)), None)
        if reason is not None and values[name] != others[name]:
            lines.append(f"{name}={values[name]} has no effect: {reason.format_map(values)}.")
    if settings.run.steps <= settings.data.random_steps:
        random = settings.data.random_steps
        lines.append(f"steps={settings.run.steps}: nothing is learned before the {random} steps of random_steps=.")
    return lines


def check_resumable(words: Iterable[str]) -> None:
    """Raises SettingError for a setting that cannot be given together with ``resume=``."""
    allowed = sorted(name for name, f in FIELDS.items() if about(f).resumes)
    for name in words:
        if name not in (*allowed, "resume"):
            raise SettingError(f"{name}= cannot change when resuming; {', '.join(allowed)} can.")
