"""Bilinear functions of short vectors, in few calls of NumPy where the vectors are few."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

Bilinear: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of the vectors in the last axes of two arrays, whose other axes are broadcast."""

FEW = 1000
"""Vectors up to which NumPy's calls take longer than their arithmetic."""


def bilinear(first: int, second: int) -> Callable[[Bilinear], Bilinear]:
    """Decorates a function of vectors with so many components, written component by component.

    For few vectors it becomes all products of components that it has, made at once, times a matrix that adds them up:
    four calls in place of twenty to sixty. For many the function itself is faster, whose arithmetic is less.
    """

    def decorate(function: Bilinear) -> Bilinear:
        units = np.eye(first)[:, None], np.eye(second)
        of_units = function(*(np.broadcast_to(unit, (first, second, unit.shape[-1])) for unit in units))
        left, right = np.nonzero(of_units.any(-1))
        sums = of_units[left, right]

        @functools.wraps(function)
        def either(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            if max(a.size // first, b.size // second) > FEW:
                return function(a, b)
            products = a.take(left, -1) * b.take(right, -1)
            return (products.reshape(-1, len(sums)) @ sums).reshape(*products.shape[:-1], sums.shape[1])

        return either

    return decorate
