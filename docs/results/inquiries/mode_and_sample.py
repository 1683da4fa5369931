"""Does the policy's mode earn what the policy itself earns? Training samples actions; evaluations take the mode.

    python docs/results/inquiries/mode_and_sample.py runs=RUN,RUN [episodes=10]

Runs both from the same start states and writes mode_and_sample.csv, a row for each run (for checkpoints of one run:
copies of its directory) and kind. Where the mode alone falls, training never saw the states that it leads to.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import diffmaac
from diffmaac import seeding
from diffmaac.errors import exit_on_error
from diffmaac.files import write_table
from diffmaac.provenance import circumstances
from diffmaac.settings import parse_command, setting
from diffmaac.training.evaluation import run_episodes


@dataclass(frozen=True)
class ModeAndSampleSettings:
    """Whose policies, over how many episodes."""

    runs: list[str] = setting([], "run directories")
    episodes: int = setting(10, "episodes of each", 1)
    out: str = setting("docs/results/inquiries", "directory of the table")


def rows_of(run: str, episodes: int) -> list[dict[str, Any]]:
    """Its mode, and its sampled actions."""
    agent = diffmaac.load(run)
    task, seed, generator = agent.task, agent.settings.run.seed, seeding.torch_generator(0, "actions")

    def sampled(obs: Tensor) -> Tensor:
        return agent.policy.sample(obs, torch.randn(len(obs), task.action_size, generator=generator))[0]

    rows = []
    for kind, act in (("mode", agent.policy.mode), ("sampled", sampled)):
        result = run_episodes(task, act, episodes, seed)
        each = " ".join(f"{x:.0f}" for x in result.returns)
        head = {"env": task.name, "seed": seed, "step": agent.step, "actions": kind}
        rows.append({**head, **result.metrics(), "returns": each, **circumstances()})
        print(*head.values(), f"{result.metrics()['return']:.0f}", each, sep="\t", flush=True)
    return rows


def main(settings: ModeAndSampleSettings) -> None:
    torch.set_num_threads(1)
    rows = [row for run in settings.runs for row in rows_of(run, settings.episodes)]
    write_table(Path(settings.out) / "mode_and_sample.csv", rows)


if __name__ == "__main__":
    with exit_on_error():
        main(parse_command(ModeAndSampleSettings, sys.argv[1:]))
