"""The task as it is trained on, where that is not how it is evaluated."""

import dataclasses
from collections.abc import Callable

from torch import Tensor

from diffmaac.settings import Settings
from diffmaac.task import Task


def practice(task: Task, settings: Settings) -> Task:
    """`task` as it is trained on where a fall ends an episode: each step after it would earn `fall_reward`, for ever.

    What a body earns that lies is far less than the critics believe: it is seldom seen for long, and their error at the
    states that end the data is that of all before them. A fall that is worth too much teaches to leap as far as the
    body comes and fall.
    """
    fallen, terminated = task.fallen, task.terminated
    if fallen is None:
        return task
    gamma, lying = settings.agent.gamma, settings.data.fall_reward
    if lying:
        task = _with_reward_of_end(task, fallen, gamma * lying / (1 - gamma))
    if terminated is None:
        return dataclasses.replace(task, terminated=fallen)
    return dataclasses.replace(task, terminated=lambda obs: fallen(obs) | terminated(obs))


def _with_reward_of_end(task: Task, ended: Callable[[Tensor], Tensor], value: float) -> Task:
    """`task`, whose steps earn `value` more where they lead into a state in which it has `ended`."""

    def total(obs_t: Tensor, action_t: Tensor, obs_tp1: Tensor) -> Tensor:
        return task.earned(obs_t, action_t, obs_tp1) + value * ended(obs_tp1)

    return dataclasses.replace(task, reward=None, transition_reward=total)
