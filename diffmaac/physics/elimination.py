"""Small dense linear systems without LAPACK.

jaxlib's LAPACK kernels (0.10; no longer in 0.11) hand parts of a batch to XLA's pool of threads and wait for them on a
thread of that pool. Where as many kernels run at once as the pool has threads, all wait and none works: on two cores a
batch of triangular solves over two devices hangs for ever, and so did ant's gradient, now and then. So nothing that is
compiled here calls LAPACK.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from diffmaac.physics.typed import linear_solve, repeat


def solve(matrix: Float[Array, "n n"], rhs: Float[Array, " n"], symmetric: bool = False) -> Float[Array, " n"]:
    """The x with ``matrix x = rhs``, for a matrix whose symmetric part is positive definite; differentiable in both.

    Gaussian elimination needs no pivoting there (Golub and Van Loan, "Matrix Computations", 4.1, 4.2): mass matrices,
    Hessians of the constraint problem, and a mass matrix less a small multiple of the forces' derivatives. `symmetric`
    saves the backward pass a transposition.
    """
    return linear_solve(matrix, rhs, lambda matrix, rhs: _substitute(_factor(matrix), rhs), symmetric)


def _factor(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """L and U in one matrix, without the unit diagonal of L. Loops, not unrolled, so that large models compile."""
    rows = jnp.arange(matrix.shape[0])

    def eliminate(k: Array, lu: Array) -> Array:
        later = rows > k  # rows below the pivot, and columns right of it
        multipliers = jnp.where(later, lu[:, k] / lu[k, k], 0.0)
        lu = lu - multipliers[:, None] * jnp.where(later, lu[k], 0.0)
        return jnp.where(later[:, None] & (rows == k), multipliers[:, None], lu)

    return repeat(len(rows) - 1, eliminate, matrix)


def _substitute(lu: Float[Array, "n n"], rhs: Float[Array, " n"]) -> Float[Array, " n"]:
    size = rhs.shape[0]
    rows = jnp.arange(size)

    def forward(k: Array, x: Array) -> Array:
        return x - jnp.where(rows > k, lu[:, k], 0.0) * x[k]

    def backward(i: Array, x: Array) -> Array:
        k = size - 1 - i
        component = x[k] / lu[k, k]
        return jnp.where(rows == k, component, x - jnp.where(rows < k, lu[:, k], 0.0) * component)

    return repeat(size, backward, repeat(size - 1, forward, rhs))
