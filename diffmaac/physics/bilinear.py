"""Bilinear functions of many short vectors, as sums of products of components."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

Bilinear: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of the vectors in the last axes of two arrays, whose other axes are broadcast."""

FEW = 600
"""Vectors up to which NumPy's calls take longer than their arithmetic."""


def bilinear(first: int, second: int) -> Callable[[Bilinear], Bilinear]:
    """Decorates a bilinear function of vectors with so many components: it is computed as `Products`."""

    def decorate(function: Bilinear) -> Bilinear:
        units = np.eye(first)[:, None], np.eye(second)
        of_units = function(*(np.broadcast_to(unit, (first, second, unit.shape[-1])) for unit in units))
        products = Products(of_units)

        @functools.wraps(function)
        def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            few = max(a.size // first, b.size // second) <= FEW
            return products.at_once(a, b) if few else products.one_by_one(a, b)

        return product

    return decorate


class Products:
    """The function whose values at all pairs of unit vectors are `of_units` (first, second, out), in two ways.

    Both add the same terms in the same order, so that their results are equal to the bit.
    """

    def __init__(self, of_units: np.ndarray):
        self._terms = [
            [(i, j, float(values[i, j])) for i, j in np.argwhere(values)] for values in np.moveaxis(of_units, -1, 0)
        ]
        self._rounds: list[tuple[int, int, int]] = []
        """First and last component of the result, and the place of the first one's product among all."""
        products: list[tuple[int, int, float]] = []
        for n in range(max(map(len, self._terms))):
            outs = [out for out, terms in enumerate(self._terms) if len(terms) > n]
            low, high = outs[0], outs[-1] + 1
            self._rounds.append((low, high, len(products)))
            products += [terms[n] if len(terms) > n else (0, 0, 0.0) for terms in self._terms[low:high]]
        left, right, factors = zip(*products, strict=True)
        self._left, self._right, self._factors = np.array(left), np.array(right), np.array(factors)

    def at_once(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """All products of components by one multiplication: some ten calls, for few vectors."""
        products = a.take(self._left, -1) * b.take(self._right, -1)
        products *= self._factors
        _, width, _ = self._rounds[0]
        out = products[..., :width].copy()
        for low, high, place in self._rounds[1:]:
            out[..., low:high] += products[..., place : place + high - low]
        return out

    def one_by_one(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Each product by itself: less memory is moved, for many vectors."""
        out = np.empty((*np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), len(self._terms)))
        for place, terms in enumerate(self._terms):
            (i, j, factor), *others = terms
            total = a[..., i] * b[..., j]
            if factor != 1:
                total *= factor
            for i, j, factor in others:
                product = a[..., i] * b[..., j]
                if abs(factor) != 1:
                    product *= abs(factor)
                (np.add if factor > 0 else np.subtract)(total, product, out=total)
            out[..., place] = total
        return out
