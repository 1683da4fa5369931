"""Does the mean of a run's policies fall less often than each, and over how many updates is it to be taken?

    python docs/results/inquiries/policy_mean.py run=RUN checkpoints=FOLDER [episodes=10]

FOLDER holds copies of RUN/checkpoint, made while it trained, one an epoch. Evaluates from the same start states the
policy of the moment of each, and the means of the last 1, 2, 4 and 8 policies that the run evaluated, which are
exponential means themselves (`policy_tau`). Writes policy_mean.csv.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffmaac.errors import exit_on_error
from diffmaac.files import write_table
from diffmaac.provenance import circumstances
from diffmaac.runs import checkpoint
from diffmaac.settings import parse_command, setting
from diffmaac.training.evaluation import run_episodes
from diffmaac.training.trainer import Trainer

WINDOWS = (1, 2, 4, 8)
Policy = dict[str, Tensor]


@dataclass(frozen=True)
class PolicyMeanSettings:
    """Whose policies, over how many episodes."""

    run: str = setting("", "run directory")
    checkpoints: str = setting("", "directory of copies of its checkpoint directory")
    episodes: int = setting(10, "episodes of each", 1)
    out: str = setting("docs/results/inquiries", "directory of the table")


def policies(folder: Path) -> Iterator[tuple[int, str, Policy]]:
    """Environment step, what it is, and the policy: of the moment, and means over epochs."""
    loaded = sorted((checkpoint.load(path) for path in folder.iterdir()), key=lambda pair: pair[0])
    evaluated = [state["agent"]["evaluated_policy"] for _, state in loaded]
    for i, (step, state) in enumerate(loaded):
        yield step, "of the moment", state["agent"]["policy"]
        for window in WINDOWS:
            if i + 1 >= window:
                last = evaluated[i + 1 - window : i + 1]
                mean = {name: torch.stack([policy[name] for policy in last]).mean(0) for name in last[0]}
                yield step, "evaluated" if window == 1 else f"mean of {window} evaluated", mean


def main(settings: PolicyMeanSettings) -> None:
    torch.set_num_threads(1)
    trainer = Trainer.load(Path(settings.run))
    seed, policy = trainer.settings.run.seed, trainer.agent.evaluated_policy
    rows: list[dict[str, Any]] = []
    for step, kind, weights in policies(Path(settings.checkpoints)):
        policy.load_state_dict(weights)
        result = run_episodes(trainer.task, policy.mode, settings.episodes, seed, trainer.device)
        head = {"env": trainer.task.name, "seed": seed, "step": step, "policy": kind}
        rows.append({**head, **result.metrics(), **circumstances()})
        print(*head.values(), f"{result.metrics()['return']:.0f}", f"{rows[-1]['fall_share']:.0%}", sep="\t")
    write_table(Path(settings.out) / "policy_mean.csv", rows)


if __name__ == "__main__":
    with exit_on_error():
        main(parse_command(PolicyMeanSettings, sys.argv[1:]))
