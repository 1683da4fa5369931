"""Does the policy's mode earn what the policy itself earns? Training samples actions; evaluations take the mode.

    python benchmarks/mode_and_sample.py RUN... [episodes=10]

Runs both from the same start states and writes docs/results/mode_and_sample.csv, a row for each run (for checkpoints of
one run: copies of its directory) and kind. Where the mode alone falls, training never saw the states that it leads to.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import diffmaac
from diffmaac import seeding
from diffmaac.analysis.record import circumstances, write_table
from diffmaac.config import parse_words, runs_and_words
from diffmaac.training.evaluate import evaluate

TABLE = Path("docs/results/mode_and_sample.csv")


def rows_of(run: str, episodes: int) -> list[dict[str, Any]]:
    """Its mode, and its sampled actions."""
    agent = diffmaac.load(run)
    task, seed, generator = agent.task, agent.settings.run.seed, seeding.torch_generator(0, "actions")

    def sampled(obs: Tensor) -> Tensor:
        return agent.policy.sample(obs, torch.randn(len(obs), task.action_size, generator=generator))[0]

    rows = []
    for kind, act in (("mode", agent.policy.mode), ("sampled", sampled)):
        found = evaluate(task, act, episodes, seed)
        each = " ".join(f"{x:.0f}" for x in found.returns)
        head = {"env": task.name, "seed": seed, "step": agent.step, "actions": kind}
        rows.append({**head, **found.metrics(), "returns": each, **circumstances()})
        print(*head.values(), f"{found.metrics()['return']:.0f}", each, sep="\t", flush=True)
    return rows


def main(words: list[str]) -> None:
    runs, said = runs_and_words(words)
    episodes = parse_words(said).get("episodes", 10)
    torch.set_num_threads(1)
    write_table(TABLE, [row for run in runs for row in rows_of(run, episodes)])


if __name__ == "__main__":
    main(sys.argv[1:])
