"""Is the machine such as the settings want it: its device, its threads, its memory?"""

import math

import torch

from diffmaac.errors import SettingError
from diffmaac.provenance import memory_bytes
from diffmaac.settings import Settings, flatten, uses_dynamics
from diffmaac.task import Task

FLOAT = 4
"""Bytes of a float32."""
OPTIMISED = 4
"""Copies of a weight that is trained: itself, its gradient and Adam's two moments."""
RECORDED = 2
"""Tensors that a layer keeps for the backward pass, in units of its output."""


def check_device(settings: Settings) -> None:
    """Raises SettingError where the device of `settings` is not there."""
    if settings.run.device == "cuda" and not torch.cuda.is_available():
        raise SettingError("device=cuda: torch sees no CUDA device. Use device=cpu, or install a CUDA build of torch.")


def use_machine(task: Task, settings: Settings) -> None:
    """Sets torch's threads if asked. Raises SettingError where device or memory are not there."""
    check_device(settings)
    check_memory(task, settings)
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)


def check_memory(task: Task, settings: Settings) -> None:
    """Raises SettingError where a run needs more memory than its device has, naming the part that needs the most."""
    device = settings.run.device
    there = torch.cuda.get_device_properties(device).total_memory if device == "cuda" else memory_bytes()
    parts = memory_needed(task, settings)
    if (total := sum(parts.values())) > there:
        what, most = max(parts.items(), key=lambda part: part[1])
        raise SettingError(
            f"this run needs about {_gigabytes(total)} GB of memory, and this machine has {_gigabytes(there)} GB."
            f" The most, {_gigabytes(most)} GB, is for {what}. Give smaller ones."
        )


def memory_needed(task: Task, settings: Settings) -> dict[str, float]:
    """About how many bytes a run takes, by part: what is stored, what is trained, and what a backward pass keeps."""
    agent, model, data = settings.agent, settings.model, settings.data
    width = 2 * task.obs_size + task.action_size + 3
    modelled = uses_dynamics(flatten(settings))
    learned = modelled and settings.run.dynamics != "true"
    imagined = data.imagined_states * (data.imagined_keep + 2) if modelled and data.data == "mixed" else 0
    inputs = task.obs_size + task.action_size
    actor_critic = _weights(inputs, agent.hidden) * (OPTIMISED + 1) * agent.critics + OPTIMISED * _weights(
        task.obs_size, agent.hidden
    )
    ensemble = model.members * OPTIMISED * _weights(inputs, model.model_hidden) if learned else 0
    horizon = max(agent.auto_horizons) if isinstance(agent.horizon, str) else agent.horizon
    a_step = sum(agent.hidden) + width + (sum(model.model_hidden) if learned else 0)
    actor = agent.start_states * agent.samples * RECORDED * (horizon * a_step + (1 + agent.critics) * sum(agent.hidden))
    critic = agent.batch_size * (RECORDED * agent.critics * sum(agent.hidden) + width)
    if modelled and agent.critic_target == "steve":
        critic += (agent.steve_horizon + 1) * agent.batch_size * model.members * (task.obs_size + agent.critics)
    fit = model.members * model.model_batch_size * RECORDED * sum(model.model_hidden) if learned else 0
    parts = {
        "the replay (steps=)": settings.run.steps * width,
        "imagined data (imagined_states=, imagined_keep=)": imagined * width,
        "policy and critics (hidden=, critics=)": actor_critic,
        "the ensemble (members=, model_hidden=)": ensemble,
        "the actor's batch (batch_size=, samples=, horizon=)": actor,
        "the critics' batch (batch_size=, critics=, steve_horizon=)": critic,
        "the ensemble's batch (members=, model_batch_size=)": fit,
    }
    return {name: float(FLOAT * numbers) for name, numbers in parts.items()}


def _weights(inputs: int, hidden: list[int]) -> int:
    """Weights of the hidden layers; the last layer is small beside them."""
    return sum(math.prod(pair) for pair in zip([inputs, *hidden], hidden, strict=False))


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.3g}" if count < 1e12 else f"{count / 1e9:,.0f}"
