"""Small dense linear systems without LAPACK.

jaxlib's LAPACK kernels (0.10; 0.11 has mended it) hand parts of a batch to XLA's pool of threads and wait for them on a
thread of that pool. Where as many kernels run at once as the pool has threads, all wait and none works: on two cores a
batch of triangular solves over two devices hangs for ever, and so did ant's gradient, now and then. So nothing that is
compiled here calls LAPACK.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def solve(matrix: Float[Array, "n n"], rhs: Float[Array, " n"], symmetric: bool = False) -> Float[Array, " n"]:
    """The x with ``matrix x = rhs``, for a matrix whose symmetric part is positive definite; differentiable in both.

    Gaussian elimination needs no pivoting there (Golub and Van Loan, "Matrix Computations", 4.1, 4.2): mass matrices,
    Hessians of the constraint problem, and a mass matrix less a small multiple of the forces' derivatives. `symmetric`
    saves the backward pass a transposition.
    """
    return jax.lax.custom_linear_solve(
        lambda x: matrix @ x,
        rhs,
        solve=lambda _, b: _substitute(_factor(matrix), b),
        transpose_solve=None if symmetric else lambda _, b: _substitute(_factor(matrix.T), b),
        symmetric=symmetric,
    )


def _factor(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """L and U in one matrix, the unit diagonal of L left away. Loops, not unrolled, so that large models compile."""
    rows = jnp.arange(matrix.shape[0])

    def eliminate(k: Array, lu: Array) -> Array:
        later = rows > k  # rows below the pivot, and columns right of it
        multipliers = jnp.where(later, lu[:, k] / lu[k, k], 0.0)
        lu = lu - multipliers[:, None] * jnp.where(later, lu[k], 0.0)
        return jnp.where(later[:, None] & (rows == k), multipliers[:, None], lu)

    return jax.lax.fori_loop(0, len(rows) - 1, eliminate, matrix)


def _substitute(lu: Float[Array, "n n"], rhs: Float[Array, " n"]) -> Float[Array, " n"]:
    size = rhs.shape[0]
    rows = jnp.arange(size)

    def forward(k: Array, x: Array) -> Array:
        return x - jnp.where(rows > k, lu[:, k], 0.0) * x[k]

    def backward(i: Array, x: Array) -> Array:
        k = size - 1 - i
        found = x[k] / lu[k, k]
        return jnp.where(rows == k, found, x - jnp.where(rows < k, lu[:, k], 0.0) * found)

    return jax.lax.fori_loop(0, size, backward, jax.lax.fori_loop(0, size - 1, forward, rhs))
