"""The derivatives of the inverse dynamics by positions and velocities, by differences that run no solver."""

from collections.abc import Callable

import mujoco
import numpy as np
from jaxtyping import Bool, Float

from diffmaac.physics.contact_filter import ContactFilter

_KINDS = mujoco.mjtGeom
_PLANE, _SPHERE = int(_KINDS.mjGEOM_PLANE), int(_KINDS.mjGEOM_SPHERE)
_ELLIPSOID, _CYLINDER = int(_KINDS.mjGEOM_ELLIPSOID), int(_KINDS.mjGEOM_CYLINDER)
CENTRAL_STEP = 1e-7
"""Of positions (central) and velocities (one-sided) [m, rad and per second]."""
ONE_SIDED_STEP = 2e-8
"""Of both where r does not bend over micrometres, as a contact's impedance does: curvature and rounding then cost some
1e-7 of the gradient, and half of the time is saved."""
SEARCH_STEP = 1e-5
"""Of positions (central) and velocities where a contact is found by a search, which ends at a polyhedron: over shorter
steps its normal does not turn as the geoms' own does. Left are some 5e-4 of the gradient."""
SMALLER_STEP = 1e-9
"""Of positions, where the differences above and below disagree: a constraint switches on or off within the step."""
KINK, ROUNDING = 3e-4, 1e-13
"""Disagreement above which they do, relative to the largest difference and, divided by the step, to the forces: more
than the curvature of stiff contacts, and than rounding."""
JUMP = 0.5
"""Relative disagreement of the smaller differences above which the switch is so close that only one side counts."""


class StateDifferences:
    """Those of n states, recorded one after the other. Changes the model that it is given, and puts it back."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData):
        self._model, self._data = model, data
        self._contacts = ContactFilter(model)
        self._round = searching_geoms(model)
        self.begin(0)

    def begin(self, n: int) -> None:
        """Forgets what is recorded, and makes room for n states."""
        nv = self._model.nv
        self._above, self._below, self.qvel = np.zeros((3, n, nv, nv))
        self._bent, self._searched = np.zeros((2, n), bool)

    def record(self, row: int, velocity: bool) -> None:
        """Of the data, at whose state the inverse dynamics has run; differences by `velocity` where asked for."""
        to_qvel = self.qvel[row] if velocity else None
        self._bent[row] = bends(self._data)
        self._searched[row] = self._bent[row] and self._searches()
        self._contacts.narrow(self._data)
        if self._bent[row]:
            step = SEARCH_STEP if self._searched[row] else CENTRAL_STEP
            self._difference(step, self._above[row], to_qvel)
            self._difference(-step, self._below[row], None)
        else:
            self._difference(ONE_SIDED_STEP, self._above[row], to_qvel)
            self._below[row] = self._above[row]
        self._contacts.widen()

    def qpos(self, scale: Float[np.ndarray, " n"], revisit: Callable[[int], None]) -> Float[np.ndarray, "n nv nv"]:
        """The derivative with respect to positions. Where a constraint switches within the step, smaller ones are
        taken, for which `revisit` brings the data to that row. `scale` is the size of the forces."""
        if self._bent.any():
            switches = _switches(self._above, self._below, scale) & ~self._searched
            for row in map(int, np.flatnonzero(switches)):
                revisit(row)
                self._difference(SMALLER_STEP, self._above[row], None)
                self._difference(-SMALLER_STEP, self._below[row], None)
        return smooth_side(self._above, self._below)

    def _searches(self) -> bool:
        """Whether a contact is one of an ellipsoid or a cylinder that has no formula in the engine."""
        if not self._round.any() or not self._data.ncon:
            return False
        geoms = self._data.contact.geom
        geoms = geoms[(self._data.contact.efc_address >= 0) & (geoms >= 0).all(1)]
        kinds = self._model.geom_type[geoms]
        formula = (kinds == _PLANE).any(1) | ((kinds == _SPHERE).any(1) & (kinds == _CYLINDER).any(1))
        return bool((self._round[geoms].any(1) & ~formula).any())

    def _difference(self, step: float, qpos: np.ndarray, qvel: np.ndarray | None) -> None:
        """Writes the one-sided differences of r, of those that are wanted."""
        mujoco.mjd_inverseFD(self._model, self._data, step, True, qpos, qvel, None, None, None, None, None)


def bends(data: mujoco.MjData) -> bool:
    """Whether the impedance of a constraint that exerts a force changes with the position, over micrometres."""
    return data.nefc > data.nf and bool((data.efc_KBIP[:, 3] * data.efc_force).any())


def searching_geoms(model: mujoco.MjModel) -> Bool[np.ndarray, " ngeom"]:
    """The ellipsoids and cylinders that collide: the engine searches for their contacts with most other geoms."""
    return np.isin(model.geom_type, (_ELLIPSOID, _CYLINDER)) & ((model.geom_contype | model.geom_conaffinity) != 0)


def _switches(above: np.ndarray, below: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Where the differences above and below disagree by more than curvature and rounding explain, (n,)."""
    apart, size = np.abs(above - below).max(axis=(1, 2)), np.abs(above).max(axis=(1, 2))
    return apart > KINK * size + ROUNDING / CENTRAL_STEP * scale


def smooth_side(above: Float[np.ndarray, "*n nv"], below: Float[np.ndarray, "*n nv"]) -> Float[np.ndarray, "*n nv"]:
    """The mean of the differences above and below; where they disagree by more than `JUMP` the smaller one.

    A force that jumps between the two (a limit that is reached with a velocity) makes one of them as large as the
    jump divided by the step, and the derivative is that of the other side.
    """
    sizes = np.linalg.norm(above, axis=-1, keepdims=True), np.linalg.norm(below, axis=-1, keepdims=True)
    apart = np.linalg.norm(above - below, axis=-1, keepdims=True) > JUMP * np.maximum(*sizes)
    smaller = np.where(sizes[0] < sizes[1], above, below)
    return np.where(apart, smaller, (above + below) / 2)
