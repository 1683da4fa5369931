"""Quaternions (w, x, y, z), in numpy as in JAX."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from jax import Array

    Quaternions = TypeVar("Quaternions", np.ndarray, Array)
else:
    Quaternions = TypeVar("Quaternions")


def multiply(a: Quaternions, b: Quaternions) -> Quaternions:
    """The product (*batch, 4): first b's rotation, then a's, in the frame that a starts from."""
    arrays = a.__array_namespace__()
    w, x, y, z = arrays.moveaxis(a, -1, 0)
    p, q, r, s = arrays.moveaxis(b, -1, 0)
    product = (
        w * p - x * q - y * r - z * s,
        w * q + x * p + y * s - z * r,
        w * r - x * s + y * p + z * q,
        w * s + x * r - y * q + z * p,
    )
    return arrays.stack(product, axis=-1)
