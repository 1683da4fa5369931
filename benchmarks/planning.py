"""How long the cross-entropy method takes for one step, of one episode alone and of ten at once.

    python benchmarks/planning.py [envs=pendulum,cartpole,half_cheetah] [threads=1] [repeats=20]

The planner of `diffmaac evaluate planner=cem` at its defaults, through a learned model of preset quick. The networks
are untrained, since the time depends on their sizes alone. Both numbers of episodes are timed in turn; medians. Writes
docs/results/planning_time.csv.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from diffmaac import seeding
from diffmaac.analysis.record import circumstances, write_table
from diffmaac.api import prepare
from diffmaac.config import PlanSettings, parse_words
from diffmaac.planning import CrossEntropyPlanner

EPISODES = (1, 10)


def milliseconds(env: str, threads: int, repeats: int) -> dict[int, float]:
    """Median of a step's planning for each number of episodes."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"preset": "quick", "threads": threads, "out": f"{folder}/run", "tensorboard": False}
        trainer = prepare(env, given)
    generator = seeding.torch_generator(0, "planner")
    planners = {episodes: CrossEntropyPlanner(trainer.agent.loop, PlanSettings(), generator) for episodes in EPISODES}
    found: dict[int, list[float]] = {episodes: [] for episodes in EPISODES}
    for _ in range(repeats):
        for episodes, planner in planners.items():
            obs = torch.randn(episodes, trainer.task.obs_size)
            start = time.perf_counter()
            planner(obs)
            found[episodes].append(1e3 * (time.perf_counter() - start))
    return {episodes: statistics.median(times[1:]) for episodes, times in found.items()}


def main(words: list[str]) -> None:
    given = {"envs": "pendulum,cartpole,half_cheetah", "threads": 1, "repeats": 20, **parse_words(words)}
    rows: list[dict[str, Any]] = []
    for env in given["envs"].split(","):
        found = milliseconds(env, given["threads"], given["repeats"])
        head = {"env": env, "threads": given["threads"]}
        rows += [{**head, "episodes": episodes, "ms": round(ms, 1)} for episodes, ms in found.items()]
        print(env, {n: round(ms, 1) for n, ms in found.items()}, flush=True)
    write_table(Path("docs/results/planning_time.csv"), [{**row, **circumstances()} for row in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
