"""How constraint forces depend on friction: coefficients of geoms and pairs, and losses of dofs."""

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float, Int

from diffmaac.physics.weight_slopes import FRICTION_DOF

_STATES = mujoco.mjtConstraintState
SLIPPING = int(_STATES.mjCNSTRSTATE_LINEARNEG), int(_STATES.mjCNSTRSTATE_LINEARPOS)
OF_GEOMS, OF_PAIRS = ((0, 1), (2,), (3, 4)), ((0,), (1,), (2,), (3,), (4,))
"""Of the five coefficients of a contact (sliding, spinning, rolling): those that are one number of a geom or pair."""
DIMENSIONS = (2, 2, 4, 6, 6)
"""Of a contact (condim), from which on it has that coefficient."""
DIFFERENCE = 1e-6
"""Of coefficients, relative; central."""


class ContactSlopes(NamedTuple):
    """The slopes of r_c with respect to coefficients of single contacts: the states, geoms and slopes of all."""

    states: Int[np.ndarray, " contacts"]
    geoms: Int[np.ndarray, "contacts 2"]
    slopes: Float[np.ndarray, "contacts nv"]


class FrictionSlopes:
    """Recorded one state after the other. Given the acceleration contacts do not depend on each other, so that one
    difference moves a coefficient of all."""

    def __init__(self, model: mujoco.MjModel, of_pairs: bool):
        self._model, self._groups = model, OF_PAIRS if of_pairs else OF_GEOMS
        ends = zip(model.pair_geom1, model.pair_geom2, strict=True)
        self._pairs = {frozenset((int(a), int(b))): i for i, (a, b) in enumerate(ends)}
        self._of_pairs = of_pairs
        self.begin()

    def begin(self) -> None:
        """Forgets what is recorded."""
        self._parts: list[list[tuple[np.ndarray, ...]]] = [[] for _ in self._groups]

    def record(self, data: mujoco.MjData, row: int, acceleration: Float[np.ndarray, " nv"]) -> None:
        """Of `data`, at whose state the inverse dynamics has run. Changes its constraints."""
        contact = data.contact
        friction, most = contact.friction, contact.dim.max()
        here = friction.copy()
        usable = contact.efc_address >= 0
        for parts, group in zip(self._parts, self._groups, strict=True):
            if most < DIMENSIONS[group[0]]:
                continue
            sides = list[np.ndarray]()
            for sign in (1, -1):
                friction[:, group] = here[:, group] * (1 + sign * DIFFERENCE)
                sides.append(self._forces(data, acceleration))
            friction[:] = here
            slopes = (sides[1] - sides[0]) / (2 * DIFFERENCE * here[usable][:, group[:1]])
            parts.append((np.full(len(slopes), row), contact.geom[usable], slopes))

    def _forces(self, data: mujoco.MjData, acceleration: np.ndarray) -> np.ndarray:
        """On the dofs, of each contact (contacts, nv)."""
        model = self._model
        mujoco.mj_makeConstraint(model, data)
        mujoco.mj_referenceConstraint(model, data)
        jacobian = dense_jacobian(model, data)
        mujoco.mj_constraintUpdate(model, data, jacobian @ acceleration - data.efc_aref, None, 0)
        starts = data.contact.efc_address
        return np.add.reduceat(jacobian * data.efc_force[:, None], starts[starts >= 0])

    def add(self, explicit: Float[np.ndarray, "n size nv"]) -> None:
        """Adds the slopes with respect to the coefficients, three of each geom or five of each pair."""
        width = len(self._groups)
        for column, parts in enumerate(self._parts):
            if not parts:
                continue
            every = ContactSlopes(*(np.concatenate(part) for part in zip(*parts, strict=True)))
            pairs = self._pair_of(every.geoms)
            if self._of_pairs:
                own = pairs >= 0
                own[own] = self._model.pair_friction[pairs[own]][:, self._groups[column][0]] > mujoco.mjMINMU
                np.add.at(explicit, (every.states[own], width * pairs[own] + column), every.slopes[own])
                continue
            shares = self._shares(every.geoms, column) * (pairs < 0)[:, None]
            for geoms, share in zip(every.geoms.T, shares.T, strict=True):
                np.add.at(explicit, (every.states, width * geoms + column), share[:, None] * every.slopes)

    def _pair_of(self, geoms: np.ndarray) -> np.ndarray:
        """The index of each contact's pair, -1 for none."""
        if not self._pairs:
            return np.full(len(geoms), -1)
        return np.array([self._pairs.get(frozenset((int(a), int(b))), -1) for a, b in geoms])

    def _shares(self, geoms: np.ndarray, column: int) -> Float[np.ndarray, "contacts 2"]:
        """The derivatives of the contacts' coefficient, the larger one, by those of their two geoms; half each for two
        that are equal, as central differences have it."""
        model = self._model
        friction, priority = model.geom_friction[geoms, column], model.geom_priority[geoms]
        larger = 0.5 * (1 + np.sign(friction[:, 0] - friction[:, 1]))
        first = np.where(priority[:, 0] == priority[:, 1], larger, priority[:, 0] > priority[:, 1])
        shares = np.stack([first, 1 - first], axis=1)
        # MuJoCo holds the coefficient at its least.
        return shares * ((shares * friction).sum(1, keepdims=True) > mujoco.mjMINMU)


def by_friction_loss(data: mujoco.MjData, jacobian: Float[np.ndarray, "rows nv"]) -> Float[np.ndarray, "nv nv"]:
    """The slopes of r_c with respect to the friction losses of the dofs: of those that slip it is the force."""
    out = np.zeros((jacobian.shape[1], jacobian.shape[1]))
    rows = np.flatnonzero((data.efc_type == FRICTION_DOF) & np.isin(data.efc_state, SLIPPING))
    out[data.efc_id[rows]] = -np.sign(data.efc_force[rows, None]) * jacobian[rows]
    return out


def dense_jacobian(model: mujoco.MjModel, data: mujoco.MjData) -> Float[np.ndarray, "rows nv"]:
    """The constraints' Jacobian, of a dense model a view."""
    shape = (data.nefc, model.nv)
    if not mujoco.mj_isSparse(model):
        return data.efc_J.reshape(shape)
    dense = np.zeros(shape)
    if data.nefc:
        mujoco.mju_sparse2dense(dense, data.efc_J, data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind)
    return dense
