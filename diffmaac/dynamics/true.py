"""The true dynamics of a system, whichever kind it is."""

from collections.abc import Mapping, Sequence

import numpy as np

from diffmaac.dynamics.base import AbstractDynamics
from diffmaac.dynamics.linear import LinearDynamics
from diffmaac.dynamics.mujoco_dynamics import MujocoDynamics
from diffmaac.dynamics.true_ensemble import TrueEnsemble
from diffmaac.errors import TaskError
from diffmaac.system import AbstractSystem, LinearSystem, MujocoSystem


def true_dynamics(system: AbstractSystem, gradient: str = "auto") -> AbstractDynamics:
    """The closed form of a linear system; MuJoCo's physics, differentiated as `DifferentiablePhysics` says.

    Raises TaskError where there is neither, or the observation does not tell the state.
    """
    system = system.physics()
    if isinstance(system, LinearSystem):
        return LinearDynamics(system)
    if isinstance(system, MujocoSystem):
        return MujocoDynamics(system, gradient)
    raise TaskError(f"there are no true dynamics for a {type(system).__name__}. Use dynamics=learned.")


def identified_dynamics(
    system: AbstractSystem, sets: Sequence[Mapping[str, np.ndarray]], gradient: str = "auto"
) -> AbstractDynamics:
    """MuJoCo's physics of a system with other parameters; of several sets, such as draws from a posterior, an ensemble.

    `sets` are as `MujocoSystem.with_parameters` takes them. Raises TaskError where the system is no MuJoCo model or
    cannot be differentiated, or the range of controls is among the parameters.
    """
    system = system.physics()
    if not isinstance(system, MujocoSystem):
        raise TaskError(f"a {type(system).__name__} has no MuJoCo model whose parameters could be identified.")
    if any("actuator_ctrlrange" in parameters for parameters in sets):
        raise TaskError("actuator_ctrlrange is what actions are scaled to, and cannot be another in the dynamics.")
    members = [MujocoDynamics(system.with_parameters(parameters), gradient) for parameters in sets]
    return members[0] if len(members) == 1 else TrueEnsemble(members, system.obs_size)
