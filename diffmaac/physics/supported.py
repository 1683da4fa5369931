"""Refuses models with something that the compiled step has not, by the name that it has in MJCF."""

from collections.abc import Iterator

import mujoco
import numpy as np

from diffmaac.physics.contact import CAPSULE, CYLINDER
from diffmaac.physics.fields import REFUSED
from diffmaac.physics.names import part
from diffmaac.physics.pairs import EXACT_PAIRS, pair_types, touching_pairs
from diffmaac.physics.unsupported import UnsupportedModel
from diffmaac.physics.velocity_forces import affine_bias

INTEGRATORS = ("Euler", "RK4", "implicitfast")
IDLE_ENABLE_FLAGS = ("energy", "fwdinv", "invdiscrete")
"""Flags of <flag> that no motion depends on, when enabled."""
IDLE_DISABLE_FLAGS = ("autoreset", "island", "midphase", "multiccd", "sensor", "warmstart")
"""The same, when disabled."""
READ_DISABLE_FLAGS = (
    *("constraint", "equality", "frictionloss", "limit", "contact", "spring", "damper", "gravity"),
    *("clampctrl", "filterparent", "actuation", "refsafe", "eulerdamp"),
)
"""Flags that the compiled step reads."""
ACTUATORS = {
    "dyntype": (mujoco.mjtDyn, ("NONE", "INTEGRATOR", "FILTER", "FILTEREXACT", "MUSCLE")),
    "gaintype": (mujoco.mjtGain, ("FIXED", "AFFINE", "MUSCLE")),
    "biastype": (mujoco.mjtBias, ("NONE", "AFFINE", "MUSCLE")),
    "trntype": (mujoco.mjtTrn, ("JOINT", "JOINTINPARENT", "SITE", "TENDON")),
}
"""The types of actuators that the compiled step has."""
EQUALITIES = ("JOINT", "TENDON")
"""Of `connect` and `weld` MJX leaves out how the Jacobian changes along the motion."""
PRUNING = ("max_geom_pairs", "max_contact_points")
"""Names of <numeric> elements that MJX takes as an order to leave contacts out."""
SHOWN = 4
"""Features of one kind that are named; the others are counted."""


def check_supported(model: mujoco.MjModel) -> None:
    """Raises UnsupportedModel where the compiled step would not be the C engine's: names all that it has not."""
    absent = [*_options(model), *_fields(model), *_actuators(model), *_constraints(model), *_contacts(model)]
    if absent:
        raise UnsupportedModel(
            f"The step that MJX compiles has no {'; no '.join(absent)}: its physics would differ from the C engine's."
            " Take that out of the MJCF, or let gradient=auto differentiate the C engine's step."
        )


def _options(model: mujoco.MjModel) -> Iterator[str]:
    option = model.opt
    integrator = mujoco.mjtIntegrator(option.integrator).name.removeprefix("mjINT_").lower()
    if integrator not in [known.lower() for known in INTEGRATORS]:
        yield f'<option integrator="{integrator}"/> (there are {", ".join(INTEGRATORS)})'
    if option.noslip_iterations:
        yield f'<option noslip_iterations="{option.noslip_iterations}"/>'
    for name in _flags(mujoco.mjtDisableBit, option.disableflags):
        # Of the exact pairs, the engine searches by it for the nearest points of these alone.
        if name == "nativeccd" and (CAPSULE, CYLINDER) not in {pair_types(model, p) for p in touching_pairs(model)}:
            continue
        if name not in IDLE_DISABLE_FLAGS + READ_DISABLE_FLAGS:
            yield f'<flag {name}="disable"/>'
    for name in _flags(mujoco.mjtEnableBit, option.enableflags):
        if name not in IDLE_ENABLE_FLAGS:
            yield f'<flag {name}="enable"/>'
    if any(0 <= group < 31 and option.disableactuator >> int(group) & 1 for group in model.actuator_group):
        yield f'<option actuatorgroupdisable="..."/> ({option.disableactuator:#b})'


def _flags(bits: type[mujoco.mjtDisableBit] | type[mujoco.mjtEnableBit], value: int) -> list[str]:
    """The names, as in <flag>, of the bits that are set."""
    return [bits(1 << i).name.split("_")[1].lower() for i in range(value.bit_length()) if value >> i & 1]


def _fields(model: mujoco.MjModel) -> Iterator[str]:
    if model.nflex:
        yield "<flex>"
    for field, feature in REFUSED.items():
        values = np.asarray(getattr(model, field))
        rows = np.unique(np.nonzero(values != feature.default)[0])
        if len(rows):
            yield f"{feature.attribute} ({field}) of {_listed(model, feature.kind, rows)}"


def _listed(model: mujoco.MjModel, kind: mujoco.mjtObj, rows: np.ndarray) -> str:
    if kind == mujoco.mjtObj.mjOBJ_DOF:
        kind, rows = mujoco.mjtObj.mjOBJ_JOINT, np.unique(model.dof_jntid[rows])
    names = [part(model, kind, int(row)) for row in rows[:SHOWN]]
    return ", ".join(names) + (f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")


def _actuators(model: mujoco.MjModel) -> Iterator[str]:
    for attribute, (kind, known) in ACTUATORS.items():
        names = [kind(value).name.split("_")[1] for value in getattr(model, f"actuator_{attribute}")]
        for name in sorted(set(names) - set(known)):
            rows = np.array([row for row, other in enumerate(names) if other == name])
            yield f'{attribute}="{name.lower()}" of {_listed(model, mujoco.mjtObj.mjOBJ_ACTUATOR, rows)}'
    if model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST and len(rows := _velocity_rows(model)):
        where = _listed(model, mujoco.mjtObj.mjOBJ_ACTUATOR, rows)
        yield f"derivative by the velocity, which implicitfast needs, of the force of {where} (Euler and RK4 need none)"


def _velocity_rows(model: mujoco.MjModel) -> np.ndarray:
    """Muscles, and forces that depend on the velocity where they, or the controls that scale them, are clamped.

    MJX has no derivative of the first, and takes that of the others as if nothing were clamped.
    """
    bias = affine_bias(model)[:, 2] != 0
    gain = (model.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_AFFINE)) & (model.actuator_gainprm[:, 2] != 0)
    clamped = model.actuator_forcelimited | (model.jnt_actfrclimited.any() or model.tendon_actfrclimited.any())
    scaled = clamped | model.actuator_ctrllimited | model.actuator_actlimited
    muscle = model.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_MUSCLE)
    return np.flatnonzero(muscle | (bias & clamped) | (gain & scaled))


def _constraints(model: mujoco.MjModel) -> Iterator[str]:
    for row, kind in enumerate(model.eq_type):
        name = mujoco.mjtEq(kind).name.removeprefix("mjEQ_")
        if name not in EQUALITIES:
            yield f"<{name.lower()}> ({part(model, mujoco.mjtObj.mjOBJ_EQUALITY, row)})"
    for tendon in range(model.ntendon):
        start = model.tendon_adr[tendon]
        if any(_wraps_inside(model, wrap) for wrap in range(start, start + model.tendon_num[tendon])):
            yield f"wrapping inside a geom (sidesite) of {part(model, mujoco.mjtObj.mjOBJ_TENDON, tendon)}"


def _wraps_inside(model: mujoco.MjModel, wrap: int) -> bool:
    """Whether the side site lies in its geom, or on another body, so that it may."""
    if model.wrap_type[wrap] not in (int(mujoco.mjtWrap.mjWRAP_SPHERE), int(mujoco.mjtWrap.mjWRAP_CYLINDER)):
        return False
    geom, site = int(model.wrap_objid[wrap]), round(float(model.wrap_prm[wrap]))
    if site < 0:
        return False
    apart = model.site_bodyid[site] != model.geom_bodyid[geom]
    return bool(apart or np.linalg.norm(model.site_pos[site] - model.geom_pos[geom]) <= model.geom_size[geom, 0])


def _contacts(model: mujoco.MjModel) -> Iterator[str]:
    for name in PRUNING:
        if mujoco.mj_name2id(model, int(mujoco.mjtObj.mjOBJ_NUMERIC), name) >= 0:
            yield f'contacts left out by <numeric name="{name}"/>, without which the engine steps,'
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for pair in touching_pairs(model):
        if (types := pair_types(model, pair)) not in EXACT_PAIRS:
            found.setdefault(types, []).append(pair)
    for (one, other), pairs in sorted(found.items()):
        kinds = " and ".join(mujoco.mjtGeom(kind).name.removeprefix("mjGEOM_").lower() for kind in (one, other))
        names = " with ".join(part(model, mujoco.mjtObj.mjOBJ_GEOM, geom) for geom in pairs[0])
        more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
        yield f"exact contact of {kinds} ({names}{more}; contype, conaffinity or <exclude> can rule it out)"
