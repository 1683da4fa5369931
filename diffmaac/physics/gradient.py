"""The interface: how a control step is differentiated is an object, passed as a value."""

import abc
from collections.abc import Callable
from typing import TypeAlias

import mujoco
from jax import Array
from jaxtyping import Float

PhysicsState: TypeAlias = tuple[Float[Array, " nq"], Float[Array, " nv"], Float[Array, " na"]]
"""(qpos, qvel, act)."""

ControlStep: TypeAlias = Callable[
    [Float[Array, " nq"], Float[Array, " nv"], Float[Array, " na"], Float[Array, " nu"]], PhysicsState
]
"""(qpos, qvel, act, ctrl) -> (qpos, qvel, act): pure, unbatched, differentiable in every argument."""

BatchedPhysicsState: TypeAlias = tuple[Float[Array, "batch nq"], Float[Array, "batch nv"], Float[Array, "batch na"]]

BatchedControlStep: TypeAlias = Callable[
    [Float[Array, "batch nq"], Float[Array, "batch nv"], Float[Array, "batch na"], Float[Array, "batch nu"]],
    BatchedPhysicsState,
]


class AbstractGradient(abc.ABC):
    """How to differentiate one control step of a MuJoCo model.

    What differs is the vector-Jacobian product. The value is the C engine's, to rounding, for every gradient but those
    that say otherwise. Concrete classes are frozen dataclasses, so that they can be compared, hashed and printed.
    """

    @property
    def changes_physics(self) -> bool:
        """Whether the step's value may be another than the C engine's."""
        return False

    @abc.abstractmethod
    def control_step(self, model: mujoco.MjModel, frame_skip: int) -> ControlStep:
        """The control step of `model` over `frame_skip` time steps, under one constant control.

        Raises:
            ValueError: the model has something that this gradient, or MJX, cannot do.
        """
