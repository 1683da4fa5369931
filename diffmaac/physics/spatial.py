"""Spatial vectors: motions (omega, v) and forces (torque, force), rotation first, as MuJoCo has them.

Source: Featherstone, "Rigid Body Dynamics Algorithms" (2008), chapter 2.
"""

import numpy as np
from jaxtyping import Float

from diffmaac.physics.bilinear import bilinear

_CROSS = np.zeros((3, 3, 3))
"""``a @ _CROSS`` is the matrix of b -> a x b."""
for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _CROSS[i, k, j], _CROSS[i, j, k] = 1.0, -1.0

_MOMENTUM = np.zeros((6, 6, 6))
_MOMENTUM[:3, :3, :3] = _MOMENTUM[3:, :3, 3:] = _MOMENTUM[3:, 3:, :3] = -_CROSS


def columns(numbers: Float[np.ndarray, "*n k"]) -> list[np.ndarray]:
    """The last axis apart."""
    return [numbers[..., i] for i in range(numbers.shape[-1])]


@bilinear(3, 3)
def cross3(a: Float[np.ndarray, "*#n 3"], b: Float[np.ndarray, "*#n 3"]) -> Float[np.ndarray, "*_ 3"]:
    """a x b; several times as fast as `np.cross`."""
    return np.cross(a, b)


@bilinear(6, 3)
def times_symmetric(numbers: Float[np.ndarray, "*n 6"], vector: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """A symmetric matrix, of which the numbers are xx, yy, zz, xy, xz, yz, times a vector."""
    xx, yy, zz, xy, xz, yz = columns(numbers)
    x, y, z = columns(vector)
    return np.stack([xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z], -1)


@bilinear(10, 6)
def momentum(inertia: Float[np.ndarray, "*n 10"], motion: Float[np.ndarray, "*n 6"]) -> Float[np.ndarray, "*n 6"]:
    """Of a body with MuJoCo's ten numbers (`MjData.cinert`): rotational inertia, mass times centre, mass."""
    spin, velocity, centre = motion[..., :3], motion[..., 3:], inertia[..., 6:9]
    angular = times_symmetric(inertia[..., :6], spin) + cross3(centre, velocity)
    return np.concatenate([angular, inertia[..., 9:] * velocity - cross3(centre, spin)], -1)


@bilinear(6, 6)
def cross(a: Float[np.ndarray, "*#n 6"], b: Float[np.ndarray, "*#n 6"]) -> Float[np.ndarray, "*_ 6"]:
    """How a motion b changes that is moved along a."""
    return np.concatenate(
        [cross3(a[..., :3], b[..., :3]), cross3(a[..., :3], b[..., 3:]) + cross3(a[..., 3:], b[..., :3])], -1
    )


@bilinear(6, 6)
def cross_force(a: Float[np.ndarray, "*#n 6"], f: Float[np.ndarray, "*#n 6"]) -> Float[np.ndarray, "*_ 6"]:
    """How a force f changes that is moved along a."""
    return np.concatenate(
        [cross3(a[..., :3], f[..., :3]) + cross3(a[..., 3:], f[..., 3:]), cross3(a[..., :3], f[..., 3:])], -1
    )


def cross_matrix(vector: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """Of x -> vector x x; rows x of a matrix come to x x vector by ``x @ cross_matrix(vector)``."""
    return _times(vector, _CROSS)


def momentum_matrix(force: Float[np.ndarray, "*n 6"]) -> Float[np.ndarray, "*n 6 6"]:
    """Of x -> x x* force, for motions x."""
    return _times(force, _MOMENTUM)


def _times(vectors: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Many small products: one large one would start BLAS's threads beside our processes."""
    return (vectors @ basis.reshape(len(basis), -1)).reshape(*vectors.shape[:-1], *basis.shape[1:])
