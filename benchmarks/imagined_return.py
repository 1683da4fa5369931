"""Does a policy earn in its model what it earns in the world? If it earns more there, it exploits the model.

    python benchmarks/imagined_return.py RUN... [episodes=8] [steps=300] [copies=8]

From the same start states, with the policy's mode and with its noise: mean reward a step in MuJoCo's C engine and in
the run's learned dynamics, `copies` imagined episodes for each real one. Writes docs/results/imagined_return.csv.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmaac import seeding
from diffmaac.analysis.record import circumstances, write_table
from diffmaac.config import parse_words
from diffmaac.training import Trainer
from diffmaac.training.evaluate import evaluate


@torch.no_grad()
def rewards(trainer: Trainer, noisy: bool, episodes: int, steps: int, copies: int) -> dict[str, float]:
    """Mean reward a step, real and imagined, and the standard deviation of each over episodes."""
    task, policy, dynamics = trainer.task, trainer.agent.policy, trainer.agent.loop.dynamics
    generator = seeding.torch_generator(0, "imagined return")
    starts: list[Tensor] = []

    def act(obs: Tensor) -> Tensor:
        starts[:] = starts or [obs]
        if not noisy:
            return policy.mode(obs)
        return policy.sample(obs, torch.randn(len(obs), task.action_size, generator=generator))[0]

    real = evaluate(dataclasses.replace(task, episode_steps=steps), act, episodes, seed=0).returns
    obs = starts[0].repeat(copies, 1)
    imagined = torch.zeros(len(obs))
    for _ in range(steps):
        action = act(obs)
        imagined += task.reward(obs, action)
        obs = dynamics.step(obs, action, dynamics.sample_noise(len(obs), generator))
    found = {"real": np.array(real) / steps, "imagined": imagined.numpy() / steps}
    return {name: float(x.mean()) for name, x in found.items()} | {f"{n}_std": float(x.std()) for n, x in found.items()}


def main(words: list[str]) -> None:
    runs = [word for word in words if Path(word).is_dir()]
    given = {"episodes": 8, "steps": 300, "copies": 8, **parse_words([word for word in words if word not in runs])}
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for run in runs:
        trainer = Trainer.load(Path(run))
        for noisy in (False, True):
            found = {name: round(value, 4) for name, value in rewards(trainer, noisy, **given).items()}
            head = {"run": Path(run).name, "step": trainer.step, "actions": "sampled" if noisy else "mode"}
            rows.append({**head, **found, **given, **circumstances()})
            print(*head.values(), found)
    write_table(Path("docs/results/imagined_return.csv"), rows)


if __name__ == "__main__":
    main(sys.argv[1:])
