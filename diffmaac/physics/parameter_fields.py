"""The fields of a model that a step can be differentiated by: their domains, and why the others have no gradient."""

from typing import NamedTuple

import mujoco
import numpy as np

from diffmaac.errors import DiffmaacError, unknown


class Field(NamedTuple):
    """What the numbers of a field may be."""

    low: float = -np.inf
    step: float = 0.0
    """Of differences [m, rad]; 0: relative to the value, since forces are nearly linear in it."""
    relative: float = 0.0
    """Of differences, in place of `RELATIVE_STEP`; 0: that one."""
    unit: bool = False
    """Rows are directions or quaternions: only their direction counts, and it is scaled to length one."""


LENGTH_STEP = 1e-7
"""A contact's impedance bends over micrometres."""
ANY, NOT_NEGATIVE = Field(), Field(low=0.0)
INERTIAL_STEP = 1e-5
"""Up to a distance of 1e-6 `mj_setConst` takes the frames of a body and its inertia for one."""
GRAVITY_SHARE = Field(low=0.0, step=1e-5)
"""Of the weight. MuJoCo leaves negative ones out where no body has a positive one."""
REFERENCE = Field(relative=1e-6)
"""MuJoCo clamps time constants of `solref` at two time steps, where that of many models lies: the derivative is the
mean of both sides there, and the error of a difference falls with its step, not with the square."""
PLACE, SIZE, UNIT = Field(step=LENGTH_STEP), Field(low=0.0, step=LENGTH_STEP), Field(step=LENGTH_STEP, unit=True)
_DOMAINS: tuple[tuple[Field, str], ...] = (
    (NOT_NEGATIVE, "body_mass body_inertia jnt_stiffness dof_armature dof_damping dof_frictionloss geom_friction"),
    (GRAVITY_SHARE, "body_gravcomp"),
    (NOT_NEGATIVE, "geom_solmix pair_friction tendon_stiffness tendon_damping tendon_armature tendon_frictionloss"),
    (NOT_NEGATIVE, "actuator_damping actuator_armature opt.density opt.viscosity opt.impratio"),
    (SIZE, "geom_size actuator_cranklength"),
    (Field(step=INERTIAL_STEP), "body_ipos"),
    (Field(step=INERTIAL_STEP, unit=True), "body_iquat"),
    (PLACE, "body_pos geom_pos site_pos jnt_pos qpos_spring jnt_range jnt_margin geom_margin geom_gap"),
    (PLACE, "pair_margin pair_gap eq_data tendon_lengthspring tendon_range tendon_margin"),
    (UNIT, "body_quat geom_quat site_quat jnt_axis"),
    (REFERENCE, "jnt_solref dof_solref geom_solref pair_solref pair_solreffriction eq_solref"),
    (REFERENCE, "tendon_solref_lim tendon_solref_fri"),
    (ANY, "jnt_stiffnesspoly dof_dampingpoly jnt_actfrcrange jnt_solimp dof_solimp"),
    (ANY, "geom_solimp pair_solimp eq_solimp"),
    (ANY, "tendon_stiffnesspoly tendon_dampingpoly tendon_actfrcrange tendon_solimp_lim"),
    (ANY, "tendon_solimp_fri actuator_gainprm actuator_biasprm actuator_dynprm actuator_gear"),
    (ANY, "actuator_ctrlrange actuator_forcerange actuator_actrange actuator_dampingpoly opt.gravity opt.wind"),
)
FIELDS = {name: field for field, names in _DOMAINS for name in names.split()}
"""Name -> domain, of every continuous field that a step depends on. A name is that of `MjModel`, or of its `opt`."""
DERIVED = (
    *("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "tendon_length0", "tendon_invweight0"),
    *("actuator_acc0", "actuator_length0", "geom_rbound", "geom_aabb"),
)
"""Fields that are computed from others wherever those change."""
FIXED = {"opt.timestep": "it is part of the integration scheme", "qpos0": "positions are measured from it"}


def read(model: mujoco.MjModel, name: str) -> np.ndarray:
    """A copy of a field, a number as an array of shape ()."""
    owner = model.opt if name.startswith("opt.") else model
    return np.array(getattr(owner, name.removeprefix("opt.")), dtype=np.float64)


def write(model: mujoco.MjModel, name: str, values: np.ndarray) -> None:
    """Sets a field."""
    if not name.startswith("opt."):
        getattr(model, name)[:] = values
    elif values.ndim:
        getattr(model.opt, name.removeprefix("opt."))[:] = values
    else:
        setattr(model.opt, name.removeprefix("opt."), float(values))


def check_name(model: mujoco.MjModel, name: str) -> None:
    """Raises DiffmaacError where a field has no gradient, and says why."""
    if name not in FIELDS:
        raise DiffmaacError(_why_not(model, name))
    if read(model, name).size == 0:
        raise DiffmaacError(f"the parameter {name} is empty in this model, which has nothing of that kind.")
    simple = np.flatnonzero((model.body_simple > 0) & (model.body_dofnum > 0))
    if name in ("jnt_pos", "jnt_axis"):  # which neither a free joint has, nor a matrix of one number
        simple = simple[model.body_jntnum[simple] > 1]
    if name in ("body_ipos", "body_iquat", "jnt_pos", "jnt_axis") and len(simple):
        body = int(simple[0])
        label = mujoco.mj_id2name(model, int(mujoco.mjtObj.mjOBJ_BODY), body) or str(body)
        raise DiffmaacError(
            f"{name} has no gradient in this model: inertia and joints of body '{label}' lie exactly in the body's"
            ' frame, for which MuJoCo has laid out a diagonal mass matrix. Write <body simple="false" ...> in the MJCF.'
        )


def _why_not(model: mujoco.MjModel, name: str) -> str:
    if name in DERIVED:
        return f"the parameter {name} has no gradient of its own: MuJoCo computes it from others, and it follows them."
    if name in FIXED:
        return f"the parameter {name} has no gradient: {FIXED[name]}."
    owner = model.opt if name.startswith("opt.") else model
    value = getattr(owner, name.removeprefix("opt."), None)
    if isinstance(value, (int, np.ndarray)) and np.asarray(value).dtype.kind in "iub":
        return f"the parameter {name} has no gradient: it holds integers (types, indices, sizes or switches)."
    if isinstance(value, (float, np.ndarray)):
        return f"the parameter {name} has no gradient: no motion of this model depends on it smoothly."
    return unknown("parameter", name, FIELDS)
