"""How the inverse dynamics depends on acceleration and velocity, in closed form where it has one."""

import copy
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from diffmaac.physics.actuation import are_apart
from diffmaac.physics.linear import solve
from diffmaac.physics.snapshots import Snapshots
from diffmaac.physics.velocity_forces import couple_branches, turn_armature

_STATES, _INTEGRATORS, _EQUALITIES = mujoco.mjtConstraintState, mujoco.mjtIntegrator, mujoco.mjtEq
QUADRATIC, CONE = int(_STATES.mjCNSTRSTATE_QUADRATIC), int(_STATES.mjCNSTRSTATE_CONE)
"""MuJoCo's states of constraint rows whose force depends on J a - aref: each row alone, and a contact's together."""
VELOCITY = int(mujoco.mjtStage.mjSTAGE_VEL)
"""The stage up to which everything is there already."""

ACCELERATION_DIFFERENCES = 1e-5, 1e-4
"""Of accelerations [m/s^2, rad/s^2], in models below and from `MANY_DOFS` degrees of freedom on: rounding grows with
them. Central for elliptic cones, in which r bends; one-sided otherwise, since r is linear as long as no row becomes
active or inactive."""
MANY_DOFS = 20


class Slopes(NamedTuple):
    """``[s, i, j]``: of r_j with respect to acceleration or velocity i at state s; None: not known in closed form."""

    qacc: Float[np.ndarray, "n nv nv"]
    qvel: Float[np.ndarray, "n nv nv"] | None


class ForceSlopes:
    """The derivatives of r with respect to acceleration and velocity at n states, recorded one state after the other.

    With the Hessian H of the constraints' cost in J a - aref, and aref falling by b for each unit of J v,

        dr/da = M + J' H J,        dr/dv = J' H b J - d(passive + actuators - bias)/dv.

    For the discrete acceleration a' of Euler, M a = (M + h B) a' with the damping B of the joints, so that the
    derivative with respect to a' is (M + J' H J) M^-1 (M + h B).

    Source: MuJoCo's documentation, "Computation"; the forces' derivative is what its implicit integrator has.
    """

    FIELDS = ("M",)
    ARENA = tuple(
        f"efc_{name}"
        for name in ("J", "J_rownnz", "J_rowadr", "J_colind", "KBIP", "pos", "margin", "force", "type", "D", "state")
    )
    """What it takes from snapshots."""

    def __init__(self, model: mujoco.MjModel, snapshots: Snapshots):
        self._model, self._snapshots = model, snapshots
        self._elliptic = model.opt.cone == int(mujoco.mjtCone.mjCONE_ELLIPTIC)
        self._sparse = bool(mujoco.mj_isSparse(model))
        self._twin = _implicit_twin(model) if has_velocity_slopes(model) else None
        self._mass_places = _places(model.M_rownnz, model.M_colind)
        self._smooth_places = _places(model.D_rownnz, model.D_colind)
        self.begin(0)

    @property
    def models(self) -> list[mujoco.MjModel]:
        """The copies of the model in here."""
        return [] if self._twin is None else [self._twin]

    def begin(self, n: int, smooth: bool = True) -> None:
        """Forgets what is recorded, and makes room for n states; with the forces' derivatives by the velocity, unless
        they are known from elsewhere."""
        self._n, self._rows = n, None
        self._cones: list[tuple[int, int, np.ndarray]] = []
        self.know_velocity = self._twin is not None and not adds_forces()
        self._takes_smooth = smooth and self.know_velocity
        self._smooth = np.zeros((n if self._takes_smooth else 0, self._model.nD))

    def record(self, data: mujoco.MjData, row: int) -> None:
        """Of `data`, at the state of that row's snapshot. Changes what depends on the acceleration."""
        if self._elliptic and data.nefc and CONE in data.efc_state:
            self._weigh_cones(data, row)
        if self._takes_smooth and self._twin is not None:
            mujoco.mj_inverseSkip(self._twin, data, VELOCITY, 1)
            self._smooth[row] = data.qDeriv

    def derivatives(self, smooth: Float[np.ndarray, "n nv nv"] | None = None) -> Slopes:
        """Of all states recorded; `smooth` is that of passive forces and actuators less the bias force by the velocity,
        where it was not recorded."""
        rows = self.rows()
        qacc = self._through_integrator(self.mass(), rows.jacobian.mT @ rows.weighted)
        if smooth is None and not self._takes_smooth:
            return Slopes(qacc, None)
        qvel = (rows.jacobian * rows.rate[..., None]).mT @ rows.weighted
        if smooth is not None:
            return Slopes(qacc, qvel - smooth)
        to, of = self._smooth_places
        qvel[:, of, to] -= self._smooth
        return Slopes(qacc, qvel)

    def rows(self) -> "Rows":
        """The constraints of all states recorded."""
        if self._rows is None:
            self._rows = rows = padded_rows(self._snapshots, self._n, self._model.nv, self._sparse)
            for state, first, weighted in self._cones:
                rows.weighted[state, first : first + len(weighted)] = weighted
        return self._rows

    def mass(self) -> Float[np.ndarray, "n nv nv"]:
        """The mass matrices of all states recorded."""
        mass = np.zeros((self._n, self._model.nv, self._model.nv))
        to, of = self._mass_places  # the lower triangle
        mass[:, to, of] = mass[:, of, to] = self._snapshots["M"]
        return mass

    def implicit_damping(self) -> Float[np.ndarray, " nv"]:
        """What Euler adds to the mass matrix, h B; zero where r is of the continuous acceleration."""
        model = self._model
        undamped = int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP) & model.opt.disableflags
        continuous = not model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_INVDISCRETE)
        return model.opt.timestep * model.dof_damping * (not (undamped or continuous))

    def _through_integrator(self, mass: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
        """From M and J' H J the derivative with respect to the acceleration that the integrator has."""
        inertia, damping = mass + stiffness, self.implicit_damping()
        if not damping.any():
            return inertia
        # Of the transposed product, M and M + J' H J being symmetric: (1 + h B M^-1) (M + J' H J).
        return inertia + damping[:, None] * solve(mass, inertia)

    def _weigh_cones(self, data: mujoco.MjData, row: int) -> None:
        """H J of the contacts that slide, whose Hessians the engine has where it is asked for them."""
        nefc, nv = data.nefc, self._model.nv
        if self._sparse:
            jacobian = _dense(data.efc_J, data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind, nv)
        else:
            jacobian = data.efc_J[: nefc * nv].reshape(nefc, nv)
        force = data.qfrc_inverse - data.qfrc_bias + data.qfrc_passive + data.qfrc_constraint
        acceleration = np.zeros((1, self._model.nv))
        mujoco.mj_solveM(self._model, data, acceleration, force[None])
        mujoco.mj_constraintUpdate(self._model, data, jacobian @ acceleration[0] - data.efc_aref, None, 1)
        contacts = data.contact
        for first, dim, hessian in zip(contacts.efc_address, contacts.dim, contacts.H, strict=True):
            if first >= 0 and data.efc_state[first] == CONE:
                weighted = hessian[: dim * dim].reshape(dim, dim) @ jacobian[first : first + dim]
                self._cones.append((row, int(first), weighted))


class SlopesByDifferences:
    """The derivative of r with respect to the acceleration, by differences: of integrators that have no closed form."""

    know_velocity = False
    models = ()
    """It copies none."""

    def __init__(self, model: mujoco.MjModel):
        self._model = model
        self._elliptic = model.opt.cone == int(mujoco.mjtCone.mjCONE_ELLIPTIC)
        self._step = ACCELERATION_DIFFERENCES[model.nv >= MANY_DOFS]
        self.begin(0)

    def begin(self, n: int, smooth: bool = True) -> None:
        """Forgets what is recorded, and makes room for n states; `smooth` has no effect."""
        self._above, self._below = np.zeros((2, n, self._model.nv, self._model.nv))

    def record(self, data: mujoco.MjData, row: int) -> None:
        """Of `data`, at the state and the acceleration of that row."""
        if self._elliptic:
            self._difference(data, -self._step, self._below[row])
        self._difference(data, self._step, self._above[row])

    def derivatives(self, smooth: Float[np.ndarray, "n nv nv"] | None = None) -> Slopes:
        """Of all states recorded; `smooth` has no effect."""
        return Slopes((self._above + self._below) / 2 if self._elliptic else self._above, None)

    def _difference(self, data: mujoco.MjData, step: float, out: np.ndarray) -> None:
        mujoco.mjd_inverseFD(self._model, data, step, True, None, None, out, None, None, None, None)


class Rows(NamedTuple):
    """Constraint rows r of n states, with zeros where a state has fewer than the most."""

    jacobian: Float[np.ndarray, "n r nv"]
    weighted: Float[np.ndarray, "n r nv"]
    """H J."""
    stiffness: Float[np.ndarray, "n r"]
    """k of the reference acceleration aref = -b J v - k I distance."""
    rate: Float[np.ndarray, "n r"]
    """b."""
    impedance: Float[np.ndarray, "n r"]
    """I."""
    bend: Float[np.ndarray, "n r"]
    """How the impedance grows with the distance."""
    distance: Float[np.ndarray, "n r"]
    """Beyond the margin."""
    force: Float[np.ndarray, "n r"]
    kind: Float[np.ndarray, "n r"]
    """MuJoCo's type of constraint."""


def padded_rows(snapshots: Snapshots, n: int, nv: int, sparse: bool) -> Rows:
    """Those of n states, a different number in each."""
    groups = snapshots.groups()
    shape = (n, max((group["efc_D"].shape[1] for group in groups), default=0))
    rows = Rows(*(np.zeros((*shape, nv)) for _ in range(2)), *(np.zeros(shape) for _ in range(7)))
    for group in groups:
        jacobian: np.ndarray = group["efc_J"]
        m, r = group["efc_D"].shape
        if sparse:
            counts, first, columns = group["efc_J_rownnz"], group["efc_J_rowadr"], group["efc_J_colind"]
            jacobian = np.array([_dense(jacobian[i], counts[i], first[i], columns[i], nv) for i in range(m)])
        else:  # with room behind for rows that have no effect, which MuJoCo drops
            jacobian = jacobian[:, : r * nv].reshape(m, r, nv)
        weight = group["efc_D"] * (group["efc_state"] == QUADRATIC)
        reference = np.moveaxis(group["efc_KBIP"].reshape(m, r, 4), 2, 0)
        distance = group["efc_pos"] - group["efc_margin"]
        values = (jacobian, weight[..., None] * jacobian, *reference, distance, group["efc_force"], group["efc_type"])
        for array, value in zip(rows, values, strict=True):
            array[group.states, :r] = value
    return rows


def _dense(
    values: np.ndarray, counts: np.ndarray, first: np.ndarray, columns: np.ndarray, width: int
) -> Float[np.ndarray, "r _"]:
    """Of a sparse matrix in MuJoCo's form."""
    out = np.zeros((len(counts), width))
    mujoco.mju_sparse2dense(out, values, counts, first, columns)
    return out


def has_acceleration_slopes(model: mujoco.MjModel) -> bool:
    """Whether the derivative with respect to the acceleration has this closed form."""
    explicit = model.opt.integrator in (int(_INTEGRATORS.mjINT_EULER), int(_INTEGRATORS.mjINT_RK4))
    curved = model.dof_dampingpoly.any() or model.actuator_damping.any() or model.actuator_dampingpoly.any()
    return bool(explicit and model.nflex == 0 and not curved)


def has_velocity_slopes(model: mujoco.MjModel) -> bool:
    """Whether that with respect to the velocity has it, too.

    The reference of connect and weld has a square of the velocity; MuJoCo's derivatives of forces lack the inertia of
    tendons, and pairs of dofs on different branches, and are those of simple actuators whose forces no joint bounds.
    """
    equalities = np.isin(model.eq_type, [int(_EQUALITIES.mjEQ_CONNECT), int(_EQUALITIES.mjEQ_WELD)])
    bounded = model.nu > 0 and model.jnt_actfrclimited.any()
    others = bounded or turn_armature(model) or couple_branches(model) or equalities.any() or model.nplugin > 0
    return has_acceleration_slopes(model) and are_apart(model) and not bool(others)


def adds_forces() -> bool:
    """Whether a function of the user adds passive forces (`mujoco.set_mjcb_passive`), whose slopes nobody knows."""
    return mujoco.get_mjcb_passive() is not None


def _implicit_twin(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy of `model` in whose inverse dynamics MuJoCo takes the forces' derivatives, all of them."""
    twin = copy.copy(model)
    twin.opt.integrator = _INTEGRATORS.mjINT_IMPLICIT
    twin.opt.enableflags |= int(mujoco.mjtEnableBit.mjENBL_INVDISCRETE)
    return twin


def _places(counts: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries of a sparse matrix, which lie row after row."""
    return np.repeat(np.arange(len(counts)), counts), columns
