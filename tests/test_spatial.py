"""Spatial vectors: the products of few and of many vectors are equal to the bit, and are those of the textbook."""

import numpy as np
import pytest

from diffmaac.physics.bilinear import FEW, Bilinear
from diffmaac.physics.motion_slopes import _turning
from diffmaac.physics.spatial import cross, cross3, cross_force, momentum, times_symmetric

PRODUCTS = {
    cross3: (3, 3),
    times_symmetric: (6, 3),
    momentum: (10, 6),
    cross: (6, 6),
    cross_force: (6, 6),
    _turning: (10, 6),
}


def of_few(function: Bilinear, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row."""
    return np.concatenate([function(x[None], y[None]) for x, y in zip(a, b, strict=True)])


@pytest.mark.parametrize("function", PRODUCTS, ids=lambda function: function.__name__)
def test_products_do_not_depend_on_how_many_there_are(function: Bilinear) -> None:
    first, second = PRODUCTS[function]
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(FEW + 1, first)), rng.normal(size=(FEW + 1, second))
    np.testing.assert_array_equal(of_few(function, a, b), function(a, b))


def test_axes_are_broadcast() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 1, 6)), rng.normal(size=(4, 5, 6))
    expected = cross(np.repeat(a, 5, axis=1), b)
    np.testing.assert_allclose(cross(a, b), expected, atol=1e-14)
    assert cross(a[:0], b[:0]).shape == (0, 5, 6)


def test_products_are_those_of_matrices() -> None:
    rng = np.random.default_rng(2)
    w, v, spin, velocity = rng.normal(size=(4, 3))
    np.testing.assert_allclose(cross3(w, v), np.cross(w, v), atol=1e-14)
    np.testing.assert_allclose(
        cross(np.concatenate([w, v]), np.concatenate([spin, velocity])),
        np.concatenate([np.cross(w, spin), np.cross(w, velocity) + np.cross(v, spin)]),
        atol=1e-14,
    )
    xx, yy, zz, xy, xz, yz, *_, mass = numbers = rng.normal(size=10)
    centre = numbers[6:9]
    about = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    expected = np.concatenate([about @ spin + np.cross(centre, velocity), mass * velocity - np.cross(centre, spin)])
    np.testing.assert_allclose(momentum(numbers, np.concatenate([spin, velocity])), expected, atol=1e-14)
