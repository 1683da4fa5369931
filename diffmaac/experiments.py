"""The paper's experiments as data, and the runs that they need: made, resumed or reused."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from diffmaac.analysis.record import EVALUATION, METRICS, read_json, read_metrics
from diffmaac.config import Settings, flatten
from diffmaac.errors import DiffmaacError, SettingError
from diffmaac.presets import resolve
from diffmaac.training import checkpoint
from diffmaac.training.run import CHECKPOINT, CONFIG, INCIDENTAL, stored_settings

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """One curve: what is changed, and how it is called."""

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)


MAAC = Variant("MAAC")
ALGORITHMS = {
    "maac": MAAC,
    "mbpo": Variant("MBPO", {"algorithm": "mbpo"}),
    "steve": Variant("STEVE", {"algorithm": "steve"}),
    "svg": Variant("SVG(1)", {"algorithm": "svg"}),
    "sac": Variant("SAC", {"algorithm": "sac"}),
}
ABLATIONS = {
    "maac": MAAC,
    "h0": Variant("H = 0", {"horizon": 0}),
    "td": Variant("TD targets", {"critic_target": "td"}),
    "samples1": Variant("one sample", {"samples": 1}),
}
QUICK_ABLATIONS = {name: variant for name, variant in ABLATIONS.items() if name != "samples1"} | {
    "samples5": Variant("five samples", {"samples": 5})
}
"""The preset `quick` has one sample."""
FURTHER_ABLATIONS = {
    "maac": MAAC,
    "real": Variant("real data only", {"data": "real"}),
    "no_entropy": Variant("no entropy", {"entropy": False}),
    "batch1280": Variant("one sample, batch of 1280", {"samples": 1, "batch_size": 1280}),
}


@dataclass(frozen=True)
class Amount:
    """How much of a task: environment steps, and seeds."""

    steps: int
    seeds: int


@dataclass(frozen=True)
class Scale:
    """How large an experiment is: what changes in every run, tasks for comparisons and for ablations."""

    changes: Mapping[str, Any]
    comparison: Mapping[str, Amount]
    ablation: Mapping[str, Amount]
    gradient_error: Mapping[str, Any]
    """Settings of `diffmaac gradient-error` for figure 3."""
    episodes: int
    """Evaluation episodes of table 1."""
    ablations: Mapping[str, Variant] = field(default_factory=lambda: ABLATIONS)
    """Figure 4's variants."""


SMOKE = {
    "random_steps": 40,
    "epoch_steps": 40,
    "eval_episodes": 2,
    "final_episodes": 1,
    "hidden": [16],
    "members": 2,
    "model_hidden": [16],
    "model_epochs": 2,
    "model_every": 40,
    "imagine_every": 20,
    "imagined_states": 100,
    "updates_per_step": 1,
}
"""Settings at which a run takes seconds and learns nothing: that everything works is all that is shown."""
SCALES = {
    "smoke": Scale(
        SMOKE,
        comparison={"pendulum": Amount(120, 2)},
        ablation={"pendulum": Amount(120, 1)},
        gradient_error={"seeds": 1, "horizons": "0,2"},
        episodes=1,
        ablations=QUICK_ABLATIONS,
    ),
    "quick": Scale(
        {"preset": "quick"},
        comparison={"pendulum": Amount(6_000, 5), "cartpole": Amount(12_000, 5), "half_cheetah": Amount(20_000, 3)},
        ablation={"half_cheetah": Amount(15_000, 3)},
        gradient_error={"seeds": 8},
        episodes=10,
        ablations=QUICK_ABLATIONS,
    ),
    "full": Scale(
        {"preset": "paper"},
        comparison={name: Amount(200_000, 4) for name in ("ant", "half_cheetah", "hopper", "walker2d")},
        ablation={name: Amount(200_000, 4) for name in ("ant", "half_cheetah", "hopper", "walker2d")},
        gradient_error={"seeds": 24},
        episodes=10,
    ),
}
"""`full` is the paper's scale (ant's 300,000 steps apart), `quick` takes two cores hours, `smoke` a minute."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that an experiment needs, and where it lies: <folder>/<task>-<variant>-s<seed>."""

    folder: Path
    env: str
    variant: str
    label: str
    given: Mapping[str, Any]
    """All that is said of the run: its settings differ from the defaults in nothing else."""

    @property
    def name(self) -> str:
        return f"{self.env}-{self.variant}-s{self.given['seed']}"

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def steps(self) -> int:
        return self.given["steps"]

    @cached_property
    def settings(self) -> Settings:
        """Its complete settings. Raises as `resolve` does."""
        return resolve(self.env, self.given)[1]

    def rows(self) -> list[dict[str, str]]:
        """Its evaluations so far, up to `steps`. Raises CheckpointError where they are damaged."""
        return [row for row in read_metrics(self.path / METRICS) if int(row["step"]) <= self.steps]

    def done(self) -> bool:
        """Whether there is nothing left to train or evaluate; a run whose checkpoint was taken away is what it logged.

        Raises DiffmaacError where what lies there is not this run, or its checkpoint is damaged.
        """
        if not self.path.exists():
            return False
        found = flatten(stored_settings(self.path))
        wanted = flatten(self.settings)
        differing = [name for name in wanted if name not in INCIDENTAL and found[name] != wanted[name]]
        if differing or found["seed"] != wanted["seed"]:
            name = differing[0] if differing else "seed"
            raise SettingError(
                f"'{self.path}' was made with {name}={found[name]}, and {name}={wanted[name]} is wanted."
                " Move it away, or give another runs=."
            )
        rows = read_metrics(self.path / METRICS)
        if not rows or int(rows[-1]["step"]) < self.steps:
            return False
        if not (self.path / CHECKPOINT).is_dir():
            return True
        saved = checkpoint.saved_step(self.path / CHECKPOINT)  # killed after its last row, a run may lack these two
        evaluated = (read_json(self.path / EVALUATION, dict) or {}).get("step")
        return saved > self.steps or saved == self.steps == evaluated

    def words(self) -> list[str]:
        """What `diffmaac train` is told to make it, or to go on with it."""
        if (self.path / CONFIG).is_file():
            if not (self.path / CHECKPOINT).is_dir():
                raise SettingError(f"'{self.path}' has no checkpoint to go on from. Move it away to train it anew.")
            return [f"resume={self.path}", f"steps={self.steps}"]
        given = {"env": self.env, **self.given, "out": self.path}
        return [f"{name}={str(v).replace(' ', '') if isinstance(v, list) else v}" for name, v in given.items()]


def plan(
    variants: Mapping[str, Variant], amounts: Mapping[str, Amount], changes: Mapping[str, Any], folder: Path
) -> list[PlannedRun]:
    """The runs of every variant on every task, seed by seed: when stopped half-way, the first seeds are complete."""
    fixed = {**changes, "threads": 1, "tensorboard": False}
    return [
        PlannedRun(folder, env, key, variant.label, {**fixed, **variant.changes, "steps": amount.steps, "seed": seed})
        for env, amount in amounts.items()
        for seed in range(amount.seeds)
        for key, variant in variants.items()
    ]


def make(runs: Sequence[PlannedRun], jobs: int) -> tuple[list[PlannedRun], list[str]]:
    """Trains what is missing or has stopped, `jobs` at a time, each in a process of its own on one thread.

    Returns the runs that can be used, and one line for each that cannot. With jobs=0 nothing is trained, and a run that
    has stopped is used as far as it went.
    """
    missing: list[tuple[PlannedRun, list[str]]] = []
    errors: dict[str, str] = {}
    for run in runs:
        try:
            done = run.done()
            if jobs and not done:
                missing.append((run, run.words()))
            elif not run.path.exists():
                errors[run.name] = f"there is no run '{run.path}'."
            elif not run.rows():
                errors[run.name] = f"'{run.path}' has no evaluation up to step {run.steps:,}."
        except DiffmaacError as error:
            errors[run.name] = str(error)
    if missing:
        _LOGGER.info("%d of %d runs are to be trained, %d at a time", len(missing), len(runs), jobs)
    children: set[subprocess.Popen] = set()

    def train(both: tuple[PlannedRun, list[str]]) -> str:
        return _train(*both, children)

    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        try:
            for (run, _), error in zip(missing, pool.map(train, missing), strict=True):
                if error:
                    errors[run.name] = error
        except BaseException:  # stopped: no training goes on without the process that asked for it
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):
                child.terminate()
            raise
    return [run for run in runs if run.name not in errors], list(errors.values())


def _train(run: PlannedRun, words: Iterable[str], children: set[subprocess.Popen]) -> str:
    """Trains one run; its output goes to <run>.log, its process into `children` while it lives.

    Returns what went wrong in one line, empty where nothing did.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    output = run.folder / f"{run.name}.log"
    command = [sys.executable, "-m", "diffmaac.cli", "train", *words]
    start = time.perf_counter()
    with output.open("a") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        children.add(child)
        status = child.wait()
        children.remove(child)
    if status:
        said = output.read_text().strip().splitlines()
        return f"{run.name} stopped with exit code {status}: {said[-1] if said else 'it said nothing'} (see {output})"
    rows = run.rows()
    minutes = (time.perf_counter() - start) / 60
    _LOGGER.info(
        "%s: trained in %.1f min, return %.4g at step %s", run.name, minutes, float(rows[-1]["return"]), run.steps
    )
    return ""
