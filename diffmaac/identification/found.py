"""What an identification has found."""

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Identification:
    """What was found: `values` and `standard_errors` of the numbers called `names`, which began at `start`.

    `noise` is that of the measurements, of each coordinate of (displacement, qvel, act); `model` has the values.
    """

    names: tuple[str, ...]
    start: Float[np.ndarray, " size"]
    values: Float[np.ndarray, " size"]
    standard_errors: Float[np.ndarray, " size"]
    noise: Float[np.ndarray, " x"]
    iterations: int
    model: mujoco.MjModel
    parameters: Mapping[str, np.ndarray]
    """The fields whole, for `DifferentiablePhysics`."""
