"""Milliseconds of one update: SAC against stable-baselines3's SAC, paired; and MAAC's (H = 4, 8 members of 4 x 200).

    python benchmarks/update_step.py [threads=1] [repeats=60]

half_cheetah sizes, batch 256, networks 256 x 256, float32. The two SAC updates alternate in one process, so that a
change in load meets both; medians. Needs the extra `bench`. Writes docs/results/update_step-<threads>.csv.
"""

import csv
import importlib.metadata
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from diffmaac.api import prepare
from diffmaac.config import parse_words
from diffmaac.training import Trainer

BATCH = 256


def ours(algorithm: str, folder: str) -> Trainer:
    """A trainer with a thousand transitions of random actions and, where it has dynamics, as many imagined ones."""
    trainer = prepare(
        "half_cheetah",
        {
            "algorithm": algorithm,
            "preset": "paper",
            "samples": 1,
            "random_steps": 1000,
            "imagined_states": 1000,
            "out": f"{folder}/{algorithm}",
        },
    )
    for _ in range(1000):
        trainer._collect()
    if trainer.dynamics is not None:
        trainer._imagine()
    return trainer


def theirs(trainer: Trainer) -> SAC:
    """stable-baselines3's SAC at its defaults (256 x 256, batch 256), filled with the same number of transitions."""
    model = SAC("MlpPolicy", trainer.task.make_env(), learning_starts=999, batch_size=BATCH, device="cpu")
    model.learn(1000)
    model.set_logger(Logger(None, []))
    return model


def milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def alternate(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each contender in turn, `repeats` times after ten of warm-up."""
    for _ in range(10):
        for update in contenders.values():
            update()
    rounds = [{name: milliseconds(update) for name, update in contenders.items()} for _ in range(repeats)]
    return {name: [times[name] for times in rounds] for name in contenders}


def main(words: list[str]) -> None:
    given = {"threads": 1, "repeats": 60, **parse_words(words)}
    torch.set_num_threads(given["threads"])
    with tempfile.TemporaryDirectory() as folder:
        sac, maac = ours("sac", folder), ours("maac", folder)
        model = theirs(sac)
        contenders = {
            "stable-baselines3 SAC": lambda: model.train(1, BATCH),
            "diffmaac SAC": lambda: sac._update(0),
            "diffmaac MAAC": lambda: maac._update(0),
            "diffmaac MAAC, critic alone": lambda: maac.agent.update_critic(maac._sample(BATCH)),
        }
        # MAAC by itself: its models would sweep the caches before every SAC update.
        names = list(contenders)
        times = alternate({n: contenders[n] for n in names[:2]}, given["repeats"])
        times |= alternate({n: contenders[n] for n in names[2:]}, given["repeats"])
    peer = times["stable-baselines3 SAC"]
    out = Path("docs/results") / f"update_step-{given['threads']}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["update", "median_ms", "ratio_to_sb3", "threads", "repeats", "versions", "machine"])
        versions = " ".join(f"{p}=={importlib.metadata.version(p)}" for p in ("torch", "stable-baselines3"))
        for name, values in times.items():
            ratio = statistics.median(a / b for a, b in zip(values, peer, strict=True))
            row = [name, f"{statistics.median(values):.2f}", f"{ratio:.3f}", given["threads"], given["repeats"]]
            writer.writerow([*row, versions, f"{platform.machine()}, {os.cpu_count()} cores"])
            print(*row, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
