"""What holds a run back? A copy of it goes on from its checkpoint under other settings.

    python docs/results/inquiries/branch.py RUN [more=2000] [out=DIRECTORY] [branches=runs/branches] updates_per_step=4

Trains `more` environment steps in a directory of its own (a finished branch is read, one that was stopped goes on), on
one thread, and puts its evaluations, after the last ones of the run itself, into branches.csv. What a checkpoint holds
cannot be changed so: sizes of networks, the temperature, the random streams.
"""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from diffmaac.errors import SettingError, exit_on_error
from diffmaac.files import read_table, write_table
from diffmaac.provenance import circumstances
from diffmaac.runs.layout import CHECKPOINT, CONFIG, METRICS
from diffmaac.runs.metrics import evaluations
from diffmaac.session import complete
from diffmaac.settings import FIELDS, about, convert, parse_command, parse_words, read_file, runs_and_words, setting
from diffmaac.tasks import resolve_task
from diffmaac.training.trainer import Trainer

NUMBERS = ("step", "seconds", "return", "return_std", "q")
KEY = ("run", "changes", "step")


@dataclass(frozen=True)
class BranchSettings:
    """How far a branch goes, and where; every other word is a setting that it changes."""

    more: int = setting(2000, "environment steps", 4)
    branches: str = setting("runs/branches", "directory of the branches")
    out: str = setting("docs/results/inquiries", "directory of the table")


def grow(run: Path, settings: BranchSettings, changes: Mapping[str, Any]) -> Path:
    """Trains the branch, or goes on with it, and returns its directory."""
    for name in convert(changes, FIELDS):
        if about(FIELDS[name]).in_checkpoint:
            raise SettingError(f"{name}= comes with the checkpoint: a branch cannot change it.")
    stored, start = read_file(run / CONFIG), int(evaluations(run)[-1]["step"])
    end = start + settings.more
    path = Path(settings.branches) / "-".join(
        [f"{run.name}-{start}", *(f"{n}={value}" for n, value in changes.items())]
    )
    words = {**stored, "steps": end, "epoch_steps": settings.more // 4, **changes, "out": str(path)}
    if not path.exists():  # the run's own evaluation and figures are not the branch's
        shutil.copytree(run / CHECKPOINT, path / CHECKPOINT)
        for name in (CONFIG, METRICS):
            shutil.copy2(run / name, path / name)
    if int(evaluations(path)[-1]["step"]) < end:
        trainer = Trainer(*resolve_task(stored["env"], words))
        trainer.restore(path)
        complete(trainer)
    return path


def rows_of(run: Path, branch: Path, settings: BranchSettings, changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The evaluations of the branch, those of the run before it without changes."""
    label = " ".join(f"{name}={value}" for name, value in changes.items())
    start = int(evaluations(run)[-1]["step"])
    return [
        {
            "run": run.name,
            "changes": label if int(row["step"]) > start else "",
            **{name: row[name] for name in NUMBERS},
            **circumstances(),
        }
        for row in evaluations(branch)
        if int(row["step"]) >= start - 2 * settings.more
    ]


def main(words: list[str]) -> None:
    runs, named = runs_and_words(words)
    if len(runs) != 1:
        raise SettingError(f"{len(runs)} runs were given. Give one, and what its branch changes.")
    own = {f.name for f in fields(BranchSettings)}
    settings = parse_command(BranchSettings, [word for word in named if word.partition("=")[0] in own])
    changes = parse_words(word for word in named if word.partition("=")[0] not in own)
    torch.set_num_threads(1)
    run, table = Path(runs[0]), Path(settings.out) / "branches.csv"
    rows = rows_of(run, grow(run, settings, changes), settings, changes)
    if table.is_file():
        made = {tuple(row[name] for name in KEY) for row in rows}
        rows += [row for row in read_table(table) if tuple(row[name] for name in KEY) not in made]
    rows.sort(key=lambda row: (row["run"], row["changes"], int(row["step"])))
    write_table(table, rows)
    for row in rows:
        print(*(row[name] for name in ("run", "changes", *NUMBERS)), sep="\t")


if __name__ == "__main__":
    with exit_on_error():
        main(sys.argv[1:])
