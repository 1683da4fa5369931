"""The runs that an experiment needs, where they lie, and whether they are done."""

import dataclasses
import re
import shutil
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from diffmaac.errors import SettingError
from diffmaac.experiments.scales import Amount, Variant
from diffmaac.runs import checkpoint
from diffmaac.runs.layout import CHECKPOINT, CONFIG, LOCK, METRICS
from diffmaac.runs.metrics import read_evaluation, read_metrics
from diffmaac.runs.settings import stored_settings
from diffmaac.settings import FIELDS, Settings, about, flatten
from diffmaac.settings.field import shown
from diffmaac.tasks import resolve_task


@dataclass(frozen=True)
class PlannedRun:
    """A run that an experiment or a sweep needs, and where it lies: <folder>/<task>-<variant>-s<seed>."""

    folder: Path
    env: str
    variant: str
    label: str
    words: Mapping[str, Any]
    """All that is said of the run: its settings differ from the presets in nothing else."""

    @property
    def name(self) -> str:
        return f"{re.sub('[/:]', '_', self.env)}-{self.variant}-s{self.words['seed']}"

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def at(self, folder: Path) -> "PlannedRun":
        """The same run in another folder."""
        return dataclasses.replace(self, folder=folder)

    @property
    def log(self) -> Path:
        """What its command line writes."""
        return self.folder / f"{self.name}.log"

    @property
    def steps(self) -> int:
        return self.words["steps"]

    @property
    def threads(self) -> int:
        return self.words.get("threads", 1) or 1

    @property
    def curve(self) -> tuple[str, str]:
        """Task and variant, which it shares with the runs of other seeds."""
        return self.env, self.variant

    @cached_property
    def settings(self) -> Settings:
        """Its complete settings. Raises as `resolve` does."""
        return resolve_task(self.env, self.words)[1]

    def rows(self) -> list[dict[str, str]]:
        """Its evaluations so far, up to `steps`. Raises CheckpointError where they are damaged."""
        return [row for row in read_metrics(self.path / METRICS) if int(row["step"]) <= self.steps]

    @property
    def evaluated_step(self) -> int:
        """The step of its last evaluation up to `steps`; 0 where there is none. Raises as `rows` does."""
        rows = self.rows()
        return int(rows[-1]["step"]) if rows else 0

    def experiment(self) -> dict[str, Any]:
        """The settings of the run that lies there, but for what makes no other experiment of it.

        Raises CheckpointError where they cannot be read.
        """
        stored = flatten(stored_settings(self.path))
        return {name: value for name, value in stored.items() if not about(FIELDS[name]).incidental}

    def difference(self) -> str:
        """What was made of a run that lies there in place of this one, in a sentence; empty where nothing differs."""
        wanted = flatten(self.settings)
        made = {**self.experiment(), "seed": stored_settings(self.path).run.seed}
        name = next((name for name in made if made[name] != wanted[name]), "")
        return name and f"'{self.path}' was made with {name}={made[name]}, and {name}={wanted[name]} is wanted."

    def done(self) -> bool:
        """Whether there is nothing left to train or evaluate; a run whose checkpoint was taken away is what it logged.

        Raises DiffmaacError where what lies there is not this run, or its checkpoint is damaged.
        """
        if not self.path.exists():
            return False
        if self._bare():
            return False
        if difference := self.difference():
            raise SettingError(f"{difference} Move it away, or give another directory for the runs.")
        rows = read_metrics(self.path / METRICS)
        if not rows or int(rows[-1]["step"]) < self.steps:
            return False
        if not (self.path / CHECKPOINT).is_dir():
            return True
        saved = checkpoint.saved_step(self.path / CHECKPOINT)  # killed after its last row, a run may lack these two
        evaluated = (read_evaluation(self.path) or {}).get("step")
        return saved > self.steps or saved == self.steps == evaluated

    def _bare(self) -> bool:
        """Whether there is a directory and nothing in it: its process was killed before the first checkpoint."""
        made = {CONFIG, f"{CONFIG}.partial", CHECKPOINT, LOCK}
        bare = self.path.is_dir() and {item.name for item in self.path.iterdir()} <= made
        return bare and not (self.path / CHECKPOINT / checkpoint.MANIFEST).exists()

    def arguments(self) -> list[str]:
        """What `diffmaac train` is told to make it, or to go on with it.

        Raises SettingError where a run lies there that has no checkpoint to go on from.
        """
        if self._bare():
            shutil.rmtree(self.path)
        if (self.path / CONFIG).is_file():
            if not (self.path / CHECKPOINT).is_dir():
                raise SettingError(f"'{self.path}' has no checkpoint to go on from. Move it away to train it anew.")
            changes = {"steps": self.steps, **{n: v for n, v in self.words.items() if about(FIELDS[n]).resumes}}
            return [f"resume={self.path}", *(f"{name}={shown(value)}" for name, value in changes.items())]
        words = {"env": self.env, **self.words, "out": self.path}
        return [f"{name}={shown(value)}" for name, value in words.items()]


def plan(
    variants: Mapping[str, Variant], amounts: Mapping[str, Amount], changes: Mapping[str, Any], folder: Path
) -> list[PlannedRun]:
    """The runs of every variant on every task, seed by seed: when stopped half-way, the first seeds are complete."""
    fixed = {**changes, "threads": 1, "log": ["csv"]}
    return [
        PlannedRun(folder, env, key, variant.label, {**fixed, **variant.changes, "steps": amount.steps, "seed": seed})
        for env, amount in amounts.items()
        for seed in range(amount.seeds)
        for key, variant in variants.items()
    ]


def check_any(usable: Sized, broken: Sequence[str]) -> None:
    """Raises SettingError where nothing is usable, with the first of the `broken` lines."""
    if not usable:
        more = f" And {len(broken) - 1} more." if len(broken) > 1 else ""
        raise SettingError(f"no run can be used. {broken[0] if broken else 'Name at least one.'}{more}")
