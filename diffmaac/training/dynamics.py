"""The dynamics of a run, as its settings want them."""

from pathlib import Path

import torch

from diffmaac import seeding
from diffmaac.dynamics import (
    AbstractDynamics,
    GaussianEnsemble,
    Heads,
    LearnedDynamics,
    MixedDynamics,
    identified_dynamics,
    true_dynamics,
)
from diffmaac.errors import TaskError
from diffmaac.identification import Identification
from diffmaac.settings import Settings, flatten, uses_dynamics
from diffmaac.system import MujocoSystem
from diffmaac.task import Task


def uses_identification(settings: Settings) -> bool:
    """Whether the dynamics of a run are those of an identified model."""
    run = settings.run
    return bool(run.identified) and run.dynamics == "true" and uses_dynamics(flatten(settings))


def make_dynamics(
    task: Task, settings: Settings, init: torch.Generator, identified: Path
) -> tuple[LearnedDynamics | None, AbstractDynamics | None]:
    """The model to fit, and the dynamics that the algorithm uses; None where there is none.

    `identified` is the file of the identification, for a run that has one. Raises as `Identification.load` does.
    """
    if not uses_dynamics(flatten(settings)):
        return None, None
    if uses_identification(settings):
        return None, from_identification(task, settings, identified)
    if settings.run.dynamics == "true":
        return None, true_dynamics(task.system)
    members, hidden = settings.model.members, settings.model.model_hidden
    heads = Heads(task.learns_reward, task.learns_end)
    model = LearnedDynamics(GaussianEnsemble(task.obs_size, task.action_size, members, hidden, init, heads))
    if settings.run.dynamics == "learned":
        return model, model
    truth = true_dynamics(task.system)
    return model, MixedDynamics(truth, model) if settings.run.mixed_values == "true" else MixedDynamics(model, truth)


def from_identification(task: Task, settings: Settings, file: Path) -> AbstractDynamics:
    """The physics with the values of an identification; of more than one member, with draws from its posterior."""
    system = task.system.physics()
    if not isinstance(system, MujocoSystem):
        raise TaskError(f"identified={file}: task '{task.name}' is no MuJoCo model. Leave it out.")
    found = Identification.load(file, system.model)
    members, seed = settings.model.members, seeding.integer_seed(settings.run.seed, "identified")
    return identified_dynamics(system, [found.parameters] if members == 1 else found.draw(members, seed))
