"""Does a policy earn in its model what it earns in the world? If it earns more there, it exploits the model's errors.

Real and imagined episodes begin in the same start states, and both follow the policy for the same number of steps: an
episode that its environment cuts off earlier is imagined to there.
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac import seeding
from diffmaac.dynamics import AbstractDynamics
from diffmaac.nn import AbstractPolicy
from diffmaac.objectives import World
from diffmaac.task import Task
from diffmaac.training.evaluation import run_episodes

MODE, SAMPLED = "mode", "sampled"


@dataclass(frozen=True)
class Episodes:
    """From each of `starts` start states a real episode of at most `steps` control steps, `copies` imagined ones."""

    starts: int
    copies: int
    steps: int


@dataclass(frozen=True)
class ImaginedReturn:
    """Mean reward a step in the world and in the model; `std`: over episodes. After a terminal state nothing is earned,
    up to the last step; a step that is reached with a learned probability counts with it.

    `actions` are the policy's "mode" or "sampled". Imagined episodes whose return is not finite are left out of the
    model's numbers, and counted in `diverged`; where none is left these are NaN.
    """

    actions: str
    real: float
    imagined: float
    real_std: float
    imagined_std: float
    diverged: int


@torch.no_grad()
def imagined_return(
    task: Task, policy: AbstractPolicy, dynamics: AbstractDynamics, actions: str, episodes: Episodes, seed: int
) -> ImaginedReturn:
    """Follows the policy (float32, on the CPU) in the environment of `task` and in `dynamics`.

    Raises DivergenceError where the physics blow up. Closed-form check: with the true dynamics both rewards are equal.
    """
    generator = seeding.torch_generator(seed, "imagined return")
    start: list[Tensor] = []

    def act(obs: Float[Tensor, "batch obs"]) -> Float[Tensor, "batch action"]:
        start[:] = start or [obs]
        if actions == MODE:
            return policy.mode(obs)
        return policy.sample(obs, torch.randn(len(obs), task.action_size, generator=generator))[0]

    shortened = dataclasses.replace(task, episode_steps=episodes.steps)
    evaluation = run_episodes(shortened, act, episodes.starts, seed)
    spans = torch.tensor(evaluation.spans)
    real = torch.tensor(evaluation.returns, dtype=torch.float64) / spans
    spans = spans.repeat(episodes.copies)
    obs = start[0].repeat(episodes.copies, 1)
    world = World(dynamics, task.reward, lambda obs: task.discount(obs, 1.0), task.transition_reward)
    earned, alive = torch.zeros(len(obs)), torch.ones(len(obs))
    for step in range(max(evaluation.spans)):
        alive = alive.where(step < spans, 0.0)
        action = act(obs)
        obs, reward, continues = world.step(obs, action, dynamics.sample_noise(len(obs), generator))
        earned += (alive * reward).where(alive > 0, 0.0)
        alive *= continues
    finite = earned.isfinite()
    imagined = earned[finite].double() / spans[finite]
    (mean, std), (mean_imagined, std_imagined) = (_mean_std(x) for x in (real, imagined))
    return ImaginedReturn(actions, mean, mean_imagined, std, std_imagined, len(earned) - len(imagined))


def _mean_std(x: Float[Tensor, " episodes"]) -> tuple[float, float]:
    """NaN where there is no episode."""
    if len(x) == 0:
        return float("nan"), float("nan")
    return x.mean().item(), x.std(correction=0).item()
