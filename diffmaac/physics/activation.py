"""How activations advance in one time step of the C engine, in closed form."""

import mujoco
import numpy as np
from jaxtyping import Float


class Activations:
    """act' = clip(act + span * rate): span is the time step, or tau (1 - exp(-h / tau)) for what MuJoCo integrates
    exactly."""

    def __init__(self, model: mujoco.MjModel):
        self._span = np.full(model.na, model.opt.timestep)
        self._low, self._high = np.full(model.na, -np.inf), np.full(model.na, np.inf)
        for actuator, (first, count) in enumerate(zip(model.actuator_actadr, model.actuator_actnum, strict=True)):
            if count > 0:
                self._describe(model, actuator, slice(first, first + count))

    def _describe(self, model: mujoco.MjModel, actuator: int, own: slice) -> None:
        kinds, kind, dynamics = mujoco.mjtDyn, model.actuator_dyntype[actuator], model.actuator_dynprm[actuator]
        motor = kind == int(kinds.mjDYN_DCMOTOR)
        if kind == int(kinds.mjDYN_FILTEREXACT) or (motor and dynamics[0] > 0):  # a motor's last is its current
            tau = max(dynamics[0], mujoco.mjMINVAL)
            self._span[own.stop - 1] = -tau * np.expm1(-model.opt.timestep / tau)
        if motor:
            self._bound_integral(model, actuator, int(own.start) + int(dynamics[7] > 0))
        elif model.actuator_actlimited[actuator]:
            self._low[own], self._high[own] = model.actuator_actrange[actuator]
        if _off(model, actuator):
            self._span[own] = 0.0

    def _bound_integral(self, model: mujoco.MjModel, actuator: int, address: int) -> None:
        bound = model.actuator_dynprm[actuator, 8]
        if model.actuator_gainprm[actuator, 5] > 0 and bound > 0:
            self._low[address], self._high[address] = -bound, bound

    def advance(self, act: Float[np.ndarray, "n na"], rate: Float[np.ndarray, "n na"]) -> Float[np.ndarray, "n na"]:
        """The activations after a time step."""
        return np.clip(act + self._span * rate, self._low, self._high)

    def pull_back(
        self, act: Float[np.ndarray, "n na"], rate: Float[np.ndarray, "n na"], gradient: Float[np.ndarray, "n na"]
    ) -> tuple[Float[np.ndarray, "n na"], Float[np.ndarray, "n na"]]:
        """The gradients with respect to act and rate, from that with respect to the next activations."""
        after = act + self._span * rate
        inside = np.where((self._low <= after) & (after <= self._high), gradient, 0.0)
        return inside, self._span * inside


def _off(model: mujoco.MjModel, actuator: int) -> bool:
    """Whether the actuator's activations stand still: all actuation is off, or the actuator's group is."""
    group = int(model.actuator_group[actuator])
    grouped = 0 <= group <= 30 and bool(model.opt.disableactuator & (1 << group))
    return grouped or bool(model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_ACTUATION))
