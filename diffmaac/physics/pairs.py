"""Which geoms of a model can touch, and whose contacts the compiled step has as the C engine has them."""

import itertools
from collections.abc import Iterator

import mujoco
import numpy as np

from diffmaac.physics.contact import BOX, CAPSULE, CYLINDER, ELLIPSOID, PLANE, SPHERE

EXACT_PAIRS = {
    *((PLANE, other) for other in (SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX)),
    *((SPHERE, other) for other in (SPHERE, CAPSULE)),
    *((CAPSULE, other) for other in (CAPSULE, CYLINDER)),
}
"""Pairs of geom types whose contacts are the C engine's, here or in MJX."""


def touching_pairs(model: mujoco.MjModel) -> Iterator[tuple[int, int]]:
    """The pairs of geoms, of ascending type, between which MuJoCo looks for contacts.

    Those of <pair> elements, and those that masks, excluded bodies and the filter of parent and child leave over
    (MuJoCo documentation, "Computation", "Collision detection").
    """
    if model.opt.disableflags & (int(mujoco.mjtDisableBit.mjDSBL_CONTACT) | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT):
        return
    explicit = {
        _sorted(model, *pair) for pair in zip(model.pair_geom1.tolist(), model.pair_geom2.tolist(), strict=True)
    }
    yield from explicit
    (solid,) = np.nonzero(model.geom_contype | model.geom_conaffinity)
    for one, other in itertools.combinations(solid.tolist(), 2):
        pair = _sorted(model, one, other)
        if pair not in explicit and _masks_match(model, one, other) and not _bodies_apart(model, one, other):
            yield pair


def _sorted(model: mujoco.MjModel, one: int, other: int) -> tuple[int, int]:
    first, second = sorted((one, other), key=lambda geom: int(model.geom_type[geom]))
    return first, second


def _masks_match(model: mujoco.MjModel, one: int, other: int) -> bool:
    types, affinities = model.geom_contype, model.geom_conaffinity
    return bool(types[one] & affinities[other] or types[other] & affinities[one])


def _bodies_apart(model: mujoco.MjModel, one: int, other: int) -> bool:
    """Whether the bodies of two geoms are never tried: one body, two that are welded, parent and child, or excluded."""
    first, second = sorted((int(model.geom_bodyid[one]), int(model.geom_bodyid[other])))
    if (first << 16) + second in model.exclude_signature:
        return True
    welds = [int(model.body_weldid[body]) for body in (first, second)]
    if welds[0] == welds[1]:
        return True
    if 0 in welds or model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_FILTERPARENT):
        return False
    parents = [int(model.body_weldid[model.body_parentid[weld]]) for weld in welds]
    return parents[0] == welds[1] or parents[1] == welds[0]


def pair_types(model: mujoco.MjModel, pair: tuple[int, int]) -> tuple[int, int]:
    """The types of a pair's geoms."""
    first, second = (int(model.geom_type[geom]) for geom in pair)
    return first, second
