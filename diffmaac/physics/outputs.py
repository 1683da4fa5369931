"""Outputs of a step, as one row of numbers: read from the C engine's forward dynamics at a state."""

from collections.abc import Sequence

import mujoco
import numpy as np

from diffmaac.physics.engine import converged
from diffmaac.physics.names import checked_fields, entry_of
from diffmaac.physics.output_fields import ACCELERATION, POSITION, STATES, VELOCITY, check_output, stage_of
from diffmaac.physics.user_inputs import STATE, UserInputs

_LATER = {"cacc", "cfrc_int", "cfrc_ext"}
"""Outputs that `mj_rnePostConstraint` makes, which `mj_forward` calls for some sensors alone."""
_MOMENTA = {"subtree_linvel", "subtree_angmom"}
"""Likewise, and `mj_subtreeVel`."""


EXACT = 1e-30
"""Tolerance of the constraint solver. It is one of the cost, of which a part of 1e-14 is one of 1e-7 in a force: too
much where forces are differenced. Above 0, so that it stops where nothing improves."""


class OutputSpace:
    """Some fields of `MjData` in a row, (size,); those of the state are not in it.

    Raises:
        DiffmaacError: a field does not exist, cannot be had, is named twice, or is empty.
    """

    def __init__(self, model: mujoco.MjModel, names: Sequence[str]):
        self.names = checked_fields("outputs", names, lambda name: check_output(model, name))
        self.read = [name for name in names if name not in STATES]
        """The fields that a row has."""
        data = mujoco.MjData(model)
        self.shapes = {name: np.asarray(getattr(data, name)).shape for name in names}
        self.slices: dict[str, slice] = {}
        self.size = 0
        for name in self.read:
            count = int(np.prod(self.shapes[name]))
            self.slices[name] = slice(self.size, self.size + count)
            self.size += count
        self.stages = {name: stage_of(model, name) for name in self.read}

    def entry(self, index: int) -> str:
        """What a number of a row is called: xpos[2, 0]."""
        return entry_of(index, self.slices, self.shapes)


class ForwardDynamics:
    """`mj_forward` at given states, its constraints solved to the optimum. One object a thread."""

    def __init__(self, model: mujoco.MjModel, space: OutputSpace, inputs: UserInputs):
        self.model = forward_model(model, space)
        self.data = mujoco.MjData(self.model)
        self._space, self._signature = space, STATE | inputs.signature
        self._parts = [(space.slices[name], getattr(self.data, name)) for name in space.read]
        self._later, self._momenta = bool(_LATER & set(space.read)), bool(_MOMENTA & set(space.read))
        self._energy = "energy" in space.read
        self._last = max(space.stages.values(), default=POSITION)

    def reset(self) -> None:
        """Takes poses of mocap bodies from the model, whose values have changed."""
        mujoco.mj_resetData(self.model, self.data)

    def set(self, state: np.ndarray) -> None:
        """To a state (qpos, qvel, act and a row of inputs in one)."""
        mujoco.mj_setState(self.model, self.data, state, self._signature)

    def evaluate(self, out: np.ndarray, done: int, last: int = ACCELERATION) -> None:
        """Writes the outputs of all stages up to `last`, of which those up to `done` hold already.

        Of later stages it writes what was there before.
        """
        model, data = self.model, self.data
        last = min(last, self._last)
        if last == ACCELERATION:
            data.qacc_warmstart[:] = 0.0  # so that nothing depends on what was computed before
            mujoco.mj_forwardSkip(model, data, done, 0)
        else:
            self._positions(done, last)
        if self._energy:
            mujoco.mj_energyPos(model, data)
            mujoco.mj_energyVel(model, data)
        if self._momenta and last >= VELOCITY:
            mujoco.mj_subtreeVel(model, data)
        if self._later and last == ACCELERATION:
            mujoco.mj_rnePostConstraint(model, data)
        for own, source in self._parts:
            out[own] = source.ravel()

    def _positions(self, done: int, last: int) -> None:
        model, data = self.model, self.data
        if done < POSITION:
            mujoco.mj_fwdPosition(model, data)
            mujoco.mj_sensorPos(model, data)
        if last >= VELOCITY:
            mujoco.mj_fwdVelocity(model, data)
            mujoco.mj_sensorVel(model, data)


def forward_model(model: mujoco.MjModel, space: OutputSpace) -> mujoco.MjModel:
    """A copy of the model as `ForwardDynamics` takes it."""
    model = converged(model)
    model.opt.tolerance = EXACT
    flags = mujoco.mjtEnableBit
    model.opt.enableflags &= ~(int(flags.mjENBL_SLEEP) | int(flags.mjENBL_FWDINV) | int(flags.mjENBL_ENERGY))
    return model
