"""The parameters of a model as one vector: read, checked, and written with all that follows from them."""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from diffmaac.errors import DiffmaacError, unknown
from diffmaac.physics.names import checked_fields, entry_of
from diffmaac.physics.parameter_fields import FIELDS, check_name, read, write

_FRAMES = ("body_ipos", "body_iquat", "body_pos", "body_quat", "geom_pos", "geom_quat", "site_pos", "site_quat")
"""Fields of which MuJoCo has noted in the model which frames coincide."""
_SHAPES = ("geom_size", "geom_pos", "geom_quat")
"""Fields that the trees of bounding volumes were made from."""
_KINDS = mujoco.mjtGeom
RELATIVE_STEP, ZERO_STEP, MOST_RELATIVE = 1e-5, 1e-8, 1e-2
"""Of differences by numbers that forces are nearly linear in: first, by a number that is zero, and at most."""
LEAST, LEAST_BY_LENGTH, LEAST_BY_ZERO = 1e-7, 1e-8, 1e-7
"""Changes of a state that are clear of rounding, which stiff contacts amplify to some 1e-12; the last for numbers that
are zero, whose differences are one-sided."""


class Steps(NamedTuple):
    """Of differences by each number: the first, the most, and the change of a state that is enough."""

    first: Float[np.ndarray, " size"]
    most: Float[np.ndarray, " size"]
    least: Float[np.ndarray, " size"]


class ParameterSpace:
    """The values of some fields of `model` in a row, (size,), and models that have other values.

    The constants that MuJoCo derives follow as `mj_setConst` sets them (subtree masses, inverse weights of the
    constraints, lengths of tendons, accelerations of actuators), and the bounding spheres and boxes of geoms follow
    their sizes. What only the compiler derives is held: the inertia of a body does not follow the sizes of its geoms.

    Raises:
        DiffmaacError: a field does not exist, has no gradient, is named twice, or is empty.
    """

    def __init__(self, model: mujoco.MjModel, names: Sequence[str]):
        self.names = checked_fields("parameters", names, lambda name: check_name(model, name))
        self.model = copy.copy(model)
        if set(self.names) & set(_SHAPES):
            self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
        values = [read(model, name) for name in self.names]
        self.shapes = {name: value.shape for name, value in zip(self.names, values, strict=True)}
        ends = np.cumsum([0, *(value.size for value in values)])
        self.slices = {name: slice(*ends[i : i + 2]) for i, name in enumerate(self.names)}
        self.size = int(ends[-1])
        if set(self.names) & set(_FRAMES):
            separate_frames(self.model)
        self.values = np.concatenate([np.zeros(0), *(value.ravel() for value in values)])
        lows = (np.full(x.size, FIELDS[name].low) for name, x in zip(self.names, values, strict=True))
        self.low: Float[np.ndarray, " size"] = np.concatenate([np.zeros(0), *lows])
        """The least that each number may be."""
        self.scratch = mujoco.MjData(self.model)
        """For `mj_setConst`, which needs some."""

    def steps(self, values: Float[np.ndarray, " size"]) -> Steps:
        """How far each number is moved for a difference."""
        out = Steps(*np.zeros((3, self.size)))
        for name, own in self.slices.items():
            size, (length, relative) = np.abs(values[own]), (FIELDS[name].step, FIELDS[name].relative)
            short = LEAST_BY_LENGTH if length or relative else LEAST
            out.first[own] = length or np.where(size > 0, (relative or RELATIVE_STEP) * size, ZERO_STEP)
            out.most[own] = 100 * length if length else MOST_RELATIVE * np.where(size > 0, size, size.max() or 1.0)
            out.least[own] = short if length else np.where(size > 0, short, LEAST_BY_ZERO)
        return out

    def vector(self, given: Mapping[str, ArrayLike]) -> Float[np.ndarray, " size"]:
        """The model's values, but those given, each of its field's shape.

        Raises DiffmaacError for another field or shape, or a number that is not finite or out of its domain.
        """
        values = self.values.copy()
        for name, x in given.items():
            if name not in self.slices:
                raise DiffmaacError(unknown("parameter", name, self.names))
            field = np.asarray(x, np.float64)
            if field.shape != self.shapes[name]:
                raise DiffmaacError(f"{name} has the shape {field.shape}; this model's has {self.shapes[name]}.")
            values[self.slices[name]] = field.ravel()
        self.check(values)
        return values

    def model_with(self, values: Float[np.ndarray, " size"]) -> mujoco.MjModel:
        """A copy of the model that has these values."""
        model = copy.copy(self.model)
        self.assign(model, values)
        return model

    def assign(self, model: mujoco.MjModel, values: Float[np.ndarray, " size"]) -> None:
        """Gives a copy of the model these values, and lets its constants follow."""
        for name in self.names:
            field = values[self.slices[name]].reshape(self.shapes[name])
            write(model, name, _to_length_one(field) if FIELDS[name].unit else field)
        if set(self.names) & set(_SHAPES):
            _bound_geoms(model)
        self.derive(model)

    def derive(self, model: mujoco.MjModel) -> None:
        """Lets the constants of a copy of the model follow its values."""
        mujoco.mj_setConst(model, self.scratch)
        if set(self.names) & set(_FRAMES):
            separate_frames(model)

    def check(self, values: Float[np.ndarray, "*batch size"]) -> None:
        """Raises DiffmaacError where a value is not finite or out of its domain; names field and entry."""
        wrong = ~(np.isfinite(values) & (values >= self.low))
        if wrong.any():
            *row, entry = (int(i) for i in np.argwhere(wrong)[0])
            where = f" in row {row[0]}" if row else ""
            low = self.low[entry]
            allowed = "a finite number" if np.isinf(low) else f"a finite number of at least {low:g}"
            got = values[(*row, entry)]
            raise DiffmaacError(f"{self.entry(entry)} is {got:.6g}{where}; allowed is {allowed}.")

    def entry(self, index: int) -> str:
        """What a number of the vector is called: body_mass[2], geom_friction[0, 1]."""
        return entry_of(index, self.slices, self.shapes)


def separate_frames(model: mujoco.MjModel) -> None:
    """Lets MuJoCo take no frames for one. `mj_setConst` does so up to a distance of 1e-6, where a step would jump."""
    model.body_sameframe[model.body_simple == 0] = 0
    model.geom_sameframe[:] = 0
    model.site_sameframe[:] = 0


def _to_length_one(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def _bound_geoms(model: mujoco.MjModel) -> None:
    """Writes the bounding spheres and boxes of primitive geoms, as the compiler does."""
    size, kind = model.geom_size, model.geom_type
    half = np.array(size)
    radius: dict[int, np.ndarray] = {
        int(_KINDS.mjGEOM_SPHERE): size[:, 0],
        int(_KINDS.mjGEOM_CAPSULE): size[:, 0] + size[:, 1],
        int(_KINDS.mjGEOM_CYLINDER): np.hypot(size[:, 0], size[:, 1]),
        int(_KINDS.mjGEOM_ELLIPSOID): size.max(1),
        int(_KINDS.mjGEOM_BOX): np.linalg.norm(size, axis=1),
    }
    sphere, capsule, cylinder = (
        kind == int(k) for k in (_KINDS.mjGEOM_SPHERE, _KINDS.mjGEOM_CAPSULE, _KINDS.mjGEOM_CYLINDER)
    )
    half[sphere] = size[sphere, :1]
    half[capsule] = np.stack([size[capsule, 0], size[capsule, 0], size[capsule, 0] + size[capsule, 1]], 1)
    half[cylinder] = np.stack([size[cylinder, 0], size[cylinder, 0], size[cylinder, 1]], 1)
    for which, bound in radius.items():
        rows = kind == which
        model.geom_rbound[rows] = bound[rows]
        model.geom_aabb[rows, 3:] = half[rows]
