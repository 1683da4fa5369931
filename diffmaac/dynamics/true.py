"""The true dynamics of a system, whichever kind it is."""

from diffmaac.dynamics.base import AbstractDynamics
from diffmaac.dynamics.linear import LinearDynamics
from diffmaac.errors import TaskError
from diffmaac.system import AbstractSystem, LinearSystem, MujocoSystem


def true_dynamics(system: AbstractSystem, gradient: str = "implicit") -> AbstractDynamics:
    """The closed form of a linear system; MuJoCo's physics, differentiated as `DifferentiablePhysics` says.

    Raises TaskError where there is neither, or the observation does not tell the state.
    """
    system = system.physics()
    if isinstance(system, LinearSystem):
        return LinearDynamics(system)
    if isinstance(system, MujocoSystem):
        from diffmaac.dynamics.mjx import MjxDynamics  # JAX is loaded only where it is used

        return MjxDynamics(system, gradient)
    raise TaskError(f"there are no true dynamics for a {type(system).__name__}. Use dynamics=learned.")
