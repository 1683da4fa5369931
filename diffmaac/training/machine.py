"""Is the machine such as the settings want it: its device, its threads, its memory?"""

import logging
import math

import torch

from diffmaac.errors import DiffmaacError, SettingError, one_line
from diffmaac.provenance import memory_bytes
from diffmaac.settings import Settings, flatten, uses_dynamics
from diffmaac.system import MujocoSystem
from diffmaac.task import Task

_LOGGER = logging.getLogger(__name__)
FLOAT = 4
"""Bytes of a float32."""
OPTIMISED = 4
"""Copies of a weight that is trained: itself, its gradient and Adam's two moments."""
RECORDED = 2
"""Tensors that a layer keeps for the backward pass, in units of its output."""


def cuda_problem() -> str | None:
    """Why torch cannot compute on CUDA here, as torch says it; None where it can."""
    if torch.version.cuda is None:
        return "this build of torch has no CUDA"
    try:
        # A GPU that is too old for this build of torch is refused only where something is computed.
        torch.zeros(1, device="cuda").add_(1).cpu()
    except (AssertionError, RuntimeError) as error:
        return one_line(error).partition(". ")[0].rstrip(".")
    return None


def device_of(settings: Settings) -> torch.device:
    """Where a run computes; `auto` is CUDA where torch can use it, and else the CPU."""
    name = settings.run.device
    if name == "auto":
        problem = cuda_problem()
        name = "cpu" if problem else "cuda"
        _LOGGER.info("device=auto takes %s%s", name, f": {problem}" if problem else "")
    return torch.device(name)


def check_device(task: Task, settings: Settings) -> None:
    """Raises SettingError where the device of `settings` is not there, or the run's physics cannot compute on it."""
    if settings.run.device == "cuda" and (problem := cuda_problem()):
        raise SettingError(
            f"device=cuda: torch cannot use CUDA here: {problem}. Use device=cpu, or install a torch with CUDA and a"
            " driver that is new enough for it."
        )
    on_cuda = device_of(settings).type == "cuda"
    if on_cuda and settings.run.dynamics != "learned" and _simulates(task, settings):
        from diffmaac import physics  # which imports JAX

        try:
            physics.check_cuda()
        except DiffmaacError as error:
            raise SettingError(f"dynamics={settings.run.dynamics} on device={settings.run.device}: {error}") from error


def _simulates(task: Task, settings: Settings) -> bool:
    return isinstance(task.system, MujocoSystem) and uses_dynamics(flatten(settings))


def use_machine(task: Task, settings: Settings) -> None:
    """Sets torch's threads if asked. Raises SettingError where device or memory are not there."""
    check_device(task, settings)
    check_memory(task, settings)
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)


def check_memory(task: Task, settings: Settings) -> None:
    """Raises SettingError where a run needs more memory than its device has, naming the part that needs the most."""
    on_cuda = device_of(settings).type == "cuda"
    there = torch.cuda.mem_get_info()[0] if on_cuda else memory_bytes()
    if (total := sum(memory_needed(task, settings).values())) > there:
        where = "the GPU has {} GB free" if on_cuda else "this machine has {} GB"
        raise SettingError(
            f"this run needs about {_gigabytes(total)} GB of memory, and {where.format(_gigabytes(there))}."
            f" {_largest_part(task, settings)}"
        )


def out_of_memory(error: torch.OutOfMemoryError, task: Task, settings: Settings) -> str:
    """What to lower where a GPU's memory was full in the midst of a run, and what torch says of it."""
    said = one_line(error).partition(". GPU")[0]
    return f"{said.rstrip('.')}. {_largest_part(task, settings)} Or let fewer processes share the GPU."


def _largest_part(task: Task, settings: Settings) -> str:
    what, most = max(memory_needed(task, settings).items(), key=lambda part: part[1])
    return f"The most, {_gigabytes(most)} GB, is for {what}. Give smaller ones."


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
