"""A run that is not made: its settings, its memory, and how long it would take here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffmaac.experiments.budget import duration, seconds_a_step
from diffmaac.result import Result
from diffmaac.settings import Settings, remarks, to_yaml
from diffmaac.task import Task
from diffmaac.tasks import resolve_task
from diffmaac.training.machine import memory_needed, use_machine
from diffmaac.typed import single_precision


@dataclass(frozen=True)
class Rehearsal:
    """What a run would be."""

    settings: Settings
    memory: dict[str, float]
    """Bytes of each part, about."""
    seconds: float
    """Until its last step, at the rate of a few steps on this machine."""


@single_precision()
def dry_run(words: Mapping[str, Any], env: str | Task | None = None) -> Result[Rehearsal]:
    """Resolves the words of a run, and rehearses a few of its steps; nothing is written.

    Raises as `diffmaac.train` does for words and tasks that cannot be used.
    """
    task, settings = resolve_task(env if env is not None else words.get("env", "pendulum"), words)
    use_machine(task, settings)
    task.check()
    memory = memory_needed(task, settings)
    learning = max(0, settings.run.steps - settings.data.random_steps)
    seconds = learning * seconds_a_step(task, words, settings.data.random_steps) if learning else 0.0
    total = sum(memory.values())
    what, most = max(memory.items(), key=lambda part: part[1])
    notes = [
        to_yaml(settings).rstrip(),
        *remarks(settings, task.presets, words),
        f"memory: about {total / 1e6:,.0f} MB beside the libraries' own, the most, {most / 1e6:,.0f} MB, for {what}",
        f"time: about {duration(seconds / 3600)} for {settings.run.steps:,} steps, at the rate of a few of them now",
        "nothing was trained: leave dry_run= out to train",
    ]
    return Result(Rehearsal(settings, memory, seconds), notes=notes)
