"""How constraint forces depend on masses and inertias through the inverse weights that regularise them."""

from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Float, Int

from diffmaac.physics.force_slopes import CONE, QUADRATIC
from diffmaac.physics.parameter_fields import FIELDS
from diffmaac.physics.parameters import ParameterSpace

_TYPES, _EQUALITIES = mujoco.mjtConstraint, mujoco.mjtEq
EQUALITY, FRICTION_DOF = int(_TYPES.mjCNSTR_EQUALITY), int(_TYPES.mjCNSTR_FRICTION_DOF)
FRICTION_TENDON, LIMIT_JOINT = int(_TYPES.mjCNSTR_FRICTION_TENDON), int(_TYPES.mjCNSTR_LIMIT_JOINT)
LIMIT_TENDON, CONTACT = int(_TYPES.mjCNSTR_LIMIT_TENDON), int(_TYPES.mjCNSTR_CONTACT_FRICTIONLESS)
"""Types of constraint rows; those of contacts are the last."""
ANGULAR_ROWS = 3
"""Row of a weld from which on it holds the orientation."""
DIFFERENCE = 1e-6
"""Of masses and inertias, relative; central. Lengths have the step of their field."""


class WeightSlopes:
    """Inverse weights of bodies (two each), dofs and tendons, (weights + 1,), with a zero at the end for nothing; and
    their derivatives with respect to inertial fields, by differences of `mj_setConst` when they are first asked for."""

    def __init__(self, model: mujoco.MjModel, space: ParameterSpace, names: Sequence[str]):
        self._model, self._space, self._names = model, space, names
        self.weights = self._read()
        self._slopes: np.ndarray | None = None

    def slopes(self) -> Float[np.ndarray, "size weights"]:
        """The numbers of the fields in their order."""
        if self._slopes is None:
            self._slopes = np.concatenate([self._of_field(name) for name in self._names])
            self._space.derive(self._model)
        return self._slopes

    def _of_field(self, name: str) -> np.ndarray:
        field = getattr(self._model, name)
        flat, here = field.reshape(-1), field.flatten()
        least = max(0.01 * float(np.abs(here).max()), 1e-3 * float(np.mean(self._model.dof_M0)))
        relative = DIFFERENCE * np.maximum(np.abs(here), least)
        slopes = np.zeros((len(here), len(self.weights)))
        for i, step in enumerate(relative if FIELDS[name].step == 0 else np.full(len(here), FIELDS[name].step)):
            for signed in (step, -step):
                flat[i] = here[i] + signed
                mujoco.mj_setConst(self._model, self._space.scratch)
                slopes[i] += self._read() / (2 * signed)
            flat[i] = here[i]
        return slopes

    def _read(self) -> np.ndarray:
        model = self._model
        return np.concatenate(
            [model.body_invweight0.ravel(), model.dof_invweight0, model.tendon_invweight0, np.zeros(1)]
        )


class WeighedConstraints:
    """The constraints at n states, recorded one state after the other, and what inverse weights change in their forces.

    The force of a row, and those of a contact together, are inversely proportional to the sum of the weights of the two
    that it connects, unless it is constant.
    """

    def __init__(self, model: mujoco.MjModel):
        self._model = model
        self._dofs, self._tendons = 2 * model.nbody, 2 * model.nbody + model.nv
        self._none = self._tendons + model.ntendon
        self.begin(0)

    def begin(self, n: int) -> None:
        """Forgets what is recorded, and makes room for n states."""
        self._counts = np.zeros(n, int)
        self._parts: list[tuple[np.ndarray, ...]] = []

    def record(self, data: mujoco.MjData, row: int, jacobian: Float[np.ndarray, "rows nv"]) -> None:
        """Of `data`, at whose state the inverse dynamics has run."""
        elastic = (data.efc_state == QUADRATIC) | (data.efc_state == CONE)
        geoms = data.contact.geom[data.efc_id[data.efc_type >= CONTACT]]
        self._counts[row] = len(jacobian)
        self._parts.append((jacobian, data.efc_force * elastic, data.efc_type.copy(), data.efc_id.copy(), geoms))

    def slopes(self, weights: WeightSlopes) -> Float[np.ndarray, "n size nv"] | float:
        """Those of r_c at all states recorded; zero where there are no constraints."""
        if not self._parts:
            return 0.0
        jacobian, force, kinds, ids, geoms = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        first, second = self._owners(kinds, ids, geoms)
        weighed = weights.weights[first] + weights.weights[second]
        share = np.where(weighed > 0, force / np.where(weighed > 0, weighed, 1.0), 0.0)
        change = weights.slopes().T
        rows = share[:, None] * (change[first] + change[second])
        most = int(self._counts.max())
        present: np.ndarray = np.arange(most) < self._counts[:, None]
        padded = [np.zeros((*present.shape, x.shape[1])) for x in (rows, jacobian)]
        for target, x in zip(padded, (rows, jacobian), strict=True):
            target[present] = x
        return padded[0].mT @ padded[1]

    def _owners(self, kinds: np.ndarray, ids: np.ndarray, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices into the weights of the two that each row connects."""
        model = self._model
        first, second = np.full((2, len(kinds)), self._none)
        contact = kinds >= CONTACT
        first[contact], second[contact] = 2 * model.geom_bodyid[geoms].T
        for kind, start in (
            (FRICTION_DOF, self._dofs),
            (FRICTION_TENDON, self._tendons),
            (LIMIT_TENDON, self._tendons),
        ):
            own = kinds == kind
            first[own] = start + ids[own]
        limits = kinds == LIMIT_JOINT
        first[limits] = self._dofs + model.jnt_dofadr[ids[limits]]
        place, previous = 0, -1
        for row in np.flatnonzero(kinds == EQUALITY):
            same = row == previous + 1 and place and ids[row] == ids[previous]
            place, previous = place + 1 if same else 1, row
            first[row], second[row] = self._equality(int(ids[row]), place - 1)
        return first, second

    def _equality(self, equality: int, place: int) -> tuple[int, int]:
        """Of a row of an equality, the `place`-th."""
        model = self._model
        kind, one, two = (int(x[equality]) for x in (model.eq_type, model.eq_obj1id, model.eq_obj2id))
        if kind == int(_EQUALITIES.mjEQ_JOINT):
            dofs: Int[np.ndarray, " joints"] = self._dofs + model.jnt_dofadr
            return int(dofs[one]), int(dofs[two]) if two >= 0 else self._none
        if kind == int(_EQUALITIES.mjEQ_TENDON):
            return self._tendons + one, self._tendons + two if two >= 0 else self._none
        if model.eq_objtype[equality] == int(mujoco.mjtObj.mjOBJ_SITE):
            one, two = (int(model.site_bodyid[site]) for site in (one, two))
        turning = kind == int(_EQUALITIES.mjEQ_WELD) and place >= ANGULAR_ROWS
        return 2 * one + turning, 2 * two + turning
