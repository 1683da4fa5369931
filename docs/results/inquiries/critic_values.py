"""Do the critics believe of a policy what it then earns? Their values beside the discounted soft returns that follow.

    python docs/results/inquiries/critic_values.py runs=RUN,RUN [episodes=8]

Sampled actions, from the start states of evaluations; a row of critic_values.csv for each run (for checkpoints of one
run: copies of its directory) and for the steps before the first fall and after it. `residual` is how much the values'
own target, the reward and the discounted value of the next state, lies above them: with a discount near 1 a small one
in each step hides a large error in the end.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffmaac import seeding
from diffmaac.errors import exit_on_error
from diffmaac.files import write_table
from diffmaac.provenance import circumstances
from diffmaac.settings import parse_command, setting
from diffmaac.training.trainer import Trainer


@dataclass(frozen=True)
class CriticValuesSettings:
    """Whose critics, over how many episodes."""

    runs: list[str] = setting([], "run directories")
    episodes: int = setting(8, "episodes of each", 1)
    out: str = setting("docs/results/inquiries", "directory of the table")


def episode(trainer: Trainer, seed: int) -> dict[str, np.ndarray]:
    """Columns (steps): value, what the episode earned from there on, residual, reward, has the body fallen."""
    task, agent, generator = trainer.task, trainer.agent, seeding.torch_generator(seed, "actions")
    gamma, alpha, env = trainer.settings.agent.gamma, float(agent.alpha), task.make_env()
    ends = trainer.settings.data.fall_ends
    obs, _ = env.reset(seed=seed)
    values, rewards, entropies, lying = [], [], [], []
    for _ in range(task.episode_steps):
        obs_t = torch.as_tensor(obs, dtype=torch.float32)[None]
        fallen = task.fallen is not None and bool(task.fallen(obs_t).any())
        if ends and fallen:
            break
        noise = torch.randn(1, task.action_size, generator=generator)
        with torch.no_grad():
            action, log_prob = agent.policy.sample(obs_t, noise)
            values.append(float(agent.critics(obs_t, action).min()))
        obs, reward, *_ = env.step(action[0].numpy())
        rewards.append(float(reward))
        entropies.append(-alpha * float(log_prob))
        lying.append(fallen)
    # What follows the last step: nothing after a fall that ends the episode, otherwise what the critics say.
    follows = 0.0 if ends and len(values) < task.episode_steps else values[-1]
    targets = np.asarray(rewards) + gamma * np.append(np.asarray(values[1:]) + entropies[1:], follows)
    earned = np.zeros(len(values))
    for t in reversed(range(len(values))):
        earned[t] = rewards[t] + gamma * follows
        follows = earned[t] + entropies[t]
    fallen_before = np.maximum.accumulate(lying)
    columns = (np.asarray(values), earned, targets - values, np.asarray(rewards), fallen_before)
    return dict(zip(("value", "earned", "residual", "reward", "fallen"), columns, strict=True))


def rows_of(run: str, episodes: int) -> list[dict[str, Any]]:
    """Before the first fall, and after it where episodes go on."""
    trainer = Trainer.load(Path(run))
    parts = [episode(trainer, seed) for seed in range(episodes)]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    head = {"run": Path(run).name, "env": trainer.task.name, "gamma": trainer.settings.agent.gamma}
    rows = []
    for when in (False, True):
        chosen = whole["fallen"] == when
        if chosen.any():
            means = {name: f"{whole[name][chosen].mean():.4g}" for name in ("value", "earned", "residual", "reward")}
            where = {"step": trainer.step, "fallen": when, "steps": int(chosen.sum())}
            rows.append({**head, **where, **means, **circumstances()})
            print(*rows[-1].values(), sep="\t", flush=True)
    return rows


def main(settings: CriticValuesSettings) -> None:
    torch.set_num_threads(1)
    rows = [row for run in settings.runs for row in rows_of(run, settings.episodes)]
    write_table(Path(settings.out) / "critic_values.csv", rows)


if __name__ == "__main__":
    with exit_on_error():
        main(parse_command(CriticValuesSettings, sys.argv[1:]))
