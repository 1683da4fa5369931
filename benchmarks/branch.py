"""What holds a run back? A copy of it goes on from its checkpoint under other settings.

    python benchmarks/branch.py RUN more=2000 updates_per_step=4

Trains `more` environment steps under runs/branches/ (a finished branch is read, one that was stopped goes on), on one
thread, and puts its evaluations, after the last ones of the run itself, into docs/results/branches.csv. What a
checkpoint holds cannot be changed so: sizes of networks, the temperature, the random streams.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from diffmaac.analysis.record import METRICS, circumstances, evaluations, read_table, write_table
from diffmaac.api import complete
from diffmaac.config import parse_words, read_file
from diffmaac.errors import SettingError
from diffmaac.presets import resolve
from diffmaac.training import Trainer
from diffmaac.training.run import CHECKPOINT, CONFIG

BRANCHES, TABLE = Path("runs/branches"), Path("docs/results/branches.csv")
HELD = {"seed", "initial_alpha", "hidden", "critics", "members", "model_hidden", "env", "algorithm"}
NUMBERS = ("step", "seconds", "return", "return_std", "q")


def grow(run: Path, more: int, changes: dict[str, Any]) -> Path:
    """Trains the branch, or goes on with it, and returns its directory."""
    if held := sorted(HELD & changes.keys()):
        raise SettingError(f"{held[0]}= comes with the checkpoint: a branch cannot change it.")
    stored, start = read_file(run / CONFIG), int(evaluations(run)[-1]["step"])
    path = BRANCHES / "-".join([f"{run.name}-{start}", *(f"{name}={value}" for name, value in changes.items())])
    given = {**stored, "steps": start + more, "epoch_steps": more // 4, **changes, "out": str(path)}
    if not path.exists():  # the run's own evaluation and figures are not the branch's
        shutil.copytree(run / CHECKPOINT, path / CHECKPOINT)
        for name in (CONFIG, METRICS):
            shutil.copy2(run / name, path / name)
    if int(evaluations(path)[-1]["step"]) < start + more:
        trainer = Trainer(*resolve(stored["env"], given))
        trainer.restore(path)
        complete(trainer)
    return path


def main(words: list[str]) -> None:
    run, changes = Path(words[0]), parse_words(words[1:])
    more = changes.pop("more", 2000)
    torch.set_num_threads(1)
    path = grow(run, more, changes)
    label = " ".join(f"{name}={value}" for name, value in changes.items())
    start = int(evaluations(run)[-1]["step"])
    rows: list[dict[str, Any]] = []
    for row in evaluations(path):
        if int(row["step"]) >= start - 2 * more:
            head = {"run": run.name, "changes": label if int(row["step"]) > start else ""}
            rows.append({**head, **{name: row[name] for name in NUMBERS}, **circumstances()})
    if TABLE.is_file():
        made = {(row["run"], row["changes"], row["step"]) for row in rows}
        kept = [row for row in read_table(TABLE) if (row["run"], row["changes"], row["step"]) not in made]
        rows = sorted(kept + rows, key=lambda row: (row["run"], row["changes"], int(row["step"])))
    write_table(TABLE, rows)
    for row in rows:
        print(*(row[name] for name in ("run", "changes", *NUMBERS)), sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
