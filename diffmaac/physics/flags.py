"""What a model's flags switch off."""

import mujoco
import numpy as np
from jaxtyping import Float

DISABLE = mujoco.mjtDisableBit


def disabled(model: mujoco.MjModel, flag: mujoco.mjtDisableBit) -> bool:
    """Whether it is set."""
    return bool(model.opt.disableflags & int(flag))


def gravity(model: mujoco.MjModel) -> Float[np.ndarray, " 3"]:
    """That which acts [m/s^2]."""
    return np.zeros(3) if disabled(model, DISABLE.mjDSBL_GRAVITY) else model.opt.gravity
