"""The interface: how a control step is differentiated is an object, passed as a value."""

import abc
from typing import TYPE_CHECKING, Any

import mujoco

if TYPE_CHECKING:
    from diffmaac.physics.signatures import ControlStep
else:  # JAX takes seconds to import, and the gradients of the C engine do without it
    ControlStep = Any


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
